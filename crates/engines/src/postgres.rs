//! PostgreSQL: how its data directory is made, how it is configured and how to connect to it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::error::{Error, IoContext, Result, last_lines};
use crate::files;
use crate::options::Durability;
use crate::process::{Probe, Spec};
use crate::progress::{Engine, Event, Progress};
use crate::site::Site;
use crate::user::Account;

const SUPERUSER: &str = "postgres";

/// How to connect to the database server.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresHandle {
    /// Where it listens; always the loopback interface.
    pub host: String,
    /// On which port.
    pub port: u16,
    /// The name of the superuser.
    pub superuser: String,
    /// The superuser's password.
    pub password: String,
    bin_dir: PathBuf,
}

impl PostgresHandle {
    pub(crate) fn new(site: &Site, port: u16) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port,
            superuser: SUPERUSER.to_owned(),
            password: site.secrets.postgres_password.clone(),
            bin_dir: site.binaries.pg_bin.clone(),
        }
    }

    /// The URL of a database for the superuser. The database `postgres` always exists.
    pub fn url(&self, database: &str) -> String {
        self.url_as(&self.superuser, &self.password, database)
    }

    /// The URL of a database for another user.
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{}:{}@{}:{}/{}", escape(user), escape(password), self.host, self.port, escape(database))
    }

    /// The directory of PostgreSQL's programs, where `pgbench` and `psql` may be found.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }
}

impl fmt::Debug for PostgresHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresHandle")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("superuser", &self.superuser)
            .finish_non_exhaustive()
    }
}

/// Makes a text safe for its place in a URL.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

fn data(site: &Site) -> PathBuf {
    site.root.join("postgres")
}

fn config(site: &Site) -> PathBuf {
    site.root.join("postgres.conf")
}

/// Makes the databases on the first start, and refuses those of another major version.
pub(crate) async fn prepare(site: &Site, progress: &Progress) -> Result<()> {
    let data = data(site);
    if data.exists() {
        return check_version(site, &data).await;
    }
    progress.tell(Event::Preparing { engine: Engine::Postgres });
    // Into another directory first: one that exists under its own name is complete. Each attempt has its own, because an
    // initdb whose parent was killed may still be writing.
    for stale in fs::read_dir(&site.root).context("read", &site.root)?.flatten() {
        if stale.file_name().to_string_lossy().starts_with("postgres.new-") {
            let _ = fs::remove_dir_all(stale.path()).or_else(|_| fs::remove_file(stale.path()));
        }
    }
    let new = site.root.join(format!("postgres.new-{}", files::random_hex(4)?));
    init(&site.binaries.pg_bin, &new, &site.secrets.postgres_password, site.account.as_ref(), site.durability).await?;
    fs::rename(&new, &data).context("create", &data)?;
    fs::File::open(&site.root).and_then(|dir| dir.sync_all()).context("write", &site.root)
}

/// Makes a fresh set of databases in `dir`, whose parent the account can enter.
pub(crate) async fn init(
    bin: &Path,
    dir: &Path,
    password: &str,
    account: Option<&Account>,
    durability: Durability,
) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).context("remove", dir)?;
    }
    files::ensure_dir(dir, 0o700, account)?;
    let password_file = dir.with_added_extension("password");
    files::write(&password_file, password, account)?;
    let mut command = Command::new(bin.join("initdb"));
    command
        .arg("--pgdata")
        .arg(dir)
        .arg("--pwfile")
        .arg(&password_file)
        .args(["--username", SUPERUSER, "--auth", "scram-sha-256", "--encoding", "UTF8"])
        // The same order and case rules on every system, and no need for its locales.
        .args(["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]);
    if durability == Durability::Relaxed {
        // Small WAL files make the template small.
        command.args(["--no-sync", "--wal-segsize", "4"]);
    }
    let result = run("initdb", &mut command, account).await;
    let removed = fs::remove_file(&password_file).context("remove", &password_file);
    result?;
    removed
}

async fn run(step: &'static str, command: &mut Command, account: Option<&Account>) -> Result<String> {
    command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    let output = command.output().await.map_err(|source| Error::Program { program: step.to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Err(Error::Step {
        step,
        status: output.status.to_string(),
        output: last_lines(&String::from_utf8_lossy(&text), 12),
    })
}

/// What `postgres --version` says, as in "postgres (PostgreSQL) 18.6".
pub(crate) async fn version(bin: &Path) -> Result<String> {
    run("postgres --version", Command::new(bin.join("postgres")).arg("--version"), None)
        .await
        .map(|text| text.trim().to_owned())
}

async fn check_version(site: &Site, data: &Path) -> Result<()> {
    let file = data.join("PG_VERSION");
    let found = fs::read_to_string(&file).context("read", &file)?.trim().to_owned();
    let version = version(&site.binaries.pg_bin).await?;
    let number = version.rsplit(' ').find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or_default();
    let expected: String = number.chars().take_while(char::is_ascii_digit).collect();
    if found == expected {
        return Ok(());
    }
    Err(Error::WrongVersion { dir: data.to_owned(), found, expected })
}

/// Writes the settings file.
pub(crate) fn configure(site: &Site, port: u16) -> Result<()> {
    let durability = match site.durability {
        Durability::Full => "",
        Durability::Relaxed => {
            "\n# tests only: nothing is synced\nfsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
        }
    };
    let text = format!(
        "# Written by tourmesh at each start: changes are lost. ALTER SYSTEM is kept.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
password_encryption = 'scram-sha-256'

shared_buffers = '512MB'
work_mem = '8MB'
maintenance_work_mem = '128MB'
effective_cache_size = '1GB'
random_page_cost = 1.1
jit = off

wal_level = 'replica'
wal_buffers = '16MB'
min_wal_size = '256MB'
max_wal_size = '2GB'
checkpoint_timeout = '15min'
{durability}
shared_preload_libraries = 'pg_stat_statements'

log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] %q%u@%d '
log_min_duration_statement = '1s'
log_lock_waits = on
log_timezone = 'UTC'
timezone = 'UTC'
datestyle = 'iso, ymd'
lc_messages = 'C'
default_text_search_config = 'pg_catalog.simple'
"
    );
    files::write(&config(site), &text, site.account.as_ref())
}

/// How to start the server. SIGINT disconnects everybody and writes a checkpoint; SIGQUIT leaves at once and has the
/// next start recover.
pub(crate) fn spec(site: &Site) -> Spec {
    let dir = data(site);
    let quit = ("QUIT", Duration::from_secs(4));
    let kill = ("KILL", Duration::from_secs(2));
    Spec {
        engine: Engine::Postgres,
        program: site.binaries.pg_bin.join("postgres"),
        args: vec![
            "-D".into(),
            dir.clone().into(),
            "-c".into(),
            format!("config_file={}", config(site).display()).into(),
        ],
        account: site.account.clone(),
        pid_file: dir.join("postmaster.pid"),
        log: site.log("postgres"),
        probe: Probe::PostmasterFile(dir.join("postmaster.pid")),
        dir,
        signals: if site.disposable { vec![quit, kill] } else { vec![("INT", site.stop_timeout), quit, kill] },
        start_timeout: site.start_timeout,
    }
}

/// Copies prepared databases, which the account owns, to a new place.
pub(crate) async fn copy(from: &Path, site: &Site) -> Result<()> {
    let mut command = Command::new("cp");
    // Both share the blocks of the copy where the file system can.
    command.arg(if cfg!(target_os = "macos") { "-Rpc" } else { "-a" }).arg(from).arg(data(site));
    run("cp", &mut command, None).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn urls_survive_odd_passwords() {
        assert_eq!(escape("a-b_1"), "a-b_1");
        assert_eq!(escape("p@ss:/ö"), "p%40ss%3A%2F%C3%B6");
    }
}
