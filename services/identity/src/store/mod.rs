//! Rows and their mapping to the domain; no policy.

pub(crate) mod signing_keys;
pub(crate) mod users;
