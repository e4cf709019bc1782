//! Roles in this process: their sockets, and what happens when one of them ends by itself.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use tourmesh_kit::{chassis::ServeError, config::Env, server::Listeners, shutdown::Shutdown};

use crate::roles::Role;

/// A role that served this long starts again without a wait.
const HEALTHY: Duration = Duration::from_secs(60);

/// The sockets of a role. They outlive it: a role that is started again finds its callers waiting.
pub struct RoleSockets {
    grpc: std::net::TcpListener,
    metrics: std::net::TcpListener,
}

impl RoleSockets {
    /// Takes the ports.
    pub async fn bind(role: Role, grpc: &str, metrics: &str) -> anyhow::Result<Self> {
        Ok(Self { grpc: bind(role, grpc, "LISTEN").await?, metrics: bind(role, metrics, "METRICS_LISTEN").await? })
    }

    /// Where the role answers.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.grpc.local_addr()?)
    }

    /// Where it tells health and metrics.
    pub fn metrics_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.metrics.local_addr()?)
    }

    fn listeners(&self) -> std::io::Result<Listeners> {
        let grpc = TcpListener::from_std(self.grpc.try_clone()?)?;
        let metrics = TcpListener::from_std(self.metrics.try_clone()?)?;
        Ok(Listeners { grpc, metrics: Some(metrics) })
    }
}

async fn bind(role: Role, address: &str, setting: &str) -> anyhow::Result<std::net::TcpListener> {
    let mut tries = 0;
    let listener = loop {
        match TcpListener::bind(address).await {
            // The usual ports lie in the range from which systems take ports for outgoing connections; one of those is
            // gone in a moment, another server is not.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && tries < 10 => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => break other,
        }
    };
    let listener = listener.with_context(|| {
        let hint = if role == Role::Gateway && setting == "LISTEN" { " or --port" } else { "" };
        format!(
            "cannot listen on {address} for {}; set TOURMESH_{}_{setting}{hint} to another address",
            role.name(),
            role.name().to_uppercase()
        )
    })?;
    Ok(listener.into_std()?)
}

/// Runs the roles until shutdown. One that ends by itself is reported and started again, with growing waits; one whose
/// settings are wrong ends everything, because it will never start.
pub async fn run_roles(roles: Vec<(Role, Env, RoleSockets)>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    for (role, env, sockets) in roles {
        running.spawn(keep_running(role, env, sockets, shutdown.clone()));
    }
    let mut outcome = Ok(());
    while let Some(ended) = running.join_next().await {
        let ended = ended.map_err(anyhow::Error::from).and_then(|r| r);
        if ended.is_err() && outcome.is_ok() {
            outcome = ended;
            shutdown.trigger();
        }
    }
    outcome
}

async fn keep_running(role: Role, env: Env, sockets: RoleSockets, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut wait = Duration::from_millis(200);
    loop {
        let begun = Instant::now();
        let serving = tokio::spawn(role.serve(env.clone(), sockets.listeners()?, shutdown.child()));
        let problem = match serving.await {
            Ok(Ok(())) if shutdown.is_triggered() => return Ok(()),
            Ok(Err(error @ ServeError::Config(_))) => return Err(error.into()),
            Ok(Ok(())) => "it stopped without being asked to".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        if begun.elapsed() > HEALTHY {
            wait = Duration::from_millis(200);
        }
        tracing::error!(
            tourmesh.role = role.name(),
            problem,
            wait_ms = wait.as_millis(),
            "the role ended and starts again"
        );
        if !shutdown.sleep(wait).await {
            return Ok(());
        }
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}
