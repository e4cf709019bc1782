//! What a service's database forgets by itself: events that were published, events that had their effect, and the
//! requests that make repeats harmless.
//!
//! A service that remembers requests of changes has a table `requests` with `caller`, `method`, `request_id` (its primary
//! key) and `created_at` (with an index, or every round would read all of it). It need do nothing else: whoever has a
//! [`Chassis::database`](crate::chassis::Chassis::database) is pruned. A repeat that comes later than that is a new call.

use std::time::Duration;

use crate::{
    ApiResult,
    config::{ConfigError, Env, Setting},
    db::Db,
    shutdown::Shutdown,
};

/// How long requests are remembered.
pub const REQUEST_RETENTION_DAYS: Setting = Setting::new(
    "REQUEST_RETENTION_DAYS",
    "30",
    "How long the role remembers the request_id of a change, in days, 1 to 3650: a repeat within this time has no second \
     effect. A row that a request made remembers it as long as the row is there.",
);

/// How long published events are kept, for `tourmesh events rebuild`. Redelivery cannot come after the stream's own age,
/// so an inbox row of twice that age has done its work.
const EVENTS: &str = "14 days";
/// How many rows a statement deletes, so that none runs long.
const AT_ONCE: i64 = 5000;
const PAUSE: Duration = Duration::from_secs(600);
const BREATH: Duration = Duration::from_millis(100);

/// How long a role's rows are kept.
#[derive(Debug, Clone, Copy)]
pub struct Pruning {
    request_days: i32,
}

impl Pruning {
    /// As the role is set.
    ///
    /// # Errors
    /// When the setting is out of its bounds.
    pub fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let request_days = env.get(&REQUEST_RETENTION_DAYS)?;
        if (1..=3650).contains(&request_days) {
            return Ok(Self { request_days });
        }
        Err(env.error(&REQUEST_RETENTION_DAYS, "must lie between 1 and 3650"))
    }

    /// Prunes now and then, until shutdown.
    pub async fn run(self, db: Db, shutdown: Shutdown) {
        while shutdown.sleep(PAUSE).await {
            while let Some(done) = shutdown.unless(self.bite(&db)).await {
                match done {
                    Ok(more) if more && shutdown.sleep(BREATH).await => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "old rows could not be deleted; it is tried again");
                        break;
                    }
                }
            }
        }
    }

    /// Deletes a bite of everything that is past its time; true: there may be more.
    ///
    /// # Errors
    /// DEPENDENCY_UNAVAILABLE.
    pub async fn bite(&self, db: &Db) -> ApiResult<bool> {
        let outbox = sqlx::query(
            // The oldest have the lowest numbers, near enough: no index by time is needed to find them.
            "DELETE FROM outbox WHERE seq IN (
                 SELECT seq FROM (SELECT seq, created_at FROM outbox ORDER BY seq LIMIT $1) oldest
                 WHERE created_at < now() - $2::text::interval AND seq <= (SELECT head FROM outbox_cursor))",
        );
        let outbox = outbox.bind(AT_ONCE).bind(EVENTS).execute(db.pool()).await?;
        let inbox = sqlx::query(
            "DELETE FROM inbox WHERE (consumer, event_id) IN (
                 SELECT consumer, event_id FROM inbox WHERE received_at < now() - $2::text::interval LIMIT $1)",
        );
        let inbox = inbox.bind(AT_ONCE).bind(EVENTS).execute(db.pool()).await?;
        let mut most = outbox.rows_affected().max(inbox.rows_affected());
        // Not every service remembers requests apart from what they made.
        let remembers = sqlx::query_scalar("SELECT to_regclass('requests') IS NOT NULL").fetch_one(db.pool());
        if remembers.await? {
            let requests = sqlx::query(
                "DELETE FROM requests WHERE (caller, method, request_id) IN (
                     SELECT caller, method, request_id FROM requests WHERE created_at < now() - make_interval(days => $2)
                     ORDER BY created_at LIMIT $1)",
            );
            let requests = requests.bind(AT_ONCE).bind(self.request_days).execute(db.pool()).await?;
            most = most.max(requests.rows_affected());
        }
        Ok(i64::try_from(most).is_ok_and(|rows| rows >= AT_ONCE))
    }
}
