//! The secrets of a data directory: made once, kept in a file that only its owner reads.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::Context as _;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

/// Everything that the roles of one `up` share or keep from each other. All are hexadecimal.
#[derive(Serialize, Deserialize)]
pub struct Secrets {
    /// Signs the calls between roles.
    pub mesh: String,
    /// From it come the passwords of the database users.
    pub databases: String,
    /// Signs what the sandbox provider says.
    pub sandbox_webhooks: String,
    /// Seals Identity's signing keys.
    pub signing_keys: String,
}

impl Secrets {
    /// Reads them, or makes them.
    pub fn of(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join("mesh-secrets.json");
        if path.exists() {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            return serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()));
        }
        let secrets = Self { mesh: random(), databases: random(), sandbox_webhooks: random(), signing_keys: random() };
        let part = path.with_extension("part");
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)
            .and_then(|mut file| {
                file.write_all(serde_json::to_string_pretty(&secrets)?.as_bytes()).and_then(|()| file.sync_all())
            })
            .and_then(|()| fs::rename(&part, &path));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(secrets)
    }
}

/// 256 bits.
fn random() -> String {
    let mut rng = rand::rng();
    (0..4).map(|_| format!("{:016x}", rng.random::<u64>())).collect()
}
