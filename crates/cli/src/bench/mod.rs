//! `tourmesh bench`: how fast the mesh works, told with everything that is needed to believe it.
//!
//! A workload ([`hold`], [`book`], [`search`], [`mix`]; [`mail`] and [`overload`] are measured by themselves) says what one client does once; [`drive`] repeats it, closed or
//! open loop, and keeps the latencies; [`ground`] is the mesh that it is done to; [`pgbench`] times the database's own
//! benchmark loop beside it; [`report`] tells what came out. Callers speak plain gRPC, to the roles or to the gateway.

#![allow(clippy::float_arithmetic, reason = "rates and milliseconds are measured, not owed")]

mod book;
mod drive;
pub mod ground;
mod grow;
mod hold;
mod mail;
mod memory;
mod mint;
mod mix;
mod news;
mod overload;
mod pgbench;
mod report;
mod search;
mod sink;
mod stock;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use tourmesh_kit::{
    config::Env,
    telemetry::{self, LogFormat, TelemetryConfig},
};

use self::{
    drive::{Plan, Work, drive},
    ground::{Ground, Wanted},
    report::{Compared, Report},
};
use crate::{output, roles};

/// Measure the mesh.
///
/// A closed loop by default: so many clients, each with one call at a time. With --rate an open loop: calls begin when
/// they are due, and their latency counts from then on, so that a slow answer does not hide the calls behind it.
#[derive(Args)]
pub struct Bench {
    /// What is measured.
    #[arg(value_enum)]
    what: What,
    /// Hold seats of one departure only, instead of 10,000.
    #[arg(long)]
    hot: bool,
    /// How many clients work at the same time; 64 for holds, else what fits the workload.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: Option<u16>,
    /// For how long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How long the same is done before, unmeasured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=600))]
    warmup: u64,
    /// Open loop: so many a second are due, whatever the mesh does.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// Overload: how many times the peak arrives; --rate says it in arrivals a second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    times: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Time the same writes one at a time, on the same PostgreSQL, and tell the ratio.
    #[arg(long, value_enum, requires = "standalone")]
    compare: Option<Compare>,
    /// Over how many departures holds and bookings are spread; for searches, how many the catalog has at least, made of
    /// those of the seed where that has fewer.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    departures: u32,
    /// How many customers there are; signed up one by one where the mesh is not --standalone.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    customers: Option<u32>,
    /// How many connections the clients share, to each role.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Call the gateway instead of the roles themselves.
    #[arg(long)]
    gateway: bool,
    /// Start a mesh for this, on free ports, with a null mailer (unless --mail smtp) and a high MAX_OPEN_HOLDS. It is durable as `up` is.
    #[arg(long)]
    standalone: bool,
    /// Measure what answers there, such as http://127.0.0.1:8080, and nothing but that.
    #[arg(long, conflicts_with_all = ["standalone", "data_dir"])]
    url: Option<String>,
    /// The data directory of the mesh: of a running `tourmesh up`, or where --standalone shall keep its data (by default
    /// a temporary directory that is removed).
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Where e-mails go: nowhere, or by SMTP to a mail server on this machine that takes everything. With smtp, `book` also
    /// tells how long it took from CONFIRMED (the time that is written in the booking) to the acceptance of the e-mail
    /// with the ticket.
    #[arg(long, value_enum, default_value = "null", requires = "standalone")]
    mail: Mailer,
    /// Seed only the first so many of the 1,121 sites in a standalone mesh.
    #[arg(long, value_name = "N", requires = "standalone")]
    seed_sites: Option<usize>,
}

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// CreateBooking.
    Hold,
    /// Quote, hold, pay, confirmed, notified.
    Book,
    /// Text, near, dates, price, facets.
    Search,
    /// Confirmations from a backlog of events to a mail server, 1,000 for each of --seconds, on throwaway engines;
    /// --clients is the number of connections.
    Mail,
    /// Complete bookings, at first as many as can be done, then --times as many, of which the most have to be refused.
    Overload,
    /// 60 % search, 30 % availability, 8 % holds, 2 % complete bookings with cancellations.
    Mix,
}

/// Where e-mails go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Mailer {
    /// Nowhere.
    #[default]
    Null,
    /// To a mail server that takes everything.
    Smtp,
}

/// What to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compare {
    /// PostgreSQL's own benchmark program, one statement a hold.
    Pgbench,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Book => "book",
            Self::Search => "search",
            Self::Mail => "mail",
            Self::Overload => "overload",
            Self::Mix => "mix",
        }
    }

    fn clients(self) -> u16 {
        match self {
            Self::Hold | Self::Mix => 64,
            Self::Book | Self::Overload => 256,
            Self::Search | Self::Mail => 16,
        }
    }
}

impl Bench {
    pub async fn run(self) -> anyhow::Result<()> {
        let process = Env::of_process("tourmesh");
        let names = if self.standalone { roles::ALL.iter().map(|r| r.name()).collect() } else { Vec::new() };
        let mut config = TelemetryConfig::of_env(&process, LogFormat::Pretty, names);
        config.log_filter.get_or_insert_with(|| "warn,async_nats=error,sqlx=error,sqlx_core=error".to_owned());
        let telemetry = telemetry::init(config);
        if matches!(self.what, What::Mail | What::Overload) {
            let bar = output::spinner("starting");
            let told = match self.what {
                What::Overload => overload::run(&self, &bar).await,
                _ => mail::run(&self, &bar).await,
            };
            bar.finish_and_clear();
            telemetry.shutdown(Duration::from_secs(3)).await;
            print!("{}", told?);
            return Ok(());
        }
        let outcome = self.measure().await;
        telemetry.shutdown(Duration::from_secs(3)).await;
        let report = outcome?;
        if self.json {
            println!("{}", serde_json::to_string(&report.json())?);
        } else {
            print!("{report}");
        }
        Ok(())
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            standalone: self.standalone,
            url: self.url.clone(),
            data_dir: self.data_dir.clone(),
            gateway: self.gateway,
            connections: self.connections,
            customers: self.customers,
            seed_sites: self.seed_sites,
            mail: self.mail,
        }
    }

    async fn measure(&self) -> anyhow::Result<Report> {
        let bar = output::spinner("starting");
        let ground = Ground::prepare(&self.wanted(), &bar).await?;
        let outcome = self.measure_on(&ground, &bar).await;
        bar.finish_and_clear();
        let stopped = ground.stop().await;
        let report = outcome?;
        stopped?;
        Ok(report)
    }

    async fn measure_on(&self, ground: &Ground, bar: &indicatif::ProgressBar) -> anyhow::Result<Report> {
        match self.what {
            What::Hold => {
                let work = hold::Holds::prepare(self, ground, bar).await?;
                let mut report = self.times(&work, ground, bar).await?;
                if self.compare.is_some() {
                    let sample = work.sample().await?;
                    let comparing = pgbench::run(ground.postgres()?, self, &sample, bar).await?;
                    report.compare = Some(Compared::new(comparing, report.rate()));
                }
                Ok(report)
            }
            What::Book => self.times(&book::Bookings::prepare(self, ground, bar).await?, ground, bar).await,
            What::Mail | What::Overload => anyhow::bail!("it is measured by itself"),
            What::Search => self.times(&search::Searches::prepare(self, ground, bar).await?, ground, bar).await,
            What::Mix => self.times(&mix::Mix::prepare(self, ground, bar).await?, ground, bar).await,
        }
    }

    /// Warms up, measures, and waits until nothing is under way any more.
    async fn times<W: Work>(
        &self,
        work: &Arc<W>,
        ground: &Ground,
        bar: &indicatif::ProgressBar,
    ) -> anyhow::Result<Report> {
        let clients = usize::from(self.clients.unwrap_or(self.what.clients()));
        let plan = |seconds| Plan { clients, lasts: Duration::from_secs(seconds), rate: self.rate };
        if self.warmup > 0 {
            bar.set_message("warming up");
            drive(work.clone(), plan(self.warmup)).await?;
        }
        ground.quiet(bar).await?;
        bar.set_message(format!("{}: {clients} clients for {} s", self.what.name(), self.seconds));
        let before = ground.waiting_events().await?;
        let figures = drive(work.clone(), plan(self.seconds)).await?;
        let after = ground.waiting_events().await?;
        let drained = ground.quiet(bar).await?;
        let backlog = after.zip(before).map(|(after, before)| after.saturating_sub(before));
        Ok(Report {
            what: self.what.name(),
            told: format!("{}, {}", work.told(), ground.told),
            plan: plan(self.seconds),
            figures,
            backlog,
            drained,
            compare: None,
        })
    }
}
