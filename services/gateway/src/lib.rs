//! The gateway: the one port of the mesh to the world. gRPC, gRPC-Web (binary and text) and plain HTTP come in together;
//! calls go through to the role that owns them without being decoded.
//!
//! It promises: it keeps no state and knows no domain; what a service answered (messages, trailers, details of errors)
//! arrives unchanged, streams flow as they come; a role that is away is a clean UNAVAILABLE; nobody can hold on to more
//! than their share of connections, streams, bytes and time; every answer names its trace. Who may call what is
//! verified by the services themselves, not here.
//!
//! Start at [`serve`]; [`edge`] decides where a request goes, [`proxy`] is the way of a call, [`upstream`] the
//! connections to the roles, [`pages`] what HTTP clients see.

mod body;
mod client;
pub mod config;
pub mod edge;
pub mod health;
pub mod pages;
pub mod proxy;
mod request;
mod server;
pub mod upstream;

use kit::{
    chassis::{Chassis, ServeError, metrics_router},
    config::Env,
    rules::{MethodRule, Rules},
    server::Listeners,
    shutdown::Shutdown,
};
use tonic::service::RoutesBuilder;
use tonic_health::server::health_reporter;
use tourmesh_kit as kit;

pub use config::{Config, SETTINGS};
use edge::Edge;
use health::MeshHealth;
use proxy::Proxy;
use upstream::Upstream;

/// The role's name.
pub const ROLE: &str = "gateway";

/// Runs the role until shutdown.
///
/// # Errors
/// When a setting is wrong; services that are away are waited for.
pub async fn serve(env: Env, listeners: Listeners, shutdown: Shutdown) -> Result<(), ServeError> {
    let config = Config::of_env(&env)?;
    let chassis = Chassis::start(&env, shutdown).await?;
    let upstreams: Vec<_> =
        config.upstreams.iter().map(|(role, at)| Upstream::new(role, at.clone(), config.streams)).collect();
    let proxy = Proxy::new(&upstreams, &config, chassis.metrics(), chassis.shutdown());

    let (reporter, health_service) = health_reporter();
    let health = MeshHealth::new(&upstreams, reporter).await;
    for upstream in &upstreams {
        let follow = health.clone().follow(upstream.clone(), proxy.clone(), chassis.shutdown());
        chassis.spawn("mesh health", follow);
    }
    let mut own = RoutesBuilder::default();
    own.add_service(health_service);
    own.add_service(reflection().build_v1()?);
    own.add_service(reflection().build_v1alpha()?);

    if let Some(listener) = listeners.metrics {
        let (stop, app) = (chassis.shutdown(), metrics_router(chassis.readiness(), chassis.metrics()));
        chassis.spawn("metrics port", async move {
            let served = axum::serve(listener, app).with_graceful_shutdown(async move { stop.triggered().await });
            if let Err(error) = served.await {
                tracing::warn!(tourmesh.role = ROLE, %error, "the metrics port stopped");
            }
        });
    }
    let pages = pages::router(health, &upstreams);
    let edge = Edge::new(proxy, own.routes(), pages, &config.origins);
    server::run(listeners.grpc, edge, &config, chassis.shutdown()).await;
    chassis.stop().await;
    Ok(())
}

/// Shows every service of the mesh, and health.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    let mut services: Vec<&str> = Rules::compiled().methods().map(MethodRule::service).collect();
    services.sort_unstable();
    services.dedup();
    kit::chassis::reflection(&services)
}
