//! Money back: never more than came in, and until it is there.

use futures_util::future::join_all;
use tonic_types::StatusExt as _;
use tourmesh_testkit::{eventually, reason};

use crate::shop::{Shop, eur, id, wish};

#[tokio::test(flavor = "multi_thread")]
async fn refunds_in_parts_end_at_zero_on_every_account() {
    let shop = Shop::open().await;
    let payment = shop.paid().await;
    let request = id("req");
    let (refund, after) = shop.refund(&request, &payment.id, eur(33, 33)).await.unwrap();
    assert!(refund.settled);
    assert_eq!(after.refunded, eur(33, 33));
    // The same request: the same refund. Other content: refused.
    let (again, _) = shop.refund(&request, &payment.id, eur(33, 33)).await.unwrap();
    assert_eq!(again, refund);
    assert_eq!(reason(&shop.refund(&request, &payment.id, eur(1, 0)).await.unwrap_err()), "REQUEST_ID_REUSED");
    let other = shop.paid().await;
    assert_eq!(reason(&shop.refund(&request, &other.id, eur(33, 33)).await.unwrap_err()), "REQUEST_ID_REUSED");
    shop.refund(&id("req"), &payment.id, eur(33, 33)).await.unwrap();
    let too_large = shop.refund(&id("req"), &payment.id, eur(33, 35)).await.unwrap_err();
    assert_eq!(reason(&too_large), "REFUND_TOO_LARGE");
    assert_eq!(too_large.get_details_error_info().unwrap().metadata["refundable"], "33.34 EUR");
    let (_, after) = shop.refund(&id("req"), &payment.id, eur(33, 34)).await.unwrap();
    assert_eq!(after.refunded, eur(100, 0));
    let open = "SELECT count(*) FROM (SELECT account FROM ledger_entries JOIN payments p ON p.id = payment_id
                WHERE p.refunded > 0 GROUP BY account HAVING sum(ledger_entries.amount) <> 0) open";
    assert_eq!(shop.count(open).await, 0);
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_refunded_is_refused() {
    let shop = Shop::open().await;
    let payment = shop.paid().await;
    let mut francs = eur(1, 0);
    francs.as_mut().unwrap().currency_code = "CHF".into();
    assert_eq!(reason(&shop.refund(&id("req"), &payment.id, francs).await.unwrap_err()), "CURRENCY_MISMATCH");
    assert_eq!(reason(&shop.refund(&id("req"), &id("pay"), eur(1, 0)).await.unwrap_err()), "PAYMENT_NOT_FOUND");
    assert_eq!(reason(&shop.refund(&id("req"), &payment.id, eur(0, 0)).await.unwrap_err()), "FIELD_INVALID");
    assert_eq!(reason(&shop.refund(&id("req"), &payment.id, eur(100, 1)).await.unwrap_err()), "REFUND_TOO_LARGE");
    let waiting = shop.create(wish("card_action")).await.unwrap();
    assert_eq!(reason(&shop.refund(&id("req"), &waiting.id, eur(1, 0)).await.unwrap_err()), "PAYMENT_STATE");
    assert_eq!(shop.count("SELECT count(*) FROM refunds").await, 0);
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_refunds_never_exceed_what_was_captured() {
    let shop = Shop::open().await;
    let payment = shop.paid().await;
    let answers = join_all((0..40).map(|_| {
        let request = id("req");
        let shop = &shop;
        let id = &payment.id;
        async move { shop.refund(&request, id, eur(7, 0)).await }
    }))
    .await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 14);
    assert!(refused.into_iter().all(|r| reason(&r.unwrap_err()) == "REFUND_TOO_LARGE"));
    assert_eq!(shop.get(&payment.id).await.refunded, eur(98, 0));
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refund_asked_for_at_once_many_times_is_one_refund() {
    let shop = Shop::open().await;
    let payment = shop.paid().await;
    let request = id("req");
    let answers = join_all((0..30).map(|_| shop.refund(&request, &payment.id, eur(10, 0)))).await;
    let ids: std::collections::HashSet<_> = answers.into_iter().map(|a| a.unwrap().0.id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(shop.get(&payment.id).await.refunded, eur(10, 0));
    assert_eq!(shop.count("SELECT count(*) FROM sandbox_refunds").await, 1);
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_without_an_answer_is_asked_for_with_the_same_key_until_it_is_settled() {
    let shop = Shop::open().await;
    let payment = shop.create(wish("card_refund_timeout")).await.unwrap();
    let (refund, after) = shop.refund(&id("req"), &payment.id, eur(40, 0)).await.unwrap();
    assert!(!refund.settled);
    assert_eq!(after.refunded, eur(40, 0));
    eventually(|| async { shop.count("SELECT count(*) FROM refunds WHERE settled_at IS NULL").await == 0 }).await;
    assert_eq!(shop.count("SELECT count(*) FROM sandbox_refunds").await, 1);
    // The webhook and the reconciler both tell it: the second changes nothing.
    eventually(|| async { shop.count("SELECT count(*) FROM sandbox_events").await == 0 }).await;
    shop.audit().await;
}
