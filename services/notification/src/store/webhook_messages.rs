//! Messages to programs: made once for each endpoint and event, taken in the order of their booking, logged.

use std::time::Duration;

use chrono::{DateTime, Utc};
use kit::ApiResult;
use sqlx::{PgConnection, PgPool};
use tourmesh_kit as kit;
use uuid::Uuid;

use crate::domain::{EndpointId, MessageId};

/// What happened to a booking, for whoever listens.
#[derive(Debug, Clone)]
pub struct Happened {
    /// Which event.
    pub event: Uuid,
    /// `booking.confirmed`.
    pub kind: &'static str,
    /// Which booking.
    pub booking: Uuid,
    /// Its version.
    pub version: i64,
    /// Whose tour.
    pub supplier: Option<Uuid>,
    /// Whose booking.
    pub customer: Uuid,
    /// JSON for the supplier: without what opens doors.
    pub for_supplier: String,
    /// JSON for the customer.
    pub for_customer: String,
}

/// Keeps what happened for every endpoint that wants to hear of it. One that is switched off misses it.
///
/// # Errors
/// When the database refuses.
pub async fn add(tx: &mut PgConnection, all: &[Happened]) -> ApiResult<()> {
    for one in all {
        sqlx::query(
            "INSERT INTO webhook_messages (id, endpoint_id, event_id, booking_id, version, type, body, state, due_at)
             SELECT gen_random_uuid(), e.id, $1, $2, $3, $4, CASE e.owner_kind WHEN 'SUPPLIER' THEN $7 ELSE $8 END,
                    CASE WHEN e.enabled THEN 'PENDING' ELSE 'MISSED' END, CASE WHEN e.enabled THEN now() END
             FROM webhook_endpoints e
             WHERE ((e.owner_kind = 'SUPPLIER' AND e.owner_id = $5) OR (e.owner_kind = 'CUSTOMER' AND e.owner_id = $6))
               AND (e.events = '{}' OR $4 = ANY(e.events))
             ON CONFLICT (endpoint_id, event_id) DO NOTHING",
        )
        .bind(one.event)
        .bind(one.booking)
        .bind(one.version)
        .bind(one.kind)
        .bind(one.supplier)
        .bind(one.customer)
        .bind(&one.for_supplier)
        .bind(&one.for_customer)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// A message under lease.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Taken {
    /// Which message.
    pub id: Uuid,
    /// To which endpoint.
    pub endpoint_id: Uuid,
    /// JSON.
    pub body: String,
    /// Which try this is.
    pub attempts: i32,
    /// Where to.
    pub url: String,
    /// Signs.
    pub secret: Vec<u8>,
    /// Signs too, for a while.
    pub old_secret: Option<Vec<u8>>,
    /// Both are sealed.
    pub sealed: bool,
}

/// Takes due messages: of each booking and endpoint the oldest that waits, of each endpoint so many at most, and none of
/// the busy ones.
///
/// # Errors
/// When the database does not answer.
pub async fn take(pool: &PgPool, at_most: i64, each: i64, busy: &[Uuid], lease: Duration) -> ApiResult<Vec<Taken>> {
    let taken = sqlx::query_as(
        "WITH ready AS MATERIALIZED (
             SELECT m.id, m.due_at, row_number() OVER (PARTITION BY m.endpoint_id ORDER BY m.due_at, m.id) AS place
             FROM webhook_messages m
             WHERE m.state = 'PENDING' AND m.due_at <= now() AND NOT (m.endpoint_id = ANY($3))
               AND NOT EXISTS (SELECT FROM webhook_messages b
                               WHERE b.endpoint_id = m.endpoint_id AND b.booking_id = m.booking_id
                                 AND b.state = 'PENDING' AND (b.version, b.id) < (m.version, m.id))),
         due AS MATERIALIZED (
             SELECT m.id FROM webhook_messages m JOIN ready r ON r.id = m.id
             WHERE r.place <= $2 AND m.state = 'PENDING' AND m.due_at <= now()
             ORDER BY m.due_at LIMIT $1 FOR UPDATE OF m SKIP LOCKED)
         UPDATE webhook_messages m SET attempts = m.attempts + 1, due_at = now() + $4 * interval '1 millisecond'
         FROM due, webhook_endpoints e
         WHERE m.id = due.id AND e.id = m.endpoint_id AND e.enabled
         RETURNING m.id, m.endpoint_id, m.body, m.attempts, e.url, e.secret, e.sealed,
                   CASE WHEN e.old_secret_until > now() THEN e.old_secret END AS old_secret",
    );
    let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
    Ok(taken.bind(at_most).bind(each).bind(busy).bind(lease).fetch_all(pool).await?)
}

/// What became of a try.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Which message.
    pub id: Uuid,
    /// To which endpoint.
    pub endpoint: Uuid,
    /// Which try it was.
    pub attempt: i32,
    /// The HTTP status; 0: no answer.
    pub status: i16,
    /// What went wrong; empty: nothing.
    pub error: String,
    /// How long it took.
    pub millis: i32,
    /// When it is tried again; `None`: not any more.
    pub again: Option<Duration>,
}

/// Writes a try down. True: it counted, because nobody has taken the message since.
///
/// # Errors
/// When the database refuses.
pub async fn mark(tx: &mut PgConnection, tried: &Tried) -> ApiResult<bool> {
    let ok = tried.error.is_empty();
    let state = if ok {
        "DELIVERED"
    } else if tried.again.is_some() {
        "PENDING"
    } else {
        "FAILED"
    };
    let again = tried.again.filter(|_| !ok).map(|w| i64::try_from(w.as_millis()).unwrap_or(i64::MAX));
    let counted = sqlx::query(
        "UPDATE webhook_messages SET state = $3, due_at = now() + $4 * interval '1 millisecond'
         WHERE id = $1 AND state = 'PENDING' AND (attempts = $2 OR $3 = 'DELIVERED')",
    )
    .bind(tried.id)
    .bind(tried.attempt)
    .bind(state)
    .bind(again)
    .execute(&mut *tx)
    .await?
    .rows_affected()
        == 1;
    sqlx::query(
        "INSERT INTO webhook_attempts (message_id, status, error, millis)
         SELECT id, $2, $3, $4 FROM webhook_messages WHERE id = $1",
    )
    .bind(tried.id)
    .bind(tried.status)
    .bind(&tried.error)
    .bind(tried.millis)
    .execute(&mut *tx)
    .await?;
    let failing = if ok {
        "UPDATE webhook_endpoints SET failing_since = NULL WHERE id = $1 AND failing_since IS NOT NULL"
    } else {
        "UPDATE webhook_endpoints SET failing_since = now() WHERE id = $1 AND failing_since IS NULL"
    };
    sqlx::query(failing).bind(tried.endpoint).execute(tx).await?;
    Ok(counted)
}

/// Sends one message again, or everything that was given up or missed; how many.
///
/// # Errors
/// When the database refuses.
pub async fn replay(tx: &mut PgConnection, endpoint: EndpointId, one: Option<MessageId>) -> ApiResult<u64> {
    let done = sqlx::query(
        "UPDATE webhook_messages SET state = 'PENDING', due_at = now(), attempts = 0
         WHERE endpoint_id = $1 AND CASE WHEN $2::uuid IS NULL THEN state IN ('FAILED', 'MISSED')
                                         ELSE id = $2 AND state <> 'PENDING' END",
    )
    .bind(endpoint.uuid())
    .bind(one.map(MessageId::uuid))
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// A message as the log shows it.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "the migration describes the columns")]
pub struct Logged {
    pub id: Uuid,
    pub booking_id: Uuid,
    #[sqlx(rename = "type")]
    pub kind: String,
    pub body: String,
    pub state: String,
    pub due_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// A try as the log shows it.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "the migration describes the columns")]
pub struct Attempt {
    pub message_id: Uuid,
    pub at: DateTime<Utc>,
    pub status: i16,
    pub error: String,
    pub millis: i32,
}

/// A page of an endpoint's log, newest first, and the tries of its messages.
///
/// # Errors
/// When the database does not answer.
pub async fn page(
    pool: &PgPool,
    endpoint: EndpointId,
    booking: Option<Uuid>,
    after: Option<(DateTime<Utc>, Uuid)>,
    size: i64,
) -> ApiResult<(Vec<Logged>, Vec<Attempt>)> {
    let messages: Vec<Logged> = sqlx::query_as(
        "SELECT id, booking_id, type, body, state, due_at, created_at FROM webhook_messages
         WHERE endpoint_id = $1 AND ($2::uuid IS NULL OR booking_id = $2)
           AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4))
         ORDER BY created_at DESC, id DESC LIMIT $5",
    )
    .bind(endpoint.uuid())
    .bind(booking)
    .bind(after.map(|a| a.0))
    .bind(after.map(|a| a.1))
    .bind(size)
    .fetch_all(pool)
    .await?;
    let tries = sqlx::query_as(
        "SELECT message_id, at, status, error, millis FROM webhook_attempts WHERE message_id = ANY($1) ORDER BY at",
    )
    .bind(messages.iter().map(|m| m.id).collect::<Vec<_>>())
    .fetch_all(pool)
    .await?;
    Ok((messages, tries))
}

/// Forgets messages of 30 days ago, a few at a time; true: there may be more.
///
/// # Errors
/// When the database refuses.
pub async fn forget_old(pool: &PgPool) -> ApiResult<bool> {
    let done = sqlx::query(
        "DELETE FROM webhook_messages WHERE id IN (SELECT id FROM webhook_messages
         WHERE created_at < now() - interval '30 days' AND state <> 'PENDING' LIMIT 1000)",
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1000)
}
