//! Programs that others wrote and that tests run against: installed into the cache directory on first use, in pinned
//! versions, and started on a free port of this machine.
//!
//! [`localstripe`](https://pypi.org/project/localstripe/) behaves as Stripe does, with a memory; `stripe-mock` is Stripe's
//! own and checks the shape of every call against its OpenAPI description. The first needs Python 3 with pip, the second
//! Go. Where those are missing the test fails and says so: a check that was not made is not a check that passed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::Mutex,
};

const LOCALSTRIPE: &str = "localstripe-1.15.10";
/// With the hashes of all files.
const LOCALSTRIPE_LOCK: &str = include_str!("../localstripe.lock.txt");
const STRIPE_MOCK: &str = "github.com/stripe/stripe-mock@v0.203.0";
/// Its own start listens on all addresses, reads what an earlier run left in /tmp and writes there after every call.
const LAUNCH: &str = r"
import os, socket, sys, threading
sys.path.insert(0, sys.argv[1])
from aiohttp import web
from localstripe import resources, server
resources.Store.dump_to_disk = lambda self: None
listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen(128)
print('at address: 127.0.0.1:%d' % listener.getsockname()[1], flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
web.run_app(server.app, sock=listener, print=None, access_log=None)
";
/// How a program says where it listens.
const LISTENS: &str = "at address: ";

/// A program that runs until this is dropped.
#[derive(Debug)]
pub struct Program {
    /// Where it answers, in the order in which it said so.
    pub addresses: Vec<String>,
    /// Killed when it is dropped; one that reads its input also ends with this process.
    _child: Child,
}

/// A fresh localstripe, without anything in its memory.
///
/// # Panics
/// When it cannot be installed or started; the message says why.
pub async fn localstripe() -> Program {
    let packages = install(LOCALSTRIPE, |dir| {
        let lock = dir.with_extension("txt");
        fs::write(&lock, LOCALSTRIPE_LOCK).unwrap();
        let mut pip = Command::new("python3");
        let options =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"];
        pip.args(options).arg("--target").arg(dir).arg("--requirement").arg(lock);
        (pip, "localstripe needs Python 3.10 or newer with pip, and the Python package index or a mirror of it")
    });
    let packages = packages.await;
    let mut python = Command::new("python3");
    python.args(["-I", "-c", LAUNCH]).arg(packages);
    start(python, 1).await
}

/// Stripe's own mock; the second address speaks TLS with a certificate that nobody trusts.
///
/// # Panics
/// When it cannot be installed or started; the message says why.
pub async fn stripe_mock() -> Program {
    let name = STRIPE_MOCK.replace(['/', '@'], "-");
    let bin = install(&name, |dir| {
        let mut go = Command::new("go");
        go.args(["install", STRIPE_MOCK]).env("GOBIN", dir).env("GOFLAGS", "-mod=mod");
        (go, "stripe-mock needs Go, and the Go module proxy or a mirror of it")
    });
    let mut mock = Command::new(bin.await.join("stripe-mock"));
    // A port of the system's choice, on this machine alone; calls with another version of the API are refused.
    mock.args(["-http-addr", "127.0.0.1:", "-https-addr", "127.0.0.1:", "-strict-version-check"]);
    start(mock, 2).await
}

/// The directory of an installed program. It appears as a whole, so that a broken installation is never used.
async fn install(name: &str, installer: impl FnOnce(&Path) -> (Command, &'static str)) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _one = ONE_AT_A_TIME.lock().await;
    let tools = tourmesh_engines::default_cache_dir().unwrap().join("tools");
    let dir = tools.join(name);
    if dir.is_dir() {
        return dir;
    }
    let part = tools.join(format!("{name}.part-{}", std::process::id()));
    fs::create_dir_all(&part).unwrap();
    let (mut command, needs) = installer(&part);
    let done = command.stdin(Stdio::null()).output().await;
    match done {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("{needs}; the installation said: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{needs}; the installation did not start: {error}"),
    }
    // Another process may have been quicker.
    if fs::rename(&part, &dir).is_err() {
        assert!(dir.is_dir(), "cannot make {}", dir.display());
        let _ = fs::remove_dir_all(&part);
    }
    dir
}

/// Starts it and waits until it has said so many addresses.
async fn start(mut command: Command, addresses: usize) -> Program {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut found = Vec::new();
    while found.len() < addresses {
        let line = lines.next_line().await.unwrap();
        let line = line.unwrap_or_else(|| panic!("{command:?} ended before it listened"));
        found.extend(line.split_once(LISTENS).map(|(_, address)| address.trim().to_owned()));
    }
    // What it says later is of no concern, but it must be able to say it.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Program { addresses: found, _child: child }
}
