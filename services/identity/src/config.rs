//! The settings of this role, read once at the start.

use std::{str::FromStr, time::Duration};

use kit::{
    config::{ConfigError, Env, Setting},
    seal::Seal,
};
use tourmesh_kit as kit;

use crate::{attempts::Limits, domain::rotation::Rotation, passwords::Cost};

/// How long an access token is good. Short, because nothing but time takes it back.
pub const ACCESS_TOKEN_AGE: Duration = Duration::from_secs(15 * 60);

const SESSION_DAYS: Setting = Setting::new(
    "SESSION_DAYS",
    "30",
    "How long a session lives after its sign-in, in days, however often it is refreshed.",
);
const KEY_ROTATE_DAYS: Setting =
    Setting::new("KEY_ROTATE_DAYS", "30", "After how many days access tokens are signed with a new key.");
const KEY_PUBLISH_MINUTES: Setting = Setting::new(
    "KEY_PUBLISH_MINUTES",
    "60",
    "How long a new key is published before it signs, in minutes. Longer than anybody caches the key set.",
);
const KEY_SECRET: Setting = Setting::secret(
    "KEY_SECRET",
    "Seals the private signing keys in the database; at least 32 characters, the same on all replicas. Without it they \
     are stored in the clear, protected by the database's own access rules alone.",
);
const PASSWORD_MEMORY_KIB: Setting =
    Setting::new("PASSWORD_MEMORY_KIB", "19456", "Memory of one argon2id password hash, in KiB (OWASP: 19456).");
const PASSWORD_PASSES: Setting =
    Setting::new("PASSWORD_PASSES", "2", "Passes of one argon2id password hash (OWASP: 2).");
const PASSWORD_QUEUE: Setting = Setting::new(
    "PASSWORD_QUEUE",
    "64",
    "How many sign-ins wait for a processor at most; more are refused with OVERLOADED.",
);
const SIGN_UP_QUEUE: Setting = Setting::new(
    "SIGN_UP_QUEUE",
    "32",
    "How many sign-ups wait for their share of the processors at most; more are refused with OVERLOADED.",
);
const SIGN_UPS_PER_WINDOW: Setting = Setting::new(
    "SIGN_UPS_PER_WINDOW",
    "5000",
    "How many sign-ups there may be per window, those with an address that is taken included, before nobody can sign up \
     until it ends. Signing in goes on.",
);
const FAILURES_PER_ACCOUNT: Setting = Setting::new(
    "FAILURES_PER_ACCOUNT",
    "10",
    "How many wrong passwords one account may have per window, before it is closed to sign-ins until the window ends.",
);
const FAILURES_EVERYWHERE: Setting = Setting::new(
    "FAILURES_EVERYWHERE",
    "5000",
    "How many wrong passwords all accounts together may have per window, before those accounts that had one themselves are \
     closed to sign-ins until it ends.",
);
const FAILURES_WINDOW_SECONDS: Setting = Setting::new(
    "FAILURES_WINDOW_SECONDS",
    "900",
    "The window in which wrong passwords and sign-ups are counted, in seconds.",
);

/// Everything that can be set for this role alone.
pub const SETTINGS: &[Setting] = &[
    SESSION_DAYS,
    KEY_ROTATE_DAYS,
    KEY_PUBLISH_MINUTES,
    KEY_SECRET,
    PASSWORD_MEMORY_KIB,
    PASSWORD_PASSES,
    PASSWORD_QUEUE,
    SIGN_UP_QUEUE,
    SIGN_UPS_PER_WINDOW,
    FAILURES_PER_ACCOUNT,
    FAILURES_EVERYWHERE,
    FAILURES_WINDOW_SECONDS,
];

/// The settings, typed and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a session lives.
    pub session_age: Duration,
    /// When signing keys come and go.
    pub rotation: Rotation,
    /// What seals private keys; `None`: they are stored in the clear.
    pub seal: Option<Seal>,
    /// What a password hash costs.
    pub password_cost: Cost,
    /// How many wait for a hash at most.
    pub password_queue: usize,
    /// How many sign-ups do at most.
    pub sign_up_queue: usize,
    /// How many wrong passwords and sign-ups are borne.
    pub limits: Limits,
}

impl Config {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// Names the first setting that is wrong.
    pub fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let seal = match env.optional::<String>(&KEY_SECRET)? {
            Some(secret) if secret.len() < 32 => return Err(env.error(&KEY_SECRET, "is shorter than 32 characters")),
            Some(secret) => {
                let seal = Seal::new(&secret, "tourmesh identity", "signing keys v1");
                Some(seal.map_err(|e| env.error(&KEY_SECRET, &format!("is of no use: {e}")))?)
            }
            None => None,
        };
        let rotate_after = Duration::from_secs(86_400 * u64::from(at_least::<u32>(env, &KEY_ROTATE_DAYS, 1)?));
        let publish_before = Duration::from_secs(60 * env.get::<u64>(&KEY_PUBLISH_MINUTES)?);
        if publish_before >= rotate_after {
            return Err(env.error(&KEY_PUBLISH_MINUTES, "must be shorter than KEY_ROTATE_DAYS"));
        }
        let password_cost = Cost::new(env.get(&PASSWORD_MEMORY_KIB)?, env.get(&PASSWORD_PASSES)?)
            .map_err(|e| env.error(&PASSWORD_MEMORY_KIB, &format!("is no cost that argon2id takes: {e}")))?;
        Ok(Self {
            session_age: Duration::from_secs(86_400 * u64::from(at_least::<u32>(env, &SESSION_DAYS, 1)?)),
            rotation: Rotation { rotate_after, publish_before, token_age: ACCESS_TOKEN_AGE },
            seal,
            password_cost,
            password_queue: at_least(env, &PASSWORD_QUEUE, 1)?,
            sign_up_queue: at_least(env, &SIGN_UP_QUEUE, 1)?,
            limits: Limits {
                per_account: at_least(env, &FAILURES_PER_ACCOUNT, 1)?,
                everywhere: at_least(env, &FAILURES_EVERYWHERE, 1)?,
                sign_ups: at_least(env, &SIGN_UPS_PER_WINDOW, 1)?,
                window_seconds: at_least(env, &FAILURES_WINDOW_SECONDS, 1)?,
            },
        })
    }
}

fn at_least<T>(env: &Env, setting: &Setting, least: T) -> Result<T, ConfigError>
where
    T: FromStr + PartialOrd + std::fmt::Display,
    T::Err: std::fmt::Display,
{
    let value: T = env.get(setting)?;
    if value < least {
        return Err(env.error(setting, &format!("must be at least {least}")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::of_env(&Env::of("identity", pairs.iter().map(|(k, v)| (format!("TOURMESH_{k}"), (*v).to_owned()))))
    }

    #[test]
    fn the_defaults_are_valid_and_nonsense_names_its_setting() {
        assert!(config(&[]).is_ok());
        for (name, value) in [
            ("SESSION_DAYS", "0"),
            ("KEY_ROTATE_DAYS", "soon"),
            ("KEY_SECRET", "short"),
            ("PASSWORD_MEMORY_KIB", "1"),
            ("PASSWORD_QUEUE", "0"),
            ("FAILURES_PER_ACCOUNT", "0"),
        ] {
            let error = config(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(config(&[("KEY_ROTATE_DAYS", "1"), ("KEY_PUBLISH_MINUTES", "1440")]).is_err());
    }
}
