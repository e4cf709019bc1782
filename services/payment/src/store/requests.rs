//! Requests that were answered with a payment that was there already.

use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, idempotency::RequestKey};
use uuid::Uuid;

/// The hash of this request and what it was answered with, when it came before.
pub(crate) async fn find(
    tx: &mut PgConnection,
    caller: &str,
    method: &str,
    id: &str,
) -> ApiResult<Option<(Vec<u8>, Uuid)>> {
    let row =
        sqlx::query_as("SELECT hash, subject FROM requests WHERE caller = $1 AND method = $2 AND request_id = $3")
            .bind(caller)
            .bind(method)
            .bind(id)
            .fetch_optional(tx)
            .await?;
    Ok(row)
}

/// Notes what a request is answered with; false: it was noted before, look with [`find`].
pub(crate) async fn note(
    tx: &mut PgConnection,
    caller: &str,
    method: &str,
    key: &RequestKey,
    subject: Uuid,
) -> ApiResult<bool> {
    let done = sqlx::query(
        "INSERT INTO requests (caller, method, request_id, hash, subject) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(caller)
    .bind(method)
    .bind(&key.id)
    .bind(key.hash.as_slice())
    .bind(subject)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
