//! What the caller can choose, and where things are kept when the caller does not choose.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::user;

/// The setting that names the directory with `postgres` and `initdb`.
pub const PG_BIN: &str = "TOURMESH_PG_BIN";
/// The setting that names the directory with `nats-server`.
pub const NATS_BIN: &str = "TOURMESH_NATS_BIN";
/// The setting that names the directory in which installed engines are kept.
pub const CACHE_DIR: &str = "TOURMESH_CACHE_DIR";
/// The setting that names the user whom the engines run as when we are root.
pub const ENGINES_USER: &str = "TOURMESH_ENGINES_USER";

/// Whether what the engines have acknowledged survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Every commit and every acknowledged message is on disk.
    #[default]
    Full,
    /// Nothing is synced: fast, for tests only. A crash of the machine may destroy the databases.
    Relaxed,
}

/// How to find and start the engines. [`Options::from_env`] is the usual beginning.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where databases, streams, passwords and logs live; [`default_data_dir`] when `None`.
    pub data_dir: Option<PathBuf>,
    /// Directory with `postgres` and `initdb`; when `None`, the cache directory is used.
    pub pg_bin: Option<PathBuf>,
    /// Directory with `nats-server`; when `None`, the cache directory is used.
    pub nats_bin: Option<PathBuf>,
    /// Where installed engines are kept; [`default_cache_dir`] when `None`.
    pub cache_dir: Option<PathBuf>,
    /// As whom the engines run when we are root; `postgres` or else `nobody` when `None`. Not used otherwise.
    pub run_as: Option<String>,
    /// Port of PostgreSQL; when `None`, or when it is taken, the one of the last time or a free one.
    pub postgres_port: Option<u16>,
    /// Port of NATS; when `None`, or when it is taken, the one of the last time or a free one.
    pub nats_port: Option<u16>,
    /// Whether acknowledged data survives a power cut.
    pub durability: Durability,
    /// How long an engine may take until it answers. Recovery after a crash is part of it.
    pub start_timeout: Duration,
    /// How long an engine may take to end by itself before it is killed.
    pub stop_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_dir: None,
            pg_bin: None,
            nats_bin: None,
            cache_dir: None,
            run_as: None,
            postgres_port: None,
            nats_port: None,
            durability: Durability::Full,
            start_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// The defaults, with the directories of binaries and of the cache and the user taken from the environment:
    /// [`PG_BIN`], [`NATS_BIN`], [`CACHE_DIR`], [`ENGINES_USER`]. An empty value counts as unset.
    pub fn from_env() -> Self {
        let dir = |name| variable(name).map(PathBuf::from);
        Self {
            pg_bin: dir(PG_BIN),
            nats_bin: dir(NATS_BIN),
            cache_dir: dir(CACHE_DIR),
            run_as: variable(ENGINES_USER),
            ..Self::default()
        }
    }

    /// The same with this data directory.
    #[must_use]
    pub fn with_data_dir(self, dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: Some(dir.into()), ..self }
    }
}

/// Where data is kept by default: `$XDG_DATA_HOME/tourmesh` or `~/.local/share/tourmesh`, on macOS
/// `~/Library/Application Support/tourmesh`, and `/var/lib/tourmesh` for root, whose home PostgreSQL's user cannot enter.
pub fn default_data_dir() -> Result<PathBuf> {
    if user::is_root()? {
        return Ok(PathBuf::from("/var/lib/tourmesh"));
    }
    in_home("XDG_DATA_HOME", ".local/share", "Library/Application Support", "data", "a data directory")
        .map(|dir| dir.join("tourmesh"))
}

/// Where installed engines are kept by default: `$XDG_CACHE_HOME/tourmesh/engines` or `~/.cache/tourmesh/engines`, on
/// macOS `~/Library/Caches/tourmesh/engines`, and `/var/cache/tourmesh/engines` for root, because the user whom
/// PostgreSQL then runs as has to read it.
pub fn default_cache_dir() -> Result<PathBuf> {
    if user::is_root()? {
        return Ok(PathBuf::from("/var/cache/tourmesh/engines"));
    }
    in_home("XDG_CACHE_HOME", ".cache", "Library/Caches", "installed engines", CACHE_DIR)
        .map(|dir| dir.join("tourmesh").join("engines"))
}

fn in_home(xdg: &str, linux: &str, macos: &str, what: &'static str, setting: &'static str) -> Result<PathBuf> {
    // The XDG specification has relative paths ignored.
    if let Some(dir) = variable(xdg).map(PathBuf::from).filter(|dir| dir.is_absolute()) {
        return Ok(dir);
    }
    let home = env::home_dir().filter(|home| home.is_absolute()).ok_or(Error::NoHome { what, setting })?;
    Ok(home.join(if cfg!(target_os = "macos") { macos } else { linux }))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}
