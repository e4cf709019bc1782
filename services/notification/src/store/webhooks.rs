//! Endpoints of programs, as their owners see them.

use chrono::{DateTime, Utc};
use kit::{ApiResult, idempotency::RequestKey};
use sqlx::{PgConnection, PgPool};
use tourmesh_kit as kit;
use uuid::Uuid;

use crate::domain::{EndpointId, message::Language};

/// So many endpoints an owner may have.
pub const MOST: i64 = 10;

/// The columns of an [`Endpoint`] in a statement that calls the table `e`.
macro_rules! columns {
    () => {
        "e.id, e.owner_kind, e.owner_id, e.url, e.events, e.secret, e.old_secret, e.sealed, e.old_secret_until, e.contact_email, \
         e.language, e.enabled, e.disabled_reason, e.failing_since, e.created_at, e.request_hash"
    };
}

/// Whose an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A supplier.
    Supplier(Uuid),
    /// A person or reseller.
    Customer(Uuid),
}

impl Owner {
    fn kind(self) -> &'static str {
        match self {
            Self::Supplier(_) => "SUPPLIER",
            Self::Customer(_) => "CUSTOMER",
        }
    }
    /// As the database has it.
    pub fn uuid(self) -> Uuid {
        match self {
            Self::Supplier(id) | Self::Customer(id) => id,
        }
    }
}

/// An endpoint.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "the migration describes the columns")]
pub struct Endpoint {
    pub id: Uuid,
    pub owner_kind: String,
    pub owner_id: Uuid,
    pub url: String,
    pub events: Vec<String>,
    pub secret: Vec<u8>,
    pub old_secret: Option<Vec<u8>>,
    pub sealed: bool,
    pub old_secret_until: Option<DateTime<Utc>>,
    pub contact_email: String,
    pub language: String,
    pub enabled: bool,
    pub disabled_reason: String,
    pub failing_since: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub request_hash: Vec<u8>,
}

impl Endpoint {
    /// Whose it is.
    pub fn owner(&self) -> Owner {
        if self.owner_kind == "SUPPLIER" { Owner::Supplier(self.owner_id) } else { Owner::Customer(self.owner_id) }
    }
}

/// What an owner wants.
#[derive(Debug, Clone)]
pub struct NewEndpoint {
    /// Whose it is.
    pub owner: Owner,
    /// Where to.
    pub url: String,
    /// None: all.
    pub events: Vec<String>,
    /// Which endpoint it becomes.
    pub id: EndpointId,
    /// Signs; sealed.
    pub secret: Vec<u8>,
    /// Who is told when it is switched off.
    pub contact_email: String,
    /// In which language.
    pub language: Language,
}

/// Adds an endpoint, once per request; `None`: the owner has too many.
///
/// # Errors
/// REQUEST_ID_REUSED, or when the database refuses.
pub async fn add(
    tx: &mut PgConnection,
    new: &NewEndpoint,
    caller: &str,
    key: &RequestKey,
) -> ApiResult<Option<Endpoint>> {
    let before = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM webhook_endpoints e WHERE e.requested_by = $1 AND e.request_id = $2"
    ));
    let before: Option<Endpoint> = before.bind(caller).bind(&key.id).fetch_optional(&mut *tx).await?;
    if let Some(before) = before {
        key.check(&before.request_hash)?;
        return Ok(Some(before));
    }
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM webhook_endpoints WHERE owner_id = $1")
        .bind(new.owner.uuid())
        .fetch_one(&mut *tx)
        .await?;
    if count >= MOST {
        return Ok(None);
    }
    // Two equal requests at once: the second one gets the first one's row.
    let row = sqlx::query_as(concat!(
        "INSERT INTO webhook_endpoints AS e (id, owner_kind, owner_id, url, events, secret, sealed, contact_email,
                                             language, requested_by, request_id, request_hash)
         VALUES ($1, $2, $3, $4, $5, $6, true, $7, $8, $9, $10, $11)
         ON CONFLICT (requested_by, request_id) DO UPDATE SET request_id = excluded.request_id RETURNING ",
        columns!(),
    ))
    .bind(new.id.uuid())
    .bind(new.owner.kind())
    .bind(new.owner.uuid())
    .bind(&new.url)
    .bind(&new.events)
    .bind(&new.secret)
    .bind(&new.contact_email)
    .bind(new.language.as_str())
    .bind(caller)
    .bind(&key.id)
    .bind(key.hash.as_slice());
    let row: Endpoint = row.fetch_one(tx).await?;
    key.check(&row.request_hash)?;
    Ok(Some(row))
}

/// The endpoints of an owner, or (`None`) the first hundred of all.
///
/// # Errors
/// When the database does not answer.
pub async fn list(pool: &PgPool, owner: Option<Owner>) -> ApiResult<Vec<Endpoint>> {
    let query = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM webhook_endpoints e WHERE $1::uuid IS NULL OR e.owner_id = $1 ORDER BY e.created_at, e.id LIMIT 100"
    ));
    Ok(query.bind(owner.map(Owner::uuid)).fetch_all(pool).await?)
}

/// One endpoint, locked until the transaction ends.
///
/// # Errors
/// When the database refuses.
pub async fn lock(tx: &mut PgConnection, id: EndpointId) -> ApiResult<Option<Endpoint>> {
    let query = sqlx::query_as(concat!("SELECT ", columns!(), " FROM webhook_endpoints e WHERE e.id = $1 FOR UPDATE"));
    Ok(query.bind(id.uuid()).fetch_optional(tx).await?)
}

/// Switches an endpoint on or off; `reason` says why it was, when its owner did not.
///
/// # Errors
/// When the database refuses.
pub async fn switch(tx: &mut PgConnection, id: Uuid, enabled: bool, reason: &str) -> ApiResult<()> {
    sqlx::query(
        "UPDATE webhook_endpoints SET enabled = $2, disabled_reason = $3,
             failing_since = CASE WHEN $2 THEN NULL ELSE failing_since END WHERE id = $1",
    )
    .bind(id)
    .bind(enabled)
    .bind(reason)
    .execute(&mut *tx)
    .await?;
    if !enabled {
        // What waits is missed; whoever switches it on again replays it.
        sqlx::query(
            "UPDATE webhook_messages SET state = 'MISSED', due_at = NULL WHERE endpoint_id = $1 AND state = 'PENDING'",
        )
        .bind(id)
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// A new secret; the old one still signs for a day. Both are sealed.
///
/// # Errors
/// When the database refuses.
pub async fn rotate(tx: &mut PgConnection, id: Uuid, secret: &[u8], old: &[u8]) -> ApiResult<()> {
    sqlx::query(
        "UPDATE webhook_endpoints SET old_secret = $3, old_secret_until = now() + interval '24 hours', secret = $2,
                                      sealed = true
         WHERE id = $1",
    )
    .bind(id)
    .bind(secret)
    .bind(old)
    .execute(tx)
    .await?;
    Ok(())
}

/// Removes an endpoint and its log.
///
/// # Errors
/// When the database refuses.
pub async fn remove(tx: &mut PgConnection, id: Uuid) -> ApiResult<()> {
    sqlx::query("DELETE FROM webhook_endpoints WHERE id = $1").bind(id).execute(tx).await?;
    Ok(())
}

/// The secrets of an endpoint, as they are stored.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "the migrations describe the columns")]
pub struct Stored {
    pub id: Uuid,
    pub secret: Vec<u8>,
    pub old_secret: Option<Vec<u8>>,
    pub sealed: bool,
}

/// The secrets of endpoints after this one, by id.
///
/// # Errors
/// When the database does not answer.
pub async fn secrets(pool: &PgPool, after: Uuid, at_most: i64) -> ApiResult<Vec<Stored>> {
    let query = sqlx::query_as(
        "SELECT id, secret, old_secret, sealed FROM webhook_endpoints WHERE id > $1 ORDER BY id LIMIT $2",
    );
    Ok(query.bind(after).bind(at_most).fetch_all(pool).await?)
}

/// Stores the same secrets sealed, unless they have changed meanwhile; false: they have.
///
/// # Errors
/// When the database refuses.
pub async fn reseal(pool: &PgPool, known: &Stored, secret: &[u8], old: Option<&[u8]>) -> ApiResult<bool> {
    let done = sqlx::query(
        "UPDATE webhook_endpoints SET secret = $4, old_secret = $5, sealed = true
         WHERE id = $1 AND secret = $2 AND old_secret IS NOT DISTINCT FROM $3",
    )
    .bind(known.id)
    .bind(&known.secret)
    .bind(&known.old_secret)
    .bind(secret)
    .bind(old)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}
