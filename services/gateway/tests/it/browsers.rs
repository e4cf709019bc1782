//! gRPC-Web as a browser writes it, over HTTP/1.1, and what browsers ask before.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, Bytes};
use http::Method;
use http_body_util::BodyExt as _;
use prost::Message as _;
use tonic::Status;
use tourmesh::booking::v1::{CheckAvailabilityRequest, CheckAvailabilityResponse, WatchDepartureResponse};

use crate::{
    client,
    passing::{CHECK, WATCH, check, seats},
    room,
    script::{Answer, Script, framed},
    start,
};

/// The frames of a body: the flag and what is inside.
fn frames(mut body: Bytes) -> Vec<(u8, Bytes)> {
    let mut frames = Vec::new();
    while body.has_remaining() {
        let (flag, length) = (body.get_u8(), body.get_u32() as usize);
        frames.push((flag, body.split_to(length)));
    }
    frames
}

fn trailers(frame: &[u8]) -> Vec<String> {
    let text = String::from_utf8(frame.to_vec()).unwrap();
    text.split("\r\n").filter(|line| !line.is_empty()).map(|line| line.replace(": ", ":").to_lowercase()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_form_brings_the_message_and_the_trailers() {
    let script = Script::start().await;
    let answer = CheckAvailabilityResponse { availabilities: vec![seats(5)] };
    script.answer(CHECK, Answer::of(&answer));
    let gateway = start(&script).await;
    let headers = [
        ("content-type", "application/grpc-web+proto"),
        ("x-grpc-web", "1"),
        ("origin", "https://book.example.org"),
        ("authorization", "Bearer token"),
    ];
    let response = client::read(gateway.addr(), Method::POST, CHECK, &headers, framed(&check().encode_to_vec())).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let frames = frames(response.into_body());
    assert_eq!(frames.len(), 2);
    assert_eq!(CheckAvailabilityResponse::decode(frames[0].1.clone()).unwrap(), answer);
    assert_eq!(frames[1].0, 0x80);
    assert!(trailers(&frames[1].1).contains(&"grpc-status:0".to_owned()), "{:?}", frames[1]);
    let asked = &script.asked()[0];
    assert_eq!(asked.message::<CheckAvailabilityRequest>(), check());
    assert_eq!(asked.headers["content-type"], "application/grpc");
    assert_eq!(asked.headers["authorization"], "Bearer token");
    assert!(!asked.headers.contains_key("origin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_form_is_the_same_in_base64() {
    let script = Script::start().await;
    let answer = CheckAvailabilityResponse { availabilities: vec![seats(6)] };
    script.answer(CHECK, Answer::of(&answer));
    let gateway = start(&script).await;
    let headers = [("content-type", "application/grpc-web-text"), ("accept", "application/grpc-web-text")];
    let body = STANDARD.encode(framed(&check().encode_to_vec()));
    let response = client::read(gateway.addr(), Method::POST, CHECK, &headers, body).await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/grpc-web-text"));
    assert!(!response.headers().contains_key("grpc-status"), "{:?}", response.headers());
    // Each frame may be padded by itself.
    let text = String::from_utf8(response.into_body().to_vec()).unwrap();
    let mut bytes = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        bytes.extend(STANDARD.decode(chunk).unwrap());
    }
    let frames = frames(bytes.into());
    assert_eq!(CheckAvailabilityResponse::decode(frames[0].1.clone()).unwrap(), answer);
    assert_eq!(frames[1].0, 0x80);
    assert_eq!(script.asked()[0].message::<CheckAvailabilityRequest>(), check());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_can_be_read_by_the_page() {
    let script = Script::start().await;
    let refusal = tourmesh_kit::ApiError::new(tourmesh_kit::ErrorReason::BookingNotFound, "no such booking");
    script.answer(CHECK, Answer::Refusal(Status::from(refusal)));
    let gateway = start(&script).await;
    let headers = [("content-type", "application/grpc-web"), ("origin", "https://book.example.org")];
    let response = client::read(gateway.addr(), Method::POST, CHECK, &headers, framed(&[])).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "5");
    assert_eq!(response.headers()["grpc-message"], "no%20such%20booking");
    assert!(response.headers().contains_key("grpc-status-details-bin"));
    let exposed = response.headers()["access-control-expose-headers"].to_str().unwrap();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-trace-id"] {
        assert!(exposed.split(',').any(|e| e.trim() == name), "{name} in {exposed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_flows_to_a_page_too() {
    let script = Script::start().await;
    let written: Vec<_> = (0..4).map(|n| WatchDepartureResponse { availability: Some(seats(n)) }).collect();
    script.answer(WATCH, Answer::stream(&written, Duration::from_millis(150)));
    let gateway = start(&script).await;
    let begun = Instant::now();
    let headers = [("content-type", "application/grpc-web")];
    let mut body = client::send(gateway.addr(), Method::POST, WATCH, &headers, framed(&[])).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(begun.elapsed() < Duration::from_millis(500), "the first did not wait for the last");
    let rest = body.collect().await.unwrap().to_bytes();
    let frames = frames([first, rest].concat().into());
    let got: Vec<_> = frames[..4].iter().map(|(_, m)| WatchDepartureResponse::decode(m.clone()).unwrap()).collect();
    assert_eq!(got, written);
    assert_eq!(frames[4].0, 0x80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_ask_first_and_only_those_of_allowed_origins_are_told_yes() {
    let script = Script::start().await;
    let any = start(&script).await;
    let some =
        room(&script).await.with("ALLOWED_ORIGINS", "https://book.example.org").serve(tourmesh_gateway::serve).await;
    let preflight = |origin: &'static str| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-grpc-web,authorization,grpc-timeout"),
        ]
    };
    let told = async |to, origin| {
        let response = client::read(to, Method::OPTIONS, CHECK, &preflight(origin), "").await;
        assert_eq!(response.status(), 200);
        response.headers().clone()
    };
    let yes = told(any.addr(), "https://anybody.example").await;
    assert_eq!(yes["access-control-allow-origin"], "*");
    assert!(yes["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    assert_eq!(yes["access-control-allow-headers"], "content-type,x-grpc-web,authorization,grpc-timeout");
    assert!(!yes.contains_key("access-control-allow-credentials"));
    let yes = told(some.addr(), "https://book.example.org").await;
    assert_eq!(yes["access-control-allow-origin"], "https://book.example.org");
    let no = told(some.addr(), "https://evil.example").await;
    assert!(!no.contains_key("access-control-allow-origin"));
    assert!(script.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_form_may_carry_as_much_as_the_binary_one() {
    let script = Script::start().await;
    script.answer(CHECK, Answer::of(&CheckAvailabilityResponse::default()));
    let gateway = start(&script).await;
    let headers = [("content-type", "application/grpc-web-text")];
    for (length, status) in [(256 * 1024 - 8, None), (256 * 1024 + 1, Some("8"))] {
        let request = CheckAvailabilityRequest { departure_ids: vec!["x".repeat(length)] };
        let body = STANDARD.encode(framed(&request.encode_to_vec()));
        let response = client::read(gateway.addr(), Method::POST, CHECK, &headers, body).await;
        assert_eq!(response.headers().get("grpc-status").map(|v| v.to_str().unwrap()), status, "{length}");
    }
}
