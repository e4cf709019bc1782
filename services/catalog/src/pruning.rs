//! Requests are remembered for 30 days: nobody repeats a call after that.

use std::time::Duration;

use tourmesh_kit::{ApiResult, db::Db, shutdown::Shutdown};

const PAUSE: Duration = Duration::from_secs(60 * 60);
/// How many rows one statement deletes, so that none takes long.
const AT_ONCE: u64 = 1000;
const PRUNE: &str = "
    DELETE FROM requests WHERE (caller, method, request_id) IN (
        SELECT caller, method, request_id FROM requests WHERE created_at < now() - interval '30 days'
        ORDER BY created_at LIMIT 1000)";

/// Forgets requests that are too old to be repeated; returns how many.
pub(crate) async fn prune(db: &Db) -> ApiResult<u64> {
    let mut count = 0;
    loop {
        let done = sqlx::query(PRUNE).execute(db.pool()).await?.rows_affected();
        count += done;
        if done < AT_ONCE {
            return Ok(count);
        }
    }
}

/// Prunes at once and then once an hour, until shutdown.
pub(crate) async fn keep_pruned(db: Db, shutdown: Shutdown) {
    loop {
        match shutdown.unless(prune(&db)).await {
            Some(Ok(0)) => {}
            Some(Ok(count)) => tracing::debug!(count, "old requests forgotten"),
            Some(Err(error)) => tracing::warn!(%error, "old requests could not be forgotten; it is tried again"),
            None => return,
        }
        if !shutdown.sleep(PAUSE).await {
            return;
        }
    }
}
