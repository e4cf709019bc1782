//! The contract of providers, and whole payments, against localstripe.

use std::sync::Arc;

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use chrono::Utc;
use http::Method;
use tonic::transport::Channel;
use tourmesh::payment::v1::{
    GetNextStepRequest, GetPaymentFormRequest, HandleProviderEventRequest, PaymentState,
    payment_service_client::PaymentServiceClient,
};
use tourmesh_payment::provider::Provider as _;
use tourmesh_testkit::{Role, World, bearer, eventually, programs, reason};

use super::{WEBHOOK_SECRET, stripe, web, wire::Wire, with_stripe};
use crate::{
    contract::{self, Tokens},
    shop::{Shop, eur, id, room, wish},
};

/// A card that needs a second step, entered as the browser's element would: at the provider, without us.
async fn card_with_second_step(address: &str) -> String {
    let card = "type=card&card[number]=4000002500003155&card[exp_month]=12&card[exp_year]=2030&card[cvc]=123";
    let made = web::json(Method::POST, &format!("http://{address}/v1/payment_methods"), card).await;
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn stripe_keeps_the_contract_of_providers_against_localstripe() {
    let program = programs::localstripe().await;
    let wire = Wire::to(&program.addresses[0]).await;
    let tokens = Tokens {
        succeeds: "pm_card_visa".to_owned(),
        is_declined: "pm_card_chargeCustomerFail".to_owned(),
        gives_no_answer: "pm_silent".to_owned(),
        asks_for_a_second_step: card_with_second_step(&program.addresses[0]).await,
        is_none: "card_ok".to_owned(),
        secret: WEBHOOK_SECRET,
        // localstripe does not know the parameter; stripe-mock does, see mock.rs.
        return_url: "",
    };
    contract::holds(Arc::new(stripe(&wire.url)), &tokens).await;

    // Every creation had its key, and only calls with a key create.
    let calls = wire.calls.lock().unwrap().clone();
    for call in calls.iter().filter(|c| c.method == Method::POST) {
        let creates = matches!(call.path.as_str(), "/v1/payment_intents" | "/v1/refunds");
        assert_eq!(call.header("idempotency-key").is_some(), creates, "{call:?}");
    }
    assert!(calls.iter().all(|c| c.header("stripe-version") == Some(tourmesh_payment::stripe::VERSION)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_a_refusal_for_new_charges_and_says_nothing_about_old_ones() {
    let program = programs::localstripe().await;
    let stripe = tourmesh_payment::stripe::Stripe::new(tourmesh_payment::stripe::StripeConfig {
        api_url: format!("http://{}", program.addresses[0]),
        // localstripe takes every key that begins with sk_ and is longer than this.
        secret_key: "sk_1".to_owned(),
        webhook_secrets: vec![WEBHOOK_SECRET.to_owned()],
        publishable_key: String::new(),
    });
    contract::is_refused_for_its_key(&stripe.unwrap()).await;
}

type Gateway = (PaymentServiceClient<Channel>, Arc<std::sync::Mutex<Vec<(Bytes, String)>>>);

async fn webhook(State((client, seen)): State<Gateway>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
    seen.lock().unwrap().push((body.clone(), signature.clone()));
    let request = HandleProviderEventRequest { provider: "stripe".into(), body, signature };
    match client.clone().handle_provider_event(request).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_through_localstripe_from_card_to_refund_and_its_webhooks_are_believed() {
    let program = programs::localstripe().await;
    let address = &program.addresses[0];
    let wire = Wire::to(address).await;
    let shop = Shop::in_room(with_stripe(&room().await, &wire.url)).await;
    let seen = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = format!("http://{}/webhooks/stripe", listener.local_addr().unwrap());
    let app = Router::new().route("/webhooks/stripe", post(webhook)).with_state((shop.client(), Arc::clone(&seen)));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let registered = format!("url={hook}&secret={WEBHOOK_SECRET}");
    web::json(Method::POST, &format!("http://{address}/_config/webhooks/tourmesh"), &registered).await;

    // The browser learns with which key to show the field for cards.
    let form = shop.client().get_payment_form(GetPaymentFormRequest::default()).await.unwrap().into_inner();
    assert_eq!((form.provider.as_str(), form.publishable_key.as_str()), ("stripe", "pk_test_tourmesh"));
    assert_eq!(reason(&shop.create(wish("card_ok")).await.unwrap_err()), "FIELD_INVALID");

    // Paid at once.
    let paid = shop.create(wish("pm_card_visa")).await.unwrap();
    assert_eq!(paid.state(), PaymentState::Captured);
    assert!(paid.provider_reference.starts_with("pi_"), "{paid:?}");
    // Refunded in parts, and no more than there is.
    for cents in [30, 20] {
        let (refund, _) = shop.refund(&id("req"), &paid.id, eur(0, cents)).await.unwrap();
        assert!(refund.settled);
    }
    // Declined.
    let declined = shop.create(wish("pm_card_chargeCustomerFail")).await.unwrap_err();
    assert_eq!(reason(&declined), "PAYMENT_DECLINED");
    // Reserved, then taken.
    let mut manual = wish("pm_card_visa");
    manual.manual_capture = true;
    let reserved = shop.create(manual).await.unwrap();
    assert_eq!(reserved.state(), PaymentState::Authorized);
    assert_eq!(shop.capture(&id("req"), &reserved.id).await.unwrap().state(), PaymentState::Captured);

    // A second step: the browser gets the secret, does the step with Stripe, and the webhook tells.
    let waiting = shop.create(wish(&card_with_second_step(address).await)).await.unwrap();
    assert_eq!((waiting.state(), waiting.next_action_url.as_str()), (PaymentState::RequiresAction, ""));
    let world = World::get().await;
    let ask = |user: &str| {
        let token = world.token(user, &[Role::Traveller], None);
        let request = bearer(GetNextStepRequest { payment_id: waiting.id.clone() }, &token);
        let mut client = shop.client();
        async move { client.get_next_step(request).await.map(tonic::Response::into_inner) }
    };
    assert_eq!(reason(&ask(&id("usr")).await.unwrap_err()), "PAYMENT_NOT_FOUND");
    let step = ask(&waiting.customer_id).await.unwrap();
    assert!(step.client_secret.starts_with(&format!("{}_secret_", waiting.provider_reference)), "{step:?}");
    let done = format!("client_secret={}&success=true&key=pk_test_tourmesh", step.client_secret);
    let url = format!("http://{address}/v1/payment_intents/{}/_authenticate", waiting.provider_reference);
    web::json(Method::POST, &url, &done).await;
    shop.becomes(&waiting.id, PaymentState::Captured).await;
    assert_eq!(reason(&ask(&waiting.customer_id).await.unwrap_err()), "PAYMENT_STATE");

    // The secret and the card were kept nowhere.
    let leaked =
        "SELECT count(*) FROM payments p WHERE p::text LIKE '%\\_secret\\_%' OR p::text LIKE '%4000002500003155%'";
    assert_eq!(shop.count(leaked).await, 0);
    // localstripe signs as Stripe does; its webhooks come a second later, about everything that was paid.
    let arrived = || seen.lock().unwrap().clone();
    eventually(|| async { arrived().len() >= 4 }).await;
    let verifier = stripe(&wire.url);
    for (body, signature) in arrived() {
        assert!(verifier.verify_event(&body, &signature, Utc::now()).is_ok());
        assert!(verifier.verify_event(&body, &signature, Utc::now() + chrono::TimeDelta::minutes(6)).is_err());
    }
    shop.books_are_whole().await;
}
