//! A role that serves in the test's own process.

use std::{net::SocketAddr, time::Duration};

use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tourmesh_kit::{chassis::ServeError, shutdown::Shutdown};

/// Stops when it is dropped; [`stop`](Self::stop) also waits.
#[derive(Debug)]
pub struct Running {
    addresses: (SocketAddr, SocketAddr),
    shutdown: Shutdown,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    pub(crate) fn new(
        addresses: (SocketAddr, SocketAddr),
        shutdown: Shutdown,
        task: JoinHandle<Result<(), ServeError>>,
    ) -> Self {
        Self { addresses, shutdown, task }
    }

    /// Where it answers gRPC.
    pub fn addr(&self) -> SocketAddr {
        self.addresses.0
    }

    /// Where it answers `/healthz`, `/readyz` and `/metrics`.
    pub fn metrics_addr(&self) -> SocketAddr {
        self.addresses.1
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addresses.0)
    }

    /// A new connection, made on first use.
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url()).unwrap().tcp_nodelay(true).connect_lazy()
    }

    /// What its health service says of the whole.
    pub async fn health(&self) -> ServingStatus {
        let request = HealthCheckRequest { service: String::new() };
        match HealthClient::new(self.channel()).check(request).await {
            Ok(answer) => answer.into_inner().status(),
            Err(_) => ServingStatus::Unknown,
        }
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn serving(&self) {
        crate::eventually(|| async {
            assert!(!self.task.is_finished(), "the role ended instead of serving");
            self.health().await == ServingStatus::Serving
        })
        .await;
    }

    /// Stops it in order and waits for its end.
    pub async fn stop(mut self) {
        self.shutdown.trigger();
        let ended = tokio::time::timeout(Duration::from_secs(30), &mut self.task).await;
        ended.expect("the role did not stop in time").unwrap().unwrap();
    }

    /// Drops everything that it is doing, in the middle of it.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}
