//! Thousands of payments whose call to the provider has no answer: none is charged twice, and all come to an end.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tourmesh::payment::v1::PaymentState;
use tourmesh_testkit::eventually;

use crate::{
    floods::is_busy,
    shop::{Shop, long, room, wish},
    stripe::{
        scripted::{self, Scripted, signed},
        with_stripe,
    },
};

/// Every way in which an answer does not come, with either end.
const TOKENS: [&str; 6] =
    ["pm_lost_paid", "pm_lost_declined", "pm_deaf_paid", "pm_deaf_declined", "pm_late_paid", "pm_late_declined"];

#[tokio::test(flavor = "multi_thread")]
async fn payments_whose_call_times_out_are_settled_either_way_and_none_is_charged_twice() {
    let many = if long() { 5_000 } else { 500 };
    let server = Scripted::start().await;
    let room = room().await.with("PROVIDER_TIMEOUT_MS", 200).with("PENDING_GRACE_MS", 3000);
    let shop = Shop::in_room(with_stripe(&room, &server.url)).await;
    let wishes: Vec<_> = (0..many).map(|n| wish(TOKENS[n % TOKENS.len()])).collect();
    let asked = stream::iter(wishes.clone()).map(|w| shop.create(w)).buffer_unordered(100);
    let answers: Vec<_> = asked.collect().await;
    // On a busy machine the reconciler may have been as quick as the caller.
    let open = answers.iter().filter(|a| a.as_ref().is_ok_and(|p| p.state() == PaymentState::Pending)).count();
    let others: Vec<_> =
        answers.iter().filter(|a| !a.as_ref().is_ok_and(|p| p.state() == PaymentState::Pending)).collect();
    assert!(open > many / 10, "only {open} are open, and {:?}", others.first());
    // Customers try again meanwhile, with the same request and with new ones.
    let again = wishes.iter().enumerate().map(|(n, w)| {
        let request_id = if n % 2 == 0 { w.request_id.clone() } else { crate::shop::id("req") };
        tourmesh::payment::v1::CreatePaymentRequest { request_id, ..w.clone() }
    });
    // (A new request after a decline would be a new payment, and is not what this is about.)
    let paid = again.filter(|w| w.payment_method.ends_with("_paid"));
    let asked: Vec<_> = stream::iter(paid).map(|w| shop.create(w)).buffer_unordered(100).collect().await;
    for refused in asked.into_iter().filter_map(Result::err) {
        assert!(is_busy(&refused), "{refused:?}");
    }

    // A third of them learns of it by event, as far as the provider has decided by then; nobody else is told.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told: Vec<_> = server.memory().intents.values().map(|i| i.body.clone()).step_by(3).collect();
    for object in told {
        let kind = if object["status"] == "succeeded" { "succeeded" } else { "payment_failed" };
        if matches!(object["status"].as_str(), Some("succeeded" | "requires_payment_method")) {
            let body = scripted::event(&format!("payment_intent.{kind}"), &object);
            shop.event_of("stripe", &body, &signed(&body)).await.unwrap();
        }
    }
    let end = Instant::now() + Duration::from_secs(if long() { 600 } else { 120 });
    let open = "SELECT count(*) FROM payments WHERE state NOT IN ('CAPTURED', 'FAILED')";
    while shop.count(open).await > 0 {
        assert!(Instant::now() < end, "{} payments are still open", shop.count(open).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    // Each as its card wanted it, and told once.
    let wrong = "SELECT count(*) FROM payments WHERE (payment_method LIKE '%\\_paid') <> (state = 'CAPTURED')";
    assert_eq!(shop.count(wrong).await, 0);
    assert_eq!(shop.count("SELECT count(*) FROM payments").await, i64::try_from(many).unwrap());
    shop.books_are_whole().await;
    // The provider's side: one key and one intent a payment, money taken once or not at all, and what is taken is booked.
    {
        let memory = server.memory();
        assert_eq!(memory.keys.len(), many);
        for (payment, keys) in &memory.keys {
            assert_eq!(keys.iter().collect::<Vec<_>>(), [payment], "another key");
        }
        assert_eq!(memory.intents.len(), many);
        let charged: usize = memory.intents.values().map(|i| i.charged).sum();
        assert!(memory.intents.values().all(|i| i.charged <= 1));
        assert_eq!(charged, many / TOKENS.len() * 3 + (many % TOKENS.len()).div_ceil(2));
    }
    let captured = "SELECT count(*) FROM payments WHERE state = 'CAPTURED'";
    let charged: usize = server.memory().intents.values().map(|i| i.charged).sum();
    eventually(|| async { shop.count(captured).await == i64::try_from(charged).unwrap() }).await;
}
