//! Requests that changed a row that was there before, remembered for their repeats.

use kit::{ApiResult, idempotency::RequestKey};
use sqlx::PgConnection;
use tourmesh_kit as kit;

/// Forgets those of which no repeat comes any more, 30 days after them, a few at a time; true: there may be more.
///
/// # Errors
/// When the database refuses.
pub async fn forget_old(pool: &sqlx::PgPool) -> ApiResult<bool> {
    let done = sqlx::query(
        "DELETE FROM requests WHERE (caller, method, request_id) IN
         (SELECT caller, method, request_id FROM requests WHERE created_at < now() - interval '30 days' LIMIT 1000)",
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1000)
}

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
