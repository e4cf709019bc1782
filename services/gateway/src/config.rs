//! The settings of this role, read once at the start.

use std::{str::FromStr, time::Duration};

use http::HeaderValue;
use kit::{
    chassis::PEERS,
    config::{ConfigError, Env, Setting},
    server::CONCURRENCY,
};
use tourmesh_kit as kit;

use crate::upstream::Address;

const ALLOWED_ORIGINS: Setting = Setting::new(
    "ALLOWED_ORIGINS",
    "*",
    "The web origins whose pages may call, separated by commas, such as https://book.example.org; * for any. Calls carry \
     tokens and no cookies, so * gives no page anything that it does not have.",
);
const MAX_CONNECTIONS: Setting =
    Setting::new("MAX_CONNECTIONS", "10000", "How many connections of clients are open at once; more wait.");
const MAX_STREAMS: Setting =
    Setting::new("MAX_STREAMS", "256", "How many calls one HTTP/2 connection of a client may have open at once.");
const CONNECTION_AGE_SECONDS: Setting = Setting::new(
    "CONNECTION_AGE_SECONDS",
    "1800",
    "After how many seconds a client's connection is asked to end, so that clients spread over new replicas.",
);
const UPSTREAM_SECONDS: Setting = Setting::new(
    "UPSTREAM_SECONDS",
    "30",
    "How long a service may take to begin its answer when the caller sets no deadline, in seconds.",
);

const CALLS_PER_CONNECTION: Setting = Setting::new(
    "CALLS_PER_CONNECTION",
    "128",
    "How many calls of one client connection wait for their answers at once; more are refused with OVERLOADED. More than \
     this is for a proxy that brings many clients on one connection.",
);
const STREAMS: Setting = Setting::new(
    "STREAMS",
    "4096",
    "How many streams, such as watched departures, are open to one service at once. Half of what the connections to it \
     carry, so that other calls always find room; more are refused with OVERLOADED.",
);
const STREAMS_PER_CONNECTION: Setting = Setting::new(
    "STREAMS_PER_CONNECTION",
    "64",
    "How many of these streams one client connection may have open; more are refused with OVERLOADED.",
);
const TRUST_TRACEPARENT: Setting = Setting::new(
    "TRUST_TRACEPARENT",
    "loopback",
    "Whose traceparent makes our trace a part of theirs and decides whether it is recorded: loopback (callers on this \
     machine), always (behind a proxy that cares for it) or never. Of others the trace id is noted on our span.",
);

/// Everything that can be set for this role alone; where the services are is set as for every role.
pub const SETTINGS: &[Setting] = &[
    ALLOWED_ORIGINS,
    MAX_CONNECTIONS,
    MAX_STREAMS,
    CALLS_PER_CONNECTION,
    STREAMS,
    STREAMS_PER_CONNECTION,
    CONNECTION_AGE_SECONDS,
    UPSTREAM_SECONDS,
    TRUST_TRACEPARENT,
];

/// Whose `traceparent` is obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// That of callers on this machine.
    Loopback,
    /// Everybody's.
    Always,
    /// Nobody's.
    Never,
}

impl FromStr for Trust {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "loopback" => Ok(Self::Loopback),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("must be loopback, always or never".to_owned()),
        }
    }
}

/// Which pages may call.
#[derive(Debug, Clone)]
pub enum Origins {
    /// Those of any origin.
    Any,
    /// Those of these origins.
    These(Vec<HeaderValue>),
}

/// The settings, typed and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where each role answers.
    pub upstreams: Vec<(&'static str, Address)>,
    /// Which pages may call.
    pub origins: Origins,
    /// Connections of clients.
    pub max_connections: usize,
    /// Calls per connection.
    pub max_streams: u32,
    /// Calls that wait, per connection.
    pub calls_per_connection: usize,
    /// Streams to one service.
    pub streams: usize,
    /// Streams per connection.
    pub streams_per_connection: usize,
    /// Whose traces are continued.
    pub trust: Trust,
    /// How old a connection gets.
    pub connection_age: Duration,
    /// How long a service may take to begin its answer.
    pub upstream_time: Duration,
    /// How many calls wait for the beginning of their answer at once.
    pub concurrency: usize,
}

impl Config {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// Names the first setting that is wrong.
    pub fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let upstreams = PEERS.iter().map(|(role, setting)| {
            let url: String = env.get(setting)?;
            Ok((*role, Address::parse(&url).map_err(|problem| env.error(setting, &problem))?))
        });
        Ok(Self {
            upstreams: upstreams.collect::<Result<_, ConfigError>>()?,
            origins: origins(env)?,
            max_connections: at_least_one(env, &MAX_CONNECTIONS)?,
            max_streams: at_least_one(env, &MAX_STREAMS)?,
            calls_per_connection: at_least_one(env, &CALLS_PER_CONNECTION)?,
            streams: at_least_one(env, &STREAMS)?,
            streams_per_connection: at_least_one(env, &STREAMS_PER_CONNECTION)?,
            trust: env.get(&TRUST_TRACEPARENT)?,
            connection_age: Duration::from_secs(at_least_one(env, &CONNECTION_AGE_SECONDS)?),
            upstream_time: Duration::from_secs(at_least_one(env, &UPSTREAM_SECONDS)?),
            concurrency: at_least_one(env, &CONCURRENCY)?,
        })
    }
}

fn origins(env: &Env) -> Result<Origins, ConfigError> {
    let text: String = env.get(&ALLOWED_ORIGINS)?;
    if text.trim() == "*" {
        return Ok(Origins::Any);
    }
    let each = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(|origin| {
        let is_origin = origin.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
        let value = HeaderValue::from_str(origin).ok().filter(|_| is_origin);
        value.ok_or_else(|| {
            env.error(&ALLOWED_ORIGINS, &format!("{origin:?} is not an origin such as https://example.org"))
        })
    });
    Ok(Origins::These(each.collect::<Result<_, _>>()?))
}

fn at_least_one<T>(env: &Env, setting: &Setting) -> Result<T, ConfigError>
where
    T: FromStr + PartialOrd + From<u8>,
    T::Err: std::fmt::Display,
{
    let value: T = env.get(setting)?;
    if value < T::from(1) {
        return Err(env.error(setting, "must be at least 1"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::of_env(&Env::of("gateway", pairs.iter().map(|(k, v)| (format!("TOURMESH_{k}"), (*v).to_owned()))))
    }

    #[test]
    fn the_defaults_are_valid_and_nonsense_names_its_setting() {
        assert_eq!(config(&[]).unwrap().upstreams.len(), 5);
        for (name, value) in [
            ("ALLOWED_ORIGINS", "https://example.org/path"),
            ("ALLOWED_ORIGINS", "example.org"),
            ("CATALOG_URL", "https://catalog:50051"),
            ("BOOKING_URL", "booking"),
            ("MAX_STREAMS", "0"),
            ("CONCURRENCY", "many"),
            ("STREAMS", "0"),
            ("TRUST_TRACEPARENT", "true"),
        ] {
            let error = config(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let origins = config(&[("ALLOWED_ORIGINS", "https://a.example, http://localhost:5173")]).unwrap().origins;
        assert!(matches!(origins, Origins::These(list) if list.len() == 2));
    }
}
