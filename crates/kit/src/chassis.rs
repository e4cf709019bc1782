//! What a service stands on from start to stop; each service's `serve` reads like a list of its parts.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use http::Request;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::TaskTracker;
use tonic::{
    body::Body,
    server::NamedService,
    service::RoutesBuilder,
    transport::{Channel, Server},
};
use tonic_health::{ServingStatus, server::health_reporter};
use tower::Service;

use crate::{
    auth::{ServiceTokens, Verifier},
    client::{self, MeshChannel},
    config::{ConfigError, Env, Setting},
    db::Db,
    door::Door,
    events::{
        Broker, Consumer, Handler,
        relay::{PATIENCE, Relay},
    },
    metrics::Metrics,
    pruning::Pruning,
    readiness::Readiness,
    server::{self, CALLS_PER_CONNECTION, Edge, Listeners},
    shutdown::{DRAIN, Shutdown},
};

/// Why a role could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The transport failed.
    #[error("the server stopped: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// A socket failed.
    #[error("the server stopped: {0}")]
    Io(#[from] std::io::Error),
    /// The reflection service could not be made from the descriptor set.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Where each role is, for those who call it. The defaults are those of `tourmesh up`.
pub const PEERS: &[(&str, Setting)] = &[
    ("catalog", Setting::new("CATALOG_URL", "http://127.0.0.1:50051", "Where the catalog role answers.")),
    ("booking", Setting::new("BOOKING_URL", "http://127.0.0.1:50052", "Where the booking role answers.")),
    ("payment", Setting::new("PAYMENT_URL", "http://127.0.0.1:50053", "Where the payment role answers.")),
    (
        "notification",
        Setting::new("NOTIFICATION_URL", "http://127.0.0.1:50054", "Where the notification role answers."),
    ),
    ("identity", Setting::new("IDENTITY_URL", "http://127.0.0.1:50055", "Where the identity role answers.")),
];

/// The gRPC services of a role; a service cannot be added without its health entry.
#[derive(Debug, Default)]
pub struct Services {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    door: Option<Arc<dyn Door>>,
}

impl Services {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// One more.
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "it adds a service, it is no sum")]
    pub fn add<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.names.push(S::NAME);
        self
    }
    /// Who decides which calls are let in. Without one all are.
    #[must_use]
    pub fn behind(mut self, door: impl Door) -> Self {
        self.door = Some(Arc::new(door));
        self
    }
}

/// The parts that every role has. Clones share them.
#[derive(Clone, Debug)]
pub struct Chassis {
    env: Env,
    shutdown: Shutdown,
    readiness: Readiness,
    metrics: Metrics,
    verifier: Verifier,
    tokens: ServiceTokens,
    tasks: TaskTracker,
}

impl Chassis {
    /// Puts the parts together; nothing is connected yet.
    ///
    /// # Errors
    /// When a setting is missing or wrong.
    pub async fn start(env: &Env, shutdown: Shutdown) -> Result<Self, ConfigError> {
        let metrics = match env.foreign("OTEL_EXPORTER_OTLP_ENDPOINT") {
            Some(endpoint) => Metrics::with_otlp(env.role(), endpoint),
            None => Metrics::new(env.role()),
        };
        Ok(Self {
            verifier: Verifier::of_env(env, channel(env, "identity")?)?,
            tokens: ServiceTokens::of_env(env)?,
            env: env.clone(),
            shutdown,
            readiness: Readiness::default(),
            metrics,
            tasks: TaskTracker::new(),
        })
    }

    /// The settings.
    pub fn env(&self) -> &Env {
        &self.env
    }
    /// When to stop.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }
    /// What the parts say about themselves.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }
    /// The role's metrics.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// The role's database, watched and pruned.
    ///
    /// # Errors
    /// When its settings are missing or wrong.
    pub fn database(&self) -> Result<Db, ConfigError> {
        let db = Db::of_env(&self.env)?;
        self.spawn("database watch", db.clone().watch(self.readiness(), self.shutdown()));
        self.spawn("pruning", Pruning::of_env(&self.env)?.run(db.clone(), self.shutdown()));
        Ok(db)
    }

    /// The broker, watched.
    ///
    /// # Errors
    /// When its settings are missing or wrong.
    pub async fn broker(&self) -> Result<Broker, ConfigError> {
        let broker = Broker::of_env(&self.env).await?;
        self.spawn("broker watch", broker.clone().watch(self.readiness(), self.shutdown()));
        Ok(broker)
    }

    /// Publishes the outbox to the domain's stream.
    pub fn relay(&self, db: &Db, broker: &Broker, domain: &'static str) {
        let relay = Relay { db: db.clone(), broker: broker.clone(), domain, patience: PATIENCE };
        self.spawn("event relay", relay.run(self.readiness(), self.shutdown()));
    }

    /// Hands events to a handler.
    pub fn consume(&self, consumer: Consumer, db: &Db, broker: &Broker, handler: impl Handler) {
        self.spawn(consumer.name, consumer.run(db.clone(), broker.clone(), handler, self.readiness(), self.shutdown()));
    }

    /// Runs background work, which has to watch [`shutdown`](Self::shutdown) by itself. A panic is reported, and takes
    /// the role's readiness with it: silence would be worse.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let readiness = self.readiness();
        let role = self.env.role();
        self.tasks.spawn(async move {
            if let Err(panic) = tokio::spawn(work).await {
                tracing::error!(tourmesh.role = role, task = name, %panic, "background work ended");
                readiness.report(name, Err("background work ended by a panic".to_owned()));
            }
        });
    }

    /// A channel to another role.
    ///
    /// # Errors
    /// When its URL is not one.
    pub fn peer(&self, role: &'static str) -> Result<MeshChannel, ConfigError> {
        Ok(MeshChannel::new(channel(&self.env, role)?, self.tokens.clone(), self.metrics.clone()))
    }

    /// Serves until shutdown, then drains in bounded time.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn serve(self, services: Services, listeners: Listeners) -> Result<(), ServeError> {
        let Services { mut routes, names, door } = services;
        let (health, health_service) = health_reporter();
        // tonic's own beginning is "serving", which nobody knows yet.
        health.set_service_status("", ServingStatus::NotServing).await;
        routes.add_service(health_service);
        routes.add_service(reflection(&names).build_v1()?);
        routes.add_service(reflection(&names).build_v1alpha()?);
        let role = self.env.role();
        let edge = Edge {
            role,
            verifier: self.verifier.clone(),
            metrics: self.metrics.clone(),
            permits: Arc::new(Semaphore::new(self.env.get(&server::CONCURRENCY)?)),
            door,
        };

        // Health follows readiness, and says NOT_SERVING before the drain begins.
        let (readiness, shutdown) = (self.readiness(), self.shutdown());
        self.spawn("health", async move {
            let mut ready = readiness.watch();
            loop {
                let serving = *ready.borrow_and_update() && !shutdown.is_triggered();
                let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
                for name in names.iter().copied().chain([""]) {
                    health.set_service_status(name, status).await;
                }
                if shutdown.is_triggered() {
                    return;
                }
                tokio::select! {
                    _ = ready.changed() => {}
                    () = shutdown.triggered() => {}
                }
            }
        });
        if let Some(listener) = listeners.metrics {
            let stop = self.shutdown();
            let app = metrics_router(self.readiness(), self.metrics());
            self.spawn("metrics port", async move {
                let served = axum::serve(listener, app).with_graceful_shutdown(async move { stop.triggered().await });
                if let Err(error) = served.await {
                    tracing::warn!(tourmesh.role = role, %error, "the metrics port stopped");
                }
            });
        }

        let stop = self.shutdown();
        let server = Server::builder()
            .max_concurrent_streams(CALLS_PER_CONNECTION)
            .max_connection_age(Duration::from_secs(600))
            .max_connection_age_grace(Duration::from_secs(30))
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .tcp_keepalive(Some(Duration::from_secs(60)))
            .serve_with_incoming_shutdown(
                tower::Layer::layer(&edge, routes.routes().prepare()),
                TcpListenerStream::new(listeners.grpc).inspect_nodelay(),
                async move { stop.triggered().await },
            );
        let stop = self.shutdown();
        let bound = async move {
            stop.triggered().await;
            // Graceful shutdown can hang on an idle stream (hyper #4170), so it is bounded.
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = server => served?,
            () = bound => tracing::warn!(tourmesh.role = role, "connections were still open after the drain time"),
        }
        self.stop().await;
        Ok(())
    }

    /// Waits for the background work to end, in bounded time. Roles with a server of their own call it last.
    pub async fn stop(&self) {
        self.shutdown.trigger();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(tourmesh.role = self.env.role(), "background work was still running after the drain time");
        }
        self.metrics.shutdown(Duration::from_secs(2)).await;
    }
}

/// Reflection that shows these services and health, with the details that errors carry, so that grpcurl can read them.
pub fn reflection(services: &[&str]) -> tonic_reflection::server::Builder<'static> {
    let sets = [tourmesh::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET];
    let builder = sets.into_iter().fold(tonic_reflection::server::Builder::configure(), |builder, set| {
        builder.register_encoded_file_descriptor_set(set)
    });
    services.iter().chain(&["grpc.health.v1.Health"]).fold(builder, |builder, name| builder.with_service_name(*name))
}

fn channel(env: &Env, role: &str) -> Result<Channel, ConfigError> {
    let setting = PEERS.iter().find(|(name, _)| *name == role).map_or(&PEERS[0].1, |(_, setting)| setting);
    client::connect_lazily(env, setting)
}

/// `/healthz` (alive), `/readyz` (ready, or what is missing) and `/metrics` (Prometheus).
pub fn metrics_router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route(
            "/readyz",
            get(|State((readiness, _)): State<(Readiness, Metrics)>| async move {
                let problems = readiness.problems();
                let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                let problems: serde_json::Map<_, _> =
                    problems.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
                (status, Json(serde_json::json!({ "ready": status == StatusCode::OK, "problems": problems })))
            }),
        )
        .route("/metrics", get(|State((_, metrics)): State<(Readiness, Metrics)>| async move { metrics.render() }))
        .with_state((readiness, metrics))
}

/// Nagle's algorithm would hold small answers back.
trait NoDelay {
    fn inspect_nodelay(self) -> impl tokio_stream::Stream<Item = std::io::Result<tokio::net::TcpStream>>;
}

impl NoDelay for TcpListenerStream {
    fn inspect_nodelay(self) -> impl tokio_stream::Stream<Item = std::io::Result<tokio::net::TcpStream>> {
        tokio_stream::StreamExt::map(self, |stream| stream.inspect(|s| drop(s.set_nodelay(true))))
    }
}
