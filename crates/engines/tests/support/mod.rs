//! What the tests of this crate share: scratch directories, plain clients, and a helper process to kill.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tourmesh_engines::{Engines, Event, NatsHandle, Options, Pids, PostgresHandle};

/// A directory that is removed at the end of the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("tourmesh-scratch-{}-{number}", std::process::id())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn options(&self) -> Options {
        Options::from_env().with_data_dir(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Engines that were let go of may still be writing.
        for _ in 0..50 {
            let _ = std::fs::remove_dir_all(&self.0);
            if !self.0.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Collects the events of a start.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub(crate) fn listener(&self) -> impl Fn(Event) + Send + Sync + 'static {
        let all = Arc::clone(&self.0);
        move |event| all.lock().unwrap().push(event)
    }

    pub(crate) fn any(&self, matching: impl Fn(&Event) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(matching)
    }
}

/// Runs SQL as the superuser and returns what it prints.
pub(crate) fn sql(postgres: &PostgresHandle, statement: &str) -> Result<String, String> {
    psql(postgres, &postgres.url("postgres"), statement)
}

pub(crate) fn psql(postgres: &PostgresHandle, url: &str, statement: &str) -> Result<String, String> {
    let output = Command::new(postgres.bin_dir().join("psql"))
        .args(["-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement])
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Sends a request to the broker and returns the answer; the error is what the server said instead.
pub(crate) fn nats_request(nats: &NatsHandle, password: &str, subject: &str, body: &str) -> Result<String, String> {
    let stream = TcpStream::connect((nats.host.as_str(), nats.port)).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let request = format!(
        "CONNECT {{\"verbose\":false,\"user\":\"{}\",\"pass\":\"{password}\"}}\r\nSUB inbox 1\r\nPUB {subject} inbox {}\r\n{body}\r\n",
        nats.user,
        body.len()
    );
    writer.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    loop {
        line.clear();
        if reader.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
            return Err("closed".to_owned());
        }
        if line.starts_with("-ERR") {
            return Err(line);
        }
        if line.starts_with("MSG") {
            let size: usize = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
            let mut answer = vec![0; size];
            reader.read_exact(&mut answer).unwrap();
            return Ok(String::from_utf8(answer).unwrap());
        }
    }
}

/// Whether a process runs, zombies not counted.
pub(crate) fn alive(pid: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

pub(crate) fn kill(pid: u32) {
    assert!(Command::new("sh").args(["-c", "kill -s KILL \"$1\"", "sh", &pid.to_string()]).status().unwrap().success());
}

/// Waits until something is true, ten seconds at most.
pub(crate) fn eventually(what: &str, check: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < deadline, "still not so after 10 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn both(pids: Pids) -> (u32, u32) {
    (pids.postgres.unwrap(), pids.nats.unwrap())
}

/// Another process that runs engines, to be killed.
pub(crate) struct Helper {
    child: Child,
    pub(crate) postgres: u32,
    pub(crate) nats: u32,
    pub(crate) data_dir: PathBuf,
}

const ROLE: &str = "TOURMESH_ENGINES_TEST_HELPER";

impl Helper {
    /// Starts this test binary again in the role of the helper. `dir` is its data directory, or none for a temporary one.
    pub(crate) fn start(dir: Option<&Path>) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper_process", "--nocapture", "--test-threads=1"])
            .env(ROLE, dir.unwrap_or(Path::new("ephemeral")))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.map(|line| line.unwrap()).find(|line| line.contains("RUNNING ")).expect("helper has started");
        let mut words = line.split_once("RUNNING ").unwrap().1.split(' ');
        let postgres = words.next().unwrap().parse().unwrap();
        let nats = words.next().unwrap().parse().unwrap();
        let data_dir = PathBuf::from(words.next().unwrap());
        Self { child, postgres, nats, data_dir }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What the helper does: starts engines, says so, waits to be killed. Does nothing in an ordinary test run.
#[allow(clippy::print_stdout)]
pub(crate) async fn helper() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let engines = match role.as_str() {
        "ephemeral" => Engines::ephemeral(Options::from_env()).await.unwrap(),
        dir => Engines::start(Options::from_env().with_data_dir(dir), |_| {}).await.unwrap(),
    };
    let (postgres, nats) = both(engines.pids());
    println!("RUNNING {postgres} {nats} {}", engines.data_dir().display());
    // Long enough for any test; never forever, should the test be gone.
    tokio::time::sleep(Duration::from_secs(60)).await;
}
