//! Hands due messages over: taken under a lease, several at once, written down together.
//!
//! What is new comes straight from who took its event in, through the [`Entrance`], while there is room: it was kept as
//! taken. One feeder takes the other due rows, some workers hand them over, one scribe writes down what became of them,
//! everything that ended meanwhile in one statement. The scribe waits for nobody, so that the time in which a crash could make an e-mail
//! go out twice is that of one database write. Each channel has a sender of its own: a telephone company that is away
//! holds no e-mail up.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use futures_util::FutureExt as _;
use kit::{ApiResult, db::Db, events::outbox, shutdown::Shutdown, telemetry};
use rand::RngExt as _;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tourmesh_kit as kit;
use tracing::{Instrument as _, Span};

use crate::{
    courier::{Courier, SendError},
    domain::{
        bounce,
        message::{Channel, State},
        retry::{Failure, Policy, Verdict},
    },
    events,
    gate::Gate,
    measure::Measure,
    steps::Step,
    store::{
        bounces, delivery,
        outcomes::{self, Due, Outcome},
    },
};

/// How often due rows are looked for without a wake-up.
const POLL: Duration = Duration::from_millis(500);
/// How many messages may be between feeder and scribe, for each worker.
const ROOM: usize = 32;
/// How many outcomes are written down at once.
const TOGETHER: usize = 256;

/// The sending part of the service for one channel. Clones share it.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The database.
    pub db: Db,
    /// How many at once, for how long, and when again.
    pub pace: Pace,
    /// Who sends.
    pub courier: Arc<Courier>,
    /// What is counted.
    pub measure: Measure,
}

/// How a channel is used.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How many leave at once.
    pub senders: usize,
    /// How many leave in a second at most, from this replica; `None`: as many as can.
    pub per_second: Option<NonZeroU32>,
    /// How long handing one over may take.
    pub send_timeout: Duration,
    /// How long a message that was taken is left to its sender.
    pub lease: Duration,
    /// When to try again and when to give up.
    pub policy: Policy,
}

impl Pace {
    /// How many messages may be between feeder and scribe. Few where they leave slowly: what is taken already is not
    /// overtaken by what is urgent.
    fn room(&self) -> usize {
        let most = self.senders * ROOM;
        self.per_second.map_or(most, |n| most.min((n.get() as usize).max(2)))
    }
}

/// Where new messages of one channel come in that were kept as taken. Clones share it.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Which channel.
    pub channel: Channel,
    /// How long what comes in here is to be kept as taken.
    pub lease: Duration,
    places: Arc<Semaphore>,
    to_workers: mpsc::Sender<Taken>,
    left: Arc<Notify>,
}

/// The right to hand one message in.
#[derive(Debug)]
pub struct Place(OwnedSemaphorePermit);

impl Entrance {
    /// A place for one more message, if there is one.
    pub fn place(&self) -> Option<Place> {
        self.places.clone().try_acquire_owned().ok().map(Place)
    }

    /// Hands in a message that is committed as taken `since`.
    pub fn enter(&self, due: Due, since: Instant, Place(place): Place) {
        let taken = Taken { span: span(&due.row), due, at: since, place };
        // There are as many places as the channel has room. When the sender has gone, the lease ends some day.
        if let Err(error) = self.to_workers.try_send(taken) {
            tracing::debug!(%error, "a new message waits for its lease to end");
        }
    }

    /// There are due messages for which there was no place.
    pub fn look(&self) {
        self.left.notify_one();
    }
}

/// A message under lease; its place is free again when it is written down.
#[derive(Debug)]
struct Taken {
    due: Due,
    at: Instant,
    span: Span,
    place: OwnedSemaphorePermit,
}

/// What became of it.
struct Done {
    row: delivery::Model,
    outcome: Outcome,
    span: Span,
    _place: OwnedSemaphorePermit,
}

impl Sender {
    /// The entrance, and what sends until shutdown. What was taken but not begun then is due again at once.
    pub fn open(self, shutdown: Shutdown) -> (Entrance, impl Future<Output = ()> + Send) {
        let room = self.pace.room();
        let (to_workers, from_feeder) = mpsc::channel(room);
        let entrance = Entrance {
            channel: self.courier.channel(),
            lease: self.pace.lease,
            places: Arc::new(Semaphore::new(room)),
            to_workers,
            left: Arc::default(),
        };
        (entrance.clone(), self.run(entrance, from_feeder, room, shutdown))
    }

    async fn run(self, entrance: Entrance, from_feeder: mpsc::Receiver<Taken>, room: usize, shutdown: Shutdown) {
        let (to_scribe, from_workers) = mpsc::channel(room);
        let from_feeder = Arc::new(Mutex::new(from_feeder));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(self.clone().feed(entrance, room, shutdown.clone()));
        let gate = self.pace.per_second.map(|n| Arc::new(Gate::new(n)));
        for _ in 0..self.pace.senders {
            tasks.spawn(self.clone().work(from_feeder.clone(), to_scribe.clone(), gate.clone(), shutdown.clone()));
        }
        drop(to_scribe);
        tasks.spawn(self.scribe(from_workers, shutdown));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                // The chassis reports a panic of its background work.
                std::panic::resume_unwind(panic);
            }
        }
    }

    async fn feed(self, entrance: Entrance, room: usize, shutdown: Shutdown) {
        let half = u32::try_from(room / 2).unwrap_or(1).max(1);
        while !shutdown.is_triggered() {
            // Half the room at once: rows are taken in dozens, not one by one.
            let free = entrance.places.clone().acquire_many_owned(half);
            let Some(Ok(mut free)) = shutdown.unless(free).await else { return };
            let at = Instant::now();
            let taken = match self.take(i64::from(half)).await {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::debug!(%error, "due messages could not be read");
                    shutdown.sleep(POLL).await;
                    continue;
                }
            };
            let full = taken.len() == half as usize;
            for due in taken {
                let Some(place) = free.split(1) else { break };
                if entrance.to_workers.send(Taken { span: span(&due.row), due, at, place }).await.is_err() {
                    return;
                }
            }
            drop(free);
            if !full {
                tokio::select! {
                    () = entrance.left.notified() => {}
                    () = shutdown.triggered() => return,
                    () = tokio::time::sleep(POLL) => {}
                }
            }
        }
    }

    async fn take(&self, most: i64) -> ApiResult<Vec<Due>> {
        let taken = outcomes::take(self.db.pool(), self.courier.channel(), most, self.pace.lease);
        self.db.take(Step::Take, taken).await
    }

    async fn work(
        self,
        from_feeder: Arc<Mutex<mpsc::Receiver<Taken>>>,
        to_scribe: mpsc::Sender<Done>,
        gate: Option<Arc<Gate>>,
        shutdown: Shutdown,
    ) {
        loop {
            let next = from_feeder.lock().await.recv().await;
            let Some(Taken { due, at, span, place }) = next else { return };
            if let Some(gate) = &gate {
                // Who stops has nothing to wait for.
                let _ = shutdown.unless(gate.pass()).await;
            }
            // Too late to be sure that nobody else takes it while it is under way.
            let late = at.elapsed() + self.pace.send_timeout >= self.pace.lease;
            let outcome = if shutdown.is_triggered() || late {
                untouched(&due.row)
            } else {
                self.deliver(&due).instrument(span.clone()).await
            };
            if to_scribe.send(Done { row: due.row, outcome, span, _place: place }).await.is_err() {
                return;
            }
        }
    }

    /// One try of one message.
    async fn deliver(&self, Due { row, barred }: &Due) -> Outcome {
        let mut outcome = Outcome {
            id: row.id,
            attempt: row.attempts,
            state: State::Sent,
            wait: Duration::ZERO,
            untouched: false,
            dead: false,
            error: String::new(),
            subject: String::new(),
        };
        let sent = match barred {
            Some(why) => Err(SendError::never(format!("an earlier message to this address came back: {why}"))),
            None => self.courier.send(row, &mut outcome.subject).await,
        };
        let Err(SendError { failure, text }) = sent else { return outcome };
        let age = (Utc::now() - row.created_at).to_std().unwrap_or_default();
        let attempt = u32::try_from(row.attempts).unwrap_or(1);
        let jitter = rand::rng().random_range(0..=1000);
        match self.pace.policy.verdict(failure, attempt, age, jitter) {
            Verdict::Again(wait) => {
                tracing::debug!(error = text, ?wait, attempt, "a message is tried again later");
                outcome.state = State::Pending;
                outcome.wait = wait;
            }
            Verdict::GiveUp => {
                tracing::warn!(delivery = %row.delivery_id(), error = text, attempt, "a message is given up");
                outcome.state = State::Failed;
                outcome.dead = failure == Failure::Permanent && bounce::address_is_none(&text);
            }
        }
        outcome.error = text;
        outcome
    }

    async fn scribe(self, mut from_workers: mpsc::Receiver<Done>, shutdown: Shutdown) {
        let mut done = Vec::with_capacity(TOGETHER);
        while from_workers.recv_many(&mut done, TOGETHER).await > 0 {
            let written: Arc<[Done]> = done.drain(..).collect();
            if written.iter().any(|done| done.outcome.state == State::Sent) {
                self.courier.settle().await;
            }
            let mut tries = 0;
            // What was handed over must be written down: giving up here means an e-mail that goes out twice.
            while let Err(error) = self.write_down(written.clone()).await {
                tries += 1;
                if tries == 1 {
                    tracing::warn!(%error, messages = written.len(), "outcomes could not be written down yet");
                }
                if shutdown.is_triggered() && tries > 20 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Marks the rows, and says in the same transaction which lives have ended.
    async fn write_down(&self, done: Arc<[Done]>) -> ApiResult<()> {
        let changed = self
            .db
            .step(Step::WriteDown, move |tx| {
                let done = done.clone();
                async move {
                    let outcomes: Vec<&Outcome> = done.iter().map(|done| &done.outcome).collect();
                    let marked = outcomes::mark(tx, &outcomes).await?;
                    let mut marked: HashMap<_, _> = marked.into_iter().map(|m| (m.id, m)).collect();
                    let mut changed = Vec::with_capacity(marked.len());
                    let mut told = Vec::with_capacity(marked.len());
                    for Done { row, outcome, span, .. } in done.iter() {
                        let Some(row) = marked.remove(&row.id).map(|marked| marked.of(row)) else { continue };
                        if let Some(address) = row.email.as_deref().filter(|_| outcome.dead) {
                            bounces::bury(tx, address, &outcome.error).await?;
                        }
                        told.extend(span.in_scope(|| events::ended(&row))?);
                        changed.push(row);
                    }
                    outbox::append(tx, &told).await?;
                    Ok(changed)
                }
                .boxed()
            })
            .await?;
        changed.iter().for_each(|row| self.measure.ended(row));
        Ok(())
    }
}

fn untouched(row: &delivery::Model) -> Outcome {
    Outcome {
        id: row.id,
        attempt: row.attempts,
        state: State::Pending,
        wait: Duration::ZERO,
        untouched: true,
        dead: false,
        error: String::new(),
        subject: String::new(),
    }
}

/// The span of one try, in the trace of the event that asked for the message.
fn span(row: &delivery::Model) -> Span {
    let span = tracing::info_span!(
        "send message",
        otel.name = format!("send {}", row.kind.to_lowercase()),
        otel.kind = "producer",
        tourmesh.role = crate::ROLE,
        delivery.id = %row.delivery_id(),
        delivery.kind = row.kind,
        delivery.attempt = row.attempts,
    );
    if let Some(traceparent) = &row.traceparent {
        telemetry::set_parent(&span, traceparent);
    }
    span
}
