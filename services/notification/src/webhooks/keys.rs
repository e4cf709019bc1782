//! The secrets of endpoints at rest: sealed, each under the id of its endpoint, so that who reads the database can neither
//! sign in our name nor move one secret to another endpoint.
//!
//! What older versions stored plain is sealed by [`Keys::seal_stored`], which runs for good: while versions are rolled out
//! an old replica may still store one.

use std::time::Duration;

use kit::{
    ApiError, ApiResult, auth,
    config::{ConfigError, Env, Setting},
    db::Db,
    seal::Seal,
    shutdown::Shutdown,
};
use tourmesh_kit as kit;
use uuid::Uuid;

use crate::{domain::EndpointId, store::webhooks};

/// The keys.
pub const WEBHOOK_KEY: Setting = Setting::secret(
    "WEBHOOK_KEY",
    "Seals the secrets of outgoing webhooks in the database; at least 32 characters, the same on all replicas. Several, with commas between: the first one seals, all open, and what another one has sealed is sealed anew within an hour or so. By default it is derived from MESH_SECRET, so set it some time before you change that.",
);

/// A new version has replaced the old one by then: what an old one reads must be plain.
const ROLL_OUT: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_secs(3600);
const AT_ONCE: i64 = 200;

/// Seals and opens. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Seals, and opens what it has sealed.
    first: Seal,
    /// Open what was sealed before the first one was there.
    others: Vec<Seal>,
}

impl Keys {
    /// Those of the settings. What is sealed under MESH_SECRET opens also when there is another key now.
    ///
    /// # Errors
    /// When one is too short, or there is no MESH_SECRET.
    pub fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let given = env.optional::<String>(&WEBHOOK_KEY)?;
        let given: Vec<&str> = given.iter().flat_map(|text| text.split(',')).map(str::trim).collect();
        if given.iter().any(|secret| secret.len() < 32) {
            return Err(env.error(&WEBHOOK_KEY, "is shorter than 32 characters"));
        }
        let seal = |secret: &str| {
            Seal::new(secret, "tourmesh notification", "webhook secrets v1")
                .map_err(|e| env.error(&WEBHOOK_KEY, &format!("is of no use: {e}")))
        };
        let mesh = seal(&env.get::<String>(&auth::MESH_SECRET)?)?;
        let mut given = given.into_iter().map(seal).collect::<Result<Vec<_>, _>>()?.into_iter();
        Ok(match given.next() {
            Some(first) => Self { first, others: given.chain([mesh]).collect() },
            None => Self { first: mesh, others: Vec::new() },
        })
    }

    /// As it is stored.
    ///
    /// # Errors
    /// INTERNAL when the system has no randomness.
    pub fn close(&self, endpoint: Uuid, secret: &[u8]) -> ApiResult<Vec<u8>> {
        self.first.close(&name(endpoint), secret)
    }

    /// A secret as it was made, from what is stored.
    ///
    /// # Errors
    /// INTERNAL when none of the keys has sealed it.
    pub fn open(&self, endpoint: Uuid, stored: &[u8], sealed: bool) -> ApiResult<Vec<u8>> {
        if !sealed {
            return Ok(stored.to_vec());
        }
        let name = name(endpoint);
        let opened = std::iter::once(&self.first).chain(&self.others).find_map(|seal| seal.open(&name, stored));
        opened.ok_or_else(|| ApiError::internal(format!("the secret of {name} was sealed under another WEBHOOK_KEY")))
    }

    /// Seals what is plain, and what another key has sealed; says how many endpoints that was.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn seal_stored(&self, db: &Db) -> ApiResult<usize> {
        let (mut after, mut changed) = (Uuid::nil(), 0);
        loop {
            let page = webhooks::secrets(db.pool(), after, AT_ONCE).await?;
            let Some(last) = page.last() else { return Ok(changed) };
            after = last.id;
            for stored in &page {
                if stored.sealed && self.first.open(&name(stored.id), &stored.secret).is_some() {
                    continue;
                }
                let anew = |secret: &[u8]| self.close(stored.id, &self.open(stored.id, secret, stored.sealed)?);
                let sealed = anew(&stored.secret)
                    .and_then(|secret| Ok((secret, stored.old_secret.as_deref().map(anew).transpose()?)));
                match sealed {
                    Ok((secret, old)) => {
                        changed += usize::from(webhooks::reseal(db.pool(), stored, &secret, old.as_deref()).await?);
                    }
                    Err(error) => tracing::error!(%error, "a webhook secret cannot be sealed anew"),
                }
            }
        }
    }

    /// Does so now and then, until shutdown.
    pub async fn keep_sealed(self, db: Db, shutdown: Shutdown) {
        let mut pause = ROLL_OUT;
        while shutdown.sleep(pause).await {
            match self.seal_stored(&db).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "webhook secrets were sealed"),
                Err(error) => tracing::warn!(%error, "webhook secrets could not be sealed; it is tried again"),
            }
            pause = AGAIN;
        }
    }
}

fn name(endpoint: Uuid) -> String {
    EndpointId::from_uuid(endpoint).to_string()
}
