//! From the outbox to the stream: in order, at least once, by exactly one of equals.
//!
//! A short backlog goes out as single messages, whose message ids JetStream deduplicates; a long one as atomic batches,
//! which cost one disk sync a batch instead of one a message. When a batch's outcome is unclear, or one of its ids was
//! seen before (which refuses the whole batch), its messages go out singly. Several replicas may run: an advisory lock
//! elects the one that relays, and the others only wake it.
//!
//! A lone event goes out at once. When several came together more are on their way, and the relay takes a breath: the
//! next batch is larger then, and what a batch costs (two statements, one disk sync of the broker, one transaction of
//! every consumer) is shared by more events.

use std::{pin::pin, time::Duration};

use async_nats::{HeaderMap, HeaderName, header, jetstream::publish::PublishAck, jetstream::response::Response};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::future::try_join_all;
use sqlx::{Connection as _, PgConnection, postgres::PgListener};
use uuid::Uuid;

use super::{
    Broker, Event,
    cursor::{Cursor, Row},
};
use crate::{
    ApiError, ApiResult,
    db::Db,
    readiness::{Readiness, Trouble},
    shutdown::Shutdown,
};

/// From this many waiting events on, they go out as an atomic batch.
const BATCH_FROM: usize = 24;
/// How many events are read and published at once; JetStream takes 1,000 messages a batch.
const BATCH_MOST: u16 = 500;
/// From this many events on a batch says that more are coming.
const BUSY_FROM: usize = 4;
/// How long the relay waits for company then, for each event of the batch: below a thousand events a second the waits get
/// shorter, above it they get longer. A batch of hundreds costs little more than one of a dozen.
const BREATH: Duration = Duration::from_millis(1);
/// It never waits longer. Nobody waits for an event but for an e-mail: who pays has their confirmation from the call.
const BREATH_MOST: Duration = Duration::from_millis(200);
/// How often the outbox is read without a wake-up.
const POLL: Duration = Duration::from_millis(500);
/// "tourmesh" as a number: the advisory lock of the relay in the service's own database. It is taken there for good:
/// services choose other numbers for locks of their own.
const LOCK: i64 = 0x746f_7572_6d65_7368;
/// Transactions take milliseconds. Every three times as long the outbox is locked for an instant, if numbers are missing.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Publishes one service's outbox until shutdown.
#[derive(Debug, Clone)]
pub struct Relay {
    /// The service's database.
    pub db: Db,
    /// The broker.
    pub broker: Broker,
    /// The service's domain, whose stream takes the events.
    pub domain: &'static str,
    /// How old a missing number of the outbox is before it may be forgotten; see [`PATIENCE`].
    pub patience: Duration,
}

impl Relay {
    /// Runs until shutdown. What fails is tried again, and reported as the part `event relay` when it goes on failing.
    pub async fn run(self, readiness: Readiness, shutdown: Shutdown) {
        let mut trouble = Trouble::new("event relay", readiness);
        while !shutdown.is_triggered() {
            let result = self.lead(&shutdown, &trouble).await;
            shutdown.sleep(trouble.pause(result)).await;
        }
    }

    /// Waits to be the elected one, then relays until something fails or shutdown.
    async fn lead(&self, shutdown: &Shutdown, trouble: &Trouble) -> ApiResult<()> {
        self.broker.stream(self.domain).await?;
        // The lock belongs to the session, so this connection never goes back to the pool.
        let mut connection = self.db.pool().acquire().await?.detach();
        let result = self.lead_on(&mut connection, shutdown, trouble).await;
        let _ = connection.close().await;
        result
    }

    async fn lead_on(&self, connection: &mut PgConnection, shutdown: &Shutdown, trouble: &Trouble) -> ApiResult<()> {
        let signal = self.db.commit_signal();
        // Registered once and again after each wake-up, so that no commit falls between two waits.
        let mut committed = pin!(signal.notified());
        committed.as_mut().enable();
        while !sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock($1)")
            .bind(LOCK)
            .fetch_one(&mut *connection)
            .await?
        {
            // Somebody else leads: all is well.
            trouble.over();
            let mut next_try = pin!(shutdown.sleep(Duration::from_secs(1)));
            loop {
                tokio::select! {
                    going_on = &mut next_try => if going_on { break } else { return Ok(()) },
                    () = committed.as_mut() => {
                        committed.set(signal.notified());
                        committed.as_mut().enable();
                        // Somebody else relays: tell them, at most every few milliseconds.
                        sqlx::query("NOTIFY tourmesh_outbox").execute(&mut *connection).await?;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
        }
        // All that this session writes is how far events were published. Should the server lose the last of it in a crash,
        // those events go out again, and the broker and every inbox know them: no reason to wait for the disk.
        sqlx::query("SET synchronous_commit = off").execute(&mut *connection).await?;
        let mut cursor = Cursor::read(connection, self.patience).await?;
        let mut listener = PgListener::connect_with(self.db.pool()).await?;
        listener.listen("tourmesh_outbox").await?;
        loop {
            // Registered before the look, so that no commit falls between look and wait.
            let mut committed = pin!(signal.notified());
            committed.as_mut().enable();
            let published = self.publish_waiting(connection, &mut cursor).await?;
            if published > 0 {
                if (BUSY_FROM..usize::from(BATCH_MOST)).contains(&published) {
                    let breath = u32::try_from(published).map_or(BREATH_MOST, |n| BREATH * n);
                    shutdown.sleep(breath.min(BREATH_MOST)).await;
                }
                continue;
            }
            trouble.over();
            tokio::select! {
                () = shutdown.triggered() => {
                    // What was committed while the role stopped still goes out.
                    self.publish_waiting(connection, &mut cursor).await?;
                    return Ok(());
                }
                () = committed => {}
                notified = listener.recv() => { notified?; }
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn publish_waiting(&self, connection: &mut PgConnection, cursor: &mut Cursor) -> ApiResult<usize> {
        let rows = cursor.next(connection, BATCH_MOST).await?;
        self.publish(&rows).await?;
        if !rows.is_empty() {
            cursor.pass(connection, &rows).await?;
        }
        let late = cursor.bury(connection).await?;
        if !late.is_empty() {
            self.publish(&late).await?;
            cursor.pass(connection, &late).await?;
        }
        Ok(rows.len() + late.len())
    }

    async fn publish(&self, rows: &[Row]) -> ApiResult<()> {
        if rows.len() < BATCH_FROM || self.publish_batch(rows).await.is_err() {
            self.publish_singly(rows).await?;
        }
        Ok(())
    }

    /// Pipelined: NATS keeps the order of one connection, and every acknowledgement is awaited.
    async fn publish_singly(&self, rows: &[Row]) -> ApiResult<()> {
        let mut acks = Vec::with_capacity(rows.len());
        for row in rows {
            let payload = Bytes::copy_from_slice(&row.payload);
            let sent = self
                .broker
                .jetstream()
                .publish_with_headers(self.broker.subject(&row.subject), self.headers(row), payload)
                .await;
            acks.push(sent.map_err(|e| ApiError::unavailable("the event broker", e))?.into_future());
        }
        try_join_all(acks).await.map_err(|e| ApiError::unavailable("the event broker", e))?;
        Ok(())
    }

    /// All or nothing (ADR-50 of NATS): only the last message is acknowledged, for the whole batch.
    async fn publish_batch(&self, rows: &[Row]) -> ApiResult<()> {
        let batch = Uuid::now_v7().simple().to_string();
        let client = self.broker.client();
        for (index, row) in rows.iter().enumerate() {
            let mut headers = self.headers(row);
            headers.insert(header::NATS_BATCH_ID, batch.as_str());
            headers.insert(header::NATS_BATCH_SEQUENCE, (index + 1).to_string());
            let payload = Bytes::copy_from_slice(&row.payload);
            if index + 1 < rows.len() {
                let sent = client.publish_with_headers(self.broker.subject(&row.subject), headers, payload).await;
                sent.map_err(|e| ApiError::unavailable("the event broker", e))?;
                continue;
            }
            headers.insert(header::NATS_BATCH_COMMIT, header::NATS_BATCH_COMMIT_FINAL);
            let answer = client.request_with_headers(self.broker.subject(&row.subject), headers, payload).await;
            let answer = answer.map_err(|e| ApiError::unavailable("the event broker", e))?;
            match serde_json::from_slice::<Response<PublishAck>>(&answer.payload) {
                Ok(Response::Ok(ack)) if ack.batch_size == u64::try_from(rows.len()).ok() => return Ok(()),
                Ok(Response::Ok(ack)) => {
                    return Err(ApiError::internal(format!("a batch of {} was acknowledged as {ack:?}", rows.len())));
                }
                Ok(Response::Err { error }) => return Err(ApiError::internal(error)),
                Err(error) => return Err(ApiError::internal(error)),
            }
        }
        Ok(())
    }

    fn headers(&self, row: &Row) -> HeaderMap {
        headers(self.domain, row.id, &row.r#type, row.created_at, row.traceparent.as_deref())
    }
}

// Made once: a name that comes as text is parsed and kept anew for each event.
static SPEC_VERSION: HeaderName = HeaderName::from_static("ce-specversion");
static ID: HeaderName = HeaderName::from_static("ce-id");
static TYPE: HeaderName = HeaderName::from_static("ce-type");
static SOURCE: HeaderName = HeaderName::from_static("ce-source");
static TIME: HeaderName = HeaderName::from_static("ce-time");
static TRACE: HeaderName = HeaderName::from_static("traceparent");

/// CloudEvents in binary mode, and the id that JetStream deduplicates by.
fn headers(domain: &str, id: Uuid, kind: &str, time: DateTime<Utc>, traceparent: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let id = id.to_string();
    headers.insert(header::NATS_MESSAGE_ID, id.as_str());
    headers.insert(SPEC_VERSION.clone(), "1.0");
    headers.insert(ID.clone(), id.as_str());
    headers.insert(TYPE.clone(), kind);
    headers.insert(SOURCE.clone(), format!("/tourmesh/{domain}"));
    headers.insert(TIME.clone(), time.to_rfc3339_opts(SecondsFormat::Micros, true));
    if let Some(traceparent) = traceparent {
        headers.insert(TRACE.clone(), traceparent);
    }
    headers
}

/// Publishes one event without an outbox: for tests that play another service.
///
/// # Errors
/// DEPENDENCY_UNAVAILABLE.
pub async fn publish_one(broker: &Broker, domain: &str, event: &Event) -> ApiResult<()> {
    let lost = |e| ApiError::unavailable("the event broker", e);
    broker.stream(domain).await?;
    let headers = headers(domain, event.id, &event.kind, Utc::now(), event.traceparent.as_deref());
    let payload = Bytes::copy_from_slice(&event.payload);
    let sent = broker.jetstream().publish_with_headers(broker.subject(&event.subject), headers, payload).await;
    sent.map_err(lost)?.await.map_err(lost)?;
    Ok(())
}
