//! The chassis that every service of the mesh stands on: everything that must be the same everywhere, written once.
//!
//! It promises that a service built on it keeps the mechanics of the house: its settings come from one place
//! ([`config`]), a failure has one stable reason ([`error`]), a write survives its caller ([`db`]), what happened is
//! told exactly once ([`events`]), access and field rules of the API hold before a handler runs ([`rules`]), deadlines
//! and traces travel with every call ([`client`], [`telemetry`]), and it stops in bounded time ([`shutdown`]).
//!
//! Start at [`chassis::Chassis`], which ties the rooms together; nothing in here knows what a booking is.

pub mod auth;
pub mod card_number;
pub mod chassis;
pub mod client;
pub mod config;
pub mod db;
pub mod deadline;
pub mod door;
pub mod error;
pub mod events;
pub mod id;
pub mod idempotency;
pub mod lanes;
pub mod mask;
pub mod metrics;
pub mod money;
pub mod page;
pub mod provision;
pub mod pruning;
pub mod readiness;
pub mod rules;
pub mod seal;
pub mod server;
pub mod shutdown;
pub mod steps;
pub mod tax;
pub mod telemetry;
pub mod time;
pub mod voucher;

pub use error::{ApiError, ApiResult};
pub use tourmesh::common::v1::ErrorReason;
