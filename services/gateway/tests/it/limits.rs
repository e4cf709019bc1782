//! What the gateway refuses, and that it refuses it cleanly.

use std::time::{Duration, Instant};

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Request, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_types::StatusExt as _;
use tourmesh::booking::v1::{
    CheckAvailabilityRequest, CheckAvailabilityResponse, WatchDepartureRequest,
    booking_service_client::BookingServiceClient,
};
use tourmesh_testkit::reason;

use crate::{
    client,
    passing::{CHECK, WATCH, check},
    room,
    script::{Answer, Script, framed},
    start,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beyond_the_limit_breaks_off_and_the_connection_lives_on() {
    let script = Script::start().await;
    script.answer(CHECK, Answer::of(&CheckAvailabilityResponse::default()));
    let gateway = start(&script).await;
    let mut client = BookingServiceClient::new(gateway.channel());
    let big = CheckAvailabilityRequest { departure_ids: vec!["x".repeat(1 << 20)] };
    let refused = client.check_availability(big).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert!(script.asked().iter().all(|a| a.body.is_none()), "the service never had the whole of it");
    client.check_availability(check()).await.unwrap();
    // Just below the limit is fine here; what the service makes of it is its own business.
    let large = CheckAvailabilityRequest { departure_ids: vec!["x".repeat(256 * 1024 - 8)] };
    client.check_availability(large).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_method_is_unimplemented_and_bothers_nobody() {
    let script = Script::start().await;
    let gateway = start(&script).await;
    for path in [
        "/tourmesh.booking.v1.BookingService/SellTheMoon",
        "/tourmesh.booking.v2.BookingService/CheckAvailability",
        "/tourmesh.admin.v1.Root/Shell",
        "/CheckAvailability",
    ] {
        let mut grpc = Grpc::new(gateway.channel());
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<CheckAvailabilityRequest, CheckAvailabilityResponse>::default();
        let refused = grpc.unary(Request::new(check()), PathAndQuery::from_static(path), codec).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unimplemented, "METHOD_UNKNOWN"), "{path}");
    }
    assert!(script.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_says_nothing_is_not_waited_for_longer_than_the_caller_waits() {
    let script = Script::start().await;
    script.answer(CHECK, Answer::Silence);
    let gateway = room(&script).await.with("UPSTREAM_SECONDS", 1).serve(tourmesh_gateway::serve).await;
    // By hand, because a tonic client would give up by itself.
    let begun = Instant::now();
    let headers = [("content-type", "application/grpc-web+proto"), ("grpc-timeout", "300m")];
    let answer = client::read(gateway.addr(), Method::POST, CHECK, &headers, framed(&[])).await;
    assert_eq!(answer.headers()["grpc-status"], "4");
    assert!(begun.elapsed() < Duration::from_millis(950), "{:?}", begun.elapsed());
    let answer = client::read(gateway.addr(), Method::POST, CHECK, &headers[..1], framed(&[])).await;
    assert_eq!(answer.headers()["grpc-status"], "4", "without a deadline the gateway has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_it_takes_at_once_are_told_to_wait() {
    let script = Script::start().await;
    script.answer(CHECK, Answer::Silence);
    let gateway =
        room(&script).await.with("CONCURRENCY", 2).with("UPSTREAM_SECONDS", 2).serve(tourmesh_gateway::serve).await;
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let mut client = BookingServiceClient::new(gateway.channel());
            tokio::spawn(async move { reason(&client.check_availability(check()).await.unwrap_err()) })
        })
        .collect();
    let mut reasons = Vec::new();
    for call in calls {
        reasons.push(call.await.unwrap());
    }
    reasons.sort();
    assert_eq!(reasons, ["DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "OVERLOADED", "OVERLOADED", "OVERLOADED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_grpc_call_is_told_so_in_http() {
    let script = Script::start().await;
    let gateway = start(&script).await;
    let get = client::read(gateway.addr(), Method::GET, CHECK, &[], "").await;
    assert_eq!((get.status().as_u16(), get.headers()["allow"].to_str().unwrap()), (405, "POST"));
    let json = client::read(gateway.addr(), Method::POST, CHECK, &[("content-type", "application/json")], "{}").await;
    assert_eq!(json.status(), 415);
    let native = [("content-type", "application/grpc")];
    let native = client::read(gateway.addr(), Method::POST, CHECK, &native, framed(&[])).await;
    assert_eq!(native.status(), 505, "gRPC proper needs HTTP/2");
    let head = "x".repeat(100_000);
    let long = client::read(gateway.addr(), Method::GET, "/healthz", &[("x-long", &head)], "").await;
    assert_eq!(long.status(), 431);
    assert!(script.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_in_the_clear_may_begin_in_pieces() {
    let script = Script::start().await;
    let gateway = start(&script).await;
    let mut stream = tokio::net::TcpStream::connect(gateway.addr()).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for piece in preface.chunks(7) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut head = [0; 9];
    tokio::time::timeout(Duration::from_secs(2), stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(head[3], 4, "a SETTINGS frame");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_in_order_while_streams_are_open() {
    let script = Script::start().await;
    script.answer(crate::passing::WATCH, Answer::Open(Vec::new()));
    let gateway = start(&script).await;
    let mut client = BookingServiceClient::new(gateway.channel());
    let mut stream =
        client.watch_departure(tourmesh::booking::v1::WatchDepartureRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap();
    let (address, begun) = (gateway.addr(), Instant::now());
    gateway.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waits for a stream that never ends");
    let end = stream.message().await.unwrap_err();
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Unavailable, "DEPENDENCY_UNAVAILABLE"));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

/// Sends the head of a call on a connection of its own, and no message, so many times; what the calls become.
async fn heads_alone(to: std::net::SocketAddr, count: usize) -> tokio::task::JoinSet<(String, Duration)> {
    let stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, driver) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(driver);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..count {
        let never = futures_util::stream::pending::<Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>>();
        let request = http::Request::post(format!("http://{to}{CHECK}"))
            .header("content-type", "application/grpc")
            .body(http_body_util::StreamBody::new(never))
            .unwrap();
        let (mut sender, begun) = (sender.clone(), Instant::now());
        calls.spawn(async move {
            let answer = sender.send_request(request).await.unwrap();
            let status = tonic::Status::from_header_map(answer.headers()).unwrap();
            (reason(&status), begun.elapsed())
        });
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_heads_without_messages_takes_no_place_of_others() {
    let script = Script::start().await;
    script.answer(CHECK, Answer::of(&CheckAvailabilityResponse::default()));
    let gateway =
        room(&script).await.with("CONCURRENCY", 4).with("CALLS_PER_CONNECTION", 8).serve(tourmesh_gateway::serve).await;
    let calls = heads_alone(gateway.addr(), 12).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut client = BookingServiceClient::new(gateway.channel());
    client.check_availability(check()).await.unwrap();
    // Beyond the connection's own places they are told at once, and the others when their time is over.
    let mut told = calls.join_all().await;
    told.sort_by_key(|(_, after)| *after);
    let (at_once, late) = told.split_at(4);
    assert!(
        at_once.iter().all(|(reason, after)| reason == "OVERLOADED" && *after < Duration::from_secs(2)),
        "{told:?}"
    );
    assert!(late.iter().all(|(reason, after)| reason == "DEADLINE_EXCEEDED" && *after < Duration::from_secs(8)));
    assert_eq!(script.asked().len(), 1, "the service heard of none of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_have_a_share_of_their_own_and_give_it_back() {
    let script = Script::start().await;
    script.answer(WATCH, Answer::Open(Vec::new()));
    script.answer(CHECK, Answer::of(&CheckAvailabilityResponse::default()));
    let room = room(&script).await.with("STREAMS", 5).with("STREAMS_PER_CONNECTION", 3);
    let gateway = room.serve(tourmesh_gateway::serve).await;
    let clients = [BookingServiceClient::new(gateway.channel()), BookingServiceClient::new(gateway.channel())];
    let watch = async |n: usize| clients[n].clone().watch_departure(WatchDepartureRequest::default()).await;
    let mut open = Vec::new();
    for n in [0, 0, 0, 1, 1] {
        let mut stream = watch(n).await.unwrap().into_inner();
        stream.message().await.unwrap();
        open.push(stream);
    }
    // The first connection has its three, and all together have their five.
    for n in [0, 1] {
        let begun = Instant::now();
        let refused = watch(n).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
        assert!(refused.get_details_retry_info().is_some() && begun.elapsed() < Duration::from_secs(1));
        clients[n].clone().check_availability(check()).await.unwrap();
    }
    open.pop();
    tourmesh_testkit::eventually(|| async { watch(1).await.is_ok() }).await;
}
