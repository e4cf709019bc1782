//! Pure rules: no database, no clock, no randomness.

pub mod rotation;
pub mod user;
