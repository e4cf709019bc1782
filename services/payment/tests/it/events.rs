//! Events of the provider: over HTTP, repeated, shuffled, early, forged.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use chrono::{TimeDelta, Utc};
use futures_util::future::join_all;
use tonic::Code;
use tourmesh::payment::v1::{
    HandleProviderEventRequest, Payment, PaymentState, payment_service_client::PaymentServiceClient,
};
use tourmesh_payment::provider::signature;
use tourmesh_testkit::{eventually, reason};
use uuid::Uuid;

use crate::shop::{SECRET, Shop, room, uuid_of, wish};

/// An event as the sandbox would send it.
fn event(kind: &str, payment: &Payment) -> String {
    serde_json::json!({
        "id": format!("evt_{}", Uuid::now_v7().simple()),
        "type": kind,
        "data": {
            "id": payment.provider_reference,
            "key": uuid_of(&payment.id),
            "amount": "100.00",
            "currency": "EUR",
        }
    })
    .to_string()
}

async fn authorized(shop: &Shop) -> Payment {
    let mut asked = wish("card_ok");
    asked.manual_capture = true;
    let payment = shop.create(asked).await.unwrap();
    assert_eq!(payment.state(), PaymentState::Authorized);
    payment
}

#[tokio::test(flavor = "multi_thread")]
async fn events_ten_times_and_shuffled_have_one_effect() {
    let shop = Shop::open().await;
    let mut bodies = Vec::new();
    for _ in 0..40 {
        let payment = authorized(&shop).await;
        for kind in ["payment.authorized", "payment.succeeded"] {
            let body = event(kind, &payment);
            bodies.extend(std::iter::repeat_n(body, 10));
        }
    }
    // Shuffled the same way every time: by a hash of the place.
    let mut order: Vec<usize> = (0..bodies.len()).collect();
    order.sort_by_key(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let answers = join_all(order.iter().map(|n| shop.signed(&bodies[*n]))).await;
    let applied = answers.into_iter().filter(|a| *a.as_ref().unwrap()).count();
    assert_eq!(applied, 40);
    assert_eq!(shop.count("SELECT count(*) FROM payments WHERE state = 'CAPTURED'").await, 40);
    assert_eq!(shop.count("SELECT count(*) FROM provider_events").await, 80);
    // The other side does not know of these events, so only our half of the books is looked at.
    assert_eq!(shop.count("SELECT count(*) FROM outbox WHERE subject LIKE 'payment.payment.captured.%'").await, 40);
    assert_eq!(shop.count("SELECT count(*) FROM ledger_entries").await, 40 * 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_stale_and_unsigned_events_are_refused_and_change_nothing() {
    let shop = Shop::open().await;
    let payment = authorized(&shop).await;
    let body = event("payment.succeeded", &payment);
    let sign = |secret: &str, body: &str, at| signature::sign(secret.as_bytes(), body.as_bytes(), at);
    let now = Utc::now();
    let forged = [
        sign("another secret of length", &body, now),
        sign(SECRET, &body, now - TimeDelta::minutes(6)),
        sign(SECRET, &body, now + TimeDelta::minutes(6)),
        sign(SECRET, &format!("{body} "), now),
        sign(SECRET, &body, now).replace("v1", "v0"),
        "unsigned".to_owned(),
        format!("t={},v1=", now.timestamp()),
    ];
    for signature in &forged {
        let refused = shop.event(&body, signature).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::Unauthenticated, "SIGNATURE_INVALID"),
            "{signature}"
        );
    }
    let unknown = HandleProviderEventRequest {
        provider: "barter".into(),
        body: body.clone().into(),
        signature: "t=1,v1=00".into(),
    };
    assert_eq!(reason(&shop.client().handle_provider_event(unknown).await.unwrap_err()), "PROVIDER_UNKNOWN");
    assert_eq!(shop.get(&payment.id).await, payment);
    assert_eq!(shop.count("SELECT count(*) FROM provider_events").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_kinds_strangers_and_contradictions_change_nothing() {
    let shop = Shop::open().await;
    let payment = shop.paid().await;
    let stranger = Payment { id: crate::shop::id("pay"), ..payment.clone() };
    let other_charge = Payment { provider_reference: "sbx_other".into(), ..payment.clone() };
    let bodies = [
        event("payout.paid", &payment),
        event("payment.succeeded", &stranger),
        event("payment.failed", &payment),
        event("payment.canceled", &payment),
        event("payment.succeeded", &other_charge),
        event("payment.succeeded", &payment).replace("100.00", "1.00"),
        "{}".to_owned(),
        "not json".to_owned(),
    ];
    for body in &bodies {
        assert!(!shop.signed(body).await.unwrap(), "{body}");
    }
    assert_eq!(shop.get(&payment.id).await, payment);
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_may_come_before_our_own_answer() {
    // The event comes after 100 ms, our call ends after 1.5 s.
    let room =
        room().await.with("SANDBOX_LATE_MS", 100).with("SANDBOX_TIMEOUT_MS", 1500).with("PENDING_GRACE_MS", 60_000);
    let shop = Shop::in_room(room).await;
    let payment = shop.create(wish("card_timeout")).await.unwrap();
    assert_eq!(payment.state(), PaymentState::Captured);
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_sends_signed_webhooks_until_they_are_taken() {
    type Gateway = Arc<(tokio::sync::OnceCell<PaymentServiceClient<tonic::transport::Channel>>, AtomicUsize)>;
    async fn webhook(State(gateway): State<Gateway>, headers: HeaderMap, body: Bytes) -> StatusCode {
        // The first two are lost.
        if gateway.1.fetch_add(1, Ordering::SeqCst) < 2 {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let Some(client) = gateway.0.get() else { return StatusCode::SERVICE_UNAVAILABLE };
        let signature = headers["sandbox-signature"].to_str().unwrap().to_owned();
        let request = HandleProviderEventRequest { provider: "sandbox".into(), body, signature };
        match client.clone().handle_provider_event(request).await {
            Ok(_) => StatusCode::OK,
            Err(_) => StatusCode::BAD_REQUEST,
        }
    }
    let gateway = Gateway::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/sandbox", listener.local_addr().unwrap());
    let app = Router::new().route("/webhooks/sandbox", post(webhook)).with_state(gateway.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });

    let room =
        room().await.with("SANDBOX_WEBHOOK_URL", url).with("SANDBOX_EVENTS", "all").with("PENDING_GRACE_MS", 60_000);
    let shop = Shop::in_room(room).await;
    gateway.0.set(shop.client()).unwrap();
    let paid = shop.paid().await;
    let late = shop.create(wish("card_timeout")).await.unwrap();
    assert_eq!(late.state(), PaymentState::Pending);
    shop.becomes(&late.id, PaymentState::Captured).await;
    eventually(|| async { shop.count("SELECT count(*) FROM sandbox_events").await == 0 }).await;
    assert!(gateway.1.load(Ordering::SeqCst) >= 4);
    assert_eq!(shop.get(&paid.id).await, paid);
    shop.audit().await;
}
