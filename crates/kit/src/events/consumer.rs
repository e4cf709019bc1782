//! From a stream to a handler: in batches, each event's effect exactly once.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self, AckKind, ErrorCode,
    consumer::{DeliverPolicy, pull},
    stream::{ConsumerErrorKind, Stream},
};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use sqlx::PgConnection;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{Broker, Received, dead_letters};
use crate::{
    ApiError, ApiResult, ErrorReason,
    db::Db,
    readiness::{Readiness, Trouble},
    shutdown::Shutdown,
    telemetry,
};

/// How many events are handled in one transaction at most.
const BATCH: usize = 256;
/// How long an event waits for its acknowledgement before it is delivered again. A consumer that was killed makes its
/// successor wait for it (the broker does not see that a client is gone), and handling takes milliseconds.
const ACK_WAIT: Duration = Duration::from_secs(8);
/// How often a handler is asked whether its interest has begun or ended. What was told meanwhile is not missed.
const ASK: Duration = Duration::from_millis(500);
/// Clocks of machines differ; what is told within this time before [`Interest::Since`] comes as well.
const SKEW: TimeDelta = TimeDelta::seconds(1);
/// After so many failures of its own an event is a dead letter. Counted here and not by deliveries, among which are those
/// that failed because something could not be reached; a restart forgets the count, which costs a few more tries.
pub const MAX_FAILURES: u32 = 5;

/// By stream sequence.
type Failures = HashMap<u64, u32>;

/// What a service does with events that came in.
pub trait Handler: Send + Sync + 'static {
    /// The effect of these events, in the transaction that also keeps their inbox rows. None of them had its effect
    /// before; they are in stream order. On an error all of it is rolled back and the events are handled one by one.
    fn handle<'a>(&'a self, tx: &'a mut PgConnection, events: &'a [Received]) -> BoxFuture<'a, ApiResult<()>>;

    /// What `handle` did last is committed.
    fn committed(&self) {}

    /// Which events have an effect here. Asked at the start, and again and again if it was not [`Interest::All`].
    fn interest<'a>(&'a self, _db: &'a Db) -> BoxFuture<'a, ApiResult<Interest>> {
        std::future::ready(Ok(Interest::All)).boxed()
    }
}

/// Which events have an effect at a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// All that the stream has.
    All,
    /// Those that were told since then, by the broker's clock. What is older may come too, if the consumer was there.
    Since(DateTime<Utc>),
    /// None at present: there is no consumer in the broker, and an event costs nothing.
    None,
}

/// One durable consumer.
#[derive(Debug, Clone, Copy)]
pub struct Consumer {
    /// Its durable name, and its key in the inbox: `booking-payments`.
    pub name: &'static str,
    /// The publisher's domain, whose stream is read.
    pub domain: &'static str,
    /// Which subjects, such as `payment.payment.captured.*`.
    pub subjects: &'static [&'static str],
}

impl Consumer {
    /// Consumes until shutdown. What fails is tried again, and reported under the consumer's name when it goes on failing.
    pub async fn run(self, db: Db, broker: Broker, handler: impl Handler, readiness: Readiness, shutdown: Shutdown) {
        let mut trouble = Trouble::new(self.name, readiness);
        let mut failures = Failures::new();
        while !shutdown.is_triggered() {
            let result = self.consume(&db, &broker, &handler, &mut failures, &trouble, &shutdown).await;
            shutdown.sleep(trouble.pause(result)).await;
        }
    }

    async fn consume(
        &self,
        db: &Db,
        broker: &Broker,
        handler: &impl Handler,
        failures: &mut Failures,
        trouble: &Trouble,
        shutdown: &Shutdown,
    ) -> ApiResult<()> {
        let lost = |e: Box<dyn std::error::Error + Send + Sync>| ApiError::unavailable("the event broker", e);
        let stream = broker.stream(self.domain).await?;
        let Some(deliver_policy) = self.awaken(&stream, db, handler, trouble, shutdown).await? else { return Ok(()) };
        let for_good = deliver_policy == DeliverPolicy::All;
        let config = pull::Config {
            durable_name: Some(self.name.to_owned()),
            deliver_policy,
            filter_subjects: self.subjects.iter().map(|s| broker.subject(s)).collect(),
            ack_policy: jetstream::consumer::AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: 2_000,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|e| lost(e.into()))?;
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(500)
            .expires(Duration::from_secs(10))
            .heartbeat(Duration::from_secs(3))
            .messages()
            .await
            .map_err(|e| lost(e.into()))?;
        trouble.over();
        let mut asked = Instant::now();
        loop {
            let Some(first) = shutdown.unless(messages.next()).await else {
                // What was fetched and not begun goes back at once, or it would wait for its acknowledgement time.
                while let Some(Some(Ok(message))) = messages.next().now_or_never() {
                    ack(&message, AckKind::Nak(None)).await?;
                }
                return Ok(());
            };
            let Some(first) = first else { return Ok(()) };
            let mut batch = vec![first.map_err(|e| lost(e.into()))?];
            // What has arrived with it is handled with it; nobody waits for company.
            while batch.len() < BATCH {
                match messages.next().now_or_never() {
                    Some(Some(Ok(message))) => batch.push(message),
                    _ => break,
                }
            }
            if !for_good && asked.elapsed() >= ASK {
                if handler.interest(db).await? == Interest::None {
                    return Ok(());
                }
                asked = Instant::now();
            }
            self.handle_batch(db, broker, handler, failures, batch).await?;
        }
    }

    /// Waits until there is interest; where the consumer is to begin if it is not there yet. `None`: shutdown.
    async fn awaken(
        &self,
        stream: &Stream,
        db: &Db,
        handler: &impl Handler,
        trouble: &Trouble,
        shutdown: &Shutdown,
    ) -> ApiResult<Option<DeliverPolicy>> {
        let mut is_there = true;
        loop {
            match handler.interest(db).await? {
                Interest::All => return Ok(Some(DeliverPolicy::All)),
                Interest::Since(when) => {
                    // Where a consumer began cannot be changed, and does not have to be.
                    if let Ok(known) = stream.get_consumer::<pull::Config>(self.name).await {
                        return Ok(Some(known.cached_info().config.deliver_policy));
                    }
                    let start_time =
                        async_nats::datetime::parse_rfc3339(&(when - SKEW).to_rfc3339()).map_err(ApiError::internal)?;
                    return Ok(Some(DeliverPolicy::ByStartTime { start_time }));
                }
                Interest::None if is_there => {
                    match stream.delete_consumer(self.name).await.map_err(|e| e.kind()) {
                        Ok(_) => {}
                        Err(ConsumerErrorKind::JetStream(e)) if e.error_code() == ErrorCode::CONSUMER_NOT_FOUND => {}
                        Err(kind) => return Err(ApiError::unavailable("the event broker", kind.to_string())),
                    }
                    is_there = false;
                }
                Interest::None => {
                    trouble.over();
                    if !shutdown.sleep(ASK).await {
                        return Ok(None);
                    }
                }
            }
        }
    }

    async fn handle_batch(
        &self,
        db: &Db,
        broker: &Broker,
        handler: &impl Handler,
        failures: &mut Failures,
        batch: Vec<jetstream::Message>,
    ) -> ApiResult<()> {
        let mut known = Vec::with_capacity(batch.len());
        for message in batch {
            match self.read(broker, &message) {
                Ok(received) => known.push((message, received)),
                Err(problem) => self.give_up(broker, &message, &ApiError::internal(problem)).await?,
            }
        }
        let events: Vec<Received> = known.iter().map(|(_, r)| r.clone()).collect();
        if self.take_effect(db, handler, &events).await.is_ok() {
            for (message, _) in &known {
                ack(message, AckKind::Ack).await?;
            }
            return Ok(());
        }
        for (message, received) in &known {
            let outcome = self.take_effect(db, handler, std::slice::from_ref(received)).await;
            match outcome {
                Ok(()) => {
                    failures.remove(&sequence(message));
                    ack(message, AckKind::Ack).await?;
                }
                Err(error) => self.failed(broker, message, failures, &error).await?,
            }
        }
        Ok(())
    }

    /// One transaction: inbox rows, and the effect of those events that had none yet.
    async fn take_effect(&self, db: &Db, handler: &impl Handler, events: &[Received]) -> ApiResult<()> {
        if events.is_empty() {
            return Ok(());
        }
        let mut tx = db.begin().await?;
        let ids: Vec<Uuid> = events.iter().map(|e| e.id).collect();
        let new: Vec<Uuid> = sqlx::query_scalar(
            "INSERT INTO inbox (consumer, event_id) SELECT $1, id FROM unnest($2::uuid[]) id
             ON CONFLICT DO NOTHING RETURNING event_id",
        )
        .bind(self.name)
        .bind(ids)
        .fetch_all(&mut *tx)
        .await?;
        if new.is_empty() {
            tx.rollback().await;
            return Ok(());
        }
        let mut left: std::collections::HashSet<Uuid> = new.into_iter().collect();
        // A batch may hold the same event twice; `remove` keeps the first.
        let fresh: Vec<Received> = events.iter().filter(|e| left.remove(&e.id)).cloned().collect();
        let handling = handler.handle(&mut tx, &fresh);
        let handled = match fresh.as_slice() {
            [one] => handling.instrument(one.span.clone()).await,
            _ => handling.await,
        };
        if let Err(error) = handled {
            tx.undo(&error).await;
            return Err(error);
        }
        db.commit_as(self.name, tx).await?;
        handler.committed();
        Ok(())
    }

    /// A failed event comes again later; one that keeps failing by itself becomes a dead letter. What cannot be reached
    /// is nobody's fault: such an event is not counted out.
    async fn failed(
        &self,
        broker: &Broker,
        message: &jetstream::Message,
        failures: &mut Failures,
        error: &ApiError,
    ) -> ApiResult<()> {
        let deliveries = message.info().map_or(1, |i| i.delivered);
        let ours = !matches!(error.reason(), ErrorReason::DependencyUnavailable | ErrorReason::Overloaded);
        let own_failures = failures.entry(sequence(message)).or_default();
        *own_failures += u32::from(ours);
        if *own_failures >= MAX_FAILURES {
            self.give_up(broker, message, error).await?;
            failures.remove(&sequence(message));
            return Ok(());
        }
        let wait = Duration::from_millis(100 * (1 << deliveries.clamp(0, 7)) as u64);
        tracing::warn!(consumer = self.name, subject = %message.subject, deliveries, %error, source = error.source_text(), "an event failed and comes again");
        ack(message, AckKind::Nak(Some(wait))).await
    }

    async fn give_up(&self, broker: &Broker, message: &jetstream::Message, error: &ApiError) -> ApiResult<()> {
        tracing::error!(consumer = self.name, subject = %message.subject, %error, source = error.source_text(), "an event is given up as a dead letter");
        dead_letters::store(broker, self.name, message, &error.to_string()).await?;
        ack(message, AckKind::Ack).await
    }

    fn read(&self, broker: &Broker, message: &jetstream::Message) -> Result<Received, &'static str> {
        let headers = message.headers.as_ref().ok_or("the event has no headers")?;
        let get = |name: &str| headers.get(name).map(|v| v.as_str());
        let id: Uuid = get("ce-id").and_then(|v| v.parse().ok()).ok_or("the event has no ce-id")?;
        let kind = get("ce-type").ok_or("the event has no ce-type")?.to_owned();
        let time =
            get("ce-time").and_then(|v| DateTime::parse_from_rfc3339(v).ok()).map_or_else(Utc::now, |t| t.to_utc());
        let role = self.name.split('-').next().unwrap_or(self.name);
        let subject = broker.bare(message.subject.as_str()).to_owned();
        let span = tracing::info_span!(
            "process event",
            otel.name = format!("process {}", subject.rsplit_once('.').map_or(subject.as_str(), |(s, _)| s)),
            otel.kind = "consumer",
            tourmesh.role = role,
            messaging.system = "nats",
            messaging.operation.type = "process",
            messaging.destination.name = subject,
            messaging.message.id = %id,
            messaging.consumer.group.name = self.name,
        );
        if let Some(traceparent) = get("traceparent") {
            telemetry::set_parent(&span, traceparent);
        }
        Ok(Received { id, kind, subject, payload: message.payload.clone(), time, span })
    }
}

fn sequence(message: &jetstream::Message) -> u64 {
    message.info().map_or(0, |i| i.stream_sequence)
}

async fn ack(message: &jetstream::Message, kind: AckKind) -> ApiResult<()> {
    message.ack_with(kind).await.map_err(|e| ApiError::unavailable("the event broker", e))
}
