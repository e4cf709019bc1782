//! The requests that changed a booking, remembered with the change.

use std::collections::HashMap;

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

/// One of several requests that are remembered together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) caller: &'a str,
    pub(crate) method: &'static str,
    pub(crate) key: &'a RequestKey,
    pub(crate) subject: Uuid,
    pub(crate) detail: i32,
}

/// Those of several requests that were carried out before: hash and detail, by caller and request id. All are of one
/// method.
///
/// One look into the index for each: a plan that was made while the table was small, and is kept by the connection, would
/// join all requests of the method, which took half of the database's time a minute later. OFFSET keeps it from that.
pub(crate) async fn known<'a>(
    tx: &mut PgConnection,
    requests: &[Request<'a>],
) -> ApiResult<HashMap<(&'a str, &'a str), (Vec<u8>, i32)>> {
    let Some(first) = requests.first() else { return Ok(HashMap::new()) };
    let found: Vec<(i64, Vec<u8>, i32)> = sqlx::query_as(
        "SELECT x.place, r.hash, r.detail
         FROM unnest($1::text[], $3::text[]) WITH ORDINALITY x(caller, request_id, place)
         CROSS JOIN LATERAL (SELECT hash, detail FROM requests
                             WHERE caller = x.caller AND method = $2 AND request_id = x.request_id OFFSET 0) r",
    )
    .bind(requests.iter().map(|r| r.caller).collect::<Vec<_>>())
    .bind(first.method)
    .bind(requests.iter().map(|r| r.key.id.as_str()).collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    let named = |place: i64| {
        let request = requests.get(usize::try_from(place).ok()?.checked_sub(1)?)?;
        Some((request.caller, request.key.id.as_str()))
    };
    Ok(found.into_iter().filter_map(|(place, hash, detail)| Some((named(place)?, (hash, detail)))).collect())
}

/// Remembers requests that were not known; false: somebody else has carried one of them out meanwhile.
pub(crate) async fn remember_all(tx: &mut PgConnection, requests: &[Request<'_>]) -> ApiResult<bool> {
    let done = sqlx::query(
        "INSERT INTO requests (caller, method, request_id, hash, subject, detail)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::uuid[], $6::int[])
         ON CONFLICT DO NOTHING",
    )
    .bind(requests.iter().map(|r| r.caller).collect::<Vec<_>>())
    .bind(requests.iter().map(|r| r.method).collect::<Vec<_>>())
    .bind(requests.iter().map(|r| r.key.id.as_str()).collect::<Vec<_>>())
    .bind(requests.iter().map(|r| &r.key.hash[..]).collect::<Vec<_>>())
    .bind(requests.iter().map(|r| r.subject).collect::<Vec<_>>())
    .bind(requests.iter().map(|r| r.detail).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(usize::try_from(done.rows_affected()).ok() == Some(requests.len()))
}
