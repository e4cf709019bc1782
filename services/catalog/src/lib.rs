//! The catalog: what can be booked. Suppliers, tours with their options and prices, schedules that become departures,
//! search, and what a party would pay.
//!
//! It promises that a departure keeps its local time through every clock change, that nothing doubles however often it
//! is asked for, that what is on sale is complete, and that every change of a tour or a departure has exactly one event
//! in the same transaction. It knows nothing about seats: how many are left is Booking's to tell.
//!
//! Start at [`serve`]; the rules are in `domain`, the use cases beside it (`tours`, `options`, `schedules`,
//! `blackouts`, `taxes`, `pools`, `settle`, `departures`, `on_sale`, `import`, `search` with `facets` and what is `remembered`, `horizon`), the rows in `store`. [`seed`] fills an empty
//! catalog with real places.

mod access;
mod blackouts;
mod catalog;
mod config;
mod convert;
mod departures;
mod domain;
mod error;
mod events;
mod facets;
mod grpc;
mod horizon;
mod import;
mod on_sale;
mod options;
mod pools;
mod remembered;
mod schedules;
mod search;
pub mod seed;
mod settle;
mod store;
mod suppliers;
mod taxes;
mod tours;

use tourmesh::catalog::v1::{
    catalog_admin_service_server::CatalogAdminServiceServer, catalog_service_server::CatalogServiceServer,
};
use tourmesh_kit::{
    chassis::{Chassis, ServeError, Services},
    config::Env,
    db::{self, Schema, Step},
    server::Listeners,
    shutdown::Shutdown,
};

pub use config::SETTINGS;
pub use domain::{DepartureId, OptionId, ScheduleId, SupplierId, TourId};

/// The role's name.
pub const ROLE: &str = "catalog";

/// The role's database.
pub const SCHEMA: Schema = Schema {
    steps: &[
        Step { version: 100, name: "catalog", sql: include_str!("../migrations/0100_catalog.sql") },
        Step { version: 101, name: "search", sql: include_str!("../migrations/0101_search.sql") },
        Step { version: 102, name: "recurrence", sql: include_str!("../migrations/0102_recurrence.sql") },
        Step { version: 103, name: "party", sql: include_str!("../migrations/0103_party.sql") },
        Step { version: 110, name: "taxes", sql: include_str!("../migrations/0110_taxes.sql") },
        Step { version: 120, name: "words at once", sql: include_str!("../migrations/0120_words_at_once.sql") },
        Step { version: 130, name: "resource pools", sql: include_str!("../migrations/0130_pools.sql") },
        Step { version: 140, name: "search in order", sql: include_str!("../migrations/0140_search_in_order.sql") },
        Step { version: 150, name: "search ranked", sql: include_str!("../migrations/0150_search_ranked.sql") },
        Step { version: 160, name: "calendar", sql: include_str!("../migrations/0160_calendar.sql") },
    ],
    // Nothing that others may have seen is ever deleted; a search row is only a copy, and old requests are forgotten.
    restrict: "REVOKE DELETE ON suppliers, tours, options, schedules, departures, blackouts, tax_countries,
               tax_rules, vocabulary, resource_pools FROM {runtime}",
};

/// Runs the role until shutdown.
///
/// # Errors
/// When a setting is wrong or the server's socket fails; a database or broker that does not answer is waited for.
pub async fn serve(env: Env, listeners: Listeners, shutdown: Shutdown) -> Result<(), ServeError> {
    let config = config::Config::of_env(&env)?;
    let env = db::planned_by_index(&env)?;
    let chassis = Chassis::start(&env, shutdown).await?;
    let db = chassis.database()?;
    let broker = chassis.broker().await?;
    chassis.relay(&db, &broker, ROLE);
    let (facets, on_sale) = (facets::FacetCache::default(), on_sale::lanes(&db));
    let ranks = remembered::Remembered::default();
    let catalog = catalog::Catalog { db, config, facets, ranks, on_sale };
    chassis.spawn("horizon", catalog.clone().keep_horizon(chassis.shutdown()));
    chassis.spawn("settling", catalog.clone().keep_settled(chassis.shutdown()));
    let services =
        Services::new().add(CatalogServiceServer::new(catalog.clone())).add(CatalogAdminServiceServer::new(catalog));
    chassis.serve(services, listeners).await
}
