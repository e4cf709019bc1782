//! The story of each means of payment, and what is refused.

use tonic::Code;
use tonic_types::StatusExt as _;
use tourmesh::payment::v1::PaymentState;
use tourmesh_testkit::reason;

use crate::shop::{Shop, eur, id, room, wish};

#[tokio::test(flavor = "multi_thread")]
async fn card_ok_is_captured_at_once_with_one_event_and_one_ledger_transaction() {
    let shop = Shop::open().await;
    let asked = wish("card_ok");
    let payment = shop.create(asked.clone()).await.unwrap();
    assert_eq!(payment.state(), PaymentState::Captured);
    assert_eq!((payment.captured.clone(), payment.refunded.clone()), (eur(100, 0), eur(0, 0)));
    assert_eq!((payment.booking_id.as_str(), payment.provider.as_str()), (asked.booking_id.as_str(), "sandbox"));
    assert!(payment.provider_reference.starts_with("sbx_") && payment.captured_at.is_some());
    assert_eq!(shop.get(&payment.id).await, payment);
    // The same request: the same answer. Other content: refused.
    assert_eq!(shop.create(asked.clone()).await.unwrap(), payment);
    let mut other = asked;
    other.amount = eur(101, 0);
    assert_eq!(reason(&shop.create(other).await.unwrap_err()), "REQUEST_ID_REUSED");
    assert_eq!(shop.count("SELECT count(*) FROM ledger_entries").await, 5);
    let unpublished = "SELECT count(*) FROM outbox_waiting";
    tourmesh_testkit::eventually(|| async { shop.count(unpublished).await == 0 }).await;
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_card_is_told_with_its_code_and_the_booking_may_be_paid_with_another() {
    let shop = Shop::open().await;
    for (method, code) in [("card_declined", "card_declined"), ("card_insufficient_funds", "insufficient_funds")] {
        let asked = wish(method);
        for _ in 0..2 {
            let refused = shop.create(asked.clone()).await.unwrap_err();
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PAYMENT_DECLINED"));
            assert_eq!(refused.get_details_error_info().unwrap().metadata["decline_code"], code);
        }
        let mut better = wish("card_ok");
        better.booking_id = asked.booking_id;
        assert_eq!(shop.create(better).await.unwrap().state(), PaymentState::Captured);
    }
    assert_eq!(shop.count("SELECT count(*) FROM payments").await, 4);
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_step_ends_as_the_customer_answers_and_the_first_answer_counts() {
    let shop = Shop::open().await;
    for (approve, end) in [(true, PaymentState::Captured), (false, PaymentState::Failed)] {
        let payment = shop.create(wish("card_action")).await.unwrap();
        assert_eq!(payment.state(), PaymentState::RequiresAction);
        let challenge = payment.next_action_url.rsplit('/').next().unwrap();
        assert!(payment.next_action_url.contains("/sandbox/challenges/") && challenge.len() >= 32);
        shop.answer_challenge(challenge, approve).await.unwrap();
        let done = shop.becomes(&payment.id, end).await;
        assert_eq!(done.next_action_url, "");
        shop.answer_challenge(challenge, !approve).await.unwrap();
        assert_eq!(shop.get(&payment.id).await.state(), end);
    }
    assert_eq!(reason(&shop.answer_challenge("0123", true).await.unwrap_err()), "PAYMENT_NOT_FOUND");
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_step_that_nobody_takes_is_given_up_and_cannot_be_taken_later() {
    let shop = Shop::in_room(room().await.with("ACTION_MINUTES", 0)).await;
    let payment = shop.create(wish("card_action")).await.unwrap();
    sqlx::query("UPDATE payments SET check_at = now()").execute(&shop.pool).await.unwrap();
    shop.becomes(&payment.id, PaymentState::Cancelled).await;
    let challenge = payment.next_action_url.rsplit('/').next().unwrap();
    assert_eq!(reason(&shop.answer_challenge(challenge, true).await.unwrap_err()), "PAYMENT_NOT_FOUND");
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_capture_is_authorized_first_and_captured_once() {
    let shop = Shop::open().await;
    let mut asked = wish("card_ok");
    asked.manual_capture = true;
    let payment = shop.create(asked).await.unwrap();
    assert_eq!(payment.state(), PaymentState::Authorized);
    assert_eq!(payment.captured, eur(0, 0));
    let request = id("req");
    let captured = shop.capture(&request, &payment.id).await.unwrap();
    assert_eq!((captured.state(), captured.captured.clone()), (PaymentState::Captured, eur(100, 0)));
    assert_eq!(shop.capture(&request, &payment.id).await.unwrap(), captured);
    let again = shop.capture(&id("req"), &payment.id).await.unwrap_err();
    assert_eq!(reason(&again), "PAYMENT_STATE");
    assert_eq!(again.get_details_error_info().unwrap().metadata["state"], "CAPTURED");
    let other = shop.paid().await;
    assert_eq!(reason(&shop.capture(&request, &other.id).await.unwrap_err()), "REQUEST_ID_REUSED");
    assert_eq!(reason(&shop.capture(&id("req"), &id("pay")).await.unwrap_err()), "PAYMENT_NOT_FOUND");
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_paid_is_refused_and_nothing_is_stored() {
    let shop = Shop::open().await;
    let card = "4242 4242 4242 4242";
    type Spoil = Box<dyn Fn(&mut tourmesh::payment::v1::CreatePaymentRequest)>;
    let cases: Vec<(&str, Spoil)> = vec![
        ("FIELD_INVALID", Box::new(|w| w.payment_method = "card_of_nobody".into())),
        ("FIELD_INVALID", Box::new(|w| w.amount = eur(0, 0))),
        ("FIELD_INVALID", Box::new(|w| w.amount = eur(-5, 0))),
        ("FIELD_INVALID", Box::new(|w| w.amount.as_mut().unwrap().nanos = 1)),
        ("FIELD_INVALID", Box::new(|w| w.amount.as_mut().unwrap().currency_code = "XXX".into())),
        ("FIELD_INVALID", Box::new(|w| w.booking_id = "bkg_1".into())),
        ("FIELD_INVALID", Box::new(|w| w.return_url = "javascript:alert(1)".into())),
        ("PROVIDER_UNKNOWN", Box::new(|w| w.provider = "barter".into())),
        ("CARD_NUMBER_REFUSED", Box::new(move |w| w.payment_method = card.into())),
        ("CARD_NUMBER_REFUSED", Box::new(|w| w.payment_method = "5555-5555-5555-4444".into())),
        ("CARD_NUMBER_REFUSED", Box::new(|w| w.return_url = "https://shop.example/?pan=378282246310005".into())),
        ("CARD_NUMBER_REFUSED", Box::new(|w| w.request_id = "4242424242424242".into())),
        ("CARD_NUMBER_REFUSED", Box::new(move |w| w.provider = card.into())),
    ];
    for (expected, spoil) in cases {
        let mut asked = wish("card_ok");
        spoil(&mut asked);
        let refused = shop.create(asked.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), expected, "{asked:?}");
        assert_eq!(tourmesh_kit::error::code(tourmesh_kit::ApiError::of_status(&refused).reason()), refused.code());
        assert!(!refused.message().contains("4242"), "{}", refused.message());
    }
    let payment = shop.paid().await;
    let request = tourmesh::payment::v1::RefundPaymentRequest {
        request_id: id("req"),
        payment_id: payment.id,
        amount: eur(1, 0),
        reason: format!("wrong card {card}"),
    };
    let token = tourmesh_testkit::World::get().await.service_token("booking");
    let refused = shop.client().refund_payment(tourmesh_testkit::bearer(request, &token)).await.unwrap_err();
    assert_eq!(reason(&refused), "CARD_NUMBER_REFUSED");
    assert_eq!(shop.count("SELECT count(*) FROM payments").await, 1);
    assert_eq!(shop.count("SELECT count(*) FROM refunds").await, 0);
}
