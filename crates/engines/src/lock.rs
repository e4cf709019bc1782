//! One process per data directory.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, IoContext, Result};

/// The exclusive right to a data directory, held until this is dropped or the process ends, however it ends.
///
/// The right is a lock of the operating system on the file `lock`, which also holds our process id for the message to
/// the next one. A file that a killed process left behind is therefore not in the way.
#[derive(Debug)]
pub struct DataDirLock {
    dir: PathBuf,
    file: File,
}

impl DataDirLock {
    /// Takes the lock, or says who has it ([`Error::Busy`]). The directory must exist.
    pub fn acquire(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        let path = dir.join("lock");
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).context("open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { pid: holder(&mut file), dir }),
            Err(TryLockError::Error(source)) => return Err(Error::Io { action: "lock", path, source }),
        }
        file.set_len(0).context("write", &path)?;
        file.rewind().context("write", &path)?;
        writeln!(file, "{}", std::process::id()).context("write", &path)?;
        Ok(Self { dir, file })
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        // Closing the file would do; this is for a reader of the code, and for descriptors that leaked to a child.
        let _ = self.file.unlock();
    }
}

/// The process named in the file. Who has just taken the lock may not have written it yet, so look twice.
fn holder(file: &mut File) -> Option<u32> {
    for attempt in 0..2 {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut text = String::new();
        let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
        if let Some(pid) = read.ok().and_then(|_| text.trim().parse().ok()) {
            return Some(pid);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_is_refused_with_the_pid_and_a_stale_file_is_not_in_the_way() {
        let dir = std::env::temp_dir().join(format!("tourmesh-lock-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("lock"), "999999\n").unwrap();
        let first = DataDirLock::acquire(&dir).unwrap();
        let message = DataDirLock::acquire(&dir).unwrap_err().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        assert!(message.contains(&dir.display().to_string()), "{message}");
        drop(first);
        DataDirLock::acquire(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
