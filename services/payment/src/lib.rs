//! Payment: money in, money back, and the books.
//!
//! It promises that a booking is charged at most once, whatever is retried, repeated, reordered or killed: one live
//! payment a booking and purpose (an index guards it), one idempotency key a payment (its id), and an unknown outcome is
//! asked about, never tried again with a new key. Every change has one event, and every capture and confirmed refund one balanced
//! transaction of the ledger, in the transaction of the change. No card number ever comes in here.
//!
//! Start at [`domain::payment`] for the life of a payment, then `desk.rs` (open, charge, capture), `refunds.rs`,
//! `inbound.rs` (provider events) and `reconcile.rs` (what is open), which all book what a provider says through
//! `bookkeeper.rs`. [`provider::Provider`] is what a provider must do; [`stripe`] takes real money, [`sandbox`] none.
//! [`reconciliation`] compares our payments with a provider's list, [`payouts`] tells what each supplier is owed.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failing test says enough"))]

mod bookkeeper;
pub mod config;
mod convert;
mod desk;
mod disputes;
pub mod domain;
pub mod error;
mod events;
mod failed_refunds;
mod grpc;
mod inbound;
mod next_step;
pub mod payouts;
pub mod provider;
mod reconcile;
pub mod reconciliation;
mod refunds;
#[allow(clippy::disallowed_methods, reason = "it is the other side of the wire, and writes for itself")]
pub mod sandbox;
pub mod steps;
pub mod store;
pub mod stripe;
mod telemetry;

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use futures_util::future::BoxFuture;
use tourmesh::payment::v1::{
    payment_service_server::PaymentServiceServer, sandbox_service_server::SandboxServiceServer,
};
use tourmesh_kit::{
    chassis::{Chassis, ServeError, Services},
    config::{ConfigError, Env},
    db::{self, Db, Schema, Step},
    lanes::Lanes,
    server::Listeners,
    shutdown::Shutdown,
};

pub use config::{Config, SETTINGS};

use crate::{
    bookkeeper::Bookkeeper,
    config::{ProviderConfig, SandboxConfig},
    desk::{Desk, Opener},
    grpc::Api,
    provider::{Provider, Providers},
    reconcile::Patience,
    sandbox::{
        Sandbox,
        webhooks::{self, Deliver},
    },
    stripe::Stripe,
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
        Step { version: 120, name: "failed refunds", sql: include_str!("../migrations/0120_failed_refunds.sql") },
        Step { version: 130, name: "accounts", sql: include_str!("../migrations/0130_accounts.sql") },
        Step { version: 131, name: "disputes", sql: include_str!("../migrations/0131_disputes.sql") },
        Step { version: 132, name: "old requests", sql: include_str!("../migrations/0132_requests_age.sql") },
        Step {
            version: 140,
            name: "a ledger that is checked together",
            sql: include_str!("../migrations/0140_ledger_checked_together.sql"),
        },
    ],
    restrict: "REVOKE UPDATE, DELETE, TRUNCATE ON ledger_entries FROM {runtime};
               REVOKE DELETE, TRUNCATE ON payments FROM {runtime};",
};

/// How many payments, and how many reports, may wait for a lane.
const ROOM: usize = 4096;

/// Runs the role until shutdown.
///
/// # Errors
/// When a setting is missing or wrong, or the transport fails.
pub async fn serve(env: Env, listeners: Listeners, shutdown: Shutdown) -> Result<(), ServeError> {
    let env = db::planned_by_index(&env)?;
    let config = Config::of_env(&env)?;
    let chassis = Chassis::start(&env, shutdown).await?;
    let db = chassis.database()?;
    let broker = chassis.broker().await?;
    chassis.relay(&db, &broker, ROLE);

    let counters = Counters::new(&chassis.metrics().meter());
    let (desk, sandbox) = desk(&config, db, counters)?;
    if config.pending_grace <= config.provider_timeout {
        tracing::warn!(
            "PENDING_GRACE_MS is not longer than PROVIDER_TIMEOUT_MS: two calls may be under way with one key"
        );
    }
    let patience = Patience { action: delta(config.action_time), reserved: delta(config.authorization_time) };
    chassis.spawn("reconciler", reconcile::run(desk.clone(), patience, chassis.shutdown()));
    if let Some(every) = config.reconcile_every {
        chassis.spawn("reconciliation", reconciliation::run(desk.clone(), every, chassis.shutdown()));
    }
    let mut services = Services::new();
    if let Some((sandbox, settings)) = sandbox {
        let to: Arc<dyn Deliver> = match settings.webhook_url {
            Some(url) => Arc::new(webhooks::Http::new(url)),
            None => Arc::new(InProcess(desk.clone())),
        };
        chassis.spawn("sandbox", webhooks::run(sandbox.clone(), to, chassis.shutdown()));
        services = services.add(SandboxServiceServer::new(sandbox));
    }
    chassis.serve(services.add(PaymentServiceServer::new(Api { desk })), listeners).await
}

/// The desk with the configured providers, and the sandbox when it is one of them.
fn desk(config: &Config, db: Db, counters: Counters) -> Result<(Desk, Option<(Sandbox, SandboxConfig)>), ConfigError> {
    let mut sandbox = None;
    let mut providers: Vec<Arc<dyn Provider>> = Vec::new();
    for provider in &config.providers {
        providers.push(match provider {
            ProviderConfig::Sandbox(settings) => {
                let made = Sandbox::new(db.clone(), settings.clone(), config.lanes);
                sandbox = Some((made.clone(), settings.clone()));
                Arc::new(made)
            }
            ProviderConfig::Stripe(settings) => {
                let made = Stripe::new(settings.clone()).map_err(|problem| ConfigError {
                    variable: "TOURMESH_PAYMENT_PROVIDERS".to_owned(),
                    problem: format!("stripe cannot be used: {problem}"),
                    help: "The payment providers.".to_owned(),
                })?;
                Arc::new(made)
            }
        });
    }
    let grace = delta(config.pending_grace);
    let books = Bookkeeper {
        db: db.clone(),
        commission_percent: config.commission_percent,
        counters: counters.clone(),
        reserved: delta(config.authorization_time),
    };
    let desk = Desk {
        opener: Lanes::start(Arc::new(Opener { db: db.clone(), grace }), config.lanes, ROOM),
        books: Lanes::start(Arc::new(books), config.lanes, ROOM),
        db,
        providers: Providers::new(providers, config.provider_timeout),
        counters,
        grace,
        refund_tries: config.refund_tries,
    };
    Ok((desk, sandbox))
}

fn delta(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
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
