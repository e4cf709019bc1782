//! Wrong passwords are counted, per account and together, and too many close the door for a while; sign-ups are counted
//! for themselves.
//!
//! The counts are in the database, so that several replicas count together. A right password counts only while its
//! account is still open when it has been checked, and a wrong one is told the same as a right one from then on: many
//! guesses sent at once find no more doors, and learn no more, than one after another.
//!
//! Too many wrong passwords everywhere close those accounts that had one themselves. So whoever tries one password
//! with everybody gets one try for each, and cannot keep anybody out whom nobody guesses at.

use std::time::Duration;

use kit::{ApiResult, db::Db};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use tourmesh_kit as kit;

use crate::{domain::user::Email, error::IdentityError};

/// The key under which the failures of all accounts are counted.
const EVERYWHERE: &str = "everywhere";
/// The key under which sign-ups are counted, those with an address that is taken included.
const SIGN_UPS: &str = "sign-ups";

/// How much is borne.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Wrong passwords of one account per window.
    pub per_account: i32,
    /// Wrong passwords of all accounts per window.
    pub everywhere: i32,
    /// Sign-ups per window.
    pub sign_ups: i32,
    /// The window; it begins with the first wrong password.
    pub window_seconds: i32,
}

/// A row whose window has not ended: key, count, seconds that are left.
type Count = (String, i32, i64);

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
    let rows: Vec<Count> = sqlx::query_as(
        "SELECT key, failures, ceil(extract(epoch FROM ends_at - now()))::bigint FROM attempts
         WHERE key IN ($1, 'everywhere') AND ends_at > now()",
    )
    .bind(key(email))
    .fetch_all(db.pool())
    .await?;
    let (everywhere, own): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(key, ..)| key == EVERYWHERE);
    own.first().map_or(Ok(()), |own| {
        refuse(limits.per_account, own)?;
        everywhere.first().map_or(Ok(()), |all| refuse(limits.everywhere, all))
    })
}

/// A right password: it counts if the door is still open, and then the account's failures are forgotten.
///
/// # Errors
/// TOO_MANY_ATTEMPTS when others used up the account's attempts meanwhile.
pub async fn passed(tx: &mut PgConnection, limits: Limits, email: &Email) -> ApiResult<()> {
    let key = key(email);
    let own: Option<Count> = sqlx::query_as(
        "SELECT key, failures, ceil(extract(epoch FROM ends_at - now()))::bigint FROM attempts
         WHERE key = $1 AND ends_at > now() FOR UPDATE",
    )
    .bind(&key)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(own) = own else { return Ok(()) };
    refuse(limits.per_account, &own)?;
    sqlx::query("DELETE FROM attempts WHERE key = $1").bind(&key).execute(tx).await?;
    Ok(())
}

/// A wrong password.
///
/// # Errors
/// TOO_MANY_ATTEMPTS when the account was closed meanwhile, which is what a right one would be told now.
/// DEPENDENCY_UNAVAILABLE; then it was not counted, and the caller must not be told whether it was right.
pub async fn failed(db: &Db, limits: Limits, email: &Email) -> ApiResult<()> {
    let key = key(email);
    let own = db
        .write(move |tx| {
            let key = key.clone();
            Box::pin(async move {
                let own = count(tx, &key, limits.window_seconds).await?;
                // The common row comes last, in every transaction: no two can wait for each other.
                count(tx, EVERYWHERE, limits.window_seconds).await?;
                Ok(own)
            })
        })
        .await?;
    // This one is counted itself, and with the account's last place a wrong password is still called wrong.
    refuse(limits.per_account.saturating_add(1), &own)
}

/// Before a sign-up costs anything: there were not too many.
///
/// # Errors
/// TOO_MANY_ATTEMPTS with the time until the window ends.
pub async fn check_sign_ups(db: &Db, limits: Limits) -> ApiResult<()> {
    let so_far: Option<Count> = sqlx::query_as(
        "SELECT key, failures, ceil(extract(epoch FROM ends_at - now()))::bigint FROM attempts
         WHERE key = 'sign-ups' AND ends_at > now()",
    )
    .fetch_optional(db.pool())
    .await?;
    so_far.map_or(Ok(()), |so_far| refuse(limits.sign_ups, &so_far))
}

/// A sign-up that would make an account, or tell that there is one.
///
/// # Errors
/// TOO_MANY_ATTEMPTS when others used up the window's sign-ups meanwhile.
pub async fn sign_up(db: &Db, limits: Limits) -> ApiResult<()> {
    let counted = db.write(move |tx| Box::pin(count(tx, SIGN_UPS, limits.window_seconds))).await?;
    refuse(limits.sign_ups.saturating_add(1), &counted)
}

/// One more under this key, in a window that begins with the first.
async fn count(tx: &mut PgConnection, key: &str, window_seconds: i32) -> ApiResult<Count> {
    let counted = sqlx::query_as(
        "INSERT INTO attempts (key, failures, ends_at) VALUES ($1, 1, now() + $2 * interval '1 second')
         ON CONFLICT (key) DO UPDATE SET
           failures = CASE WHEN attempts.ends_at > now() THEN attempts.failures + 1 ELSE 1 END,
           ends_at = CASE WHEN attempts.ends_at > now() THEN attempts.ends_at ELSE excluded.ends_at END
         RETURNING key, failures, ceil(extract(epoch FROM ends_at - now()))::bigint",
    )
    .bind(key)
    .bind(window_seconds)
    .fetch_one(tx)
    .await?;
    Ok(counted)
}

/// Refuses when the count has come to the limit.
fn refuse(limit: i32, (_, count, left): &Count) -> ApiResult<()> {
    if *count < limit {
        return Ok(());
    }
    // Whole seconds, rounded up: who waits as told finds the door open.
    let wait = Duration::from_secs(u64::try_from(*left).unwrap_or_default().max(1));
    Err(IdentityError::TooManyAttempts(wait).into())
}
