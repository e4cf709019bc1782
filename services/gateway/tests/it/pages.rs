//! Providers' webhooks and the sandbox's bank page.

use http::Method;
use tonic::Status;
use tourmesh::notification::v1::{MessageKind, UnsubscribeRequest, UnsubscribeResponse};
use tourmesh::payment::v1::{
    CompleteChallengeRequest, CompleteChallengeResponse, HandleProviderEventRequest, HandleProviderEventResponse,
};
use tourmesh_kit::{ApiError, ErrorReason};

use crate::{
    client,
    script::{Answer, Script},
    start,
};

const HANDLE: &str = "/tourmesh.payment.v1.PaymentService/HandleProviderEvent";
const UNSUBSCRIBE: &str = "/tourmesh.notification.v1.NotificationService/Unsubscribe";
const COMPLETE: &str = "/tourmesh.payment.v1.SandboxService/CompleteChallenge";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_payment_byte_for_byte() {
    let script = Script::start().await;
    script.answer(HANDLE, Answer::of(&HandleProviderEventResponse { applied: true }));
    let gateway = start(&script).await;
    let body: Vec<u8> = (0..=255).collect();
    let headers = [("stripe-signature", "t=1,v1=abc"), ("content-type", "application/json")];
    let answer = client::read(gateway.addr(), Method::POST, "/webhooks/stripe", &headers, body.clone()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.body().as_ref(), br#"{"applied":true}"#);
    let asked: HandleProviderEventRequest = script.asked()[0].message();
    assert_eq!((asked.provider.as_str(), asked.signature.as_str()), ("stripe", "t=1,v1=abc"));
    assert_eq!(asked.body, body);
    let (trace, parent) = (answer.headers()["x-trace-id"].to_str().unwrap(), &script.asked()[0].headers["traceparent"]);
    assert!(parent.to_str().unwrap().contains(trace), "one trace from the provider to the service");

    let headers = [("sandbox-signature", "sha256=1")];
    client::read(gateway.addr(), Method::POST, "/webhooks/sandbox", &headers, "{}").await;
    let asked: HandleProviderEventRequest = script.asked()[1].message();
    assert_eq!((asked.provider.as_str(), asked.signature.as_str()), ("sandbox", "sha256=1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_tries_again_exactly_where_that_helps() {
    let script = Script::start().await;
    let gateway = start(&script).await;
    let send = async || {
        let headers = [("sandbox-signature", "s")];
        client::read(gateway.addr(), Method::POST, "/webhooks/sandbox", &headers, "{}").await
    };
    for (reason, status) in [
        (ErrorReason::SignatureInvalid, 401),
        (ErrorReason::ProviderUnknown, 404),
        (ErrorReason::FieldInvalid, 400),
        (ErrorReason::Overloaded, 429),
        (ErrorReason::DependencyUnavailable, 503),
        (ErrorReason::DeadlineExceeded, 504),
        (ErrorReason::Internal, 500),
    ] {
        script.answer(HANDLE, Answer::Refusal(Status::from(ApiError::new(reason, "no"))));
        assert_eq!(send().await.status(), status, "{reason:?}");
    }
    script.stop();
    let away = send().await;
    assert_eq!(away.status(), 503);
    assert!(away.headers().contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_a_signature_or_too_large_stays_outside() {
    let script = Script::start().await;
    let gateway = start(&script).await;
    let unsigned = client::read(gateway.addr(), Method::POST, "/webhooks/sandbox", &[], "{}").await;
    assert_eq!(unsigned.status(), 401);
    let headers = [("sandbox-signature", "s")];
    let big = client::read(gateway.addr(), Method::POST, "/webhooks/sandbox", &headers, vec![b'x'; 300_000]).await;
    assert_eq!(big.status(), 413);
    assert_eq!(client::get(gateway.addr(), "/webhooks/sandbox").await.0, 405);
    assert!(script.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_page_asks_and_passes_the_answer_on() {
    let script = Script::start().await;
    script.answer(COMPLETE, Answer::of(&CompleteChallengeResponse {}));
    let gateway = start(&script).await;
    let page = client::read(gateway.addr(), Method::GET, "/sandbox/challenges/ch_1", &[], "").await;
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'self'"), "{policy}");
    let html = String::from_utf8(page.into_body().to_vec()).unwrap();
    assert!(html.contains("ch_1") && html.contains("approve") && html.contains("decline") && !html.contains("<script"));

    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (answer, approve) in [("answer=approve", true), ("answer=decline", false)] {
        let page = client::read(gateway.addr(), Method::POST, "/sandbox/challenges/ch_1", &form, answer).await;
        assert_eq!(page.status(), 200);
        let asked: CompleteChallengeRequest = script.asked().last().unwrap().message();
        assert_eq!((asked.challenge.as_str(), asked.approve), ("ch_1", approve));
    }
    let page = client::read(gateway.addr(), Method::POST, "/sandbox/challenges/ch_1", &form, "answer=maybe").await;
    assert_eq!(page.status(), 400);
    assert_eq!(script.asked().len(), 2);
    script.answer(COMPLETE, Answer::Refusal(Status::from(ApiError::new(ErrorReason::PaymentNotFound, "no"))));
    let page = client::read(gateway.addr(), Method::POST, "/sandbox/challenges/gone", &form, "answer=approve").await;
    assert_eq!(page.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_looked_at_stops_nothing_and_one_post_stops_it() {
    let script = Script::start().await;
    let stops = UnsubscribeResponse { channel: 1, kind: MessageKind::DepartureReminder.into() };
    script.answer(UNSUBSCRIBE, Answer::of(&stops));
    let gateway = start(&script).await;
    let path = "/unsubscribe/abc-DEF_1";
    let french = [("accept-language", "fr-CH, fr;q=0.9")];
    let page = client::read(gateway.addr(), Method::GET, path, &french, "").await;
    assert_eq!(page.status(), 200);
    let html = String::from_utf8(page.into_body().to_vec()).unwrap();
    assert!(html.contains("les rappels avant une visite") && html.contains("lang=\"fr\""), "{html}");
    let asked: UnsubscribeRequest = script.asked()[0].message();
    assert_eq!((asked.token.as_str(), asked.only_show), ("abc-DEF_1", true));
    // As a mail program does it (RFC 8058).
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let done = client::read(gateway.addr(), Method::POST, path, &form, "List-Unsubscribe=One-Click").await;
    assert_eq!(done.status(), 200);
    let asked: UnsubscribeRequest = script.asked()[1].message();
    assert!(!asked.only_show);
    script.answer(UNSUBSCRIBE, Answer::Refusal(Status::from(ApiError::new(ErrorReason::SignatureInvalid, "no"))));
    let refused = client::read(gateway.addr(), Method::POST, "/unsubscribe/x", &form, "").await;
    assert_eq!(refused.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_address_never_becomes_markup() {
    let script = Script::start().await;
    let gateway = start(&script).await;
    let path = "/sandbox/challenges/%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%27";
    let (status, html) = client::get(gateway.addr(), path).await;
    assert_eq!(status, 200);
    assert!(!html.contains("<script>") && html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;"), "{html}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_keys_are_where_everybody_looks_for_them() {
    let script = Script::start().await;
    let keys = r#"{"keys":[]}"#;
    let answer = tourmesh::identity::v1::GetJwksResponse { jwks_json: keys.to_owned() };
    script.answer("/tourmesh.identity.v1.IdentityService/GetJwks", Answer::of(&answer));
    let gateway = start(&script).await;
    let told = client::read(gateway.addr(), Method::GET, "/.well-known/jwks.json", &[], "").await;
    assert_eq!((told.status().as_u16(), told.body().as_ref()), (200, keys.as_bytes()));
    assert_eq!(told.headers()["content-type"], "application/jwk-set+json");
    script.stop();
    assert_eq!(client::get(gateway.addr(), "/.well-known/jwks.json").await.0, 503);
}
