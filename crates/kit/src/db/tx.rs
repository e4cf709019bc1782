//! A transaction whose connection is used again only if it came to its end.

use std::ops::{Deref, DerefMut};

use sqlx::{Executor as _, PgConnection, PgPool, Postgres, Transaction, pool::PoolConnection};

use crate::{ApiError, ErrorReason};

/// A transaction on a connection of the pool. One that is dropped before it is committed or rolled back, at whatever
/// point, takes its connection with it: what the server made of it is not known then.
#[derive(Debug)]
pub struct Tx {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl Tx {
    pub(super) async fn begin(pool: &PgPool) -> sqlx::Result<Self> {
        let mut tx = Self { connection: pool.acquire().await?, ended: false };
        tx.connection.execute("BEGIN").await?;
        Ok(tx)
    }

    /// Commits.
    ///
    /// # Errors
    /// When the database does not answer; then it is unknown whether it is committed.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        self.connection.execute("COMMIT").await?;
        self.ended = true;
        Ok(())
    }

    /// Rolls back what came to this error. When it is that the database cannot be reached or used (it may be another one
    /// than it was: demoted, and refusing every write), the connection is not used again.
    pub async fn undo(self, error: &ApiError) {
        if error.reason() != ErrorReason::DependencyUnavailable {
            self.rollback().await;
        }
    }

    /// Rolls back. That this failed is nobody's business: the connection is closed then, which does it, too.
    pub async fn rollback(mut self) {
        self.ended = self.connection.execute("ROLLBACK").await.is_ok();
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for Tx {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// What can be committed: a [`Tx`], or a transaction on a connection that somebody keeps for himself.
pub trait Commit {
    /// Commits.
    fn commit(self) -> impl Future<Output = sqlx::Result<()>> + Send;
}

impl Commit for Tx {
    fn commit(self) -> impl Future<Output = sqlx::Result<()>> + Send {
        Self::commit(self)
    }
}

impl Commit for Transaction<'_, Postgres> {
    #[allow(clippy::disallowed_methods, reason = "this is the door that names it")]
    fn commit(self) -> impl Future<Output = sqlx::Result<()>> + Send {
        Transaction::commit(self)
    }
}
