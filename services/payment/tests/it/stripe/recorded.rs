//! What neither localstripe nor stripe-mock has, in the shapes of Stripe's documentation (docs.stripe.com/api/refunds,
//! …/api/events/types, …/error-handling, …/api/idempotent_requests), shortened to what stands in them about a payment: webhooks
//! about refunds, failures and second steps with a page, declined cards with their intent.

use chrono::Utc;
use serde_json::{Value, json};
use tourmesh::payment::v1::PaymentState;
use tourmesh_payment::{
    domain::{
        PaymentId, RefundId,
        payment::{Outcome, Standing},
    },
    provider::{About, Provider as _, ProviderEvent, RefundStanding},
};
use tourmesh_testkit::eventually;

use super::{
    scripted::{self, RefundScript, Scripted, signed},
    stripe, with_stripe,
};
use crate::shop::{Shop, eur, id, room, wish};

fn refund(payment: PaymentId, refund: RefundId, status: &str) -> Value {
    json!({
        "id": "re_1Nispe2eZvKYlo2Cd31jOCgZ",
        "object": "refund",
        "amount": 1000,
        "balance_transaction": "txn_1Nispe2eZvKYlo2CYezqFhEx",
        "charge": "ch_1NirD82eZvKYlo2CIvbtLWuY",
        "created": 1_692_942_318,
        "currency": "usd",
        "destination_details": {"card": {"reference": "123456789012", "reference_status": "available",
            "reference_type": "acquirer_reference_number", "type": "refund"}, "type": "card"},
        "failure_reason": if status == "failed" { json!("expired_or_canceled_card") } else { Value::Null },
        "metadata": {"payment_id": payment.to_string(), "refund_id": refund.to_string(), "attempt": "0"},
        "payment_intent": "pi_1GszsK2eZvKYlo2CfhZyoZLp",
        "reason": null,
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": status,
        "transfer_reversal": null
    })
}

fn read(body: &str) -> ProviderEvent {
    stripe("http://127.0.0.1:9").verify_event(body.as_bytes(), &signed(body), Utc::now()).unwrap()
}

#[test]
fn webhooks_about_refunds_are_read_as_documented() {
    let (payment, key) = (PaymentId::new(), RefundId::new());
    let failed = RefundStanding::Failed("expired_or_canceled_card".into());
    for (kind, status, standing) in [
        ("refund.created", "pending", RefundStanding::Pending),
        ("refund.created", "succeeded", RefundStanding::Settled),
        ("refund.updated", "succeeded", RefundStanding::Settled),
        ("refund.updated", "requires_action", RefundStanding::Pending),
        ("refund.failed", "failed", failed.clone()),
        ("charge.refund.updated", "failed", failed),
        ("refund.updated", "canceled", RefundStanding::Failed("canceled".into())),
    ] {
        let event = read(&scripted::event(kind, &refund(payment, key, status)));
        assert!(event.id.starts_with("evt_"));
        assert_eq!(event.about, About::Refund { key, payment, attempt: 0, standing }, "{kind} {status}");
    }
}

#[test]
fn webhooks_about_intents_are_read_as_documented_and_all_others_are_of_no_concern() {
    let key = PaymentId::new();
    let object = |change: Value| {
        let mut object = scripted::intent("pi_1", &key.to_string(), 1099, "usd");
        for (name, value) in change.as_object().unwrap() {
            object[name] = value.clone();
        }
        object
    };
    let declined = json!({"status": "requires_payment_method", "last_payment_error": {"code": "card_declined"}});
    let bank = json!({"status": "requires_action", "next_action": {"type": "redirect_to_url",
        "redirect_to_url": {"return_url": "https://shop.example", "url": "https://hooks.stripe.com/3ds/1"}}});
    let script = json!({"status": "requires_action", "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {}}});
    let taken = tourmesh_kit::money::Money::new("10.99".parse().unwrap(), "USD".parse().unwrap());
    for (kind, change, standing) in [
        ("succeeded", json!({"status": "succeeded", "amount_received": 1099}), Standing::Captured { amount: taken }),
        ("amount_capturable_updated", json!({"status": "requires_capture"}), Standing::Authorized),
        ("processing", json!({}), Standing::Processing),
        ("canceled", json!({"status": "canceled"}), Standing::Cancelled),
        ("requires_action", bank, Standing::RequiresAction { url: "https://hooks.stripe.com/3ds/1".into() }),
        ("requires_action", script, Standing::RequiresAction { url: String::new() }),
    ] {
        let event = read(&scripted::event(&format!("payment_intent.{kind}"), &object(change)));
        let outcome = Outcome { reference: Some("pi_1".into()), standing };
        assert_eq!(event.about, About::Payment { key, outcome }, "{kind}");
    }
    let failed = read(&scripted::event("payment_intent.payment_failed", &object(declined.clone())));
    assert_eq!(failed.about, About::Recheck { key });
    // The intent of every event before it is confirmed, somebody else's intent, other objects, and no events at all.
    let mut foreign = object(json!({"status": "succeeded"}));
    foreign["metadata"] = json!({});
    for body in [
        scripted::event("payment_intent.created", &object(json!({"status": "requires_payment_method"}))),
        scripted::event("payment_intent.succeeded", &foreign),
        scripted::event("charge.refunded", &json!({"id": "ch_1", "object": "charge", "metadata": {}})),
        scripted::event("charge.dispute.created", &json!({"id": "dp_1", "object": "dispute"})),
        scripted::event("payment_intent.succeeded", &json!({"id": 7})),
        scripted::event("refund.updated", &json!({"id": "re_1", "amount": 5, "currency": "usd", "metadata": {}})),
        "[]".to_owned(),
        "nothing".to_owned(),
    ] {
        assert!(matches!(read(&body).about, About::Other { .. }), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_that_stripe_settles_later_are_settled_by_webhook_and_repeats_and_disorder_are_harmless() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await.with("PENDING_GRACE_MS", 60_000), &server.url)).await;
    let paid = shop.create(wish("pm_ok_paid")).await.unwrap();
    server.memory().refund_script = vec![RefundScript::Pend];
    let (refund, _) = shop.refund(&id("req"), &paid.id, eur(40, 0)).await.unwrap();
    assert!(!refund.settled);
    let mut object = server.memory().refunds.values().next().unwrap().clone();
    let created = scripted::event("refund.created", &object);
    object["status"] = json!("succeeded");
    let settled = scripted::event("refund.updated", &object);
    let mut applied = 0;
    for body in [&settled, &created, &settled, &created, &settled] {
        applied += usize::from(shop.event_of("stripe", body, &signed(body)).await.unwrap());
    }
    assert_eq!(applied, 1);
    assert_eq!(shop.count("SELECT count(*) FROM refunds WHERE settled_at IS NOT NULL").await, 1);
    shop.books_are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_step_that_fails_closes_the_intent_before_the_payment_is_called_failed() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await, &server.url)).await;
    let asked = shop.create(wish("pm_ok_action")).await.unwrap();
    assert_eq!(asked.state(), PaymentState::RequiresAction);
    assert_eq!(asked.next_action_url, "https://hooks.stripe.com/3ds/1");
    // As Stripe has it after a second step that the customer did not pass.
    let failed = json!({"status": "requires_payment_method",
        "last_payment_error": {"code": "payment_intent_authentication_failure"}});
    let object = {
        let mut memory = server.memory();
        let intent = memory.intents.values_mut().next().unwrap();
        for (name, value) in failed.as_object().unwrap() {
            intent.body[name] = value.clone();
        }
        intent.body.clone()
    };
    let body = scripted::event("payment_intent.payment_failed", &object);
    assert!(!shop.event_of("stripe", &body, &signed(&body)).await.unwrap());
    let payment = shop.becomes(&asked.id, PaymentState::Failed).await;
    assert_eq!(payment.decline_code, "payment_intent_authentication_failure");
    let closed = || server.memory().intents.values().next().unwrap().body["status"] == "canceled";
    eventually(|| async { closed() }).await;
    // Stripe tells that it was closed, which is no contradiction.
    let body = scripted::event(
        "payment_intent.canceled",
        &json!({"id": payment.provider_reference, "object": "payment_intent",
        "amount": 10_000, "currency": "eur", "status": "canceled", "metadata": {"payment_id": payment.id}}),
    );
    assert!(!shop.event_of("stripe", &body, &signed(&body)).await.unwrap());
    assert_eq!(shop.get(&payment.id).await, payment);
    shop.books_are_whole().await;
}
