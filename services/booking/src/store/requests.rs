//! The requests that changed a booking, remembered with the change.

use std::collections::HashSet;

use sqlx::PgConnection;
use tourmesh_kit::{ApiError, ApiResult, idempotency::RequestKey};
use uuid::Uuid;

/// Whether a request was carried out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remembered {
    New,
    /// With what was remembered of it.
    Repeat {
        detail: i32,
        subject: Uuid,
    },
}

/// Remembers a request, or finds it. Of two equal requests at once the second waits for the first one's outcome.
///
/// # Errors
/// REQUEST_ID_REUSED when it was used with other content.
pub(crate) async fn remember(
    tx: &mut PgConnection,
    caller: &str,
    method: &str,
    key: &RequestKey,
    subject: Uuid,
    detail: i32,
) -> ApiResult<Remembered> {
    let new = sqlx::query(
        "INSERT INTO requests (caller, method, request_id, hash, subject, detail) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT DO NOTHING",
    )
    .bind(caller)
    .bind(method)
    .bind(&key.id)
    .bind(&key.hash[..])
    .bind(subject)
    .bind(detail)
    .execute(&mut *tx)
    .await?;
    if new.rows_affected() == 1 {
        return Ok(Remembered::New);
    }
    let (hash, detail, subject): (Vec<u8>, i32, Uuid) = sqlx::query_as(
        "SELECT hash, detail, subject FROM requests WHERE caller = $1 AND method = $2 AND request_id = $3",
    )
    .bind(caller)
    .bind(method)
    .bind(&key.id)
    .fetch_optional(tx)
    .await?
    .ok_or_else(|| ApiError::internal("a remembered request is gone"))?;
    key.check(&hash)?;
    Ok(Remembered::Repeat { detail, subject })
}

/// Remembers those of several requests that are new, each with its subject and detail; which ones those were, by caller
/// and request id.
pub(crate) async fn remember_new(
    tx: &mut PgConnection,
    method: &str,
    requests: &[(&str, &RequestKey, Uuid, i32)],
) -> ApiResult<HashSet<(String, String)>> {
    if requests.is_empty() {
        return Ok(HashSet::new());
    }
    let new: Vec<(String, String)> = sqlx::query_as(
        "INSERT INTO requests (caller, method, request_id, hash, subject, detail)
         SELECT x.caller, $2, x.request_id, x.hash, x.subject, x.detail
         FROM unnest($1::text[], $3::text[], $4::bytea[], $5::uuid[], $6::int[])
              x(caller, request_id, hash, subject, detail)
         ON CONFLICT DO NOTHING RETURNING caller, request_id",
    )
    .bind(requests.iter().map(|r| r.0).collect::<Vec<_>>())
    .bind(method)
    .bind(requests.iter().map(|r| r.1.id.as_str()).collect::<Vec<_>>())
    .bind(requests.iter().map(|r| &r.1.hash[..]).collect::<Vec<_>>())
    .bind(requests.iter().map(|r| r.2).collect::<Vec<_>>())
    .bind(requests.iter().map(|r| r.3).collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    Ok(new.into_iter().collect())
}
