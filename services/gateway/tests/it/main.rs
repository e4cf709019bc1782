//! The gateway in front of scripted services, called as gRPC clients, browsers and providers call it.

#![allow(clippy::unwrap_used, reason = "a test says where it failed")]

mod browsers;
mod client;
mod limits;
mod own;
mod pages;
mod passing;
mod script;

use script::Script;
use tourmesh_kit::telemetry::{self, LogFormat, TelemetryConfig};
use tourmesh_testkit::{Room, Running, World};

/// The gateway's room, with every role at this script. Traces are on, as in every process of the mesh.
pub(crate) async fn room(script: &Script) -> Room {
    let env = World::get().await.bare_room("gateway").env();
    let config = TelemetryConfig {
        log_filter: Some("off".to_owned()),
        ..TelemetryConfig::of_env(&env, LogFormat::Json, vec!["gateway"])
    };
    drop(telemetry::init(config));
    let mut room = World::get().await.bare_room("gateway");
    for role in ["catalog", "booking", "payment", "notification", "identity"] {
        room = room.peer(role, script.url());
    }
    room
}

/// The gateway, ready, with every role at this script.
pub(crate) async fn start(script: &Script) -> Running {
    room(script).await.serve(tourmesh_gateway::serve).await
}
