//! Requests that were answered with a payment that was there already.

use sqlx::PgConnection;
use tourmesh_kit::ApiResult;
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
