//! What belongs to one test.

use std::future::Future;

use sqlx::{PgPool, postgres::PgPoolOptions};
use tourmesh_kit::{
    chassis::ServeError,
    config::Env,
    events::{Broker, Event, relay},
    server::Listeners,
    shutdown::Shutdown,
    steps::Faults,
};

use crate::Running;

/// One role's database and streams, as one test sees them.
#[derive(Debug, Clone)]
pub struct Room {
    env: Env,
    superuser_url: String,
}

impl Room {
    pub(crate) fn new(env: Env, superuser_url: String) -> Self {
        Self { env, superuser_url }
    }

    /// The role's settings.
    pub fn env(&self) -> Env {
        self.env.clone()
    }

    /// The same room with another setting: `("HOLD_SECONDS", "1")`.
    #[must_use]
    pub fn with(&self, setting: &str, value: impl ToString) -> Self {
        let more = [(format!("TOURMESH_{setting}"), value.to_string())];
        Self { env: self.env.with(more), superuser_url: self.superuser_url.clone() }
    }

    /// The same room with these faults at the writes of its role.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self { env: self.env.with_faults(faults), superuser_url: self.superuser_url.clone() }
    }

    /// The same room, whose role finds another one at this address.
    #[must_use]
    pub fn peer(&self, role: &str, url: impl ToString) -> Self {
        self.with(&format!("{}_URL", role.to_uppercase()), url)
    }

    /// Everything in the database, past all grants: for assertions and for breaking things on purpose.
    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(4).connect(&self.superuser_url).await.unwrap()
    }

    /// The broker, with this room's prefix.
    pub async fn broker(&self) -> Broker {
        Broker::of_env(&self.env).await.unwrap()
    }

    /// Publishes an event of another domain, as that domain's relay would.
    pub async fn publish(&self, domain: &'static str, event: &Event) {
        relay::publish_one(&self.broker().await, domain, event).await.unwrap();
    }

    /// Starts a role on a free port and waits until it serves.
    pub async fn serve<F, Fut>(&self, serve: F) -> Running
    where
        F: FnOnce(Env, Listeners, Shutdown) -> Fut,
        Fut: Future<Output = Result<(), ServeError>> + Send + 'static,
    {
        let running = self.start(serve).await;
        running.serving().await;
        running
    }

    /// Starts a role on a free port and does not wait.
    pub async fn start<F, Fut>(&self, serve: F) -> Running
    where
        F: FnOnce(Env, Listeners, Shutdown) -> Fut,
        Fut: Future<Output = Result<(), ServeError>> + Send + 'static,
    {
        let listen = || tokio::net::TcpListener::bind("127.0.0.1:0");
        let (grpc, metrics) = (listen().await.unwrap(), listen().await.unwrap());
        let addresses = (grpc.local_addr().unwrap(), metrics.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let task = tokio::spawn(serve(self.env(), Listeners { grpc, metrics: Some(metrics) }, shutdown.clone()));
        Running::new(addresses, shutdown, task)
    }
}
