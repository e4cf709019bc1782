//! The keys that access tokens are signed with: made on demand, rotated by age, kept in the database, so that all
//! replicas sign with the same ones.

mod pair;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kit::{
    ApiError, ApiResult,
    auth::{AUDIENCE, Claims, ISSUER, role_text},
    db::Db,
    readiness::Readiness,
    seal::Seal,
    shutdown::Shutdown,
};
use serde_json::json;
use sqlx::PgConnection;
use tourmesh_kit as kit;
use uuid::Uuid;

use self::pair::Pair;
use crate::{
    config::Config,
    domain::{
        rotation::{KeyTimes, Rotation},
        user::User,
    },
    store::signing_keys,
};

/// How often the keys are looked after.
const LOOK: Duration = Duration::from_secs(30);
/// The key set is read again when it is asked for and older than this.
const FRESH: Duration = Duration::from_secs(1);
/// The advisory lock under which keys are made; any number that nobody else takes in this database.
const LOCK: i64 = 0x7469_6465_6e74;

/// The keys as last read.
struct Loaded {
    times: Vec<KeyTimes>,
    /// `None`: sealed with a secret that we do not have.
    private: Vec<Option<EncodingKey>>,
    jwks_json: String,
    read_at: Instant,
}

/// Signs, and tells the public keys. Clones share the keys.
#[derive(Clone)]
pub struct Keyring {
    db: Db,
    rotation: Rotation,
    seal: Option<Seal>,
    loaded: Arc<ArcSwapOption<Loaded>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("rotation", &self.rotation).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Nothing is read yet.
    pub fn new(db: Db, config: &Config) -> Self {
        Self { db, rotation: config.rotation, seal: config.seal.clone(), loaded: Arc::default() }
    }

    /// Looks after the keys until shutdown: makes the first, rotates, drops old ones.
    pub async fn run(self, readiness: Readiness, shutdown: Shutdown) {
        const PART: &str = "signing keys";
        if self.seal.is_none() {
            tracing::warn!("KEY_SECRET is not set: private signing keys are stored in the clear");
        }
        loop {
            let pause = match self.look_after().await {
                Ok(()) if self.signs() => {
                    readiness.report(PART, Ok(()));
                    LOOK
                }
                Ok(()) => {
                    readiness.report(PART, Err("the signing key was sealed with another KEY_SECRET".to_owned()));
                    LOOK
                }
                Err(error) => {
                    tracing::debug!(%error, "signing keys could not be looked after");
                    // Keys that were read before still sign; without any there is nothing that we could do.
                    if self.loaded.load().is_none() {
                        readiness.report(PART, Err("not loaded yet".to_owned()));
                    }
                    Duration::from_millis(500)
                }
            };
            if !shutdown.sleep(pause).await {
                return;
            }
        }
    }

    /// An access token for this user, and when it ends.
    ///
    /// # Errors
    /// DEPENDENCY_UNAVAILABLE while the keys are not read.
    pub fn access_token(&self, user: &User) -> ApiResult<(String, DateTime<Utc>)> {
        let loaded = self.loaded.load();
        let signer = loaded.as_deref().and_then(|loaded| loaded.signer(Utc::now()));
        let (kid, key) = signer.ok_or_else(|| ApiError::unavailable("the signing key", "it is not loaded"))?;
        // Whole seconds, because that is what the token says.
        let now = Utc::now().timestamp();
        let ends = DateTime::from_timestamp(now, 0).unwrap_or_default() + self.rotation.token_age;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.id.to_string(),
            roles: user.grants.roles().iter().map(|r| role_text(*r).to_owned()).collect(),
            sup: user.grants.supplier().map(|s| s.to_string()),
            iat: u64::try_from(now).unwrap_or_default(),
            exp: u64::try_from(ends.timestamp()).unwrap_or_default(),
            jti: Uuid::now_v7().simple().to_string(),
        };
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
        Ok((jsonwebtoken::encode(&header, &claims, key).map_err(ApiError::internal)?, ends))
    }

    /// The public keys as a JSON Web Key Set. Read from the database, so that a key that another replica has just made
    /// is in it; what was read last is the answer when the database is away.
    ///
    /// # Errors
    /// DEPENDENCY_UNAVAILABLE when they were never read.
    pub async fn jwks_json(&self) -> ApiResult<String> {
        if let Some(loaded) = &*self.loaded.load()
            && loaded.read_at.elapsed() < FRESH
        {
            return Ok(loaded.jwks_json.clone());
        }
        if let Err(error) = self.read().await
            && self.loaded.load().is_none()
        {
            return Err(error);
        }
        let loaded = self.loaded.load();
        let missing = || ApiError::unavailable("the signing key", "none was made yet");
        loaded.as_ref().map(|l| l.jwks_json.clone()).ok_or_else(missing)
    }

    /// Makes, drops and reads keys once.
    ///
    /// # Errors
    /// DEPENDENCY_UNAVAILABLE.
    pub async fn look_after(&self) -> ApiResult<()> {
        let times: Vec<_> = signing_keys::all(&self.db).await?.iter().map(times).collect();
        // Mostly nothing is due, and then nothing is locked.
        if self.rotation.plan(&times, Utc::now()) != Default::default() {
            let keyring = self.clone();
            self.db
                .write(move |tx| {
                    let keyring = keyring.clone();
                    Box::pin(async move { keyring.change(tx).await })
                })
                .await?;
        }
        self.read().await
    }

    /// Does what is due, alone. The database's clock decides, because all replicas share it.
    async fn change(&self, tx: &mut PgConnection) -> ApiResult<()> {
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await?;
        let rows: Vec<(String, DateTime<Utc>)> =
            sqlx::query_as("SELECT kid, active_from FROM signing_keys").fetch_all(&mut *tx).await?;
        let now: DateTime<Utc> = sqlx::query_scalar("SELECT now()").fetch_one(&mut *tx).await?;
        let times: Vec<_> = rows.into_iter().map(|(kid, active_from)| KeyTimes { kid, active_from }).collect();
        let plan = self.rotation.plan(&times, now);
        if let Some(active_from) = plan.make {
            let pair = Pair::generate()?;
            let private = match &self.seal {
                Some(seal) => seal.close(&pair.kid, &pair.private)?,
                None => pair.private,
            };
            sqlx::query(
                "INSERT INTO signing_keys (kid, private_key, sealed, public_x, active_from) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(&pair.kid)
            .bind(private)
            .bind(self.seal.is_some())
            .bind(&pair.public_x)
            .bind(active_from)
            .execute(&mut *tx)
            .await?;
            tracing::info!(kid = pair.kid, %active_from, "a new signing key is published");
        }
        if !plan.drop.is_empty() {
            sqlx::query("DELETE FROM signing_keys WHERE kid = ANY ($1)").bind(&plan.drop).execute(tx).await?;
            tracing::info!(kids = ?plan.drop, "old signing keys are gone");
        }
        Ok(())
    }

    async fn read(&self) -> ApiResult<()> {
        let rows = signing_keys::all(&self.db).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = rows.iter().map(|row| pair::jwk(&row.kid, &row.public_x)).collect();
        self.loaded.store(Some(Arc::new(Loaded {
            times: rows.iter().map(times).collect(),
            private: rows.iter().map(|row| self.open(row)).collect(),
            jwks_json: json!({ "keys": keys }).to_string(),
            read_at: Instant::now(),
        })));
        Ok(())
    }

    fn open(&self, row: &signing_keys::Model) -> Option<EncodingKey> {
        let der = match (&self.seal, row.sealed) {
            (_, false) => row.private_key.clone(),
            (Some(seal), true) => seal.open(&row.kid, &row.private_key)?,
            (None, true) => return None,
        };
        Some(EncodingKey::from_ed_der(&der))
    }

    fn signs(&self) -> bool {
        self.loaded.load().as_deref().is_some_and(|loaded| loaded.signer(Utc::now()).is_some())
    }
}

impl Loaded {
    fn signer(&self, now: DateTime<Utc>) -> Option<(&str, &EncodingKey)> {
        // Before the first key is active by our own clock, which may be a little behind the database's, it signs anyway.
        let at = Rotation::signer(&self.times, now).unwrap_or(0);
        Some((&self.times.get(at)?.kid, self.private.get(at)?.as_ref()?))
    }
}

fn times(row: &signing_keys::Model) -> KeyTimes {
    KeyTimes { kid: row.kid.clone(), active_from: row.active_from }
}
