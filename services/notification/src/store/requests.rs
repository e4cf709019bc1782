//! Requests that changed a row that was there before, remembered for their repeats.

use kit::ApiResult;
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
