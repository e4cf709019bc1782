//! One data directory, prepared: who may enter it, which passwords it has, where each engine's part lies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::binaries::Binaries;
use crate::error::{Error, IoContext, Result};
use crate::files::{self, Secrets};
use crate::lock::DataDirLock;
use crate::options::{Durability, Options};
use crate::user::{self, Account};

/// Everything that the two engines' own files need to know.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) root: PathBuf,
    pub(crate) account: Option<Account>,
    pub(crate) binaries: Binaries,
    pub(crate) secrets: Secrets,
    pub(crate) durability: Durability,
    /// Thrown away at the end, so that nothing needs to be written on the way out.
    pub(crate) disposable: bool,
    pub(crate) start_timeout: Duration,
    pub(crate) stop_timeout: Duration,
}

impl Site {
    /// Makes the directory unless it is there, and takes its lock. Blocks.
    pub(crate) fn claim(dir: &Path) -> Result<(PathBuf, DataDirLock)> {
        let root = std::path::absolute(dir).context("find", dir)?;
        // Entered by the engines' user, listed by its owner only.
        files::ensure_dir(&root, 0o711, None)?;
        // Processes are recognised by this path, so it has to be the one that the system knows.
        let root = root.canonicalize().context("find", &root)?;
        if root.to_str().is_none() {
            return Err(Error::NotText { path: root });
        }
        let lock = DataDirLock::acquire(&root)?;
        files::ensure_dir(&root.join("logs"), 0o700, None)?;
        Ok((root, lock))
    }

    /// Checks that the engines' user can work here and loads or makes the passwords. Blocks.
    pub(crate) fn open(root: PathBuf, binaries: Binaries, options: &Options) -> Result<Self> {
        let databases = root.join("postgres");
        let account = user::account(options.run_as.as_deref(), &databases)?;
        for dir in [&root, &binaries.pg_bin, &binaries.nats_bin] {
            user::check_reach(dir, account.as_ref())?;
        }
        let secrets = Secrets::load_or_create(&root, &databases)?;
        Ok(Self {
            root,
            account,
            binaries,
            secrets,
            durability: options.durability,
            disposable: false,
            start_timeout: options.start_timeout,
            stop_timeout: options.stop_timeout,
        })
    }

    /// Where an engine's output goes. A big file of an earlier run makes room first.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        let path = self.root.join("logs").join(format!("{name}.log"));
        if path.metadata().is_ok_and(|meta| meta.len() > 16 << 20) {
            let _ = std::fs::rename(&path, path.with_added_extension("old"));
        }
        path
    }
}
