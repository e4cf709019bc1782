//! What the gateway answers itself: reflection, health, the few plain pages.

use std::collections::BTreeSet;

use tokio_stream::StreamExt as _;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};
use tourmesh_testkit::{Running, eventually};

use crate::{client, room, script::Script, start};

async fn health(gateway: &Running, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(gateway.channel()).check(request).await.unwrap().into_inner().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_shows_every_service_of_the_mesh_in_both_versions() {
    let script = Script::start().await;
    let gateway = start(&script).await;
    let all: BTreeSet<_> =
        tourmesh_kit::rules::Rules::compiled().methods().map(|method| method.service().to_owned()).collect();
    assert!(all.len() >= 7, "{all:?}");

    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(gateway.channel());
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answers.next().await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    let shown: BTreeSet<_> = list.service.into_iter().map(|s| s.name).collect();
    assert!(all.is_subset(&shown), "{shown:?}");
    assert!(shown.contains("grpc.health.v1.Health"));

    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
            "tourmesh.booking.v1.BookingService".to_owned(),
        )),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(gateway.channel());
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    assert!(matches!(answer, Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mesh_is_as_healthy_as_its_least_healthy_role() {
    let (well, ill) = (Script::start().await, Script::start().await);
    let gateway = room(&well).await.peer("payment", ill.url()).serve(tourmesh_gateway::serve).await;
    let (booking, payment) = ("tourmesh.booking.v1.BookingService", "tourmesh.payment.v1.PaymentService");
    assert_eq!(health(&gateway, "").await, ServingStatus::Serving);
    assert_eq!(client::get(gateway.addr(), "/readyz").await.0, 200);

    ill.serving(false);
    eventually(|| async { health(&gateway, "").await == ServingStatus::NotServing }).await;
    assert_eq!(health(&gateway, payment).await, ServingStatus::NotServing);
    assert_eq!(health(&gateway, booking).await, ServingStatus::Serving);
    let (status, told) = client::get(gateway.addr(), "/readyz").await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(status, 503);
    assert_eq!(told["ready"], false);
    assert_eq!(
        (&told["upstreams"]["payment"], &told["upstreams"]["booking"]),
        (&"NOT_SERVING".into(), &"SERVING".into())
    );
    assert_eq!(client::get(gateway.addr(), "/healthz").await.0, 200, "the gateway itself lives");

    ill.stop();
    eventually(|| async { client::get(gateway.addr(), "/readyz").await.1.contains("UNREACHABLE") }).await;
    let _back = Script::start_at(ill.address()).await;
    eventually(|| async { health(&gateway, "").await == ServingStatus::Serving }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_role_it_starts_and_says_so() {
    let mut room = tourmesh_testkit::World::get().await.bare_room("gateway");
    for role in ["catalog", "booking", "payment", "notification", "identity"] {
        // Nobody listens on port 1.
        room = room.peer(role, "http://127.0.0.1:1");
    }
    let gateway = room.start(tourmesh_gateway::serve).await;
    eventually(|| async { client::get(gateway.addr(), "/readyz").await.1.matches("UNREACHABLE").count() == 5 }).await;
    assert_eq!(health(&gateway, "").await, ServingStatus::NotServing);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_page_says_what_is_here_and_other_paths_say_nothing() {
    let script = Script::start().await;
    let gateway = start(&script).await;
    let (status, page) = client::get(gateway.addr(), "/").await;
    assert_eq!(status, 200);
    assert!(page.contains("grpcurl") && page.contains("/readyz"));
    assert_eq!(client::get(gateway.addr(), "/style.css").await.0, 200);
    assert_eq!(client::get(gateway.addr(), "/nothing/here").await.0, 404);
    let (status, metrics) = client::get(gateway.metrics_addr(), "/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("# TYPE"), "{metrics}");
}
