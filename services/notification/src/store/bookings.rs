//! What is known about bookings, as the newest event told it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kit::ApiResult;
use serde_json::Value;
use sqlx::PgConnection;
use tourmesh_kit as kit;
use uuid::Uuid;

use crate::domain::{BookingId, UserId, facts::BookingFacts, message::Language};

/// A booking, ready to be told about.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Which one.
    pub id: BookingId,
    /// Grows with every change of the booking.
    pub version: i64,
    /// Whose it is.
    pub user: UserId,
    /// Where messages go.
    pub email: String,
    /// The language that was asked for at the booking.
    pub language: Language,
    /// What messages say.
    pub facts: BookingFacts,
    /// When the tour starts; after that the snapshot is pruned some day.
    pub starts_at: Option<DateTime<Utc>>,
    /// Where it is in its life, by the API's name without its prefix.
    pub state: String,
    /// Which departure.
    pub departure: Option<Uuid>,
    /// When its reminder is due; `None`: it gets none.
    pub remind_at: Option<DateTime<Utc>>,
}

/// Keeps snapshots; an older version never replaces a newer one. Rows are locked in id order, until the transaction ends.
///
/// # Errors
/// When the database refuses.
pub async fn keep(tx: &mut PgConnection, snapshots: &[Snapshot]) -> ApiResult<()> {
    let mut newest: HashMap<Uuid, &Snapshot> = HashMap::new();
    for snapshot in snapshots {
        let held = newest.entry(snapshot.id.uuid()).or_insert(snapshot);
        if snapshot.version > held.version {
            *held = snapshot;
        }
    }
    let mut newest: Vec<&Snapshot> = newest.into_values().collect();
    newest.sort_by_key(|s| s.id);
    let ids: Vec<Uuid> = newest.iter().map(|s| s.id.uuid()).collect();
    let versions: Vec<i64> = newest.iter().map(|s| s.version).collect();
    let users: Vec<Uuid> = newest.iter().map(|s| s.user.uuid()).collect();
    let emails: Vec<&str> = newest.iter().map(|s| s.email.as_str()).collect();
    let languages: Vec<&str> = newest.iter().map(|s| s.language.as_str()).collect();
    let facts: Vec<Value> = newest
        .iter()
        .map(|s| serde_json::to_value(&s.facts))
        .collect::<Result<_, _>>()
        .map_err(kit::ApiError::internal)?;
    let starts: Vec<Option<DateTime<Utc>>> = newest.iter().map(|s| s.starts_at).collect();
    sqlx::query(
        "INSERT INTO bookings (id, version, user_id, email, language, facts, starts_at, state, departure_id, remind_at)
         SELECT id, version, user_id, email, language, facts, starts_at, state, departure_id, remind_at
         FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::jsonb[], $7::timestamptz[],
                     $8::text[], $9::uuid[], $10::timestamptz[])
              AS new (id, version, user_id, email, language, facts, starts_at, state, departure_id, remind_at)
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, user_id = excluded.user_id, email = excluded.email,
             language = excluded.language, facts = excluded.facts, starts_at = excluded.starts_at, seen_at = now(),
             state = excluded.state, departure_id = excluded.departure_id,
             -- One reminder for each start: what went out for this start does not come again.
             remind_at = CASE WHEN excluded.remind_at IS NULL THEN NULL
                              WHEN bookings.state = 'CONFIRMED' AND bookings.starts_at = excluded.starts_at
                              THEN bookings.remind_at ELSE excluded.remind_at END
         WHERE bookings.version < excluded.version",
    )
    .bind(ids)
    .bind(versions)
    .bind(users)
    .bind(emails)
    .bind(languages)
    .bind(facts)
    .bind(starts)
    .bind(newest.iter().map(|s| s.state.as_str()).collect::<Vec<_>>())
    .bind(newest.iter().map(|s| s.departure).collect::<Vec<_>>())
    .bind(newest.iter().map(|s| s.remind_at).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// What is known of these bookings now: version and facts.
///
/// # Errors
/// When the database refuses.
pub async fn facts_of(tx: &mut PgConnection, bookings: &[BookingId]) -> ApiResult<HashMap<Uuid, (i64, Value)>> {
    let rows: Vec<(Uuid, i64, Value)> = sqlx::query_as("SELECT id, version, facts FROM bookings WHERE id = ANY($1)")
        .bind(bookings.iter().map(|b| b.uuid()).collect::<Vec<_>>())
        .fetch_all(tx)
        .await?;
    Ok(rows.into_iter().map(|(id, version, facts)| (id, (version, facts))).collect())
}

/// A sold booking that is to be told about.
#[derive(Debug, sqlx::FromRow)]
pub struct Sold {
    /// The booking.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// Where messages go.
    pub email: String,
    /// The language of the booking.
    pub language: String,
    /// What messages say.
    pub facts: Value,
    /// When it starts.
    pub starts_at: Option<DateTime<Utc>>,
}

/// Takes sold bookings whose reminder is due; nobody else gets them.
///
/// # Errors
/// When the database refuses.
pub async fn due_reminders(tx: &mut PgConnection, at_most: i64) -> ApiResult<Vec<Sold>> {
    let due = sqlx::query_as(
        "UPDATE bookings b SET remind_at = NULL
         FROM (SELECT id FROM bookings WHERE remind_at <= now() ORDER BY remind_at LIMIT $1 FOR UPDATE SKIP LOCKED) due
         WHERE b.id = due.id RETURNING b.id, b.user_id, b.email, b.language, b.facts, b.starts_at",
    );
    Ok(due.bind(at_most).fetch_all(tx).await?)
}

/// The sold bookings of a departure, locked until the transaction ends.
///
/// # Errors
/// When the database refuses.
pub async fn of_departure(tx: &mut PgConnection, departure: Uuid) -> ApiResult<Vec<Sold>> {
    let sold = sqlx::query_as(
        "SELECT id, user_id, email, language, facts, starts_at FROM bookings
         WHERE departure_id = $1 AND state = 'CONFIRMED' ORDER BY id FOR UPDATE",
    );
    Ok(sold.bind(departure).fetch_all(tx).await?)
}

/// Forgets bookings whose tour was 90 days ago, a few at a time; true: there may be more.
///
/// # Errors
/// When the database refuses.
pub async fn forget_past(pool: &sqlx::PgPool) -> ApiResult<bool> {
    let done = sqlx::query(
        "DELETE FROM bookings WHERE id IN (SELECT id FROM bookings
         WHERE coalesce(starts_at, seen_at) < now() - interval '90 days' LIMIT 1000)",
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1000)
}

/// The booking's departure starts at another time: what messages say from now on.
///
/// # Errors
/// When the database refuses.
pub async fn moved(
    tx: &mut PgConnection,
    id: BookingId,
    facts: &Value,
    starts_at: Option<DateTime<Utc>>,
    remind_at: Option<DateTime<Utc>>,
) -> ApiResult<()> {
    sqlx::query(
        "UPDATE bookings SET facts = $2, remind_at = CASE WHEN starts_at = $3 THEN remind_at ELSE $4 END, starts_at = $3
         WHERE id = $1",
    )
    .bind(id.uuid())
    .bind(facts)
    .bind(starts_at)
    .bind(remind_at)
    .execute(tx)
    .await?;
    Ok(())
}
