//! One engine's process: how it is started so that it cannot outlive us, how it says that it is ready, how it ends.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, IoContext, Result, last_lines};
use crate::leftovers;
use crate::progress::Engine;
use crate::user::Account;

/// Becomes the engine after it has left a watchdog behind.
///
/// Its standard input is a pipe whose other end only we hold. When we end, however we end, the watchdog reads the end of
/// the pipe and stops the engine with the signals it was given; a line of text means that the engine is gone already.
/// The watchdog exists before the engine does, so there is no moment in which the engine could be left alone; it knows
/// the engine's process id because `exec` keeps it; it is started twice removed so that the engine has no child it does
/// not know; and it looks at the command line before each signal, because process ids are used again.
const LEASH: &str = r#"
mark=$1 signals=$2
shift 2
exec 3<&0 </dev/null
( (
  exec >/dev/null 2>&1
  read -r word <&3 && exit 0
  exec 3<&-
  alive() {
    if [ -d /proc/self ]; then tr '\0' ' ' <"/proc/$$/cmdline"; else ps -ww -o command= -p $$; fi | grep -qF -- "$mark"
  }
  for step in $signals; do
    alive || exit 0
    kill -s "${step%:*}" $$
    count=${step#*:}
    while [ "$count" -gt 0 ]; do
      sleep 0.1
      alive || exit 0
      count=$((count - 1))
    done
  done
) & )
exec 3<&-
exec "$@"
"#;

/// How to see that an engine answers.
#[derive(Debug, Clone)]
pub(crate) enum Probe {
    /// The status line of `postmaster.pid` says so.
    PostmasterFile(PathBuf),
    /// The server greets with its name on this port.
    Greeting {
        /// Where it listens.
        port: u16,
        /// The `server_name` of its greeting, to tell it from a stranger.
        name: String,
    },
}

/// All that is needed to start an engine, and to start it again.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) engine: Engine,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) account: Option<Account>,
    /// The engine's own directory, which its command line names.
    pub(crate) dir: PathBuf,
    pub(crate) pid_file: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) probe: Probe,
    /// Signals to end it with, each with how long it may take.
    pub(crate) signals: Vec<(&'static str, Duration)>,
    pub(crate) start_timeout: Duration,
}

/// An engine's process and the pipe that keeps it alive.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    leash: Option<ChildStdin>,
    pub(crate) pid: u32,
}

impl Spec {
    /// Starts the process and waits until it answers.
    pub(crate) async fn launch(&self) -> Result<Running> {
        let mut running = self.spawn()?;
        let deadline = Instant::now() + self.start_timeout;
        loop {
            if let Some(status) = running.exited()? {
                running.release().await;
                return Err(Error::Died {
                    engine: self.engine,
                    status: describe(status),
                    log: self.log.clone(),
                    tail: log_tail(&self.log),
                });
            }
            if self.answers(running.pid).await {
                return Ok(running);
            }
            if Instant::now() >= deadline {
                let tail = log_tail(&self.log);
                running.stop(self).await?;
                return Err(Error::NotReady {
                    engine: self.engine,
                    after: self.start_timeout,
                    log: self.log.clone(),
                    tail,
                });
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn spawn(&self) -> Result<Running> {
        let log = File::options().append(true).create(true).mode(0o600).open(&self.log).context("open", &self.log)?;
        let errors = log.try_clone().context("open", &self.log)?;
        let signals: Vec<String> =
            self.signals.iter().map(|(name, time)| format!("{name}:{}", time.as_millis().div_ceil(100))).collect();
        let mut command = Command::new("sh");
        command
            .args(["-c", LEASH, "sh"])
            .arg(&self.dir)
            .arg(signals.join(" "))
            .arg(&self.program)
            .args(&self.args)
            // Not the engine's directory: who is in there counts as part of the engine.
            .current_dir("/")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            // A Ctrl-C in the terminal is for us; the engines end after those who use them.
            .process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        let mut child = command.spawn().map_err(|source| Error::Program { program: "sh".to_owned(), source })?;
        let leash = child.stdin.take();
        let pid = child.id().unwrap_or_default();
        Ok(Running { child, leash, pid })
    }

    async fn answers(&self, pid: u32) -> bool {
        match &self.probe {
            Probe::PostmasterFile(path) => std::fs::read_to_string(path).is_ok_and(|text| {
                let mut lines = text.lines();
                let ours = lines.next().is_some_and(|line| line.trim() == pid.to_string());
                ours && lines.nth(6).is_some_and(|line| line.trim() == "ready")
            }),
            Probe::Greeting { port, name } => {
                matches!(timeout(Duration::from_millis(500), greeting(*port)).await, Ok(Ok(text)) if text.contains(name))
            }
        }
    }
}

async fn greeting(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut text = Vec::new();
    while !text.contains(&b'\n') && text.len() < 1 << 16 {
        if stream.read_buf(&mut text).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

impl Running {
    /// Waits until the process ends by itself.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        }
    }

    fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(|source| Error::Program { program: "sh".to_owned(), source })
    }

    /// Tells the watchdog that its work is done.
    pub(crate) async fn release(&mut self) {
        if let Some(mut leash) = self.leash.take() {
            // It may be gone itself; then there is nobody to tell.
            let _ = leash.write_all(b"done\n").await;
        }
    }

    /// Ends the process: asks, insists, kills.
    pub(crate) async fn stop(mut self, spec: &Spec) -> Result<()> {
        for (name, time) in &spec.signals {
            if self.exited()?.is_some() {
                break;
            }
            leftovers::signal(self.pid, name).await?;
            if timeout(*time, self.child.wait()).await.is_ok() {
                break;
            }
            tracing::warn!(engine = %spec.engine, pid = self.pid, signal = name, "engine does not end");
        }
        self.release().await;
        Ok(())
    }
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}

/// The last lines of a log file.
fn log_tail(path: &Path) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    last_lines(&text, 12)
}
