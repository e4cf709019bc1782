//! The settings of the catalog.

use tourmesh_kit::config::{ConfigError, Env, Setting};

/// How far departures are made ahead.
pub(crate) const HORIZON_DAYS: Setting =
    Setting::new("HORIZON_DAYS", "120", "How many days ahead the departures of a schedule are made (1 to 730).");

/// What can be set beside what every service can.
pub const SETTINGS: &[Setting] = &[HORIZON_DAYS];

/// The settings, read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// Departures are made up to so many days from today.
    pub horizon_days: u64,
}

impl Config {
    /// Reads them.
    pub(crate) fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let horizon_days: u64 = env.get(&HORIZON_DAYS)?;
        if !(1..=730).contains(&horizon_days) {
            return Err(env.error(&HORIZON_DAYS, &format!("{horizon_days} is not between 1 and 730")));
        }
        Ok(Self { horizon_days })
    }
}
