//! `tourmesh up` as a user starts it: a process of its own, with a data directory of its own.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const ROLES: [&str; 6] = ["catalog", "booking", "payment", "notification", "identity", "gateway"];

/// A data directory and ports, with or without a mesh running on them.
pub struct MeshProcess {
    data_dir: PathBuf,
    ports: HashMap<&'static str, (u16, u16)>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl MeshProcess {
    /// Nothing runs yet.
    pub fn new(name: &str, environment: &[(&str, &str)]) -> Self {
        let data_dir = std::env::temp_dir().join(format!("tourmesh-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data_dir);
        std::fs::create_dir_all(&data_dir).unwrap();
        // All are held until all are chosen, so that no two are the same.
        let held: Vec<_> = (0..ROLES.len() * 2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |i: usize| held[i].local_addr().unwrap().port();
        let ports = ROLES.iter().enumerate().map(|(i, role)| (*role, (port(2 * i), port(2 * i + 1)))).collect();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { data_dir, ports, environment, child: None }
    }

    /// Where the gateway answers.
    pub fn gateway(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports["gateway"].0)
    }

    /// Where everything is kept.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What the mesh has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Any other command of the binary, with this mesh's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tourmesh"));
        command.args(arguments).envs(self.environment.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Starts `tourmesh up` and does not wait.
    pub fn start(&mut self) {
        let log = File::options().append(true).create(true).open(self.log_path()).unwrap();
        let mut command = self.command(&["up", "--seed-sites", "12", "--data-dir"]);
        command.arg(&self.data_dir).args(["--port", &self.ports["gateway"].0.to_string()]);
        for (role, (grpc, metrics)) in &self.ports {
            let role = role.to_uppercase();
            command.env(format!("TOURMESH_{role}_LISTEN"), format!("127.0.0.1:{grpc}"));
            command.env(format!("TOURMESH_{role}_METRICS_LISTEN"), format!("127.0.0.1:{metrics}"));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits until every role serves.
    pub async fn ready(&mut self) {
        let begun = Instant::now();
        loop {
            let health =
                self.command(&["health", &self.gateway()]).stdout(Stdio::null()).stderr(Stdio::null()).status();
            if health.unwrap().success() {
                return;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the mesh ended instead of serving:\n{}", self.log());
            assert!(begun.elapsed() < Duration::from_secs(120), "the mesh does not serve:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Starts it and waits until it has said that it is up, seeded and all.
    pub async fn up(&mut self) {
        let before = self.log().matches("tourmesh is up.").count();
        self.start();
        let begun = Instant::now();
        while self.log().matches("tourmesh is up.").count() == before {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the mesh ended instead of coming up:\n{}", self.log());
            assert!(begun.elapsed() < Duration::from_secs(180), "the mesh does not come up:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// SIGKILL for the process and everything below it, engines and watchdogs included, at once.
    pub fn kill_tree(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let mut doomed: Vec<String> = descendants(child.id()).into_iter().map(|pid| pid.to_string()).collect();
        doomed.push(child.id().to_string());
        // One call, so that nobody has time to react to the end of another.
        let _ = Command::new("kill").arg("-KILL").args(&doomed).stderr(Stdio::null()).status();
        child.wait().unwrap();
    }

    /// Asks it to stop, as Ctrl-C does, and waits.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the mesh does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_path(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }
}

impl Drop for MeshProcess {
    fn drop(&mut self) {
        self.kill_tree();
        // Engines that were children of a killed parent are ended by their watchdogs or by us just now.
        for _ in 0..50 {
            if std::fs::remove_dir_all(&self.data_dir).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_file(self.log_path());
        }
    }
}

/// All processes below this one.
fn descendants(root: u32) -> Vec<u32> {
    let listed = Command::new("ps").args(["-eo", "pid=,ppid="]).output().unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let pairs: Vec<(u32, u32)> = text
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect();
    let (mut found, mut todo) = (HashSet::new(), vec![root]);
    while let Some(parent) = todo.pop() {
        for (pid, _) in pairs.iter().filter(|(_, ppid)| *ppid == parent) {
            if found.insert(*pid) {
                todo.push(*pid);
            }
        }
    }
    found.into_iter().collect()
}
