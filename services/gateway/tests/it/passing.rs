//! What a gRPC client sends arrives at the service, and what the service answers arrives at the client.

use std::time::{Duration, Instant};

use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Channel};
use tonic_types::{ErrorDetails, StatusExt as _};
use tourmesh::{
    booking::v1::{
        Availability, CheckAvailabilityRequest, CheckAvailabilityResponse, WatchDepartureRequest,
        WatchDepartureResponse, booking_service_client::BookingServiceClient,
    },
    identity::v1::{GetMeRequest, GetMeResponse, User, identity_service_client::IdentityServiceClient},
};
use tourmesh_testkit::reason;

use crate::{
    room,
    script::{Answer, Script},
    start,
};

pub(crate) const CHECK: &str = "/tourmesh.booking.v1.BookingService/CheckAvailability";
pub(crate) const WATCH: &str = "/tourmesh.booking.v1.BookingService/WatchDeparture";
const GET_ME: &str = "/tourmesh.identity.v1.IdentityService/GetMe";

pub(crate) fn seats(left: i32) -> Availability {
    Availability { departure_id: "dep_1".to_owned(), seats_left: left, ..Default::default() }
}

pub(crate) fn check() -> CheckAvailabilityRequest {
    CheckAvailabilityRequest { departure_ids: vec!["dep_1".to_owned()] }
}

fn booking(running: &tourmesh_testkit::Running) -> BookingServiceClient<Channel> {
    BookingServiceClient::new(running.channel())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_to_the_role_that_owns_it_and_its_answer_comes_back() {
    let (bookings, identities) = (Script::start().await, Script::start().await);
    let answer = CheckAvailabilityResponse { availabilities: vec![seats(7)] };
    bookings.answer(CHECK, Answer::of(&answer));
    let me = GetMeResponse { user: Some(User { full_name: "Ada".to_owned(), ..Default::default() }) };
    identities.answer(GET_ME, Answer::of(&me));
    let gateway = room(&bookings).await.peer("identity", identities.url()).serve(tourmesh_gateway::serve).await;

    assert_eq!(booking(&gateway).check_availability(check()).await.unwrap().into_inner(), answer);
    let mut identity = IdentityServiceClient::new(gateway.channel());
    assert_eq!(identity.get_me(GetMeRequest {}).await.unwrap().into_inner(), me);
    assert_eq!(bookings.asked().len(), 1);
    assert_eq!(bookings.asked()[0].message::<CheckAvailabilityRequest>(), check());
    assert_eq!(identities.asked()[0].path, GET_ME);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_the_call_goes_through_and_nothing_else() {
    let script = Script::start().await;
    script.answer(CHECK, Answer::of(&CheckAvailabilityResponse::default()));
    let gateway = start(&script).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut request = Request::new(check());
    for (name, value) in [
        ("authorization", "Bearer token"),
        ("x-request-id", "r-1"),
        ("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")),
        ("cookie", "session=1"),
        ("x-tourmesh-role", "staff"),
        ("x-forwarded-for", "10.0.0.1"),
    ] {
        request.metadata_mut().insert(name, MetadataValue::try_from(value).unwrap());
    }
    request.set_timeout(Duration::from_secs(3));
    let answer = booking(&gateway).check_availability(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-trace-id").unwrap(), trace);

    let headers = &script.asked()[0].headers;
    assert_eq!(headers["authorization"], "Bearer token");
    assert_eq!(headers["x-request-id"], "r-1");
    assert_eq!(headers["grpc-timeout"], "3000000u");
    assert_eq!(headers["te"], "trailers");
    let parent = headers["traceparent"].to_str().unwrap();
    assert!(parent.contains(trace) && !parent.contains("00f067aa0ba902b7"), "a span of its own: {parent}");
    for name in ["cookie", "x-tourmesh-role", "x-forwarded-for"] {
        assert!(!headers.contains_key(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_keeps_its_code_its_message_and_its_details() {
    let script = Script::start().await;
    let mut details = ErrorDetails::new();
    details.set_error_info("DEPARTURE_SOLD_OUT", "tourmesh", [("seats_left".to_owned(), "3".to_owned())]);
    details.set_retry_info(Some(Duration::from_secs(9)));
    details.add_bad_request_violation("units[0].quantity", "is more than is left");
    let sent = Status::with_error_details(Code::ResourceExhausted, "only 3 left, désolé", details);
    script.answer(CHECK, Answer::Refusal(sent.clone()));
    let gateway = start(&script).await;
    let got = booking(&gateway).check_availability(check()).await.unwrap_err();
    assert_eq!((got.code(), got.message(), got.details()), (sent.code(), sent.message(), sent.details()));
    assert_eq!(got.get_error_details().bad_request().unwrap().field_violations[0].field, "units[0].quantity");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_messages_comes_through() {
    let script = Script::start().await;
    let Answer::Messages { messages, pause, .. } = Answer::stream(&[WatchDepartureResponse::default()], Duration::ZERO)
    else {
        unreachable!()
    };
    let mut trailers = http::HeaderMap::new();
    Status::new(Code::Unavailable, "moved on").add_header(&mut trailers).unwrap();
    trailers.insert("x-of-the-service", "kept".parse().unwrap());
    let head = [("x-head".parse().unwrap(), "kept too".parse().unwrap())].into_iter().collect();
    script.answer(WATCH, Answer::Messages { head, messages, pause, trailers });
    let gateway = start(&script).await;
    let answer = booking(&gateway).watch_departure(WatchDepartureRequest::default()).await.unwrap();
    assert_eq!(answer.metadata().get("x-head").unwrap(), "kept too");
    let mut stream = answer.into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    let end = stream.next().await.unwrap().unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Unavailable, "moved on"));
    assert_eq!(end.metadata().get("x-of-the-service").unwrap(), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_flows_while_it_is_written() {
    let script = Script::start().await;
    let written: Vec<_> = (0..5).map(|n| WatchDepartureResponse { availability: Some(seats(n)) }).collect();
    script.answer(WATCH, Answer::stream(&written, Duration::from_millis(150)));
    let gateway = start(&script).await;
    let begun = Instant::now();
    let mut stream = booking(&gateway).watch_departure(WatchDepartureRequest::default()).await.unwrap().into_inner();
    let first = stream.next().await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_millis(600), "the first did not wait for the last");
    let mut got = vec![first];
    while let Some(message) = stream.next().await {
        got.push(message.unwrap());
    }
    assert_eq!(got, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_away_is_unavailable_and_back_when_it_is_back() {
    let script = Script::start().await;
    script.answer(CHECK, Answer::of(&CheckAvailabilityResponse::default()));
    let gateway = start(&script).await;
    let mut client = booking(&gateway);
    client.check_availability(check()).await.unwrap();
    script.stop();
    let refused = client.check_availability(check()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "DEPENDENCY_UNAVAILABLE"));
    assert_eq!(refused.metadata().get("x-trace-id").unwrap().len(), 32);
    assert!(!refused.message().contains("127.0.0.1"), "addresses stay inside: {}", refused.message());

    let again = Script::start_at(script.address()).await;
    again.answer(CHECK, Answer::of(&CheckAvailabilityResponse::default()));
    tourmesh_testkit::eventually(|| {
        let mut client = client.clone();
        async move { client.check_availability(check()).await.is_ok() }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_are_replaced() {
    let script = Script::start().await;
    script.answer(CHECK, Answer::of(&CheckAvailabilityResponse::default()));
    let gateway = start(&script).await;
    let mut client = booking(&gateway);
    for _ in 0..5 {
        client.check_availability(check()).await.unwrap();
        script.cut();
        // The gateway learns of it from its socket.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.check_availability(check()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_one_connection_takes_hold_nobody_up() {
    let script = Script::start().await;
    script.answer(WATCH, Answer::Open(Vec::new()));
    script.answer(CHECK, Answer::of(&CheckAvailabilityResponse::default()));
    let gateway = room(&script).await.with("STREAMS_PER_CONNECTION", 256).serve(tourmesh_gateway::serve).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        // One client connection takes 256 streams.
        let client = booking(&gateway);
        for _ in 0..200 {
            let mut stream =
                client.clone().watch_departure(WatchDepartureRequest::default()).await.unwrap().into_inner();
            assert!(stream.next().await.unwrap().is_ok());
            open.push(stream);
        }
    }
    let begun = Instant::now();
    booking(&gateway).check_availability(check()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(script.connections() >= 4, "{} connections", script.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_trace_is_not_ours() {
    let script = Script::start().await;
    script.answer(CHECK, Answer::of(&CheckAvailabilityResponse::default()));
    let gateway = room(&script).await.with("TRUST_TRACEPARENT", "never").serve(tourmesh_gateway::serve).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut request = Request::new(check());
    for (name, value) in [("traceparent", &*format!("00-{trace}-00f067aa0ba902b7-00")), ("tracestate", "them=1")] {
        request.metadata_mut().insert(name, MetadataValue::try_from(value).unwrap());
    }
    let answer = booking(&gateway).check_availability(request).await.unwrap();
    let ours = answer.metadata().get("x-trace-id").unwrap().to_str().unwrap().to_owned();
    assert_ne!(ours, trace);
    let headers = &script.asked()[0].headers;
    let parent = headers["traceparent"].to_str().unwrap();
    assert!(parent.contains(&ours) && parent.ends_with("-01"), "not sampled as the stranger says: {parent}");
    assert!(!headers.contains_key("tracestate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_have_ended_do_not_stand_in_the_way_of_new_ones() {
    let (script, others) = (Script::start().await, Script::start().await);
    script.answer(WATCH, Answer::Open(Vec::new()));
    let room = room(&others).await.peer("booking", script.url()).with("STREAMS_PER_CONNECTION", 256);
    let gateway = room.serve(tourmesh_gateway::serve).await;
    let client = booking(&gateway);
    let watch = async || {
        let mut stream = client.clone().watch_departure(WatchDepartureRequest::default()).await.unwrap().into_inner();
        stream.next().await.unwrap().unwrap();
        // A connection more is opened aside, so give it the time.
        tokio::time::sleep(Duration::from_millis(2)).await;
        stream
    };
    let mut open = Vec::new();
    // It has all the connections that it wants.
    for _ in 0..100 {
        open.push(watch().await);
    }
    assert_eq!(script.connections(), 4);
    script.cut_older();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..20 {
        open.push(watch().await);
    }
    assert!(script.connections() > 4, "one connection carries it all");
}
