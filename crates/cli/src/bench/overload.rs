//! Many times more than can be done: complete bookings begin at a multiple of the rate that the mesh reaches, whatever
//! it answers. What it takes it must complete; the rest it must refuse at once.
//!
//! First the peak: a closed loop, once before and once after, because machines are not equally fast all the time. Between
//! them the flood, an open loop of many times as many arrivals: each asks what the booking would cost,
//! holds it, pays, and waits until it is confirmed and its customer is told. An arrival that is refused goes away for good;
//! one that holds seats comes back when it is told to. Afterwards everything comes to rest, the bookings in the database
//! are counted beside what the clients were told, and the promises are checked.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::json;
use tonic::Status;

use super::{
    Bench,
    book::Bookings,
    drive::{self, Done, Missed, Plan, Work, drive},
    ground::Ground,
    memory::{Memory, Watch},
    report::{ms, number, rounded},
};
use crate::verify;

/// How long the peak is measured.
const PEAK: Duration = Duration::from_secs(15);
/// How many arrivals may be under way at once before this program itself is the limit.
const MOST: usize = 50_000;
/// How long what was taken may take to come to its end.
const REST: Duration = Duration::from_secs(180);
/// How often somebody who holds seats tries to pay.
const TRIES: u32 = 60;

/// A complete booking whose every step is Booking's.
struct Arrivals(Arc<Bookings>);

/// How far an arrival got.
enum Outcome {
    /// Refused before it had anything: at which step, and when.
    Refused(&'static str),
    /// Confirmed and told.
    Told(Done),
    /// It had seats, and paying for them failed.
    Unpaid(String),
    /// It went wrong before it had anything, otherwise than by being refused.
    Failed(String),
}

impl Arrivals {
    async fn once(&self, client: usize, turn: u64) -> Outcome {
        let Self(bookings) = self;
        if let Err(status) = bookings.preview(client, turn).await {
            return refused("price", status);
        }
        let held = match bookings.held(client, turn).await {
            Ok(held) => held,
            Err(status) => return refused("hold", status),
        };
        match bookings.pay(client, turn, &held, TRIES).await {
            Ok(done) => Outcome::Told(done),
            Err(Missed(why)) => Outcome::Unpaid(why),
        }
    }
}

fn refused(step: &'static str, status: Status) -> Outcome {
    match Missed::from(status).0 {
        why if why == "OVERLOADED" => Outcome::Refused(step),
        why => Outcome::Failed(why),
    }
}

impl Work for Arrivals {
    async fn once(&self, client: usize, turn: u64) -> Result<Done, Missed> {
        match self.once(client, turn).await {
            Outcome::Told(done) => Ok(done),
            Outcome::Refused(_) => Err(Missed("OVERLOADED".to_owned())),
            Outcome::Unpaid(why) | Outcome::Failed(why) => Err(Missed(why)),
        }
    }

    fn told(&self) -> String {
        format!("complete bookings on {} departures", self.0.departures().len())
    }
}

/// What came of a flood.
struct Flood {
    /// Due to confirmed, of all that were taken.
    confirmed: Histogram<u64>,
    /// Due to told.
    notified: Histogram<u64>,
    /// Due to refused.
    refusing: Histogram<u64>,
    /// How many were confirmed in each third of the time.
    by_third: [u64; 3],
    refused: BTreeMap<&'static str, u64>,
    unpaid: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
    arrived: u64,
    unsent: u64,
}

impl Flood {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            confirmed: drive::histogram()?,
            notified: drive::histogram()?,
            refusing: drive::histogram()?,
            by_third: [0; 3],
            refused: BTreeMap::new(),
            unpaid: BTreeMap::new(),
            failed: BTreeMap::new(),
            arrived: 0,
            unsent: 0,
        })
    }

    fn take(&mut self, due: Instant, begun: Instant, lasts: Duration, outcome: Outcome) {
        let since = |at: Instant| drive::micros(at.saturating_duration_since(due));
        match outcome {
            Outcome::Refused(step) => {
                *self.refused.entry(step).or_default() += 1;
                self.refusing.saturating_record(since(Instant::now()));
            }
            Outcome::Told(done) => {
                for ((name, at), into) in
                    done.marks.into_iter().flatten().zip([&mut self.confirmed, &mut self.notified])
                {
                    into.saturating_record(since(at));
                    let third = at.saturating_duration_since(begun).as_millis() * 3 / lasts.as_millis().max(1);
                    if let Some(count) = usize::try_from(third).ok().and_then(|third| self.by_third.get_mut(third)) {
                        *count += u64::from(name == "confirmed");
                    }
                }
            }
            Outcome::Unpaid(why) => *self.unpaid.entry(why).or_default() += 1,
            Outcome::Failed(why) => *self.failed.entry(why).or_default() += 1,
        }
    }
}

/// So many arrivals a second for so long, and until the last of them has come to its end.
async fn flood(work: Arc<Arrivals>, rate: u64, lasts: Duration) -> anyhow::Result<Flood> {
    let tally = Arc::new(Mutex::new(Flood::new()?));
    let under_way = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let due_at = |turn: u64| begun + Duration::from_nanos(turn.saturating_mul(1_000_000_000) / rate);
    let (mut turn, mut unsent) = (0, 0);
    while due_at(turn) < begun + lasts {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = Instant::now();
        while due_at(turn) <= now && due_at(turn) < begun + lasts {
            let (this, due) = (turn, due_at(turn));
            turn += 1;
            if under_way.load(Ordering::Relaxed) >= MOST {
                unsent += 1;
                continue;
            }
            under_way.fetch_add(1, Ordering::Relaxed);
            let (work, tally, under_way) = (work.clone(), tally.clone(), under_way.clone());
            tokio::spawn(async move {
                let client = usize::try_from(this).unwrap_or_default();
                let outcome = tokio::time::timeout(lasts + REST, work.once(client, this)).await;
                let outcome = outcome.unwrap_or_else(|_| Outcome::Unpaid("no answer".to_owned()));
                tally.lock().unwrap_or_else(PoisonError::into_inner).take(due, begun, lasts, outcome);
                under_way.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
    let ended = Instant::now();
    while under_way.load(Ordering::Relaxed) > 0 {
        ensure!(ended.elapsed() < REST, "{} arrivals have not come to an end", under_way.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut flood = Flood::new()?;
    std::mem::swap(&mut flood, &mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    (flood.arrived, flood.unsent) = (turn, unsent);
    Ok(flood)
}

/// Measures and tells.
pub async fn run(bench: &Bench, bar: &ProgressBar) -> anyhow::Result<String> {
    ensure!(bench.standalone, "an overload is measured on a mesh of its own: use --standalone");
    let ground = Ground::prepare(&bench.wanted(), bar).await?;
    let outcome = measure(bench, &ground, bar).await;
    let stopped = ground.stop().await;
    let told = outcome?;
    stopped?;
    Ok(told)
}

async fn measure(bench: &Bench, ground: &Ground, bar: &ProgressBar) -> anyhow::Result<String> {
    let work = Arc::new(Arrivals(Bookings::prepare(bench, ground, bar).await?));
    let clients = usize::from(bench.clients.unwrap_or(512));
    let closed = |lasts| Plan { clients, lasts, rate: None };
    let peak = || async {
        bar.set_message(format!("the peak: {clients} clients for {PEAK:?}"));
        let peak = drive(work.clone(), closed(PEAK)).await?;
        ensure!(peak.done > 0, "nothing was booked: {:?}", peak.missed);
        ground.quiet(bar).await?;
        anyhow::Ok((peak.done / PEAK.as_secs(), number(peak.done) / peak.lasted.as_secs_f64()))
    };
    bar.set_message("warming up");
    drive(work.clone(), closed(Duration::from_secs(bench.warmup))).await?;
    ground.quiet(bar).await?;
    let (per_second, peak_before) = peak().await?;

    let rate = bench.rate.unwrap_or((per_second * u64::from(bench.times)).max(1));
    bar.set_message(format!("{rate} arrivals a second for {} s", bench.seconds));
    let before = ground.bookings().await?;
    let watch = Watch::begin(ground.pids()?);
    let lasts = Duration::from_secs(bench.seconds);
    let flood = flood(work.clone(), rate, lasts).await?;
    let memory = watch.end();
    let drained = ground.quiet(bar).await?.context("nobody sees whether all is quiet")?;
    let mut states = ground.bookings().await?;
    // All was quiet before, so what was there then is there still, in the same state.
    states.iter_mut().for_each(|(state, count)| *count -= before.get(state).copied().unwrap_or_default().min(*count));
    let (_, peak_after) = peak().await?;
    bar.set_message("checking the promises");
    let env = ground.env.as_ref().context("the mesh has no settings")?;
    let findings = verify::look(env, Duration::from_secs(30)).await?;
    let broken = findings.iter().flat_map(|f| f.broken.iter().map(|b| format!("{}: {b}", f.promise))).collect();
    let told = Told { clients, lasts, peaks: [peak_before, peak_after], rate, flood, memory, drained, states, broken };
    Ok(if bench.json { format!("{}\n", told.json()) } else { told.text()? })
}

/// Everything that is told.
struct Told {
    clients: usize,
    lasts: Duration,
    /// Before the flood and after it, a second.
    peaks: [f64; 2],
    rate: u64,
    flood: Flood,
    memory: Memory,
    drained: Duration,
    states: BTreeMap<String, u64>,
    broken: Vec<String>,
}

impl Told {
    fn accepted(&self) -> f64 {
        number(self.flood.by_third.iter().sum()) / self.lasts.as_secs_f64()
    }

    fn peak(&self) -> f64 {
        f64::midpoint(self.peaks[0], self.peaks[1])
    }

    fn refused(&self) -> u64 {
        self.flood.refused.values().sum()
    }

    fn errors(&self) -> u64 {
        self.flood.unpaid.values().chain(self.flood.failed.values()).sum()
    }

    /// Confirmed in the database, but nobody was told; or the other way round.
    fn untold(&self) -> u64 {
        self.states.get("CONFIRMED").copied().unwrap_or_default().abs_diff(self.flood.notified.len())
    }

    fn json(&self) -> serde_json::Value {
        let flood = &self.flood;
        json!({
            "bench": "overload",
            "rate_per_s": rounded(self.accepted()),
            "peak_per_s": rounded(self.peak()),
            "peaks_per_s": self.peaks.map(rounded),
            "ratio": rounded(self.accepted() / self.peak()),
            "rate_wanted": self.rate,
            "arrived": flood.arrived,
            "unsent": flood.unsent,
            "confirmed_by_third": flood.by_third,
            "p50_ms": rounded(ms(&flood.confirmed, 50.0)),
            "p99_ms": rounded(ms(&flood.confirmed, 99.0)),
            "notified_p99_ms": rounded(ms(&flood.notified, 99.0)),
            "refused_per_s": rounded(number(self.refused()) / self.lasts.as_secs_f64()),
            "refused_by_step": flood.refused,
            "refused_p50_ms": rounded(ms(&flood.refusing, 50.0)),
            "refused_p99_ms": rounded(ms(&flood.refusing, 99.0)),
            "errors": self.errors(),
            "unpaid_by_reason": flood.unpaid,
            "failed_by_reason": flood.failed,
            "bookings_by_state": self.states,
            "confirmed_and_notified": flood.notified.len(),
            "untold": self.untold(),
            "broken_promises": self.broken,
            "memory": self.memory.json(),
            "quiet_after_s": rounded(self.drained.as_secs_f64()),
            "seconds": self.lasts.as_secs(),
            "clients": self.clients,
        })
    }

    fn text(&self) -> anyhow::Result<String> {
        let (flood, mut text) = (&self.flood, String::new());
        let seconds = self.lasts.as_secs();
        writeln!(text, "overload: complete bookings (price, hold, pay, confirmed, notified)")?;
        let [before, after] = self.peaks;
        writeln!(
            text,
            "  peak: {:.0}/s in a closed loop of {} clients ({before:.0}/s before, {after:.0}/s after the flood)",
            self.peak(),
            self.clients
        )?;
        writeln!(
            text,
            "  then {} arrivals a second for {seconds} s: {:.0}/s confirmed, {:.2} of the peak",
            self.rate,
            self.accepted(),
            self.accepted() / self.peak()
        )?;
        writeln!(text, "  confirmed in each third of the time: {:?}", flood.by_third)?;
        let (p50, p99) = (ms(&flood.confirmed, 50.0), ms(&flood.confirmed, 99.0));
        writeln!(
            text,
            "  of those: confirmed after {p50:.0} ms (p50) and {p99:.0} ms (p99), told after {:.0} ms (p99)",
            ms(&flood.notified, 99.0)
        )?;
        let refusing = (ms(&flood.refusing, 50.0), ms(&flood.refusing, 99.0));
        writeln!(
            text,
            "  {:.0}/s refused {:?}, after {:.1} ms (p50) and {:.1} ms (p99)",
            number(self.refused()) / self.lasts.as_secs_f64(),
            flood.refused,
            refusing.0,
            refusing.1
        )?;
        if flood.unsent > 0 {
            writeln!(text, "  {} arrivals were due and not begun: this program had too many under way", flood.unsent)?;
        }
        for (what, reasons) in [("held and not paid", &flood.unpaid), ("failed", &flood.failed)] {
            for (why, count) in reasons {
                writeln!(text, "  {count} {what}: {why}")?;
            }
        }
        for line in self.memory.lines() {
            writeln!(text, "  {line}")?;
        }
        writeln!(
            text,
            "  all was quiet {:.1} s later; bookings by state: {:?}; {} confirmed and told, which differs by {}",
            self.drained.as_secs_f64(),
            self.states,
            flood.notified.len(),
            self.untold()
        )?;
        if self.broken.is_empty() {
            writeln!(text, "  all promises hold")?;
        }
        for broken in self.broken.iter().take(20) {
            writeln!(text, "  BROKEN {broken}")?;
        }
        Ok(text)
    }
}
