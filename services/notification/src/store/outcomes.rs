//! Taking due messages, and writing down what became of them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use kit::ApiResult;
use sqlx::{PgConnection, PgPool};
use tourmesh_kit as kit;
use uuid::Uuid;

use super::delivery::{self, columns};
use crate::domain::message::{Channel, Kind, State};

/// A message that was taken.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Due {
    /// The message.
    #[sqlx(flatten)]
    pub row: delivery::Model,
    /// Why nothing is sent to its address any more.
    pub barred: Option<String>,
}

/// Takes due messages of a channel, the urgent ones first, for the time of the lease: no other sender takes them meanwhile.
///
/// # Errors
/// When the database does not answer.
pub async fn take(pool: &PgPool, channel: Channel, at_most: i64, lease: Duration) -> ApiResult<Vec<Due>> {
    // While a newer version rolls out, what only that version knows is left to it.
    let known: Vec<&str> = Kind::ALL.iter().map(|k| k.as_str()).collect();
    let taken = sqlx::query_as(concat!(
        // MATERIALIZED: the look happens once, however the join is planned, so that the limit holds.
        "WITH due AS MATERIALIZED (
             SELECT id, CASE WHEN channel = 'EMAIL' THEN
                            (SELECT a.reason FROM dead_addresses a WHERE a.address = lower(email)) END AS barred
             FROM deliveries
             WHERE state = 'PENDING' AND due_at <= now() AND channel = $4 AND kind = ANY($3)
             ORDER BY priority, due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
         UPDATE deliveries d SET attempts = attempts + 1, due_at = now() + $2 * interval '1 millisecond'
         FROM due WHERE d.id = due.id RETURNING ",
        columns!(),
        ", due.barred",
    ))
    .bind(at_most)
    .bind(millis(lease))
    .bind(known)
    .bind(channel.as_str())
    .fetch_all(pool)
    .await?;
    Ok(taken)
}

/// What became of a message that was taken.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which delivery.
    pub id: Uuid,
    /// The attempt that this was.
    pub attempt: i32,
    /// SENT, FAILED, or PENDING: to be tried again after `wait`.
    pub state: State,
    /// How long to wait.
    pub wait: Duration,
    /// It was not tried at all, and the attempt does not count.
    pub untouched: bool,
    /// The other side says that there is no such address.
    pub dead: bool,
    /// Why not; empty: it was.
    pub error: String,
    /// The subject as it was written; empty: it was not.
    pub subject: String,
}

/// What an outcome made of its row.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Marked {
    /// Which delivery.
    pub id: Uuid,
    state: String,
    due_at: Option<DateTime<Utc>>,
    sent_at: Option<DateTime<Utc>>,
    attempts: i32,
    error: String,
    subject: String,
}

impl Marked {
    /// The row as it is now, of what it was when it was taken.
    pub fn of(self, taken: &delivery::Model) -> delivery::Model {
        let Self { state, due_at, sent_at, attempts, error, subject, .. } = self;
        delivery::Model { state, due_at, sent_at, attempts, error, subject, ..taken.clone() }
    }
}

/// Writes outcomes down and tells which rows changed, and how. A message that was sent is sent, whoever holds it now; any
/// other outcome counts only when nobody has taken the message since.
///
/// # Errors
/// When the database refuses.
pub async fn mark(tx: &mut PgConnection, outcomes: &[&Outcome]) -> ApiResult<Vec<Marked>> {
    let ids: Vec<Uuid> = outcomes.iter().map(|o| o.id).collect();
    let attempts: Vec<i32> = outcomes.iter().map(|o| o.attempt).collect();
    let states: Vec<&str> = outcomes.iter().map(|o| o.state.as_str()).collect();
    let waits: Vec<i64> = outcomes.iter().map(|o| millis(o.wait)).collect();
    let untouched: Vec<bool> = outcomes.iter().map(|o| o.untouched).collect();
    let errors: Vec<&str> = outcomes.iter().map(|o| o.error.as_str()).collect();
    let subjects: Vec<&str> = outcomes.iter().map(|o| o.subject.as_str()).collect();
    let changed = sqlx::query_as(
        // What is due is what is PENDING (a constraint says so), and put like this no plan begins with all that is
        // PENDING: with a long backlog that was ten times the work.
        "UPDATE deliveries d SET
             state = o.state,
             due_at = CASE WHEN o.state = 'PENDING' THEN now() + o.wait * interval '1 millisecond' END,
             sent_at = CASE WHEN o.state = 'SENT' THEN now() END,
             attempts = d.attempts - CASE WHEN o.untouched THEN 1 ELSE 0 END,
             error = CASE WHEN o.untouched THEN d.error ELSE o.error END,
             subject = CASE WHEN o.subject = '' THEN d.subject ELSE o.subject END
         FROM unnest($1::uuid[], $2::int[], $3::text[], $4::bigint[], $5::bool[], $6::text[], $7::text[])
              AS o (id, attempt, state, wait, untouched, error, subject)
         WHERE d.id = o.id AND d.due_at IS NOT NULL AND (o.state = 'SENT' OR d.attempts = o.attempt)
         RETURNING d.id, d.state, d.due_at, d.sent_at, d.attempts, d.error, d.subject",
    )
    .bind(ids)
    .bind(attempts)
    .bind(states)
    .bind(waits)
    .bind(untouched)
    .bind(errors)
    .bind(subjects)
    .fetch_all(tx)
    .await?;
    Ok(changed)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
