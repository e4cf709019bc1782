//! Sessions: what one sign-in began and a chain of refresh tokens carries on.
//!
//! A refresh token works once. Who uses one a second time is a thief or was robbed, and nobody can tell which: the whole
//! session ends, and with it whatever the other one holds. That is strict on purpose, also towards a double click.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use kit::{ApiError, ApiResult, db::Db, shutdown::Shutdown};
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use tourmesh_kit as kit;
use uuid::Uuid;

use crate::{domain::user::User, error::IdentityError, keys::Keyring, store::users};

/// What a refresh token starts with, so that secret scanners and people recognize it.
const PREFIX: &str = "rt_";
/// How often a session may be refreshed: every access token of its thirty days three times over. Each leaves a row, by
/// which a second use is recognized, so there has to be an end.
const MOST_REFRESHES: i32 = 10_000;
/// How often what has ended is removed.
const PRUNE: Duration = Duration::from_secs(600);

/// The tokens of a session. They are not shown by `Debug`.
#[derive(Clone)]
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
    /// When the access token ends.
    pub access_expires_at: DateTime<Utc>,
    /// When the session ends.
    pub refresh_expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("refresh_expires_at", &self.refresh_expires_at).finish_non_exhaustive()
    }
}

/// Begins a session in the caller's transaction.
///
/// # Errors
/// DEPENDENCY_UNAVAILABLE.
pub async fn open(tx: &mut PgConnection, keyring: &Keyring, user: &User, age: Duration) -> ApiResult<Tokens> {
    let id = Uuid::now_v7();
    let refresh_expires_at: DateTime<Utc> = sqlx::query_scalar(
        "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, $2, now() + $3 * interval '1 second')
         RETURNING expires_at",
    )
    .bind(id)
    .bind(user.id.uuid())
    .bind(i64::try_from(age.as_secs()).map_err(ApiError::internal)?)
    .fetch_one(&mut *tx)
    .await?;
    let refresh = issue(tx, id).await?;
    let (access, access_expires_at) = keyring.access_token(user)?;
    Ok(Tokens { access, refresh, access_expires_at, refresh_expires_at })
}

/// Trades a refresh token for the next tokens, with the roles that the user has now.
///
/// # Errors
/// SESSION_ENDED.
pub async fn refresh(db: &Db, keyring: &Keyring, token: &str) -> ApiResult<Tokens> {
    let (hash, keyring) = (hash(token), keyring.clone());
    let next = db
        .write(move |tx| {
            let keyring = keyring.clone();
            Box::pin(async move { next(tx, &keyring, &hash).await })
        })
        .await?;
    // The end of a session is committed like everything else, so it is no error inside the transaction.
    next.ok_or_else(|| IdentityError::SessionEnded.into())
}

async fn next(tx: &mut PgConnection, keyring: &Keyring, hash: &[u8]) -> ApiResult<Option<Tokens>> {
    // Of two that come at once the second waits here for the first, and then finds the token used.
    let used: Option<Uuid> = sqlx::query_scalar(
        "UPDATE refresh_tokens SET used_at = now() WHERE hash = $1 AND used_at IS NULL RETURNING session_id",
    )
    .bind(hash)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(session) = used else {
        let ended = sqlx::query(
            "UPDATE sessions SET ended_at = now(), ended_by = 'reuse'
             FROM refresh_tokens t WHERE t.hash = $1 AND sessions.id = t.session_id AND ended_at IS NULL",
        )
        .bind(hash)
        .execute(tx)
        .await?;
        if ended.rows_affected() > 0 {
            tracing::warn!("a refresh token was used twice; its session has ended");
        }
        return Ok(None);
    };
    let alive: Option<(Uuid, DateTime<Utc>)> = sqlx::query_as(
        "UPDATE sessions SET refreshes = refreshes + 1
         WHERE id = $1 AND ended_at IS NULL AND expires_at > now() AND refreshes < $2 RETURNING user_id, expires_at",
    )
    .bind(session)
    .bind(MOST_REFRESHES)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((user, refresh_expires_at)) = alive else { return Ok(None) };
    let Some(user) = users::get(tx, user).await? else { return Ok(None) };
    let refresh = issue(tx, session).await?;
    let (access, access_expires_at) = keyring.access_token(&user)?;
    Ok(Some(Tokens { access, refresh, access_expires_at, refresh_expires_at }))
}

/// Ends the session of a refresh token, used or not; one that is unknown or has ended changes nothing.
///
/// # Errors
/// DEPENDENCY_UNAVAILABLE.
pub async fn end(db: &Db, token: &str) -> ApiResult<()> {
    let hash = hash(token);
    db.write(move |tx| {
        Box::pin(async move {
            sqlx::query(
                "UPDATE sessions SET ended_at = now(), ended_by = 'sign_out'
                 FROM refresh_tokens t WHERE t.hash = $1 AND sessions.id = t.session_id AND ended_at IS NULL",
            )
            .bind(hash.as_slice())
            .execute(tx)
            .await?;
            Ok(())
        })
    })
    .await
}

/// Removes what has run out, until shutdown: sessions with their tokens, windows of wrong passwords, and requests that
/// nobody repeats any more. A session that was ended early stays until it would have run out, so that its tokens are
/// still recognized.
pub async fn prune(db: Db, shutdown: Shutdown) {
    while shutdown.sleep(PRUNE).await {
        if let Err(error) = prune_once(&db).await {
            tracing::debug!(%error, "pruning has to wait");
        }
    }
}

/// The same once, a bite of it, so that no statement runs into its time limit.
///
/// # Errors
/// DEPENDENCY_UNAVAILABLE.
pub async fn prune_once(db: &Db) -> ApiResult<()> {
    db.write(|tx| {
        Box::pin(async move {
            sqlx::query(
                "DELETE FROM sessions WHERE id IN
                 (SELECT id FROM sessions WHERE expires_at <= now() LIMIT 1000 FOR UPDATE SKIP LOCKED)",
            )
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "DELETE FROM attempts WHERE key IN
                 (SELECT key FROM attempts WHERE ends_at <= now() LIMIT 10000 FOR UPDATE SKIP LOCKED)",
            )
            .execute(tx)
            .await?;
            Ok(())
        })
    })
    .await
}

/// A new token of the session; only its hash is stored.
async fn issue(tx: &mut PgConnection, session: Uuid) -> ApiResult<String> {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).map_err(|_| ApiError::internal("the system has no randomness"))?;
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
    sqlx::query("INSERT INTO refresh_tokens (hash, session_id) VALUES ($1, $2)")
        .bind(hash(&token).as_slice())
        .bind(session)
        .execute(tx)
        .await?;
    Ok(token)
}

/// A plain hash is enough: the token is 256 random bits, which nobody can guess from it.
fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
