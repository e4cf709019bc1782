//! Engines of an earlier run that was killed together with the watchdogs, and processes in general.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::error::{Error, Result};
use crate::process::Spec;
use crate::progress::{Event, Progress};

/// Sends a signal to a process. That the process is gone already is no error.
pub(crate) async fn signal(pid: u32, name: &str) -> Result<()> {
    // The shell's own `kill`: small images have no program of that name.
    Command::new("sh")
        .args(["-c", r#"kill -s "$1" "$2""#, "sh", name, &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .map(drop)
        .map_err(|source| Error::Program { program: "sh".to_owned(), source })
}

/// Stops whatever still runs in the engine's directory, so that a new process can have it.
pub(crate) async fn clear(spec: &Spec, progress: &Progress) -> Result<()> {
    if let Some(pid) = recorded(spec).await {
        progress.tell(Event::Leftover { engine: spec.engine, pid });
        tracing::warn!(engine = %spec.engine, pid, "stopping an engine of an earlier run");
        for (name, time) in &spec.signals {
            signal(pid, name).await?;
            let deadline = Instant::now() + *time;
            while Instant::now() < deadline && recorded(spec).await.is_some() {
                sleep(Duration::from_millis(20)).await;
            }
        }
        if recorded(spec).await.is_some() {
            return Err(Error::Leftover { engine: spec.engine, pid, dir: spec.dir.clone() });
        }
    }
    // The server processes of a killed postmaster notice by themselves that it is gone.
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Some(pid) = inhabitant(spec) {
        if Instant::now() > deadline {
            return Err(Error::Leftover { engine: spec.engine, pid, dir: spec.dir.clone() });
        }
        sleep(Duration::from_millis(20)).await;
    }
    // Nobody is left, so the file is stale. Its number may be somebody else's by now, which would stop PostgreSQL.
    let _ = fs::remove_file(&spec.pid_file);
    Ok(())
}

/// The process in the engine's pid file, if it lives and is truly this engine: its command line names the directory.
async fn recorded(spec: &Spec) -> Option<u32> {
    let text = fs::read_to_string(&spec.pid_file).ok()?;
    let pid: u32 = text.lines().next()?.trim().parse().ok()?;
    let line = command_line(pid).await?;
    line.contains(spec.dir.to_str()?).then_some(pid)
}

async fn command_line(pid: u32) -> Option<String> {
    if cfg!(target_os = "linux") {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        return Some(String::from_utf8_lossy(&bytes).replace('\0', " "));
    }
    let pid = pid.to_string();
    let output = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid]).output().await.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A process of the engine's program whose working directory is the engine's, where the system lets us see that (Linux
/// does). PostgreSQL's processes all work there.
fn inhabitant(spec: &Spec) -> Option<u32> {
    let program = spec.program.file_name()?.to_str()?;
    fs::read_dir("/proc").ok()?.find_map(|entry| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let here = fs::read_link(entry.path().join("cwd")).ok()? == spec.dir;
        (here && fs::read_to_string(entry.path().join("comm")).ok()?.trim() == program).then_some(pid)
    })
}
