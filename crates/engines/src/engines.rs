//! The two engines together: started at the same time, watched, stopped at the same time.

use std::path::Path;
use std::time::Instant;

use crate::binaries::{Binaries, blocking, cache_dir};
use crate::ephemeral::{self, TempDir};
use crate::error::{Error, Result};
use crate::files::{self, Secrets, State};
use crate::leftovers;
use crate::lock::DataDirLock;
use crate::nats::{self, NatsHandle};
use crate::options::{Durability, Options, default_data_dir};
use crate::postgres::{self, PostgresHandle};
use crate::process::{Running, Spec};
use crate::progress::{Engine, Event, Progress};
use crate::site::Site;
use crate::supervise::Supervisor;
use crate::user;

/// A running PostgreSQL and a running NATS that belong to this process.
///
/// Call [`stop`](Self::stop) for an orderly end. If this is dropped instead, or the process ends in whatever way,
/// watchdogs stop the engines a moment later.
///
/// The supervision runs on the tokio runtime that started the engines, and ends with it: tests that share engines start
/// them on a runtime of their own that lives as long as the process.
#[derive(Debug)]
#[must_use = "dropping it stops the engines"]
pub struct Engines {
    postgres: PostgresHandle,
    nats: NatsHandle,
    postgres_watch: Supervisor,
    nats_watch: Supervisor,
    lock: DataDirLock,
    temp: Option<TempDir>,
}

/// The processes of the engines; `None` while one is being started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pids {
    /// PostgreSQL's first process.
    pub postgres: Option<u32>,
    /// The NATS server.
    pub nats: Option<u32>,
}

impl Engines {
    /// Finds or installs the engines, prepares the data directory on its first use, starts both and waits until both
    /// answer. `progress` hears what happens, now and later.
    ///
    /// Fails with [`Error::Busy`] when another process has engines on the same data directory.
    pub async fn start(options: Options, progress: impl Fn(Event) + Send + Sync + 'static) -> Result<Self> {
        let progress = Progress::new(progress);
        let dir = match &options.data_dir {
            Some(dir) => dir.clone(),
            None => default_data_dir()?,
        };
        // First of all: whoever has the lock gets no surprises from us, and a refusal comes before a download.
        let (root, lock) = blocking(move || Site::claim(&dir)).await?;
        let binaries = Binaries::locate(&options, &progress).await?;
        let chosen = options.clone();
        let site = blocking(move || Site::open(root, binaries, &chosen)).await?;
        Self::run(site, &options, lock, progress).await
    }

    /// Starts engines for a test: on a new temporary directory and free ports, without syncing to disk, from a prepared
    /// copy of the databases. The directory is removed at the end; it lies in memory (`/dev/shm`) when there are 2 GiB to
    /// spare and `TMPDIR` is not set. The other options are as in [`start`](Self::start).
    pub async fn ephemeral(options: Options) -> Result<Self> {
        let progress = Progress::silent();
        let binaries = Binaries::locate(&options, &progress).await?;
        let temp = blocking(TempDir::new).await?;
        tokio::task::spawn_blocking(ephemeral::sweep);
        let dir = temp.path().to_owned();
        let run_as = options.run_as.clone();
        let (root, lock, account) = blocking(move || {
            let (root, lock) = Site::claim(&dir)?;
            let account = user::account(run_as.as_deref(), &root.join("postgres"))?;
            Ok((root, lock, account))
        })
        .await?;
        let (template, password) = ephemeral::template(&cache_dir(&options)?, &binaries, account.as_ref()).await?;
        Secrets { postgres_password: password, nats_password: files::random_hex(32)? }.save(&root)?;
        let options = Options { durability: Durability::Relaxed, ..options };
        let chosen = options.clone();
        let mut site = blocking(move || Site::open(root, binaries, &chosen)).await?;
        site.disposable = true;
        postgres::copy(&template, &site).await?;
        let mut engines = Self::run(site, &options, lock, progress).await?;
        engines.temp = Some(temp);
        Ok(engines)
    }

    async fn run(site: Site, options: &Options, lock: DataDirLock, progress: Progress) -> Result<Self> {
        let state = State::load(&site.root);
        let ((postgres_port, postgres_spec, postgres), (nats_port, nats_spec, nats)) = tokio::try_join!(
            start_postgres(&site, [options.postgres_port, state.postgres_port], &progress),
            start_nats(&site, [options.nats_port, state.nats_port], &progress),
        )?;
        State { postgres_port: Some(postgres_port), nats_port: Some(nats_port) }.save(&site.root)?;
        Ok(Self {
            postgres: PostgresHandle::new(&site, postgres_port),
            nats: NatsHandle::new(&site, nats_port),
            postgres_watch: Supervisor::new(postgres_spec, postgres, progress.clone()),
            nats_watch: Supervisor::new(nats_spec, nats, progress),
            lock,
            temp: None,
        })
    }

    /// How to connect to PostgreSQL.
    pub fn postgres(&self) -> &PostgresHandle {
        &self.postgres
    }

    /// How to connect to NATS.
    pub fn nats(&self) -> &NatsHandle {
        &self.nats
    }

    /// The engines' processes at this moment.
    pub fn pids(&self) -> Pids {
        Pids { postgres: self.postgres_watch.pid(), nats: self.nats_watch.pid() }
    }

    /// The data directory, with links resolved.
    pub fn data_dir(&self) -> &Path {
        self.lock.dir()
    }

    /// Stops both engines: asks them to end in order, and kills what has not ended within
    /// [`Options::stop_timeout`]. An ephemeral data directory is gone afterwards.
    pub async fn stop(mut self) -> Result<()> {
        let (postgres, nats) = tokio::join!(self.postgres_watch.stop(), self.nats_watch.stop());
        if let Some(temp) = self.temp.take() {
            temp.remove().await?;
        }
        postgres.and(nats)
    }
}

async fn start_postgres(site: &Site, ports: [Option<u16>; 2], progress: &Progress) -> Result<(u16, Spec, Running)> {
    postgres::prepare(site, progress).await?;
    bring_up(ports, progress, |_| postgres::spec(site), |port| postgres::configure(site, port)).await
}

async fn start_nats(site: &Site, ports: [Option<u16>; 2], progress: &Progress) -> Result<(u16, Spec, Running)> {
    nats::prepare(site)?;
    bring_up(ports, progress, |port| nats::spec(site, port), |port| nats::configure(site, port)).await
}

/// Starts an engine on the first of the ports that is free, or on any other.
async fn bring_up(
    ports: [Option<u16>; 2],
    progress: &Progress,
    spec: impl Fn(u16) -> Spec,
    configure: impl Fn(u16) -> Result<()>,
) -> Result<(u16, Spec, Running)> {
    const ATTEMPTS: u32 = 5;
    let engine: Engine = spec(0).engine;
    // Before the ports are looked at: a leftover may still have ours.
    leftovers::clear(&spec(0), progress).await?;
    progress.tell(Event::Starting { engine });
    let started = Instant::now();
    let mut attempt = 1;
    loop {
        let port = match ports.into_iter().flatten().find(|port| files::is_free(*port)) {
            Some(port) => port,
            None => files::free_port(engine)?,
        };
        let spec = spec(port);
        configure(port)?;
        match spec.launch().await {
            Ok(running) => {
                progress.tell(Event::Ready { engine, took: started.elapsed() });
                tracing::info!(%engine, port, pid = running.pid, ms = started.elapsed().as_millis(), "engine ready");
                return Ok((port, spec, running));
            }
            // Somebody was faster at taking the port.
            Err(Error::Died { .. }) if attempt < ATTEMPTS && !files::is_free(port) => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}
