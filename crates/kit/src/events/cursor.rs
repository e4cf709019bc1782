//! How far the outbox is published: a number, and the gaps below it.
//!
//! Events are numbered when they are written and seen when they are committed, so a number may be missing when the relay
//! comes by and be there a moment later. Such a gap is looked for again, often while it is young. A transaction that was
//! rolled back leaves its numbers missing for ever; those gaps are forgotten once it is certain that whoever drew them has
//! come to an end: when the table could be locked against writers for an instant.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, Executor as _, FromRow, PgConnection};
use uuid::Uuid;

use crate::ApiResult;

/// A gap is looked for at every reading while it is younger than this, and once in this time afterwards.
const YOUNG: Duration = Duration::from_secs(1);
/// An event in the outbox.
#[derive(Debug, FromRow)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) id: Uuid,
    pub(super) r#type: String,
    pub(super) subject: String,
    pub(super) payload: Vec<u8>,
    pub(super) traceparent: Option<String>,
    pub(super) created_at: DateTime<Utc>,
}

/// The relay's place in the outbox.
#[derive(Debug)]
pub(super) struct Cursor {
    head: i64,
    /// Missing numbers, and when they were first missed by this relay.
    gaps: BTreeMap<i64, Instant>,
    /// From this age on a gap may be forgotten.
    patience: Duration,
    looked_for_all: Instant,
    buried: Instant,
}

impl Cursor {
    /// As the last relay left it.
    pub(super) async fn read(connection: &mut PgConnection, patience: Duration) -> ApiResult<Self> {
        let (head, gaps): (i64, Vec<i64>) =
            sqlx::query_as("SELECT head, gaps FROM outbox_cursor").fetch_one(connection).await?;
        let now = Instant::now();
        let gaps = gaps.into_iter().map(|gap| (gap, now)).collect();
        Ok(Self { head, gaps, patience, looked_for_all: now, buried: now })
    }

    /// The next events, so many beyond the head at most, in order.
    pub(super) async fn next(&mut self, connection: &mut PgConnection, most: u16) -> ApiResult<Vec<Row>> {
        let all = self.looked_for_all.elapsed() >= YOUNG;
        if all {
            self.looked_for_all = Instant::now();
        }
        let gaps: Vec<i64> =
            self.gaps.iter().filter(|(_, at)| all || at.elapsed() < YOUNG).map(|(seq, _)| *seq).collect();
        let rows = sqlx::query_as(
            "(SELECT seq, id, type, subject, payload, traceparent, created_at FROM outbox WHERE seq = ANY($1) ORDER BY seq)
             UNION ALL
             (SELECT seq, id, type, subject, payload, traceparent, created_at FROM outbox WHERE seq > $2 ORDER BY seq LIMIT $3)",
        )
        .bind(gaps)
        .bind(self.head)
        .bind(i64::from(most))
        .fetch_all(connection)
        .await?;
        Ok(rows)
    }

    /// These were published.
    pub(super) async fn pass(&mut self, connection: &mut PgConnection, rows: &[Row]) -> ApiResult<()> {
        let now = Instant::now();
        for row in rows {
            if row.seq > self.head {
                self.gaps.extend((self.head + 1..row.seq).map(|gap| (gap, now)));
                self.head = row.seq;
            } else {
                self.gaps.remove(&row.seq);
            }
        }
        self.write(connection).await
    }

    async fn write(&self, connection: &mut PgConnection) -> ApiResult<()> {
        sqlx::query("UPDATE outbox_cursor SET head = $1, gaps = $2")
            .bind(self.head)
            .bind(self.gaps.keys().copied().collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Forgets old gaps once nobody can fill them any more, now and then. What was found in them after all is still to be
    /// published, and answered; they are forgotten when [`pass`](Self::pass) is told so.
    pub(super) async fn bury(&mut self, connection: &mut PgConnection) -> ApiResult<Vec<Row>> {
        let old: Vec<i64> =
            self.gaps.iter().filter(|(_, at)| at.elapsed() >= self.patience).map(|(seq, _)| *seq).collect();
        if old.is_empty() || self.buried.elapsed() < self.patience * 3 {
            return Ok(Vec::new());
        }
        self.buried = Instant::now();
        if !nobody_writes(connection).await? {
            return Ok(Vec::new());
        }
        // Who drew those numbers has committed or never will.
        let found: Vec<Row> = sqlx::query_as(
            "SELECT seq, id, type, subject, payload, traceparent, created_at FROM outbox WHERE seq = ANY($1) ORDER BY seq",
        )
        .bind(&old)
        .fetch_all(&mut *connection)
        .await?;
        self.gaps.retain(|seq, _| found.iter().any(|row| row.seq == *seq) || !old.contains(seq));
        self.write(connection).await?;
        Ok(found)
    }
}

/// True: at some moment of this call no transaction was open that had written an event. False: writers were not waited for
/// any longer, so that nobody waits behind this lock.
async fn nobody_writes(connection: &mut PgConnection) -> ApiResult<bool> {
    let mut tx = connection.begin().await?;
    tx.execute("SET LOCAL lock_timeout = '100ms'").await?;
    let locked = tx.execute("LOCK TABLE outbox IN SHARE MODE").await.map_err(crate::ApiError::from);
    tx.rollback().await?;
    match locked {
        Ok(_) => Ok(true),
        Err(error) if error.is_lock_timeout() => Ok(false),
        Err(error) => Err(error),
    }
}
