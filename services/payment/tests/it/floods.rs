//! A provider's events in great numbers: each up to ten times, shuffled, some before our own call was answered; and
//! others that are not the provider's.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tonic::{Code, Status};
use tourmesh_payment::provider::signature;
use tourmesh_testkit::reason;
use uuid::Uuid;

use crate::{
    shop::{Shop, long, room},
    stripe::{
        WEBHOOK_SECRET,
        scripted::{self, signed},
        with_stripe,
    },
};

/// Few enough that tests beside this one do not starve.
const AT_ONCE: usize = 32;

/// A number without any order, the same in every run.
fn scatter(n: usize) -> usize {
    let mixed = (n as u64 ^ 0x5DEE_CE66).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    usize::try_from((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 8).unwrap()
}

/// Sends each event one to ten times, all of them shuffled; answers how often one had an effect.
async fn flood(shop: &Shop, events: &[String]) -> usize {
    let mut order: Vec<usize> = (0..events.len()).flat_map(|n| std::iter::repeat_n(n, 1 + scatter(n) % 10)).collect();
    assert!(order.len() > events.len() * 4);
    let mut place: Vec<(usize, usize)> = order.drain(..).enumerate().map(|(at, n)| (scatter(at), n)).collect();
    place.sort_unstable();
    let sent = stream::iter(place).map(|(_, n)| async move {
        let body = &events[n];
        loop {
            match shop.event_of("stripe", body, &signed(body)).await {
                Ok(applied) => return applied,
                // Providers send again what was not taken in, as after any answer of 5xx.
                Err(status) if is_busy(&status) => tokio::time::sleep(Duration::from_millis(200)).await,
                Err(status) => panic!("{status:?}"),
            }
        }
    });
    sent.buffer_unordered(AT_ONCE).fold(0, |sum, applied| async move { sum + usize::from(applied) }).await
}

/// Too much at once for this machine, or the connection has come of age: nothing was done, or nobody knows.
pub(crate) fn is_busy(status: &Status) -> bool {
    let lost = status.code() == Code::Unknown && status.message().contains("transport error");
    lost || matches!(status.code(), Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded)
}

/// Payments as they are while our own call to the provider has not been answered.
async fn unanswered(shop: &Shop, many: usize) -> Vec<Uuid> {
    let ids: Vec<Uuid> = (0..many).map(|_| Uuid::now_v7()).collect();
    for ids in ids.chunks(10_000) {
        sqlx::query(
            "INSERT INTO payments (id, booking_id, customer_id, supplier_id, state, amount, currency, provider, payment_method,
                                   return_url, manual_capture, caller, request_id, request_hash, created_at, check_at)
             SELECT id, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'PENDING', 100, 'EUR', 'stripe', 'pm_1', '', false,
                    'service:booking', id::text, '', now(), now() + interval '1 day' FROM unnest($1::uuid[]) AS id",
        )
        .bind(ids)
        .execute(&shop.pool)
        .await
        .unwrap();
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_has_one_effect_however_often_and_in_whatever_order_it_comes() {
    let all = if long() { 100_000 } else { 2_000 };
    // Nobody answers there: everything that is learned is learned by event.
    let room = with_stripe(&room().await, "http://127.0.0.1:9").with("PENDING_GRACE_MS", 600_000);
    let shop = Shop::in_room(room).await;
    let refunded = all / 5;
    let payments = unanswered(&shop, all - refunded).await;
    // A payment has one event that decides it: taken, reserved, or given up.
    let events: Vec<String> = payments
        .iter()
        .enumerate()
        .map(|(n, id)| {
            let payment = format!("pay_{}", id.simple());
            let mut object = scripted::intent(&format!("pi_{}", id.simple()), &payment, 10_000, "eur");
            let (kind, status) = match n % 8 {
                0 => ("amount_capturable_updated", "requires_capture"),
                1 | 2 => ("canceled", "canceled"),
                _ => ("succeeded", "succeeded"),
            };
            object["status"] = json!(status);
            object["amount_received"] = json!(if status == "succeeded" { 10_000 } else { 0 });
            scripted::event(&format!("payment_intent.{kind}"), &object)
        })
        .collect();
    let told = flood(&shop, &events).await;
    assert!(told <= events.len(), "{told} of {} events had an effect", events.len());

    // The rest are refunds that the provider settles later.
    let wanted: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "WITH chosen AS (UPDATE payments SET refunded = 30 WHERE id IN
             (SELECT id FROM payments WHERE state = 'CAPTURED' ORDER BY id LIMIT $1) RETURNING id)
         INSERT INTO refunds (id, payment_id, amount, reason, caller, request_id, request_hash, check_at, created_at)
         SELECT gen_random_uuid(), id, 30, '', 'service:booking', id::text, '', now() + interval '1 day', now() FROM chosen
         RETURNING id, payment_id",
    )
    .bind(i64::try_from(refunded).unwrap())
    .fetch_all(&shop.pool)
    .await
    .unwrap();
    assert_eq!(wanted.len(), refunded);
    let events: Vec<String> = wanted
        .iter()
        .map(|(refund, payment)| {
            let (refund, payment) = (refund.simple(), payment.simple());
            let ids =
                json!({"refund_id": format!("ref_{refund}"), "payment_id": format!("pay_{payment}"), "attempt": "0"});
            let object = json!({"id": format!("re_{refund}"), "object": "refund", "amount": 3_000, "currency": "eur",
                "status": "succeeded", "payment_intent": format!("pi_{payment}"), "metadata": ids});
            scripted::event("refund.updated", &object)
        })
        .collect();
    let told = flood(&shop, &events).await;
    assert!(told <= events.len(), "{told} of {} events had an effect", events.len());

    // The effect of an event whose answer was lost is told to nobody, so the books are asked: one effect for each event.
    assert_eq!(shop.count("SELECT count(*) FROM provider_events").await, i64::try_from(all).unwrap());
    assert_eq!(shop.count("SELECT count(*) FROM payments WHERE state = 'PENDING'").await, 0);
    assert_eq!(shop.count("SELECT count(*) FROM outbox").await, i64::try_from(all).unwrap());
    shop.books_are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_before_our_own_answer_have_one_effect_together_with_it() {
    let many = if long() { 2_000 } else { 100 };
    let server = scripted::Scripted::start().await;
    // Long enough that only event and answer meet here, and no reconciler.
    let room = with_stripe(&room().await, &server.url).with("PENDING_GRACE_MS", 600_000);
    let shop = Shop::in_room(room).await;
    server.tell_first(shop.client());
    let wishes = (0..many).map(|n| {
        let mut wish = crate::shop::wish("pm_ok_paid");
        wish.manual_capture = n % 4 == 0;
        wish
    });
    let answers: Vec<_> = stream::iter(wishes).map(|w| shop.create(w)).buffer_unordered(64).collect().await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.memory().told_first, many);
    let many = i64::try_from(many).unwrap();
    assert_eq!(shop.count("SELECT count(*) FROM payments WHERE state IN ('CAPTURED', 'AUTHORIZED')").await, many);
    assert_eq!(shop.count("SELECT count(*) FROM outbox").await, many);
    assert_eq!(shop.count("SELECT count(*) FROM provider_events").await, many);
    shop.books_are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_that_is_stale_unsigned_or_wrongly_signed_is_accepted() {
    let many = if long() { 10_000 } else { 500 };
    let room = with_stripe(&room().await, "http://127.0.0.1:9")
        .with("PENDING_GRACE_MS", 600_000)
        .with("STRIPE_WEBHOOK_SECRETS", format!("{WEBHOOK_SECRET},whsec_the_next_one_0001"));
    let shop = Shop::in_room(room).await;
    let payments = unanswered(&shop, many).await;
    let sign = |secret: &str, body: &str, at| signature::sign(secret.as_bytes(), body.as_bytes(), at);
    let forged = payments.iter().enumerate().map(|(n, id)| {
        let payment = format!("pay_{}", id.simple());
        let mut object = scripted::intent(&format!("pi_{}", id.simple()), &payment, 10_000, "eur");
        object["status"] = json!("succeeded");
        object["amount_received"] = json!(10_000);
        let body = scripted::event("payment_intent.succeeded", &object);
        let now = Utc::now();
        let seconds = i64::try_from(scatter(n) % 100_000).unwrap();
        let good = signed(&body);
        let header = match n % 10 {
            0 => "unsigned".to_owned(),
            1 => sign("whsec_somebody_elses_secret", &body, now),
            2 => sign(WEBHOOK_SECRET, &body, now - TimeDelta::seconds(310 + seconds)),
            3 => sign(WEBHOOK_SECRET, &body, now + TimeDelta::seconds(310 + seconds)),
            // The signature of another body, and of another time.
            4 => sign(WEBHOOK_SECRET, &body.replace("10000", "1"), now),
            5 => {
                let (_, mac) = good.split_once(",v1=").unwrap();
                format!("t={},v1={mac}", now.timestamp() - 1 - seconds % 200)
            }
            // One bit off, cut short, another scheme, nothing but the time.
            6 => {
                let last = good.chars().last().unwrap().to_digit(16).unwrap() ^ 1;
                format!("{}{last:x}", &good[..good.len() - 1])
            }
            7 => good[..good.len() - 2].to_owned(),
            8 => good.replace("v1=", "v0="),
            _ => format!("t={}", now.timestamp()),
        };
        (body, header)
    });
    let forged: Vec<_> = forged.collect();
    let shop = &shop;
    let sent = stream::iter(&forged)
        .map(|(body, header)| async move { (header, shop.event_of("stripe", body, header).await) });
    let accepted: Vec<_> = sent
        .buffer_unordered(AT_ONCE)
        .filter_map(|(header, answer)| async move {
            (!answer.as_ref().is_err_and(|e| reason(e) == "SIGNATURE_INVALID")).then_some((header, answer))
        })
        .collect()
        .await;
    assert!(accepted.is_empty(), "{accepted:?}");
    assert_eq!(shop.count("SELECT count(*) FROM payments WHERE state <> 'PENDING'").await, 0);
    assert_eq!(shop.count("SELECT count(*) FROM provider_events").await, 0);
    assert_eq!(shop.count("SELECT count(*) FROM outbox").await, 0);
    // The same bodies, signed with either of the two secrets, are: it was the signatures.
    for (n, (body, _)) in forged.iter().take(20).enumerate() {
        let secret = if n % 2 == 0 { WEBHOOK_SECRET } else { "whsec_the_next_one_0001" };
        assert!(shop.event_of("stripe", body, &sign(secret, body, Utc::now())).await.unwrap());
    }
}
