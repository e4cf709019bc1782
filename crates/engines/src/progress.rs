//! What happens to the engines, told to whoever draws bars or writes lines.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One of the two engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The database.
    Postgres,
    /// The message broker with JetStream.
    Nats,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::Nats => "NATS",
        })
    }
}

/// Something that happened. Its `Display` is one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The engine is not on this machine yet: it is being downloaded and unpacked.
    Installing {
        /// Which engine.
        engine: Engine,
        /// Version of the engine's package.
        version: &'static str,
        /// About how many bytes come over the network.
        bytes: u64,
    },
    /// The engine was downloaded, checked and unpacked.
    Installed {
        /// Which engine.
        engine: Engine,
        /// How long that took.
        took: Duration,
    },
    /// The engine's data directory is being made (the first start only).
    Preparing {
        /// Which engine.
        engine: Engine,
    },
    /// An engine of a killed run still runs in this data directory and is being stopped.
    Leftover {
        /// Which engine.
        engine: Engine,
        /// Its process.
        pid: u32,
    },
    /// The engine's process is being started.
    Starting {
        /// Which engine.
        engine: Engine,
    },
    /// The engine answers.
    Ready {
        /// Which engine.
        engine: Engine,
        /// Since `Starting`.
        took: Duration,
    },
    /// The engine ended without having been asked to, or could not be started again.
    Crashed {
        /// Which engine.
        engine: Engine,
        /// How it ended.
        status: String,
        /// When the next attempt will be made.
        retry_in: Duration,
    },
    /// The engine answers again after a crash.
    Restarted {
        /// Which engine.
        engine: Engine,
        /// Since the crash was noticed.
        took: Duration,
    },
    /// The engine was asked to end.
    Stopping {
        /// Which engine.
        engine: Engine,
    },
    /// The engine has ended.
    Stopped {
        /// Which engine.
        engine: Engine,
        /// Since `Stopping`.
        took: Duration,
    },
}

impl Event {
    /// The engine that this is about.
    pub fn engine(&self) -> Engine {
        match self {
            Self::Installing { engine, .. }
            | Self::Installed { engine, .. }
            | Self::Preparing { engine }
            | Self::Leftover { engine, .. }
            | Self::Starting { engine }
            | Self::Ready { engine, .. }
            | Self::Crashed { engine, .. }
            | Self::Restarted { engine, .. }
            | Self::Stopping { engine }
            | Self::Stopped { engine, .. } => *engine,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installing { engine, version, bytes } => {
                write!(f, "installing {engine} {version} ({} MB)", bytes.div_ceil(1_000_000))
            }
            Self::Installed { engine, took } => write!(f, "{engine} installed in {} ms", took.as_millis()),
            Self::Preparing { engine } => write!(f, "preparing the data directory of {engine}"),
            Self::Leftover { engine, pid } => write!(f, "stopping {engine} of an earlier run (process {pid})"),
            Self::Starting { engine } => write!(f, "starting {engine}"),
            Self::Ready { engine, took } => write!(f, "{engine} ready in {} ms", took.as_millis()),
            Self::Crashed { engine, status, retry_in } => {
                write!(f, "{engine} ended by itself ({status}); starting it again in {} ms", retry_in.as_millis())
            }
            Self::Restarted { engine, took } => write!(f, "{engine} is back after {} ms", took.as_millis()),
            Self::Stopping { engine } => write!(f, "stopping {engine}"),
            Self::Stopped { engine, took } => write!(f, "{engine} stopped in {} ms", took.as_millis()),
        }
    }
}

/// Whoever wants to hear of events. Called from several tasks; it should return quickly.
#[derive(Clone)]
pub(crate) struct Progress(Arc<dyn Fn(Event) + Send + Sync>);

impl Progress {
    pub(crate) fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    pub(crate) fn silent() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.0)(event);
    }
}
