//! Events that were decided, kept in the transaction of the change until the relay has published them.

use sqlx::PgConnection;

use super::Event;
use crate::ApiResult;

/// Appends events to the outbox, in order, in the caller's transaction.
///
/// # Errors
/// DEPENDENCY_UNAVAILABLE or INTERNAL; the transaction is to be rolled back then.
pub async fn append(tx: &mut PgConnection, events: &[Event]) -> ApiResult<()> {
    if events.is_empty() {
        return Ok(());
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
