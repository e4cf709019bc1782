//! Where the programs are: an explicit directory, else the cache, else they are installed there.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::install::{NATS, POSTGRES, Package};
use crate::options::{Options, default_cache_dir};
use crate::progress::Progress;

/// The directories of the engines' programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// Directory with `postgres` and `initdb`; also `psql`, `pg_dump` and `pgbench` when we installed it.
    pub pg_bin: PathBuf,
    /// Directory with `nats-server`.
    pub nats_bin: PathBuf,
}

impl Binaries {
    /// Finds the programs, and installs what is missing: an explicit directory wins, then comes the cache directory.
    ///
    /// [`Engines::start`](crate::Engines::start) does this by itself; call it to install ahead of time.
    pub async fn find(options: &Options, progress: impl Fn(crate::Event) + Send + Sync + 'static) -> Result<Self> {
        Self::locate(options, &Progress::new(progress)).await
    }

    pub(crate) async fn locate(options: &Options, progress: &Progress) -> Result<Self> {
        let (pg_bin, nats_bin) = tokio::try_join!(
            one(&POSTGRES, options.pg_bin.as_deref(), &["postgres", "initdb"], options, progress),
            one(&NATS, options.nats_bin.as_deref(), &["nats-server"], options, progress),
        )?;
        Ok(Self { pg_bin, nats_bin })
    }
}

async fn one(
    package: &'static Package,
    explicit: Option<&Path>,
    programs: &[&'static str],
    options: &Options,
    progress: &Progress,
) -> Result<PathBuf> {
    if let Some(dir) = explicit {
        let missing = programs.iter().find(|program| !is_executable(&dir.join(program)));
        if let Some(missing) = missing {
            return Err(Error::NoSuchBinary { setting: package.setting, dir: dir.to_owned(), missing });
        }
        let dir = std::path::absolute(dir).context("find", dir)?;
        return blocking(move || package.check_version(&dir).map(|()| dir)).await;
    }
    let cache = cache_dir(options)?;
    if let Some(bin) = package.installed(&cache) {
        return Ok(bin);
    }
    let progress = progress.clone();
    blocking(move || package.install(&cache, &progress)).await
}

/// The cache directory that these options mean.
pub(crate) fn cache_dir(options: &Options) -> Result<PathBuf> {
    match &options.cache_dir {
        Some(dir) => std::path::absolute(dir).map_err(|source| Error::Io { action: "find", path: dir.clone(), source }),
        None => default_cache_dir(),
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs work that waits for disks, locks or other programs where it may wait.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T>
where
    F: FnOnce() -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // A panic of ours is a bug and goes on; the task cannot have been cancelled otherwise.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
