//! NATS: how it is configured and how to connect to it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Result;
use crate::files;
use crate::options::Durability;
use crate::process::{Probe, Spec};
use crate::progress::Engine;
use crate::site::Site;

const USER: &str = "tourmesh";

/// How to connect to the message broker.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsHandle {
    /// Where it listens; always the loopback interface.
    pub host: String,
    /// On which port.
    pub port: u16,
    /// The name of its one user.
    pub user: String,
    /// The user's password.
    pub password: String,
}

impl NatsHandle {
    pub(crate) fn new(site: &Site, port: u16) -> Self {
        Self { host: "127.0.0.1".to_owned(), port, user: USER.to_owned(), password: site.secrets.nats_password.clone() }
    }

    /// The address without credentials, fit for logs.
    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.host, self.port)
    }

    /// The address with user and password.
    pub fn url_with_credentials(&self) -> String {
        format!("nats://{}:{}@{}:{}", self.user, self.password, self.host, self.port)
    }
}

impl fmt::Debug for NatsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsHandle").field("url", &self.url()).field("user", &self.user).finish_non_exhaustive()
    }
}

fn store(site: &Site) -> PathBuf {
    site.root.join("nats")
}

fn config(site: &Site) -> PathBuf {
    site.root.join("nats.conf")
}

/// The name in the server's greeting. It is different for each data directory, so that a stranger on our port is not
/// taken for our server.
fn server_name(site: &Site) -> String {
    use sha2::{Digest, Sha256};
    format!("tourmesh-{}", hex::encode(&Sha256::digest(site.root.as_os_str().as_encoded_bytes())[..6]))
}

/// Makes the store on the first start.
pub(crate) fn prepare(site: &Site) -> Result<()> {
    files::ensure_dir(&store(site), 0o700, site.account.as_ref())
}

/// Writes the settings file.
pub(crate) fn configure(site: &Site, port: u16) -> Result<()> {
    let sync = match site.durability {
        Durability::Full => "\n    # a message is on disk before it is acknowledged\n    sync_interval: always",
        Durability::Relaxed => "",
    };
    let text = format!(
        "# Written by tourmesh at each start: changes are lost.
server_name: {name}
listen: 127.0.0.1:{port}
max_connections: 1024

jetstream {{
    store_dir: {store}
    max_memory_store: 256MB
    max_file_store: 32GB{sync}
}}

authorization {{
    user: {USER}
    password: {password}
}}
",
        name = quoted(&server_name(site)),
        store = quoted(&store(site).to_string_lossy()),
        password = quoted(&site.secrets.nats_password),
    );
    files::write(&config(site), &text, site.account.as_ref())
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

/// How to start the server.
pub(crate) fn spec(site: &Site, port: u16) -> Spec {
    let dir = store(site);
    let pid_file = dir.join("nats.pid");
    let kill = ("KILL", Duration::from_secs(2));
    Spec {
        engine: Engine::Nats,
        program: site.binaries.nats_bin.join("nats-server"),
        args: vec!["--config".into(), config(site).into(), "--pid".into(), pid_file.clone().into()],
        account: site.account.clone(),
        pid_file,
        log: site.log("nats"),
        probe: Probe::Greeting { port, name: server_name(site) },
        dir,
        signals: if site.disposable { vec![kill] } else { vec![("TERM", site.stop_timeout), kill] },
        start_timeout: site.start_timeout,
    }
}
