//! Identity: who people are. It signs them up and in, keeps their sessions and roles, and signs the access tokens that
//! every other service verifies by itself.
//!
//! It promises: one account per e-mail address; passwords are kept as argon2id hashes only and guessing them is slow
//! and limited ([`attempts`]); a refresh token works once, and its second use ends the whole session ([`sessions`]);
//! private keys never leave this service's database, and a new one is known everywhere before it signs ([`keys`]);
//! no password, token or address is ever logged.
//!
//! Start at [`serve`], which wires the rooms together; [`grpc`] has one short handler per method.

pub mod accounts;
pub mod attempts;
pub mod config;
pub mod convert;
pub mod demo;
pub mod domain;
pub mod error;
mod events;
pub mod grpc;
pub mod keys;
pub mod passwords;
pub mod sessions;
mod store;

use kit::{
    chassis::{Chassis, ServeError, Services},
    config::Env,
    db::{Schema, Step},
    server::Listeners,
    shutdown::Shutdown,
};
use tourmesh::identity::v1::identity_service_server::IdentityServiceServer;
use tourmesh_kit as kit;

pub use config::{Config, SETTINGS};
pub use demo::{DemoAccount, ensure_account};
pub use domain::user::UserId;

/// The role's name.
pub const ROLE: &str = "identity";

/// The role's tables.
pub const SCHEMA: Schema = Schema {
    steps: &[
        Step { version: 100, name: "users, sessions, keys", sql: include_str!("../migrations/0100_identity.sql") },
        Step { version: 101, name: "bounds", sql: include_str!("../migrations/0101_bounds.sql") },
    ],
    restrict: "",
};

/// Runs the role until shutdown.
///
/// # Errors
/// When a setting is wrong or the transport fails; a missing database or broker is waited for.
pub async fn serve(env: Env, listeners: Listeners, shutdown: Shutdown) -> Result<(), ServeError> {
    let config = Config::of_env(&env)?;
    let chassis = Chassis::start(&env, shutdown).await?;
    let db = chassis.database()?;
    let broker = chassis.broker().await?;
    chassis.relay(&db, &broker, ROLE);

    let keyring = keys::Keyring::new(db.clone(), &config);
    chassis.readiness().report("signing keys", Err("not loaded yet".to_owned()));
    chassis.spawn("signing keys", keyring.clone().run(chassis.readiness(), chassis.shutdown()));
    chassis.spawn("session pruning", sessions::prune(db.clone(), chassis.shutdown()));

    let api = grpc::Api::new(db, &config, keyring);
    chassis.serve(Services::new().add(IdentityServiceServer::new(api)), listeners).await
}
