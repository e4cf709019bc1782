//! Events that were decided, kept in the transaction of the change until the relay has published them.

use sqlx::PgConnection;

use super::Event;
use crate::{ApiError, ApiResult, ErrorReason};

/// NATS takes messages of 1 MiB; an event that is larger would hold up all that come after it.
const LARGEST: usize = 900 * 1024;

/// Appends events to the outbox, in order, in the caller's transaction.
///
/// # Errors
/// MESSAGE_TOO_LARGE when an event would not fit through the broker, DEPENDENCY_UNAVAILABLE or INTERNAL; the transaction
/// is to be rolled back then.
pub async fn append(tx: &mut PgConnection, events: &[Event]) -> ApiResult<()> {
    if events.is_empty() {
        return Ok(());
    }
    if events.iter().any(|e| e.payload.len() > LARGEST) {
        return Err(ApiError::new(
            ErrorReason::MessageTooLarge,
            "the change makes an event that is too large; shorten it",
        ));
    }
    let ids: Vec<_> = events.iter().map(|e| e.id).collect();
    let kinds: Vec<_> = events.iter().map(|e| e.kind.as_str()).collect();
    let subjects: Vec<_> = events.iter().map(|e| e.subject.as_str()).collect();
    let payloads: Vec<_> = events.iter().map(|e| e.payload.as_slice()).collect();
    let traceparents: Vec<_> = events.iter().map(|e| e.traceparent.as_deref()).collect();
    sqlx::query(
        "INSERT INTO outbox (id, type, subject, payload, traceparent)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[])",
    )
    .bind(ids)
    .bind(kinds)
    .bind(subjects)
    .bind(payloads)
    .bind(traceparents)
    .execute(tx)
    .await?;
    Ok(())
}
