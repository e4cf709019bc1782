//! Every call that we make has the shape that Stripe's OpenAPI description says: stripe-mock refuses any other.

use std::sync::Arc;

use http::Method;
use tourmesh_kit::money::Money;
use tourmesh_payment::{
    domain::{PaymentId, RefundId},
    provider::{Capture, Charge, PaymentIntent, Period, Provider, ProviderError, RefundOrder},
};
use tourmesh_testkit::programs;

use super::{stripe, web};

fn intent(method: &str, capture: Capture, return_url: &str) -> PaymentIntent {
    let amount = Money::new("12.34".parse().unwrap(), "EUR".parse().unwrap());
    PaymentIntent { key: PaymentId::new(), amount, method: method.into(), capture, return_url: return_url.into() }
}

/// The mock answers with examples, so an outcome means nothing; but it must be one.
fn is_accepted<T: std::fmt::Debug>(call: &str, answer: &Result<T, ProviderError>) {
    assert!(!matches!(answer, Err(ProviderError::Refused(_) | ProviderError::Unknown(_))), "{call}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_accepted_by_stripes_own_mock() {
    let mock = programs::stripe_mock().await;
    let base = format!("http://{}", mock.addresses[0]);
    let stripe: Arc<dyn Provider> = Arc::new(stripe(&base));
    for method in ["pm_card_visa", "ctoken_1NnQUf2eZvKYlo2CIObdtbnb"] {
        for capture in [Capture::Auto, Capture::Manual] {
            for return_url in ["", "https://shop.example/back?booking=1&x=%20"] {
                is_accepted("create", &stripe.create(&intent(method, capture, return_url)).await);
            }
        }
    }
    let charge = Charge { key: PaymentId::new(), reference: Some("pi_1DrPlB2eZvKYlo2CcFwzKzkX".into()) };
    is_accepted("query", &stripe.query(&charge).await);
    is_accepted("capture", &stripe.capture(&charge).await);
    is_accepted("cancel", &stripe.cancel(&charge).await);
    is_accepted("action", &stripe.action(&charge).await);
    let amount = Money::new("1.00".parse().unwrap(), "EUR".parse().unwrap());
    for attempt in [0, 1] {
        let order = RefundOrder { key: RefundId::new(), charge: charge.clone(), amount, attempt };
        is_accepted("refund", &stripe.refund(&order).await);
        is_accepted("query_refund", &stripe.query_refund(&order).await);
    }
    let to = chrono::Utc::now();
    let period = Period { from: to - chrono::TimeDelta::days(1), to };
    for after in [None, Some("pi_1DrPlB2eZvKYlo2CcFwzKzkX")] {
        is_accepted("charges", &stripe.charges(period, after).await);
        is_accepted("refunds", &stripe.refunds(period, after).await);
    }
    // The search is accepted, and an example that is not ours is not taken for ours.
    assert_eq!(stripe.query(&Charge { key: PaymentId::new(), reference: None }).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mock_would_notice_and_strange_certificates_are_not_trusted() {
    let mock = programs::stripe_mock().await;
    let intents = format!("http://{}/v1/payment_intents", mock.addresses[0]);
    for wrong in ["amount=ten&currency=eur", "amount=10", "amount=10&currency=eur&colour=blue"] {
        let (status, body) = web::call(Method::POST, &intents, wrong.to_owned()).await;
        assert_eq!(status.as_u16(), 400, "{wrong}: {body:?}");
    }
    let tls = stripe(&format!("https://{}", mock.addresses[1].replace("[::]", "127.0.0.1")));
    let answer = tls.create(&intent("pm_card_visa", Capture::Auto, "")).await;
    let Err(ProviderError::Unknown(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("certificate"), "{why}");
}
