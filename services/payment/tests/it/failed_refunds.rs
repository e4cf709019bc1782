//! Refunds that the provider refuses, breaks or takes back: tried again as far as that makes sense, and then seen.

use serde_json::json;
use tonic::Status;
use tourmesh::payment::v1::{FailedRefund, ListFailedRefundsRequest, Refund, RetryRefundRequest};
use tourmesh_testkit::{Role, World, bearer, eventually, reason};

use crate::{
    shop::{Shop, eur, id, room, wish},
    stripe::{
        scripted::{self, RefundScript, Scripted, signed},
        with_stripe,
    },
};

async fn failed(shop: &Shop) -> Vec<FailedRefund> {
    let token = World::get().await.token(&id("usr"), &[Role::Staff], None);
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListFailedRefundsRequest { page_size: 2, page_token };
        let page = shop.client().list_failed_refunds(bearer(request, &token)).await.unwrap().into_inner();
        all.extend(page.refunds);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

async fn retry(shop: &Shop, request_id: &str, refund_id: &str) -> Result<Refund, Status> {
    let token = World::get().await.token("usr_00000000000070008000000000000001", &[Role::Staff], None);
    let request = RetryRefundRequest { request_id: request_id.into(), refund_id: refund_id.into() };
    Ok(shop.client().retry_refund(bearer(request, &token)).await?.into_inner().refund.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_is_refused_for_good_stops_and_staff_sees_it_and_has_it_tried_anew() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await, &server.url)).await;
    let paid = shop.create(wish("pm_ok_paid")).await.unwrap();
    server.memory().refund_script = vec![RefundScript::Fail, RefundScript::Refuse];
    let (refund, payment) = shop.refund(&id("req"), &paid.id, eur(40, 0)).await.unwrap();
    assert!(!refund.settled);
    // The money stays reserved: nobody else gets it meanwhile.
    assert_eq!(payment.refunded, eur(40, 0));
    let list = failed(&shop).await;
    assert_eq!(list.len(), 1);
    let seen = &list[0];
    assert_eq!((seen.refund.as_ref(), seen.refused), (Some(&refund), true));
    assert_eq!((seen.booking_id.as_str(), seen.provider.as_str()), (paid.booking_id.as_str(), "stripe"));
    assert!(seen.problem.contains("charge_disputed") && seen.given_up_at.is_some(), "{seen:?}");
    // Nothing happens by itself.
    assert_eq!(shop.count("SELECT count(*) FROM refunds WHERE check_at IS NOT NULL").await, 0);

    // The second attempt is accepted and then fails; the third is done. Each has a key of its own.
    assert!(!retry(&shop, &id("req"), &refund.id).await.unwrap().settled);
    assert_eq!(failed(&shop).await[0].problem, "expired_or_canceled_card");
    let request = id("req");
    assert!(retry(&shop, &request, &refund.id).await.unwrap().settled);
    assert!(retry(&shop, &request, &refund.id).await.unwrap().settled, "a repeat has the same answer");
    assert_eq!(failed(&shop).await, []);
    assert_eq!(reason(&retry(&shop, &id("req"), &refund.id).await.unwrap_err()), "REFUND_STATE");
    assert_eq!(reason(&retry(&shop, &id("req"), &id("ref")).await.unwrap_err()), "REFUND_NOT_FOUND");
    let done = server.memory().refunds.values().filter(|r| r["status"] == "succeeded").count();
    assert_eq!(done, 1);
    shop.books_are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_without_an_answer_is_given_up_after_a_limit_and_never_done_twice() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await.with("REFUND_TRIES", 3), &server.url)).await;
    let paid = shop.create(wish("pm_ok_paid")).await.unwrap();
    server.memory().refund_script = vec![RefundScript::Break; 3];
    let (refund, _) = shop.refund(&id("req"), &paid.id, eur(40, 0)).await.unwrap();
    // The waits grow; here nobody has so much time.
    let hurry = "UPDATE refunds SET check_at = now() WHERE check_at IS NOT NULL";
    eventually(|| async {
        sqlx::query(hurry).execute(&shop.pool).await.unwrap();
        !failed(&shop).await.is_empty()
    })
    .await;
    assert!(!failed(&shop).await[0].refused);
    assert_eq!(shop.count("SELECT failures::bigint FROM refunds").await, 3);
    assert!(retry(&shop, &id("req"), &refund.id).await.unwrap().settled);
    assert_eq!(
        shop.count("SELECT attempt::bigint FROM refunds").await,
        0,
        "the key that may have been used is used again"
    );
    assert_eq!(server.memory().refunds.len(), 1);
    shop.books_are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_waits_between_the_tries_grow_up_to_an_hour() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await.with("REFUND_TRIES", 1000), &server.url)).await;
    let paid = shop.create(wish("pm_ok_paid")).await.unwrap();
    server.memory().refund_script = vec![RefundScript::Break; 100];
    shop.refund(&id("req"), &paid.id, eur(40, 0)).await.unwrap();
    for (attempts, seconds) in [(0, 3), (3, 24), (8, 768), (30, 3600)] {
        sqlx::query("UPDATE refunds SET attempts = $1, check_at = now()")
            .bind(attempts)
            .execute(&shop.pool)
            .await
            .unwrap();
        eventually(|| async { shop.count("SELECT attempts::bigint FROM refunds").await == i64::from(attempts) + 1 })
            .await;
        let wait = shop.count("SELECT extract(epoch FROM check_at - now())::bigint FROM refunds").await;
        assert!((seconds - 2..=seconds).contains(&wait), "after {attempts}: {wait} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_the_provider_takes_back_after_it_was_confirmed_is_for_people() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await, &server.url)).await;
    let paid = shop.create(wish("pm_ok_paid")).await.unwrap();
    let (refund, _) = shop.refund(&id("req"), &paid.id, eur(40, 0)).await.unwrap();
    assert!(refund.settled);
    let mut object = server.memory().refunds.values().next().unwrap().clone();
    object["status"] = json!("failed");
    object["failure_reason"] = json!("lost_or_stolen_card");
    let body = scripted::event("refund.failed", &object);
    for is_first in [true, false, false] {
        assert_eq!(shop.event_of("stripe", &body, &signed(&body)).await.unwrap(), is_first);
    }
    let list = failed(&shop).await;
    assert_eq!(list.len(), 1);
    assert!(list[0].refund.as_ref().unwrap().settled && list[0].problem == "lost_or_stolen_card");
    assert_eq!(reason(&retry(&shop, &id("req"), &refund.id).await.unwrap_err()), "REFUND_STATE");
    shop.books_are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_staff_sees_and_retries_failed_refunds_and_a_request_id_is_for_one_refund() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await, &server.url)).await;
    let paid = shop.create(wish("pm_ok_paid")).await.unwrap();
    server.memory().refund_script = vec![RefundScript::Refuse; 3];
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(shop.refund(&id("req"), &paid.id, eur(10, 0)).await.unwrap().0.id);
    }
    ids.reverse();
    let listed: Vec<_> = failed(&shop).await.into_iter().map(|f| f.refund.unwrap().id).collect();
    assert_eq!(listed, ids, "newest first, over several pages");
    let world = World::get().await;
    let staff = world.token(&id("usr"), &[Role::Staff], None);
    let request = |refund: &str| RetryRefundRequest { request_id: "retry-1".into(), refund_id: refund.into() };
    shop.client().retry_refund(bearer(request(&ids[0]), &staff)).await.unwrap();
    let reused = shop.client().retry_refund(bearer(request(&ids[1]), &staff)).await.unwrap_err();
    assert_eq!(reason(&reused), "REQUEST_ID_REUSED");
    for role in [Role::Traveller, Role::Supplier] {
        let token = world.token(&id("usr"), &[role], None);
        let list = shop.client().list_failed_refunds(bearer(ListFailedRefundsRequest::default(), &token)).await;
        assert_eq!(reason(&list.unwrap_err()), "ROLE_MISSING");
        let retried = shop.client().retry_refund(bearer(request(&ids[0]), &token)).await;
        assert_eq!(reason(&retried.unwrap_err()), "ROLE_MISSING");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_comes_back_is_owed_to_the_customer_once_whatever_order_the_events_have() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await.with("PENDING_GRACE_MS", 60_000), &server.url)).await;
    let paid = shop.create(wish("pm_ok_paid")).await.unwrap();
    server.memory().refund_script = vec![RefundScript::Pend];
    shop.refund(&id("req"), &paid.id, eur(40, 0)).await.unwrap();
    let (late, _) = shop.refund(&id("req"), &paid.id, eur(10, 0)).await.unwrap();
    assert!(late.settled);
    let told = |kind: &str, refund: &str, status: &str| {
        let mut object =
            server.memory().refunds.values().find(|r| r["metadata"]["refund_id"] == refund).unwrap().clone();
        object["status"] = json!(status);
        object["failure_reason"] = json!((status == "failed").then_some("lost_or_stolen_card"));
        scripted::event(kind, &object)
    };
    let back = "SELECT (coalesce(sum(amount), 0) * 100)::bigint FROM ledger_entries WHERE account LIKE 'refunds:%'";
    // Done, and then not: the customer is owed it again, however often that is said.
    for body in [told("refund.failed", &late.id, "failed"), told("charge.refund.updated", &late.id, "failed")] {
        for _ in 0..2 {
            shop.event_of("stripe", &body, &signed(&body)).await.unwrap();
        }
    }
    assert_eq!(shop.count(back).await, -1_000);
    assert_eq!(
        shop.count("SELECT count(DISTINCT transaction_id) FROM ledger_entries WHERE kind = 'refund_returned'").await,
        1
    );

    // That it failed overtakes that it succeeded: it failed.
    let pending = shop.count("SELECT count(*) FROM refunds WHERE settled_at IS NULL").await;
    assert_eq!(pending, 1);
    let first =
        server.memory().refunds.values().find(|r| r["status"] == "pending").unwrap()["metadata"]["refund_id"].clone();
    let first = first.as_str().unwrap();
    let failed_first = told("refund.failed", first, "failed");
    assert!(shop.event_of("stripe", &failed_first, &signed(&failed_first)).await.unwrap());
    let then = told("refund.updated", first, "succeeded");
    assert!(!shop.event_of("stripe", &then, &signed(&then)).await.unwrap());
    assert_eq!(shop.count("SELECT count(*) FROM refunds WHERE settled_at IS NULL").await, 1);
    assert_eq!(shop.count(back).await, -1_000);
    let listed = failed(&shop).await;
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|f| f.refused && f.problem == "lost_or_stolen_card"), "{listed:?}");
    shop.books_are_whole().await;
}
