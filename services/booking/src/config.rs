//! What an operator can set.

use std::time::Duration;

use chrono::TimeDelta;
use tourmesh_kit::{
    config::{ConfigError, Env, Setting},
    voucher::VOUCHER_SECRET,
};

/// How long a hold lasts where the option does not say.
pub const HOLD_SECONDS: Setting =
    Setting::new("HOLD_SECONDS", "900", "How long seats are held where the option does not say, in seconds.");
/// How long a hold can be extended.
pub const HOLD_LIMIT_SECONDS: Setting = Setting::new(
    "HOLD_LIMIT_SECONDS",
    "7200",
    "ExtendHold keeps seats for at most so many seconds after the booking was made.",
);
/// How many holds one customer may have.
pub const MAX_OPEN_HOLDS: Setting = Setting::new(
    "MAX_OPEN_HOLDS",
    "20",
    "How many open holds one customer may have at once, where the option does not say. Wishes for different departures that are written at the very same moment, by other lanes or replicas, do not see each other: each of those may reach it.",
);
/// How many lanes write holds.
pub const HOLD_LANES: Setting =
    Setting::new("HOLD_LANES", "2", "How many lanes write holds; each keeps one connection of its own.");
/// How many holds may wait.
pub const HOLD_QUEUE: Setting =
    Setting::new("HOLD_QUEUE", "2048", "How many holds may wait in one lane before callers are told to come back.");
/// How many checkouts may be under way before it matters whether they are late.
pub const CHECKOUT_ROOM: Setting = Setting::new(
    "CHECKOUT_ROOM",
    "512",
    "While so many bookings were just held or are being paid for, and what is written of them is late, no new booking begins (OVERLOADED). A replica that confirms 500 a second has a second's work then.",
);
/// How long a checkout may wait to be written before that matters.
pub const CHECKOUT_PATIENCE_MILLIS: Setting = Setting::new(
    "CHECKOUT_PATIENCE_MILLIS",
    "100",
    "Checkouts are late when it took so many milliseconds, at any time of the last second, to write down that a payment begins or that a booking is confirmed; see CHECKOUT_ROOM. Has to be more than that takes when nothing is wrong: else a slow payment provider closes the door, too.",
);
/// How many calls may pay at once.
pub const CHECKOUT_LIMIT: Setting = Setting::new(
    "CHECKOUT_LIMIT",
    "1000",
    "How many calls of ConfirmBooking are handled at once; more are refused with OVERLOADED, so that a payment provider that hangs leaves the other places of CONCURRENCY free.",
);
/// How often holds are looked through.
pub const EXPIRY_MILLIS: Setting =
    Setting::new("EXPIRY_MILLIS", "250", "How often run-out holds are looked for, in milliseconds.");
/// How long an offer is believed.
pub const OFFER_SECONDS: Setting = Setting::new(
    "OFFER_SECONDS",
    "60",
    "How long an offer of the catalog is believed without asking again, in seconds; catalog events end it earlier.",
);
/// How many offers are kept.
pub const OFFER_CACHE: Setting =
    Setting::new("OFFER_CACHE", "50000", "How many offers of the catalog are kept in memory.");
/// How long seats are held for somebody who waited.
pub const WAITING_OFFER_SECONDS: Setting = Setting::new(
    "WAITING_OFFER_SECONDS",
    "3600",
    "How long seats that came free are held for a party of the waiting list, in seconds; counts for parties that join from now on.",
);
/// How many callers may watch departures.
pub const MAX_WATCHERS: Setting =
    Setting::new("MAX_WATCHERS", "10000", "How many callers may watch departures at once.");

/// Everything that this role reads beside what every role reads.
pub const SETTINGS: &[Setting] = &[
    HOLD_SECONDS,
    HOLD_LIMIT_SECONDS,
    MAX_OPEN_HOLDS,
    HOLD_LANES,
    HOLD_QUEUE,
    CHECKOUT_ROOM,
    CHECKOUT_PATIENCE_MILLIS,
    CHECKOUT_LIMIT,
    EXPIRY_MILLIS,
    OFFER_SECONDS,
    OFFER_CACHE,
    WAITING_OFFER_SECONDS,
    MAX_WATCHERS,
    VOUCHER_SECRET,
];

/// The settings, read and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// HOLD_SECONDS.
    pub hold_seconds: i32,
    /// HOLD_LIMIT_SECONDS.
    pub hold_limit: TimeDelta,
    /// MAX_OPEN_HOLDS.
    pub max_open_holds: u32,
    /// HOLD_LANES.
    pub hold_lanes: usize,
    /// HOLD_QUEUE.
    pub hold_queue: usize,
    /// CHECKOUT_ROOM.
    pub checkout_room: usize,
    /// CHECKOUT_PATIENCE_MILLIS.
    pub checkout_patience: Duration,
    /// CHECKOUT_LIMIT.
    pub checkout_limit: usize,
    /// EXPIRY_MILLIS.
    pub expiry: Duration,
    /// OFFER_SECONDS.
    pub offer_age: Duration,
    /// OFFER_CACHE.
    pub offer_cache: usize,
    /// WAITING_OFFER_SECONDS.
    pub waiting_offer_seconds: i32,
    /// MAX_WATCHERS.
    pub max_watchers: usize,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is not valid; the error names it.
    pub fn of_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            hold_seconds: within(env, &HOLD_SECONDS, 1, 86_400)?,
            hold_limit: TimeDelta::seconds(i64::from(within(env, &HOLD_LIMIT_SECONDS, 1, 30 * 86_400)?)),
            max_open_holds: within(env, &MAX_OPEN_HOLDS, 1, 1_000_000)?.unsigned_abs(),
            hold_lanes: count(env, &HOLD_LANES, 64)?,
            hold_queue: count(env, &HOLD_QUEUE, 1_000_000)?,
            checkout_room: count(env, &CHECKOUT_ROOM, 1_000_000)?,
            checkout_patience: Duration::from_millis(u64::from(
                within(env, &CHECKOUT_PATIENCE_MILLIS, 1, 60_000)?.unsigned_abs(),
            )),
            checkout_limit: count(env, &CHECKOUT_LIMIT, 1_000_000)?,
            expiry: Duration::from_millis(u64::from(within(env, &EXPIRY_MILLIS, 10, 60_000)?.unsigned_abs())),
            offer_age: Duration::from_secs(u64::from(within(env, &OFFER_SECONDS, 0, 86_400)?.unsigned_abs())),
            offer_cache: count(env, &OFFER_CACHE, 10_000_000)?,
            waiting_offer_seconds: within(env, &WAITING_OFFER_SECONDS, 1, 30 * 86_400)?,
            max_watchers: count(env, &MAX_WATCHERS, 10_000_000)?,
        })
    }
}

fn within(env: &Env, setting: &Setting, least: i32, most: i32) -> Result<i32, ConfigError> {
    let value: i32 = env.get(setting)?;
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(env.error(setting, &format!("must lie between {least} and {most}")))
}

fn count(env: &Env, setting: &Setting, most: i32) -> Result<usize, ConfigError> {
    usize::try_from(within(env, setting, 1, most)?).map_err(|e| env.error(setting, &e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_its_bounds_is_named() {
        let env = Env::of("booking", [("TOURMESH_BOOKING_HOLD_SECONDS".to_owned(), "0".to_owned())]);
        let error = Config::of_env(&env).unwrap_err().to_string();
        assert!(error.contains("TOURMESH_BOOKING_HOLD_SECONDS"), "{error}");
    }
}
