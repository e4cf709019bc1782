//! Our books beside the provider's list: every kind of difference is found, and only what is safe is mended.

use serde_json::json;
use tourmesh::payment::v1::PaymentState;
use tourmesh_payment::{
    provider::Period,
    reconciliation::{self, Kind, Report},
};
use uuid::Uuid;

use crate::{
    shop::{Shop, eur, id, room, uuid_of, wish},
    stripe::{
        scripted::{self, RefundScript, Scripted},
        with_stripe,
    },
};

/// Today, or rather the hour around now.
fn now() -> Period {
    let now = chrono::Utc::now();
    Period { from: now - chrono::TimeDelta::minutes(30), to: now + chrono::TimeDelta::minutes(30) }
}

async fn compare(shop: &Shop, repair: bool) -> Report {
    reconciliation::of_env(&shop.room.env(), now(), repair).await.unwrap().pop().unwrap()
}

/// So that nothing counts as still under way.
async fn make_older(shop: &Shop, server: Option<&Scripted>) {
    for statement in [
        "UPDATE payments SET created_at = created_at - interval '3 minutes'",
        "UPDATE refunds SET created_at = created_at - interval '3 minutes'",
    ] {
        sqlx::query(statement).execute(&shop.pool).await.unwrap();
    }
    if let Some(server) = server {
        for intent in server.memory().intents.values_mut() {
            intent.body["created"] = json!(intent.body["created"].as_i64().unwrap() - 180);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_sandbox_nothing_differs_and_what_was_tampered_with_is_reported() {
    let shop = Shop::open().await;
    // More than a page.
    futures_util::future::join_all((0..130).map(|_| shop.paid())).await;
    let paid = shop.paid().await;
    shop.refund(&id("req"), &paid.id, eur(40, 0)).await.unwrap();
    make_older(&shop, None).await;
    let report = compare(&shop, true).await;
    assert_eq!((report.provider, report.ours, report.theirs), ("sandbox", 132, 132));
    assert_eq!(report.differences, []);
    sqlx::query("UPDATE sandbox_intents SET amount = 101 WHERE key = $1")
        .bind(uuid_of(&paid.id))
        .execute(&shop.pool)
        .await
        .unwrap();
    let report = compare(&shop, true).await;
    let found: Vec<_> = report.differences.iter().map(|d| (d.kind, d.what.as_str(), d.mended)).collect();
    assert_eq!(found, [(Kind::Amount, paid.id.as_str(), false)]);
    shop.books_are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_difference_is_found_and_only_what_is_safe_is_mended() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await, &server.url).with("PENDING_GRACE_MS", 3_600_000)).await;
    let manual = |shop| {
        let mut wish = wish("pm_ok_paid");
        wish.manual_capture = true;
        async move { Shop::create(shop, wish).await.unwrap() }
    };
    let fine = shop.create(wish("pm_ok_paid")).await.unwrap();
    let (reserved, gone, dearer) = (manual(&shop).await, manual(&shop).await, manual(&shop).await);
    let (paid, lost) = (shop.create(wish("pm_ok_paid")).await.unwrap(), shop.create(wish("pm_ok_paid")).await.unwrap());
    server.memory().refund_script = vec![RefundScript::Pend, RefundScript::Pend];
    let (settles, _) = shop.refund(&id("req"), &paid.id, eur(10, 0)).await.unwrap();
    let (fails, _) = shop.refund(&id("req"), &paid.id, eur(20, 0)).await.unwrap();
    let (vanishes, _) = shop.refund(&id("req"), &paid.id, eur(30, 0)).await.unwrap();
    assert_eq!((settles.settled, fails.settled, vanishes.settled), (false, false, true));
    make_older(&shop, Some(&server)).await;
    assert_eq!(compare(&shop, true).await.differences, []);

    // What happens at the provider without anybody telling us.
    let stranger = Uuid::now_v7().simple().to_string();
    {
        let mut memory = server.memory();
        let change = |memory: &mut scripted::Memory, id: &str, change: serde_json::Value| {
            let body = &mut memory.intents.get_mut(id).unwrap().body;
            for (name, value) in change.as_object().unwrap() {
                body[name] = value.clone();
            }
        };
        let taken = json!({"status": "succeeded", "amount_received": 10_000});
        change(&mut memory, &reserved.provider_reference, taken);
        change(&mut memory, &gone.provider_reference, json!({"status": "canceled"}));
        change(&mut memory, &dearer.provider_reference, json!({"amount": 12_000}));
        memory.intents.remove(&lost.provider_reference);
        let mut made = memory.intents[&fine.provider_reference].clone();
        made.body["id"] = json!("pi_stranger");
        made.body["metadata"] = json!({"payment_id": format!("pay_{stranger}")});
        memory.intents.insert("pi_stranger".into(), made.clone());
        made.body["id"] = json!("pi_by_hand");
        made.body["metadata"] = json!({});
        memory.intents.insert("pi_by_hand".into(), made);
        memory.refunds.retain(|_, refund| refund["metadata"]["refund_id"] != vanishes.id.as_str());
        for refund in memory.refunds.values_mut() {
            let fails = refund["metadata"]["refund_id"] == fails.id.as_str();
            refund["status"] = json!(if fails { "failed" } else { "succeeded" });
        }
        let by_hand = json!({"id": "re_by_hand", "object": "refund", "amount": 5, "currency": "eur", "status": "succeeded",
            "created": chrono::Utc::now().timestamp() - 180, "metadata": {}});
        memory.refunds.insert("re_by_hand".into(), by_hand);
    }
    let expected = |mended: bool| {
        let mut all = vec![
            (Kind::Status, reserved.id.clone(), mended),
            (Kind::Status, gone.id.clone(), mended),
            (Kind::Amount, dearer.id.clone(), false),
            (Kind::MissingThere, lost.id.clone(), false),
            (Kind::MissingHere, format!("pay_{stranger}"), false),
            (Kind::MissingHere, "pi_by_hand".to_owned(), false),
            (Kind::Status, settles.id.clone(), mended),
            (Kind::Status, fails.id.clone(), mended),
            (Kind::MissingThere, vanishes.id.clone(), false),
            (Kind::MissingHere, "re_by_hand".to_owned(), false),
        ];
        all.sort_by(|a, b| a.1.cmp(&b.1));
        all
    };
    let found = |report: &Report| {
        let mut all: Vec<_> = report.differences.iter().map(|d| (d.kind, d.what.clone(), d.mended)).collect();
        all.sort_by(|a, b| a.1.cmp(&b.1));
        all
    };
    // Only reported: nothing changes.
    assert_eq!(found(&compare(&shop, false).await), expected(false));
    assert_eq!(shop.get(&reserved.id).await.state(), PaymentState::Authorized);
    assert_eq!(found(&compare(&shop, true).await), expected(true));
    assert_eq!(shop.get(&reserved.id).await.state(), PaymentState::Captured);
    assert_eq!(shop.get(&gone.id).await.state(), PaymentState::Cancelled);
    assert_eq!(shop.get(&dearer.id).await.state(), PaymentState::Authorized);
    // What was mended is not found again, and the rest is.
    let mut rest = expected(true);
    rest.retain(|(_, _, mended)| !mended);
    assert_eq!(found(&compare(&shop, true).await), rest);
    assert_eq!(shop.count("SELECT count(*) FROM refunds WHERE given_up_at IS NOT NULL").await, 1);
    shop.books_are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_answer_is_an_error_and_not_a_list_of_missing_payments() {
    let shop = Shop::in_room(with_stripe(&room().await, "http://127.0.0.1:9")).await;
    let error = reconciliation::of_env(&shop.room.env(), now(), true).await.unwrap_err().to_string();
    assert!(error.starts_with("stripe does not list what it has"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_money_that_nobody_captures_is_given_back_after_its_time() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await, &server.url).with("AUTHORIZATION_HOURS", 48)).await;
    let mut asked = wish("pm_ok_paid");
    asked.manual_capture = true;
    let (old, young) = (shop.create(asked.clone()).await.unwrap(), {
        asked.request_id = id("req");
        asked.booking_id = id("bkg");
        shop.create(asked).await.unwrap()
    });
    let hours = "SELECT round(extract(epoch FROM max(check_at) - now()) / 3600)::bigint FROM payments";
    assert_eq!(shop.count(hours).await, 48);
    for (payment, hours) in [(&old, 49), (&young, 47)] {
        sqlx::query(
            "UPDATE payments SET created_at = now() - make_interval(hours => $2), check_at = now() WHERE id = $1",
        )
        .bind(uuid_of(&payment.id))
        .bind(hours)
        .execute(&shop.pool)
        .await
        .unwrap();
    }
    shop.becomes(&old.id, PaymentState::Cancelled).await;
    assert_eq!(server.memory().intents[&old.provider_reference].body["status"], "canceled");
    // The young one is left alone until its time, and can be captured.
    tourmesh_testkit::eventually(|| async { shop.count(hours).await == 1 }).await;
    assert_eq!(shop.capture(&id("req"), &young.id).await.unwrap().state(), PaymentState::Captured);
    shop.books_are_whole().await;
}
