//! The small files of a data directory: ports that are remembered, passwords that are kept, and how to write both.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::progress::Engine;
use crate::user::{self, Account};

/// `state.json`: the ports of the last time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    pub(crate) postgres_port: Option<u16>,
    pub(crate) nats_port: Option<u16>,
}

impl State {
    /// What was remembered; a missing or damaged file is as good as none.
    pub(crate) fn load(root: &Path) -> Self {
        fs::read(root.join("state.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub(crate) fn save(&self, root: &Path) -> Result<()> {
        write(&root.join("state.json"), &json(self), None)
    }
}

/// `secrets.json`: the passwords of the two superusers, readable by us only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) postgres_password: String,
    pub(crate) nats_password: String,
}

impl Secrets {
    /// The passwords of this data directory; made when it is new, demanded when it already holds databases.
    pub(crate) fn load_or_create(root: &Path, databases: &Path) -> Result<Self> {
        let path = root.join("secrets.json");
        if let Some(secrets) = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(secrets);
        }
        if databases.exists() {
            return Err(Error::SecretsLost { dir: root.to_owned(), secrets: path });
        }
        let secrets = Self { postgres_password: random_hex(32)?, nats_password: random_hex(32)? };
        secrets.save(root)?;
        // The one file that cannot be made again.
        File::open(&path).and_then(|file| file.sync_all()).context("write", &path)?;
        Ok(secrets)
    }

    pub(crate) fn save(&self, root: &Path) -> Result<()> {
        write(&root.join("secrets.json"), &json(self), None)
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Writes a whole file, readable by its owner only, so that a reader sees the old or the new content and nothing between.
pub(crate) fn write(path: &Path, content: &str, owner: Option<&Account>) -> Result<()> {
    let new = path.with_added_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new).context("create", &new)?;
    file.write_all(content.as_bytes()).context("write", &new)?;
    user::give(&new, owner)?;
    fs::rename(&new, path).context("write", path)
}

/// Makes a directory and its parents unless it is there. The mode and owner are set on a new one only.
pub(crate) fn ensure_dir(path: &Path, mode: u32, owner: Option<&Account>) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        // Parents of ours are never secret: what is secret lies in directories and files that say so.
        fs::create_dir_all(parent).context("create", parent)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        other => other.context("create", path)?,
    }
    // Not what the umask has left of it.
    fs::set_permissions(path, Permissions::from_mode(mode)).context("set the mode of", path)?;
    user::give(path, owner)
}

/// `bytes` random bytes of the operating system, in hexadecimal.
pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut buffer)).context("read", "/dev/urandom")?;
    Ok(hex::encode(buffer))
}

/// Whether nobody listens on this port of the loopback interface.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A port that nobody listens on.
///
/// It lies outside of the range from which systems choose the ports of outgoing connections: a client that keeps
/// dialling while an engine restarts could otherwise connect to itself and take the port away from the engine.
pub(crate) fn free_port(engine: Engine) -> Result<u16> {
    for _ in 0..200 {
        let mut bytes = [0; 2];
        hex::decode_to_slice(random_hex(2)?, &mut bytes).unwrap_or_default();
        let port = 20_000 + u16::from_ne_bytes(bytes) % 12_000;
        if is_free(port) {
            return Ok(port);
        }
    }
    Err(Error::NoPort { engine })
}
