//! Rows: what is in the database, and how it is read and written. No policy in here.

pub mod bookings;
pub mod bounces;
pub mod deliveries;
pub mod delivery;
pub mod outcomes;
pub mod preferences;
pub mod push;
pub mod requests;
pub mod webhook_messages;
pub mod webhooks;
