//! Wrong passwords are counted, per account and together, and too many close the door for a while.
//!
//! The counts are in the database, so that several replicas count together. A right password counts only while its
//! account is still open when it has been checked: many guesses sent at once find no more doors than one after another.

use std::time::Duration;

use kit::{ApiResult, db::Db};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use tourmesh_kit as kit;

use crate::{domain::user::Email, error::IdentityError};

/// The key under which the failures of all accounts are counted.
const EVERYWHERE: &str = "everywhere";

/// How much is borne.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Wrong passwords of one account per window.
    pub per_account: i32,
    /// Wrong passwords of all accounts per window.
    pub everywhere: i32,
    /// The window; it begins with the first wrong password.
    pub window_seconds: i32,
}

impl Limits {
    fn of(&self, key: &str) -> i32 {
        if key == EVERYWHERE { self.everywhere } else { self.per_account }
    }
}

/// Under what an address is counted. Addresses without an account are counted too, so this is a hash and not the
/// address: a mistyped one is nobody's business.
fn key(email: &Email) -> String {
    format!("account:{:x}", Sha256Hex(Sha256::digest(email.as_str().as_bytes()).into()))
}

struct Sha256Hex([u8; 32]);

impl std::fmt::LowerHex for Sha256Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Before a password is looked at: the door is open.
///
/// # Errors
/// TOO_MANY_ATTEMPTS with the time until the window ends.
pub async fn check(db: &Db, limits: Limits, email: &Email) -> ApiResult<()> {
    let rows: Vec<(String, i32, i64)> = sqlx::query_as(
        "SELECT key, failures, ceil(extract(epoch FROM ends_at - now()))::bigint FROM attempts
         WHERE key IN ($1, 'everywhere') AND ends_at > now()",
    )
    .bind(key(email))
    .fetch_all(db.pool())
    .await?;
    refuse(limits, &rows)
}

/// A right password: it counts if the door is still open, and then the account's failures are forgotten.
///
/// # Errors
/// TOO_MANY_ATTEMPTS when others used up the account's attempts meanwhile.
pub async fn passed(tx: &mut PgConnection, limits: Limits, email: &Email) -> ApiResult<()> {
    let key = key(email);
    let rows: Vec<(String, i32, i64)> = sqlx::query_as(
        "SELECT key, failures, ceil(extract(epoch FROM ends_at - now()))::bigint FROM attempts
         WHERE key = $1 AND ends_at > now() FOR UPDATE",
    )
    .bind(&key)
    .fetch_all(&mut *tx)
    .await?;
    if rows.is_empty() {
        return Ok(());
    }
    refuse(limits, &rows)?;
    sqlx::query("DELETE FROM attempts WHERE key = $1").bind(&key).execute(tx).await?;
    Ok(())
}

/// A wrong password.
///
/// # Errors
/// DEPENDENCY_UNAVAILABLE; then it was not counted, and the caller must not be told whether it was right.
pub async fn failed(db: &Db, limits: Limits, email: &Email) -> ApiResult<()> {
    let key = key(email);
    db.write(move |tx| {
        let key = key.clone();
        Box::pin(async move {
            // The common row comes last, in every transaction: no two can wait for each other.
            for key in [key.as_str(), EVERYWHERE] {
                sqlx::query(
                    "INSERT INTO attempts (key, failures, ends_at) VALUES ($1, 1, now() + $2 * interval '1 second')
                     ON CONFLICT (key) DO UPDATE SET
                       failures = CASE WHEN attempts.ends_at > now() THEN attempts.failures + 1 ELSE 1 END,
                       ends_at = CASE WHEN attempts.ends_at > now() THEN attempts.ends_at ELSE excluded.ends_at END",
                )
                .bind(key)
                .bind(limits.window_seconds)
                .execute(&mut *tx)
                .await?;
            }
            Ok(())
        })
    })
    .await
}

fn refuse(limits: Limits, rows: &[(String, i32, i64)]) -> ApiResult<()> {
    let closed = rows.iter().filter(|(key, failures, _)| *failures >= limits.of(key));
    // Whole seconds, rounded up: who waits as told finds the door open.
    let wait = closed.map(|(_, _, left)| Duration::from_secs(u64::try_from(*left).unwrap_or_default().max(1))).max();
    wait.map_or(Ok(()), |wait| Err(IdentityError::TooManyAttempts(wait).into()))
}
