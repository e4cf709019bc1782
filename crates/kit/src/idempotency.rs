//! What makes repeats harmless: the row that a request creates stores its `request_id` with a hash of its content.

use prost::Message;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use tourmesh::common::v1::ErrorReason;
use uuid::Uuid;

use crate::{ApiError, ApiResult};

/// A request's id and the hash of everything else that shapes its effect, who asked included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// As the caller gave it; unique per caller and method.
    pub id: String,
    /// SHA-256.
    pub hash: [u8; 32],
}

impl RequestKey {
    /// The key of a request. `scope` is the method and the caller; protobuf encodes the same content to the same bytes
    /// here, because prost writes fields in order and our requests have no maps.
    pub fn of(id: &str, scope: &str, request: &impl Message) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(scope.as_bytes());
        hasher.update([0]);
        hasher.update(request.encode_to_vec());
        Self { id: id.to_owned(), hash: hasher.finalize().into() }
    }

    /// Compares with what was stored under the same id.
    ///
    /// # Errors
    /// REQUEST_ID_REUSED when the content was another.
    pub fn check(&self, stored_hash: &[u8]) -> ApiResult<()> {
        if stored_hash == self.hash {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorReason::RequestIdReused,
            "request_id was used with other content; use a new request_id for a new request",
        )
        .violation("request_id", "was used with other content"))
    }
}

/// Remembers a request that changes a row which is there already, in the service's table `requests`; true: it is new, and
/// has its effect now. Of two equal requests at once the second waits for the first one's outcome.
///
/// # Errors
/// REQUEST_ID_REUSED when it was used with other content, or what the database says.
pub async fn remember(
    tx: &mut PgConnection,
    caller: &str,
    method: &str,
    key: &RequestKey,
    subject: Uuid,
) -> ApiResult<bool> {
    let new = sqlx::query(
        "INSERT INTO requests (caller, method, request_id, hash, subject) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
    )
    .bind(caller)
    .bind(method)
    .bind(&key.id)
    .bind(key.hash.as_slice())
    .bind(subject)
    .execute(&mut *tx)
    .await?;
    if new.rows_affected() == 1 {
        return Ok(true);
    }
    let hash: Vec<u8> =
        sqlx::query_scalar("SELECT hash FROM requests WHERE caller = $1 AND method = $2 AND request_id = $3")
            .bind(caller)
            .bind(method)
            .bind(&key.id)
            .fetch_one(tx)
            .await?;
    key.check(&hash)?;
    Ok(false)
}
