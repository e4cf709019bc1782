//! Throwaway data directories: copied from a template, removed whatever happens to us.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::binaries::{Binaries, blocking};
use crate::error::{Error, IoContext, Result};
use crate::files;
use crate::lock::DataDirLock;
use crate::options::Durability;
use crate::postgres;
use crate::user::{self, Account};

const PREFIX: &str = "tourmesh-engines-";

/// Removes the directory when its standard input ends, which it does when we end. The engines have watchdogs of their
/// own; it waits for them, and since an engine may be about to write its first file, it looks twice.
const JANITOR: &str = r#"
dir=$1
read -r word
alive() {
  read -r pid <"$1" || return 1
  if [ -d /proc/self ]; then tr '\0' ' ' <"/proc/$pid/cmdline"; else ps -ww -o command= -p "$pid"; fi | grep -qF -- "$dir"
}
count=0
while [ -e "$dir" ] && [ "$count" -lt 200 ]; do
  alive "$dir/postgres/postmaster.pid" || alive "$dir/nats/nats.pid" || rm -rf -- "$dir"
  [ -e "$dir" ] && sleep 0.1
  count=$((count + 1))
done
"#;

/// A directory that goes away with us.
#[derive(Debug)]
pub(crate) struct TempDir {
    path: PathBuf,
    janitor: Child,
    leash: Option<ChildStdin>,
}

impl TempDir {
    pub(crate) fn new() -> Result<Self> {
        let base = base_dir();
        let base = base.canonicalize().context("find", &base)?;
        let path = base.join(format!("{PREFIX}{}", files::random_hex(8)?));
        // The janitor comes first, so that there is no moment in which nobody would clean up.
        let mut janitor = Command::new("sh")
            .args(["-c", JANITOR, "sh"])
            .arg(&path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Program { program: "sh".to_owned(), source })?;
        let leash = janitor.stdin.take();
        files::ensure_dir(&path, 0o711, None)?;
        Ok(Self { path, janitor, leash })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory now. The engines have ended.
    pub(crate) async fn remove(mut self) -> Result<()> {
        let path = self.path.clone();
        blocking(move || match fs::remove_dir_all(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.context("remove", &path),
        })
        .await?;
        drop(self.leash.take());
        let _ = timeout(Duration::from_secs(2), self.janitor.wait()).await;
        Ok(())
    }
}

/// Where throwaway directories are made: in memory where there is plenty of it, because a start on a busy disk takes ten
/// times as long; else, and always when `TMPDIR` is set, in the directory for temporary files. Blocks.
fn base_dir() -> PathBuf {
    const PLENTY_KIB: u64 = 2 << 20;
    let memory = Path::new("/dev/shm");
    if std::env::var_os("TMPDIR").is_none() && memory.is_dir() {
        let unused = fs::read_to_string("/proc/meminfo").ok().and_then(|text| number_after(&text, "MemAvailable:", 0));
        let output = std::process::Command::new("df").arg("-Pk").arg(memory).stderr(Stdio::null()).output();
        // Columns: file system, size, used, available.
        let room =
            output.ok().and_then(|output| number_after(String::from_utf8_lossy(&output.stdout).lines().nth(1)?, "", 3));
        if unused.zip(room).map(|(unused, room)| unused.min(room)).is_some_and(|kib| kib >= PLENTY_KIB) {
            return memory.to_owned();
        }
    }
    std::env::temp_dir()
}

/// The number in this column behind the label.
fn number_after(text: &str, label: &str, column: usize) -> Option<u64> {
    text.split_once(label)?.1.split_whitespace().nth(column)?.parse().ok()
}

/// Removes what runs have left behind that were killed together with their janitors. Blocks.
pub(crate) fn sweep() {
    let Ok(entries) = fs::read_dir(base_dir()) else { return };
    for dir in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let old = dir
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age.as_secs() > 120));
        // An open lock means that its owner lives.
        let path = dir.path();
        if old && path.join("lock").is_file() && DataDirLock::acquire(&path).is_ok() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Prepared databases of this version for this user, with their password. Made once, in the cache directory.
pub(crate) async fn template(
    cache: &Path,
    binaries: &Binaries,
    account: Option<&Account>,
) -> Result<(PathBuf, String)> {
    let version = postgres::version(&binaries.pg_bin).await?;
    let uid = account.map_or_else(|| "own".to_owned(), |account| account.uid.to_string());
    let key = format!("1 {version} {} {uid}", binaries.pg_bin.display());
    let key = hex::encode(&Sha256::digest(key.as_bytes())[..6]);
    let home = cache.join(format!("template-{key}"));
    if let Some(found) = read(&home) {
        return Ok(found);
    }
    let path = cache.join(format!("template-{key}.lock"));
    files::ensure_dir(cache, 0o755, None)?;
    let _lock = blocking(move || {
        let file = File::options().write(true).create(true).truncate(false).open(&path).context("open", &path)?;
        file.lock().context("lock", &path)?;
        Ok(file)
    })
    .await?;
    if let Some(found) = read(&home) {
        return Ok(found);
    }
    let work = cache.join(format!(".template-{key}.part"));
    if work.exists() {
        fs::remove_dir_all(&work).context("remove", &work)?;
    }
    files::ensure_dir(&work, 0o711, None)?;
    user::check_reach(&work, account)?;
    let password = files::random_hex(32)?;
    files::write(&work.join("password"), &password, None)?;
    postgres::init(&binaries.pg_bin, &work.join("postgres"), &password, account, Durability::Relaxed).await?;
    fs::rename(&work, &home).context("create", &home)?;
    Ok((home.join("postgres"), password))
}

fn read(home: &Path) -> Option<(PathBuf, String)> {
    Some((home.join("postgres"), fs::read_to_string(home.join("password")).ok()?))
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn numbers_are_found_behind_labels_and_in_columns() {
        assert_eq!(number_after("MemFree: 1 kB\nMemAvailable:   23 kB\n", "MemAvailable:", 0), Some(23));
        assert_eq!(number_after("tmpfs  100 20  80  20% /dev/shm", "", 3), Some(80));
        assert_eq!(number_after("nothing", "MemAvailable:", 0), None);
    }
}
