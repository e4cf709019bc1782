//! The six roles: the one table from which everything that is done "for each role" is done.

use std::{future::Future, pin::Pin};

use clap::ValueEnum;
use tourmesh_kit::{
    auth, chassis,
    chassis::ServeError,
    config::{Env, Setting},
    db::{self, Schema},
    events::broker,
    server::{self, Listeners},
    shutdown::Shutdown,
};

/// A role of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Suppliers, tours, prices, schedules, departures, search.
    Catalog,
    /// Seats, bookings, check-in.
    Booking,
    /// Payments, refunds, the ledger.
    Payment,
    /// Messages to people.
    Notification,
    /// Accounts, sessions, signing keys.
    Identity,
    /// The front door: gRPC, gRPC-Web and webhooks on one port.
    Gateway,
}

/// In the order in which they are shown.
pub const ALL: [Role; 6] =
    [Role::Catalog, Role::Booking, Role::Payment, Role::Notification, Role::Identity, Role::Gateway];

/// A running role.
pub type Serving = Pin<Box<dyn Future<Output = Result<(), ServeError>> + Send>>;

impl Role {
    /// As settings, databases and telemetry name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Booking => "booking",
            Self::Payment => "payment",
            Self::Notification => "notification",
            Self::Identity => "identity",
            Self::Gateway => "gateway",
        }
    }

    /// Where it answers by default.
    pub fn port(self) -> u16 {
        match self {
            Self::Catalog => 50051,
            Self::Booking => 50052,
            Self::Payment => 50053,
            Self::Notification => 50054,
            Self::Identity => 50055,
            Self::Gateway => 8080,
        }
    }

    /// Where it tells health and metrics by default.
    pub fn metrics_port(self) -> u16 {
        match self {
            Self::Gateway => 9080,
            other => other.port() - 50_000 + 9_000,
        }
    }

    /// What it does, in a few words.
    pub fn task(self) -> &'static str {
        match self {
            Self::Catalog => "tours, prices, departures, search",
            Self::Booking => "seats, bookings, check-in",
            Self::Payment => "payments, refunds, ledger",
            Self::Notification => "e-mails, preferences",
            Self::Identity => "accounts, sessions, keys",
            Self::Gateway => "gRPC, gRPC-Web, webhooks",
        }
    }

    /// Its tables; `None` when it keeps nothing.
    pub fn schema(self) -> Option<&'static Schema> {
        match self {
            Self::Catalog => Some(&tourmesh_catalog::SCHEMA),
            Self::Booking => Some(&tourmesh_booking::SCHEMA),
            Self::Payment => Some(&tourmesh_payment::SCHEMA),
            Self::Notification => Some(&tourmesh_notification::SCHEMA),
            Self::Identity => Some(&tourmesh_identity::SCHEMA),
            Self::Gateway => None,
        }
    }

    /// What can be set for it and for no other role in the same way.
    pub fn own_settings(self) -> impl Iterator<Item = &'static Setting> {
        let own = match self {
            Self::Catalog => tourmesh_catalog::SETTINGS,
            Self::Booking => tourmesh_booking::SETTINGS,
            Self::Payment => tourmesh_payment::SETTINGS,
            Self::Notification => tourmesh_notification::SETTINGS,
            Self::Identity => tourmesh_identity::SETTINGS,
            Self::Gateway => tourmesh_gateway::SETTINGS,
        };
        own.iter().filter(|own| !chassis::PEERS.iter().any(|(_, peer)| peer.name == own.name))
    }

    /// Everything that can be set for it.
    pub fn settings(self) -> Vec<&'static Setting> {
        let mut all: Vec<_> = server::SETTINGS.iter().chain(auth::SETTINGS).collect();
        if self.schema().is_some() {
            all.extend(db::SETTINGS.iter().chain(broker::SETTINGS));
        }
        all.extend(chassis::PEERS.iter().filter(|(role, _)| *role != self.name()).map(|(_, setting)| setting));
        all.extend(self.own_settings());
        all
    }

    /// Runs it until shutdown.
    pub fn serve(self, env: Env, listeners: Listeners, shutdown: Shutdown) -> Serving {
        match self {
            Self::Catalog => Box::pin(tourmesh_catalog::serve(env, listeners, shutdown)),
            Self::Booking => Box::pin(tourmesh_booking::serve(env, listeners, shutdown)),
            Self::Payment => Box::pin(tourmesh_payment::serve(env, listeners, shutdown)),
            Self::Notification => Box::pin(tourmesh_notification::serve(env, listeners, shutdown)),
            Self::Identity => Box::pin(tourmesh_identity::serve(env, listeners, shutdown)),
            Self::Gateway => Box::pin(tourmesh_gateway::serve(env, listeners, shutdown)),
        }
    }
}
