//! Requests that changed a row that was there before, remembered for their repeats.

use kit::{ApiResult, idempotency::RequestKey};
use sqlx::PgConnection;
use tourmesh_kit as kit;

/// Keeps what a repeat of this request is answered with.
///
/// # Errors
/// When the database refuses.
pub async fn answer(tx: &mut PgConnection, caller: &str, method: &str, key: &RequestKey, detail: i32) -> ApiResult<()> {
    sqlx::query("UPDATE requests SET detail = $4 WHERE caller = $1 AND method = $2 AND request_id = $3")
        .bind(caller)
        .bind(method)
        .bind(&key.id)
        .bind(detail)
        .execute(tx)
        .await?;
    Ok(())
}

/// What a repeat of this request is answered with.
///
/// # Errors
/// When the database refuses.
pub async fn answered(tx: &mut PgConnection, caller: &str, method: &str, key: &RequestKey) -> ApiResult<i32> {
    let detail =
        sqlx::query_scalar("SELECT detail FROM requests WHERE caller = $1 AND method = $2 AND request_id = $3")
            .bind(caller)
            .bind(method)
            .bind(&key.id)
            .fetch_one(tx)
            .await?;
    Ok(detail)
}
