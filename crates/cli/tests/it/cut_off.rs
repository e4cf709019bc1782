//! A role that cannot reach its database or the broker starts anyway, says so, and mends by itself.

use std::time::Duration;

use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tourmesh::booking::v1::{GetBookingRequest, booking_service_client::BookingServiceClient};
use tourmesh_testkit::{Role, Wire, World, bearer, eventually, reason};

#[tokio::test(flavor = "multi_thread")]
async fn every_role_starts_without_engines_says_so_and_mends_by_itself() {
    let world = World::get().await;
    // Each role with its own database, behind wires that are cut.
    for role in ["catalog", "booking", "payment", "notification", "identity"] {
        let schema = match role {
            "catalog" => &tourmesh_catalog::SCHEMA,
            "booking" => &tourmesh_booking::SCHEMA,
            "payment" => &tourmesh_payment::SCHEMA,
            "notification" => &tourmesh_notification::SCHEMA,
            _ => &tourmesh_identity::SCHEMA,
        };
        let room = world.room(role, schema).await;
        let (postgres, nats) = (world.postgres(), world.nats());
        let database = Wire::to(format!("{}:{}", postgres.host, postgres.port)).await;
        let broker = Wire::to(format!("{}:{}", nats.host, nats.port)).await;
        let url = |setting: &str, port: u16, wire: &Wire| {
            let value = room.env().foreign(setting).unwrap().to_owned();
            value.replace(&format!(":{port}"), &format!(":{}", wire.address().port()))
        };
        let (database_url, nats_url) =
            (url("TOURMESH_DATABASE_URL", postgres.port, &database), url("TOURMESH_NATS_URL", nats.port, &broker));
        let mail = std::env::temp_dir().join(format!("tourmesh-cut-off-{}", std::process::id()));
        let room = room
            .with("DATABASE_URL", database_url)
            .with("NATS_URL", nats_url)
            .with("SANDBOX_WEBHOOK_SECRET", "0123456789abcdef0123456789abcdef")
            .with("MAIL_DIR", mail.display());
        let running = match role {
            "catalog" => room.start(tourmesh_catalog::serve).await,
            "booking" => room.start(tourmesh_booking::serve).await,
            "payment" => room.start(tourmesh_payment::serve).await,
            "notification" => room.start(tourmesh_notification::serve).await,
            _ => room.start(tourmesh_identity::serve).await,
        };
        eventually(|| async { running.health().await == ServingStatus::NotServing }).await;
        if role == "booking" {
            let token = world.token("usr_0123456789abcdef0123456789abcdef", &[Role::Traveller], None);
            let request = GetBookingRequest { booking_id: "bkg_0123456789abcdef0123456789abcdef".into() };
            let refused =
                BookingServiceClient::new(running.channel()).get_booking(bearer(request, &token)).await.unwrap_err();
            assert!(matches!(refused.code(), Code::Unavailable | Code::ResourceExhausted), "{refused:?}");
            assert!(matches!(reason(&refused).as_str(), "DEPENDENCY_UNAVAILABLE" | "OVERLOADED"), "{refused:?}");
        }
        database.mend();
        // One of two is not enough.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(running.health().await, ServingStatus::NotServing, "{role} without the broker");
        broker.mend();
        running.serving().await;
        // Cut in the middle of its life, and mended again.
        database.cut();
        eventually(|| async { running.health().await == ServingStatus::NotServing }).await;
        database.mend();
        running.serving().await;
        broker.cut();
        eventually(|| async { running.health().await == ServingStatus::NotServing }).await;
        broker.mend();
        running.serving().await;
        running.stop().await;
        let _ = std::fs::remove_dir_all(mail);
    }
}
