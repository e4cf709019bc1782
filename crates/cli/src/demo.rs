//! `tourmesh demo`: the main job, done as an outside client does it, with a stopwatch.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use tokio::task::JoinSet;
use tourmesh::booking::v1::{Booking, BookingState};
use tourmesh_kit::{
    config::Env,
    money::Money,
    shutdown::Shutdown,
    telemetry::{self, LogFormat, TelemetryConfig},
};
use tracing::Instrument as _;

use crate::{
    accounts, journey, output,
    platform::Platform,
    roles, seed,
    up::{self, Mesh, Ports},
    visitor::Visitor,
};

/// Book a tour from end to end.
///
/// Everything goes through the gateway, over gRPC-Web: sign up, sign in, search, quote, hold, pay; then the booking is
/// confirmed, the e-mail is there, and a member of staff checks the guests in. The exit code is 0 only when all of it
/// happened.
#[derive(Args)]
pub struct Demo {
    /// Where the gateway of a running mesh answers.
    #[arg(long, default_value = "http://127.0.0.1:8080", conflicts_with = "standalone")]
    url: String,
    /// Start a throwaway mesh for this, on free ports.
    #[arg(long)]
    standalone: bool,
    /// What to search for.
    #[arg(long, default_value = "chateau")]
    query: String,
    /// Pay with this card of the sandbox: card_ok, card_action (asks for a second step), card_timeout (answers late).
    #[arg(long, default_value = "card_ok")]
    card: String,
    /// Make so many bookings instead of one, without check-in, and say how long they took.
    #[arg(long, default_value_t = 1)]
    bookings: usize,
    /// How many travellers book at the same time.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Repeat calls that the mesh does not answer, for so many seconds: rides out restarts.
    #[arg(long, default_value_t = 0)]
    patience: u64,
    /// Seed only the first so many of the 1,121 sites in a standalone mesh.
    #[arg(long, value_name = "N", requires = "standalone")]
    seed_sites: Option<usize>,
    /// Where a standalone mesh keeps its data; a temporary directory by default.
    #[arg(long, requires = "standalone")]
    data_dir: Option<PathBuf>,
}

impl Demo {
    pub async fn run(self) -> anyhow::Result<()> {
        let process = Env::of_process("tourmesh");
        let names = if self.standalone { roles::ALL.iter().map(|r| r.name()).collect() } else { Vec::new() };
        let mut config = TelemetryConfig::of_env(&process, LogFormat::Pretty, names);
        config.log_filter.get_or_insert_with(|| "warn,async_nats=error,sqlx=error,sqlx_core=error".to_owned());
        let telemetry = telemetry::init(config);
        let outcome = if self.standalone { self.standalone().await } else { self.book(&self.url).await };
        telemetry.shutdown(Duration::from_secs(3)).await;
        println!("{}", outcome?);
        Ok(())
    }

    async fn standalone(&self) -> anyhow::Result<String> {
        let bar = output::spinner("starting");
        let shutdown = Shutdown::new();
        let platform = match &self.data_dir {
            Some(dir) => Platform::start(Some(dir), &bar).await?,
            None => Platform::ephemeral(&bar).await?,
        };
        let sockets = up::bind(&roles::ALL, &Ports::Free).await?;
        let mesh = Mesh::start(platform, sockets, shutdown, &bar).await?;
        let prepared = async {
            seed::seed(&mesh.env, self.seed_sites, &bar).await?;
            accounts::ensure(&mesh.env).await?;
            mesh.ready(&bar).await
        };
        let outcome = match prepared.await {
            Ok(()) => {
                bar.finish_and_clear();
                self.book(&mesh.gateway().context("there is no gateway")?).await
            }
            Err(error) => Err(error),
        };
        mesh.stop().await?;
        outcome
    }

    async fn book(&self, gateway: &str) -> anyhow::Result<String> {
        let visitor = Visitor::at(gateway, Duration::from_secs(self.patience))?;
        if self.bookings > 1 { self.book_many(&visitor).await } else { self.book_one(&visitor).await }
    }

    async fn book_one(&self, visitor: &Visitor) -> anyhow::Result<String> {
        let span = tracing::info_span!("demo", otel.kind = "client");
        let trace = telemetry::trace_id(&span).unwrap_or_default();
        println!("trace {trace}");
        self.steps(visitor).instrument(span).await
    }

    async fn steps(&self, visitor: &Visitor) -> anyhow::Result<String> {
        let mut watch = Stopwatch(Instant::now());
        let email = journey::sign_up(visitor).await?;
        watch.step("sign up", &email);
        let traveller = journey::sign_in(visitor, &email, None).await?;
        watch.step("sign in", "");
        let hits = journey::search(&traveller, &self.query).await?;
        let titles = hits.iter().filter_map(|h| h.tour.as_ref()?.title.as_ref()).map(|t| t.en.as_str());
        watch.step(
            "search",
            &format!("{:?}: {} hits, such as {:?}", self.query, hits.len(), titles.take(1).collect::<Vec<_>>()),
        );
        let mut chosen = None;
        for tour in hits.iter().filter_map(|h| h.tour.as_ref()) {
            chosen = journey::departures(&traveller, &tour.id).await?.into_iter().next();
            if chosen.is_some() {
                break;
            }
        }
        let departure = chosen.with_context(|| format!("nothing to book was found for {:?}", self.query))?;
        watch.step("departure", &format!("{} {} {}", departure.id, departure.local_start, departure.time_zone));
        let quote = journey::quote(&traveller, &departure.id).await?;
        let total = Money::of_wire(quote.total.as_ref().context("the quote has no total")?)?;
        watch.step("quote", &format!("two adults: {total}"));

        let held = journey::hold(&traveller, &departure.id, &email).await?;
        let (held_at, clock) = (SystemTime::now(), Instant::now());
        watch.step(
            "hold",
            &format!("{} until {}", held.id, held.hold_expires_at.map(|t| t.to_string()).unwrap_or_default()),
        );
        journey::pay(&traveller, &held.id, &self.card).await?;
        watch.step("pay", &self.card);
        let booking = journey::settled(&traveller, &held.id, Duration::from_secs(30)).await?;
        ensure!(booking.state() == BookingState::Confirmed, "the booking is {}", booking.state().as_str_name());
        watch.step("confirmed", &format!("{} vouchers", booking.items.len()));
        let delivery = journey::notified(&traveller, &held.id, Duration::from_secs(30)).await?;
        let noticed = clock.elapsed();
        watch.step("e-mail", &format!("{} {:?}", delivery.id, delivery.subject));
        let staff = journey::sign_in(visitor, accounts::STAFF.email, Some(accounts::STAFF.password)).await?;
        watch.step("staff", "signed in");
        let redeemed = journey::check_in(&staff, &booking).await?;
        ensure!(redeemed.state() == BookingState::Redeemed, "the booking is {}", redeemed.state().as_str_name());
        watch.step("check-in", &format!("{} guests", redeemed.items.len()));
        let took = journey::until_sent(held_at, &delivery).min(noticed);
        Ok(format!("demo: booking {} confirmed and notified in {} ms", held.id, took.as_millis()))
    }

    async fn book_many(&self, visitor: &Visitor) -> anyhow::Result<String> {
        let mut tours: Vec<String> =
            journey::search(visitor, &self.query).await?.into_iter().filter_map(|h| Some(h.tour?.id)).collect();
        ensure!(!tours.is_empty(), "nothing was found for {:?}", self.query);
        tours.truncate(10);
        let left = Arc::new(AtomicUsize::new(self.bookings));
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for client in 0..self.clients.max(1) {
            let (visitor, left, tour) = (visitor.clone(), left.clone(), tours[client % tours.len()].clone());
            let (card, patience) = (self.card.clone(), Duration::from_secs(self.patience + 60));
            clients.spawn(async move {
                let email = journey::sign_up(&visitor).await?;
                let traveller = journey::sign_in(&visitor, &email, None).await?;
                let departures = journey::departures(&traveller, &tour).await?;
                let mut taken = Vec::new();
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let departure = &departures[taken.len() % departures.len().max(1)];
                    let span = tracing::info_span!("demo", otel.kind = "client");
                    taken.push(one_of_many(&traveller, &departure.id, &email, &card, patience).instrument(span).await?);
                }
                anyhow::Ok(taken)
            });
        }
        let mut times = Vec::new();
        let mut refused = 0;
        while let Some(client) = clients.join_next().await {
            for outcome in client?? {
                match outcome {
                    Some(time) => times.push(time),
                    None => refused += 1,
                }
            }
        }
        if times.is_empty() {
            bail!("no booking was confirmed and notified; {refused} were refused");
        }
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_millis();
        Ok(format!(
            "demo: {} bookings confirmed and notified, {refused} refused, in {} ms; from hold to e-mail p50 {} ms, p99 {} ms",
            times.len(),
            begun.elapsed().as_millis(),
            at(50),
            at(99)
        ))
    }
}

/// The time from the hold's answer to the e-mail; `None` when the departure was sold out or the booking was not kept.
async fn one_of_many(
    traveller: &Visitor,
    departure: &str,
    email: &str,
    card: &str,
    patience: Duration,
) -> anyhow::Result<Option<Duration>> {
    let held = match journey::hold(traveller, departure, email).await {
        Ok(held) => held,
        Err(status) if status.code() == tonic::Code::ResourceExhausted => return Ok(None),
        Err(status) => return Err(status.into()),
    };
    let held_at = SystemTime::now();
    journey::pay(traveller, &held.id, card).await?;
    let booking: Booking = journey::settled(traveller, &held.id, patience).await?;
    if booking.state() != BookingState::Confirmed {
        return Ok(None);
    }
    let delivery = journey::notified(traveller, &held.id, patience).await?;
    Ok(Some(journey::until_sent(held_at, &delivery)))
}

/// Prints each step with the time since the one before.
struct Stopwatch(Instant);

impl Stopwatch {
    fn step(&mut self, name: &str, text: &str) {
        println!("{name:>10}  {:>7.1?}  {text}", self.0.elapsed());
        self.0 = Instant::now();
    }
}
