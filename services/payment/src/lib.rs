//! Payment: money in, money back, and the books.
//!
//! It promises that a booking is charged at most once, whatever is retried, repeated, reordered or killed: one live
//! payment a booking and purpose (an index guards it), one idempotency key a payment (its id), and an unknown outcome is
//! asked about, never tried again with a new key. Every change has one event, and every capture and confirmed refund one balanced
//! transaction of the ledger, in the transaction of the change. No card number ever comes in here.
//!
//! Start at [`domain::payment`] for the life of a payment, then `desk.rs` (open, charge, capture), `refunds.rs`,
//! `inbound.rs` (provider events) and `reconcile.rs` (what is open), which all book what a provider says through
//! `bookkeeper.rs`. [`provider::Provider`] is what a provider must do; [`sandbox`] is the one that is always there.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failing test says enough"))]

mod bookkeeper;
pub mod config;
mod convert;
mod desk;
pub mod domain;
pub mod error;
mod events;
mod grpc;
mod inbound;
pub mod provider;
mod reconcile;
mod refunds;
#[allow(clippy::disallowed_methods, reason = "it is the other side of the wire, and writes for itself")]
pub mod sandbox;
pub mod steps;
pub mod store;
mod telemetry;

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::future::BoxFuture;
use tourmesh::payment::v1::{
    payment_service_server::PaymentServiceServer, sandbox_service_server::SandboxServiceServer,
};
use tourmesh_kit::{
    chassis::{Chassis, ServeError, Services},
    config::Env,
    db::{Schema, Step},
    lanes::Lanes,
    server::Listeners,
    shutdown::Shutdown,
};

pub use config::{Config, SETTINGS};

use crate::{
    bookkeeper::Bookkeeper,
    desk::{Desk, Opener},
    grpc::Api,
    provider::Providers,
    sandbox::{
        Sandbox,
        webhooks::{self, Deliver},
    },
    telemetry::Counters,
};

/// The role's name.
pub const ROLE: &str = "payment";

/// The role's schema.
pub const SCHEMA: Schema = Schema {
    steps: &[
        Step { version: 100, name: "payments", sql: include_str!("../migrations/0100_payments.sql") },
        Step { version: 101, name: "ledger", sql: include_str!("../migrations/0101_ledger.sql") },
        Step { version: 102, name: "sandbox", sql: include_str!("../migrations/0102_sandbox.sql") },
        Step { version: 110, name: "purposes", sql: include_str!("../migrations/0110_purpose.sql") },
    ],
    restrict: "REVOKE UPDATE, DELETE, TRUNCATE ON ledger_entries FROM {runtime};",
};

/// How many payments, and how many reports, may wait for a lane.
const ROOM: usize = 4096;

/// Runs the role until shutdown.
///
/// # Errors
/// When a setting is missing or wrong, or the transport fails.
pub async fn serve(env: Env, listeners: Listeners, shutdown: Shutdown) -> Result<(), ServeError> {
    let config = Config::of_env(&env)?;
    let chassis = Chassis::start(&env, shutdown).await?;
    let db = chassis.database()?;
    let broker = chassis.broker().await?;
    chassis.relay(&db, &broker, ROLE);

    let sandbox = Sandbox::new(db.clone(), config.sandbox.clone(), config.lanes);
    let providers = Providers::new(Arc::new(sandbox.clone()), [], config.provider_timeout);
    let counters = Counters::new(&chassis.metrics().meter());
    let grace = TimeDelta::from_std(config.pending_grace).unwrap_or(TimeDelta::MAX);
    let books =
        Bookkeeper { db: db.clone(), commission_percent: config.commission_percent, counters: counters.clone() };
    let desk = Desk {
        opener: Lanes::start(Arc::new(Opener { db: db.clone(), grace }), config.lanes, ROOM),
        books: Lanes::start(Arc::new(books), config.lanes, ROOM),
        db,
        providers,
        counters,
        grace,
    };

    let to: Arc<dyn Deliver> = match config.sandbox.webhook_url {
        Some(url) => Arc::new(webhooks::Http::new(url)),
        None => Arc::new(InProcess(desk.clone())),
    };
    chassis.spawn("sandbox", webhooks::run(sandbox.clone(), to, chassis.shutdown()));
    if config.pending_grace <= config.provider_timeout {
        tracing::warn!(
            "PENDING_GRACE_MS is not longer than PROVIDER_TIMEOUT_MS: two calls may be under way with one key"
        );
    }
    chassis.spawn("reconciler", reconcile::run(desk.clone(), config.action_time, chassis.shutdown()));
    let services = Services::new().add(PaymentServiceServer::new(Api { desk })).add(SandboxServiceServer::new(sandbox));
    chassis.serve(services, listeners).await
}

/// The sandbox's events without a gateway: the same way in, but for the HTTP.
struct InProcess(Desk);

impl Deliver for InProcess {
    fn deliver<'a>(&'a self, body: &'a str, signature: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let taken = self.0.take_event(sandbox::NAME, body.as_bytes(), signature).await;
            taken.map(drop).map_err(|e| e.to_string())
        })
    }
}
