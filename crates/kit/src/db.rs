//! The database of one service: a pool that starts without a server, transactions that outlive their caller, migrations.
//!
//! Reads go through SeaORM ([`Db::orm`]); writes are plain SQL in one transaction ([`Db::write`]), because the promises
//! rest on what one statement does. Both share one pool.
//!
//! Two guards against writes that vanish (sqlx 0.9.0 returns a connection to the pool inside an open transaction when
//! the future is dropped in the middle of BEGIN: sqlx #4385, #4393): a write runs in a task of its own, which a
//! disconnecting caller cannot drop, and a connection whose transaction did not come to an end never sees the pool again
//! ([`Tx`]). To roll every connection back as it leaves the pool would also do, and cost a round trip each time.

mod tx;

use std::{str::FromStr as _, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool,
    migrate::{Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::Notify;
use tracing::Instrument as _;

use crate::{
    ApiError, ApiResult,
    config::{ConfigError, Env, Setting},
    deadline,
    pruning::REQUEST_RETENTION_DAYS,
    readiness::Readiness,
    shutdown::Shutdown,
    steps::{self, Faults, Moment},
};

pub use tx::{Commit, Tx};

/// Where the service's database is, as its runtime user.
pub const DATABASE_URL: Setting = Setting::secret(
    "DATABASE_URL",
    "The role's PostgreSQL database, such as postgres://tourmesh_booking:…@localhost/tourmesh_booking.",
);
/// The same database as the user who owns the tables; only `migrate` uses it.
pub const OWNER_DATABASE_URL: Setting = Setting::secret(
    "OWNER_DATABASE_URL",
    "The same database as the user who owns its tables; used by `migrate` alone.",
);
/// How many connections.
pub const DATABASE_POOL: Setting =
    Setting::new("DATABASE_POOL", "12", "The most connections that this role keeps to its database.");

/// What every service with a database can set.
pub const SETTINGS: &[Setting] = &[DATABASE_URL, OWNER_DATABASE_URL, DATABASE_POOL, REQUEST_RETENTION_DAYS];

/// Fails on a server that was demoted and would refuse every write.
const WRITABLE: &str = "SELECT 1 / (1 - pg_is_in_recovery()::int)";
/// A connection that was idle for less is taken without asking whether it still is one.
const TRUSTED: Duration = Duration::from_secs(1);

/// A service's database. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Db {
    pool: PgPool,
    committed: Arc<Notify>,
    faults: Faults,
}

impl Db {
    /// Makes the pool; nothing is connected before the first use, so a service starts without its database.
    ///
    /// # Errors
    /// When DATABASE_URL is missing or not a PostgreSQL URL.
    pub fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let url: String = env.get(&DATABASE_URL)?;
        let options = PgConnectOptions::from_str(&url)
            .map_err(|e| env.error(&DATABASE_URL, &format!("is not a PostgreSQL URL: {e}")))?;
        let db = Self::new(options.application_name(&format!("tourmesh-{}", env.role())), env.get(&DATABASE_POOL)?);
        Ok(Self { faults: env.faults(), ..db })
    }

    /// A pool with these options and at most so many connections.
    pub fn new(options: PgConnectOptions, connections: u32) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            // In-flight work is sized from the pool; who waits longer than this is better told so.
            .acquire_timeout(Duration::from_secs(2))
            // `before_acquire` asks more.
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(async move { connection.execute(WRITABLE).await.map(drop) }))
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    // One that was used a moment ago answered a ping when it came back.
                    if meta.idle_for < TRUSTED {
                        return Ok(true);
                    }
                    match connection.execute(WRITABLE).await {
                        Ok(_) => Ok(true),
                        Err(error) => {
                            tracing::debug!(%error, "a pooled connection is broken and is replaced");
                            Ok(false)
                        }
                    }
                })
            })
            .connect_lazy_with(Self::session(options));
        Self { pool, committed: Arc::default(), faults: Faults::default() }
    }

    /// The limits that every session has, so that nothing waits or stays open for ever.
    fn session(options: PgConnectOptions) -> PgConnectOptions {
        options
            .options([
                ("statement_timeout", "10s"),
                ("lock_timeout", "5s"),
                ("idle_in_transaction_session_timeout", "15s"),
                // Statements here take milliseconds; compiling one takes longer than running it.
                ("jit", "off"),
                // ROLLBACK outside of a transaction is a warning that nobody needs.
                ("client_min_messages", "error"),
            ])
            .log_statements(tracing::log::LevelFilter::Off)
            .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO)
    }

    /// The pool, for single statements and for lanes.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// OVERLOADED when all connections are in use for too long, or DEPENDENCY_UNAVAILABLE.
    pub async fn begin(&self) -> ApiResult<Tx> {
        Ok(Tx::begin(&self.pool).await?)
    }

    /// The same pool as SeaORM sees it, for reads.
    pub fn orm(&self) -> DatabaseConnection {
        SqlxPostgresConnector::from_sqlx_postgres_pool(self.pool.clone())
    }

    /// Runs the work in one transaction and commits it. It goes on to its end when the caller goes away, and is tried
    /// again (three times at most) when Postgres says that two transactions met.
    ///
    /// # Errors
    /// What the work says (then nothing is written), or DEPENDENCY_UNAVAILABLE.
    pub async fn write<T, F>(&self, work: F) -> ApiResult<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut PgConnection) -> BoxFuture<'t, ApiResult<T>> + Send + Sync + 'static,
    {
        self.write_as("", work).await
    }

    /// The same as one of the service's listed writes.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn step<T, F>(&self, step: impl steps::Step, work: F) -> ApiResult<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut PgConnection) -> BoxFuture<'t, ApiResult<T>> + Send + Sync + 'static,
    {
        self.write_as(step.name(), work).await
    }

    /// Commits a transaction that is one of the service's listed writes.
    ///
    /// # Errors
    /// When the database does not answer; then it is unknown whether it is committed.
    pub async fn commit(&self, step: impl steps::Step, tx: impl Commit) -> ApiResult<()> {
        self.commit_as(step.name(), tx).await
    }

    /// Runs one statement that is a listed write and a transaction by itself.
    ///
    /// # Errors
    /// What the statement says.
    pub async fn single<T>(
        &self,
        step: impl steps::Step,
        statement: impl Future<Output = ApiResult<T>>,
    ) -> ApiResult<T> {
        let statement = self.faults.pass(step.name(), Moment::BeforeCommit, statement).await?;
        let written = statement.await?;
        self.faults.pass(step.name(), Moment::AfterCommit, written).await
    }

    /// Runs one statement that takes work on, a listed write that is a transaction by itself. One that finds nothing to
    /// take writes nothing.
    ///
    /// # Errors
    /// What the statement says.
    pub async fn take<T>(
        &self,
        step: impl steps::Step,
        statement: impl Future<Output = ApiResult<Vec<T>>>,
    ) -> ApiResult<Vec<T>> {
        let taken = statement.await?;
        if taken.is_empty() { Ok(taken) } else { self.faults.pass(step.name(), Moment::AfterCommit, taken).await }
    }

    pub(crate) async fn commit_as(&self, step: &'static str, tx: impl Commit) -> ApiResult<()> {
        let tx = self.faults.pass(step, Moment::BeforeCommit, tx).await?;
        tx.commit().await?;
        self.faults.pass(step, Moment::AfterCommit, ()).await?;
        self.wake();
        Ok(())
    }

    async fn write_as<T, F>(&self, step: &'static str, work: F) -> ApiResult<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut PgConnection) -> BoxFuture<'t, ApiResult<T>> + Send + Sync + 'static,
    {
        let db = self.clone();
        detached(async move {
            let mut tries = 0;
            loop {
                tries += 1;
                match db.write_once(step, &work).await {
                    Err(error) if error.is_transaction_conflict() && tries < 3 => {}
                    other => return other,
                }
            }
        })
        .await
    }

    async fn write_once<T, F>(&self, step: &'static str, work: &F) -> ApiResult<T>
    where
        F: for<'t> Fn(&'t mut PgConnection) -> BoxFuture<'t, ApiResult<T>>,
    {
        let mut tx = self.begin().await?;
        match work(&mut tx).await {
            Ok(value) => {
                self.commit_as(step, tx).await?;
                Ok(value)
            }
            Err(error) => {
                tx.undo(&error).await;
                Err(error)
            }
        }
    }

    /// Something was committed: whoever waits in [`committed`](Self::committed) looks again.
    pub fn wake(&self) {
        self.committed.notify_waiters();
    }

    /// Waits for the next commit of this process, or for the time to pass. It only speeds things up: background work
    /// polls as well.
    pub async fn committed(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.committed.notified()).await;
    }

    /// The raw signal, for those who must register before they look.
    pub fn commit_signal(&self) -> Arc<Notify> {
        self.committed.clone()
    }

    /// Watches the database and reports it as the part `postgres` until shutdown.
    pub async fn watch(self, readiness: Readiness, shutdown: Shutdown) {
        loop {
            let state =
                match tokio::time::timeout(Duration::from_secs(2), sqlx::query("SELECT 1").execute(&self.pool)).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("no answer within 2 s".to_owned()),
                };
            let pause = if state.is_ok() { Duration::from_secs(2) } else { Duration::from_millis(250) };
            readiness.report("postgres", state);
            if !shutdown.sleep(pause).await {
                return;
            }
        }
    }
}

/// The role's environment with a database URL that asks for plans by index, made once. Where every statement looks rows up
/// by an index, planning costs as much as the statement, and a plan that is made while the tables are empty must not be a
/// scan of tables that have grown since.
///
/// # Errors
/// When there is no database URL.
pub fn planned_by_index(env: &Env) -> Result<Env, ConfigError> {
    let url: String = env.get(&DATABASE_URL)?;
    let more = if url.contains('?') { '&' } else { '?' };
    let url = format!(
        "{url}{more}options[enable_seqscan]=off&options[enable_hashjoin]=off&options[enable_mergejoin]=off\
         &options[plan_cache_mode]=force_generic_plan"
    );
    Ok(env.with([(format!("TOURMESH_{}_{}", env.role().to_uppercase(), DATABASE_URL.name), url)]))
}

/// Runs work to its end in a task of its own, whatever happens to the caller. Trace and deadline go along.
///
/// # Errors
/// What the work says; INTERNAL when it panics.
pub async fn detached<T: Send + 'static>(work: impl Future<Output = ApiResult<T>> + Send + 'static) -> ApiResult<T> {
    let work = work.in_current_span();
    let task = match deadline::current() {
        Some(at) => tokio::spawn(deadline::within(at, work)),
        None => tokio::spawn(work),
    };
    task.await.unwrap_or_else(|panic| Err(ApiError::internal(panic)))
}

/// One forward step of a schema: a number that grows, a name, plain SQL.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// 100 and up; lower numbers are kit's own.
    pub version: i64,
    /// For people.
    pub name: &'static str,
    /// One or more statements, run in one transaction.
    pub sql: &'static str,
}

/// A service's schema.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The service's steps, in order.
    pub steps: &'static [Step],
    /// Run after the runtime user was granted SELECT, INSERT, UPDATE and DELETE on all tables: takes back what it must
    /// not do. `{runtime}` stands for the user's quoted name.
    pub restrict: &'static str,
}

/// "migrate" as a number: the advisory lock of migrations in the service's own database.
const LOCK: i64 = 0x006d_6967_7261_7465;

const KIT_STEPS: &[Step] = &[
    Step { version: 1, name: "outbox and inbox", sql: include_str!("migrations/0001_events.sql") },
    Step { version: 2, name: "how far the outbox is published", sql: include_str!("migrations/0002_cursor.sql") },
];

impl Schema {
    /// Brings the database up to date as its owner, under an advisory lock, and grants the runtime user its rights.
    ///
    /// # Errors
    /// When the database does not answer, a step fails, or a step that ran before was edited since.
    pub async fn migrate(&self, env: &Env) -> Result<(), MigrateError> {
        let runtime: String = env.get(&DATABASE_URL)?;
        let owner = env.optional::<String>(&OWNER_DATABASE_URL)?.unwrap_or_else(|| runtime.clone());
        let runtime = PgConnectOptions::from_str(&runtime)?;
        let owner = PgConnectOptions::from_str(&owner)?.log_statements(tracing::log::LevelFilter::Off);
        let same_user = runtime.get_username() == owner.get_username();
        let mut connection = PgConnection::connect_with(&owner).await?;
        // Also the grants below must not meet those of another migration; the lock ends with the connection.
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await?;
        let migrations = KIT_STEPS.iter().chain(self.steps).map(|step| {
            Migration::new(
                step.version,
                step.name.into(),
                MigrationType::Simple,
                sqlx::SqlStr::from_static(step.sql),
                false,
            )
        });
        Migrator::with_migrations(migrations.collect()).run_direct(None, &mut connection, false).await?;
        if !same_user {
            let user = format!("\"{}\"", runtime.get_username().replace('"', "\"\""));
            let grants = format!(
                "GRANT USAGE ON SCHEMA public TO {user};
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user};
                 GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {user};
                 {}",
                self.restrict.replace("{runtime}", &user)
            );
            connection.execute(sqlx::AssertSqlSafe(grants)).await?;
        }
        connection.close().await?;
        Ok(())
    }
}

/// Why a migration failed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A step failed.
    #[error("a migration step failed")]
    Step(#[from] sqlx::migrate::MigrateError),
    /// The database does not answer or refuses.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_planner_is_told_to_use_indexes_whatever_else_the_url_says() {
        for url in ["postgres://u:p@h/d", "postgres://u:p@h/d?sslmode=disable"] {
            let env = Env::of("booking", [("TOURMESH_DATABASE_URL".to_owned(), url.to_owned())]);
            let url: String = planned_by_index(&env).unwrap().get(&DATABASE_URL).unwrap();
            let options: PgConnectOptions = url.parse().unwrap();
            assert!(options.get_options().is_some_and(|o| o.contains("enable_seqscan=off")), "{url}");
        }
    }
}
