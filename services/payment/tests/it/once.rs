//! A booking is charged at most once.

use futures_util::future::join_all;
use tourmesh::payment::v1::PaymentState;
use tourmesh_testkit::{eventually, reason};

use crate::shop::{Shop, eur, id, room, wish};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_wishes_for_one_booking_are_one_payment_and_one_charge() {
    let shop = Shop::open().await;
    let first = wish("card_ok");
    let wishes = (0..100).map(|n| {
        let mut wish = first.clone();
        if n % 2 == 1 {
            wish.request_id = id("req");
        }
        wish
    });
    let wishes: Vec<_> = wishes.collect();
    let answers = join_all(wishes.iter().cloned().map(|w| shop.create(w))).await;
    let ids: std::collections::HashSet<_> = answers.into_iter().map(|a| a.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(shop.count("SELECT count(*) FROM payments").await, 1);
    assert_eq!(shop.count("SELECT count(*) FROM sandbox_intents").await, 1);
    let id = ids.into_iter().next().unwrap();
    shop.becomes(&id, PaymentState::Captured).await;
    // Every repeat, of whichever request, gets the same payment.
    for answer in join_all(wishes.into_iter().map(|w| shop.create(w))).await {
        assert_eq!(answer.unwrap().id, id);
    }
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_together_charge_a_booking_once() {
    let one = Shop::open().await;
    let two = Shop::in_room(one.room.clone()).await;
    let firsts: Vec<_> = (0..20).map(|n| wish(if n % 2 == 0 { "card_ok" } else { "card_timeout" })).collect();
    let wishes = firsts.iter().flat_map(|first| {
        (0..6).map(move |n| {
            let request_id = if n < 2 { first.request_id.clone() } else { id("req") };
            (n % 2 == 0, tourmesh::payment::v1::CreatePaymentRequest { request_id, ..first.clone() })
        })
    });
    let answers = join_all(wishes.map(|(first, wish)| if first { one.create(wish) } else { two.create(wish) })).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    eventually(|| async { one.count("SELECT count(*) FROM payments WHERE state <> 'CAPTURED'").await == 0 }).await;
    assert_eq!(one.count("SELECT count(*) FROM payments").await, 20);
    assert_eq!(one.count("SELECT count(*) FROM sandbox_intents").await, 20);
    one.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_bookings_at_once_are_each_paid_once() {
    let shop = Shop::open().await;
    let wishes: Vec<_> = (0..300).map(|_| wish("card_ok")).collect();
    let twice = wishes.iter().chain(&wishes).cloned();
    for answer in join_all(twice.map(|w| shop.create(w))).await {
        answer.unwrap();
    }
    assert_eq!(shop.count("SELECT count(*) FROM payments WHERE state = 'CAPTURED'").await, 300);
    assert_eq!(shop.count("SELECT count(*) FROM sandbox_intents").await, 300);
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_wish_of_another_amount_or_customer_or_currency_is_refused() {
    let shop = Shop::open().await;
    let first = wish("card_ok");
    shop.create(first.clone()).await.unwrap();
    let again = || tourmesh::payment::v1::CreatePaymentRequest { request_id: id("req"), ..first.clone() };
    let mut dearer = again();
    dearer.amount = eur(101, 0);
    assert_eq!(reason(&shop.create(dearer).await.unwrap_err()), "PAYMENT_STATE");
    let mut other = again();
    other.customer_id = id("usr");
    assert_eq!(reason(&shop.create(other).await.unwrap_err()), "PAYMENT_STATE");
    let mut foreign = again();
    foreign.amount.as_mut().unwrap().currency_code = "CHF".into();
    assert_eq!(reason(&shop.create(foreign).await.unwrap_err()), "CURRENCY_MISMATCH");
    assert_eq!(shop.count("SELECT count(*) FROM sandbox_intents").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_without_an_answer_settle_either_way_and_none_is_charged_twice() {
    let shop = Shop::in_room(room().await.with("SANDBOX_LATE_MS", 4000)).await;
    let wishes: Vec<_> =
        (0..60).map(|n| wish(if n % 2 == 0 { "card_timeout" } else { "card_timeout_declined" })).collect();
    let answers = join_all(wishes.iter().cloned().map(|w| shop.create(w))).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap().state() == PaymentState::Pending));
    // Repeats and new requests meanwhile change nothing.
    let mut again = wishes.clone();
    again.iter_mut().skip(30).for_each(|w| w.request_id = id("req"));
    for answer in join_all(again.into_iter().map(|w| shop.create(w))).await {
        assert_eq!(answer.unwrap().state(), PaymentState::Pending);
    }
    eventually(|| async { shop.count("SELECT count(*) FROM payments WHERE state = 'PENDING'").await == 0 }).await;
    assert_eq!(shop.count("SELECT count(*) FROM payments WHERE state = 'CAPTURED'").await, 30);
    assert_eq!(shop.count("SELECT count(*) FROM payments WHERE state = 'FAILED'").await, 30);
    assert_eq!(shop.count("SELECT count(*) FROM sandbox_intents").await, 60);
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_event_the_query_finds_out() {
    // The webhooks go nowhere: nobody listens on port 9.
    let room = room().await.with("SANDBOX_WEBHOOK_URL", "http://127.0.0.1:9/webhooks/sandbox");
    let shop = Shop::in_room(room).await;
    let (good, bad) =
        (shop.create(wish("card_timeout")).await.unwrap(), shop.create(wish("card_timeout_declined")).await.unwrap());
    shop.becomes(&good.id, PaymentState::Captured).await;
    shop.becomes(&bad.id, PaymentState::Failed).await;
    shop.audit().await;
}
