//! Clients that repeat one thing, and the latencies that come of it.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tonic::Status;
use tonic_types::StatusExt as _;

/// The longest latency that is told apart, in microseconds.
const LONGEST: u64 = 120_000_000;
/// How long what was begun may take after the end.
const GRACE: Duration = Duration::from_secs(60);

/// How it is repeated.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many at the same time.
    pub clients: usize,
    /// For how long.
    pub lasts: Duration,
    /// Open loop: how many are due a second.
    pub rate: Option<u64>,
}

/// What one client does once.
pub trait Work: Send + Sync + 'static {
    /// Does it. `turn` counts over all clients.
    fn once(&self, client: usize, turn: u64) -> impl Future<Output = Result<Done, Missed>> + Send;
    /// What is measured, in words.
    fn told(&self) -> String;
}

/// It was done.
#[derive(Debug)]
pub struct Done {
    /// Moments on the way with their names; the first is the one whose latency counts.
    pub marks: [Option<(&'static str, Instant)>; 2],
    /// What took how long, on the way or after it.
    pub took: Option<(&'static str, Duration)>,
    /// When the whole is broken down by kind: of which kind this was.
    pub kind: Option<&'static str>,
}

impl Done {
    /// Just now.
    pub fn now() -> Self {
        Self { marks: [None, None], took: None, kind: None }
    }

    /// Just now, and it was of this kind.
    pub fn of(kind: &'static str) -> Self {
        Self { kind: Some(kind), ..Self::now() }
    }
}

/// Why it was not done: the reason of the refusal, or what happened.
#[derive(Debug)]
pub struct Missed(pub String);

impl From<Status> for Missed {
    fn from(status: Status) -> Self {
        let reason = status.get_details_error_info().map(|info| info.reason);
        Self(reason.unwrap_or_else(|| format!("{:?}: {}", status.code(), status.message())))
    }
}

/// What came of it.
pub struct Figures {
    /// Latencies of what was done, in microseconds.
    pub latency: Histogram<u64>,
    /// The same by kind or by mark.
    pub parts: BTreeMap<&'static str, Histogram<u64>>,
    /// How many were done within the time.
    pub done: u64,
    /// How many were begun within the time and done after it.
    pub late: u64,
    /// Why others were not.
    pub missed: BTreeMap<String, u64>,
    /// Open loop: how many were due and not begun, because all clients were busy.
    pub unsent: u64,
    /// How long it really was.
    pub lasted: Duration,
}

/// An empty one.
pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST, 3)?)
}

impl Figures {
    fn new(lasted: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            latency: histogram()?,
            parts: BTreeMap::new(),
            done: 0,
            late: 0,
            missed: BTreeMap::new(),
            unsent: 0,
            lasted,
        })
    }

    /// How many were not done.
    pub fn errors(&self) -> u64 {
        self.missed.values().sum()
    }

    fn part(&mut self, name: &'static str, took: Duration) -> anyhow::Result<()> {
        let histogram = match self.parts.entry(name) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(histogram()?),
        };
        histogram.saturating_record(micros(took));
        Ok(())
    }

    fn take(&mut self, begun: Instant, end: Instant, outcome: Result<Done, Missed>) -> anyhow::Result<()> {
        let now = Instant::now();
        match outcome {
            Ok(done) => {
                *if now <= end { &mut self.done } else { &mut self.late } += 1;
                let counts = done.marks[0].map_or(now, |(_, at)| at);
                self.latency.saturating_record(micros(counts.saturating_duration_since(begun)));
                for (name, at) in done.marks.into_iter().flatten() {
                    self.part(name, at.saturating_duration_since(begun))?;
                }
                if let Some((name, took)) = done.took {
                    self.part(name, took)?;
                }
                if let Some(kind) = done.kind {
                    self.part(kind, now.saturating_duration_since(begun))?;
                }
            }
            Err(Missed(why)) => *self.missed.entry(why).or_default() += 1,
        }
        Ok(())
    }

    fn add(&mut self, other: Self) -> anyhow::Result<()> {
        self.latency.add(other.latency)?;
        for (name, part) in other.parts {
            match self.parts.entry(name) {
                std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().add(part)?,
                std::collections::btree_map::Entry::Vacant(new) => drop(new.insert(part)),
            }
        }
        self.done += other.done;
        self.late += other.late;
        self.unsent += other.unsent;
        for (why, count) in other.missed {
            *self.missed.entry(why).or_default() += count;
        }
        Ok(())
    }
}

/// As histograms count.
pub fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Repeats the work as planned.
pub async fn drive<W: Work>(work: Arc<W>, plan: Plan) -> anyhow::Result<Figures> {
    let begun = Instant::now();
    let end = begun + plan.lasts;
    let mut clients = JoinSet::new();
    for client in 0..plan.clients {
        clients.spawn(one_client(work.clone(), plan, client, begun, end));
    }
    let mut all = Figures::new(plan.lasts)?;
    while let Some(figures) = clients.join_next().await {
        all.add(figures??)?;
    }
    Ok(all)
}

async fn one_client<W: Work>(
    work: Arc<W>,
    plan: Plan,
    client: usize,
    begun: Instant,
    end: Instant,
) -> anyhow::Result<Figures> {
    let mut figures = Figures::new(plan.lasts)?;
    // Of all turns this client takes every n-th: with a rate, those are its share of the moments that are due.
    let mut turn = client as u64;
    let step = plan.clients as u64;
    loop {
        let due = plan.rate.map(|rate| begun + Duration::from_nanos(turn.saturating_mul(1_000_000_000) / rate));
        if let Some(due) = due {
            if due >= end {
                return Ok(figures);
            }
            if Instant::now() >= end {
                figures.unsent += 1;
                turn += step;
                continue;
            }
            tokio::time::sleep_until(due.into()).await;
        } else if Instant::now() >= end {
            return Ok(figures);
        }
        let since = due.unwrap_or_else(Instant::now);
        let left = end.saturating_duration_since(Instant::now()) + GRACE;
        let outcome = tokio::time::timeout(left, work.once(client, turn)).await;
        figures.take(since, end, outcome.unwrap_or_else(|_| Err(Missed("no answer".to_owned()))))?;
        turn += step;
    }
}
