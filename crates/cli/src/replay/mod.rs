//! `tourmesh replay`: real bookings, from the first request to the last check-out, through the public API.
//!
//! The file ([`demand`]) becomes a list of steps in the order of its dates ([`agenda`]); its properties go on sale
//! ([`stage`]); many clients work through the list ([`play`]), each departure in its own order ([`turns`]); and what the
//! mesh has in the end is counted from its own records and compared ([`tally`]).
//!
//! How the file's words become the API's:
//!
//! - A day of the file is a moment of the replay; only the departures' dates are real, moved into the future by whole
//!   weeks. Refunds are therefore those of guests who cancel well before the start.
//! - Canceled is CANCELLED. Check-Out is REDEEMED: every guest's voucher is redeemed on the date of the check-out.
//!   No-Show is a booking that stays CONFIRMED. All bookings are paid, with a card of the sandbox.
//! - Who waited in the file joins a waiting list: somebody else holds the seats until the day on which the file says that
//!   the wait was over. With `--capacity` seats are really short, and everybody who finds none waits.
//! - Changes are names of guests, and moves from the next arrival day; see [`agenda`].

#![allow(clippy::float_arithmetic, reason = "rates are measured, not owed")]

mod agenda;
mod caller;
mod demand;
mod play;
mod report;
mod stage;
mod tally;
mod turns;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::Args;
use indicatif::ProgressBar;
use tourmesh_kit::{
    config::Env,
    telemetry::{self, LogFormat, TelemetryConfig},
};

use self::{
    agenda::Agenda,
    caller::Caller,
    play::Play,
    report::Report,
    stage::Stage,
    tally::{Records, Totals},
};
use crate::{
    bench::{
        Mailer,
        ground::{Ground, Wanted},
    },
    output, roles, verify,
};

/// Seats for everybody.
const ROOM: i32 = 1_000;

/// Push the real bookings of a file through the mesh.
///
/// In the order in which they were made: parties, changes, waiting lists, cancellations, no-shows and check-outs at their
/// dates. In the end the mesh's records are counted, by status and by arrival day, and compared with the file; the exit
/// code is 1 when they differ, when a departure is oversold, or when a promise is broken.
#[derive(Args)]
pub struct Replay {
    /// The bookings, such as data/booking-demand.csv.
    file: PathBuf,
    /// So many seats for each arrival day of a property and a policy, instead of enough: then seats are short, and who
    /// finds none waits. Totals are not those of the file then; nothing may be oversold.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    capacity: Option<i32>,
    /// How many clients work at the same time.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: u16,
    /// How many customers there are; signed up one by one where the mesh is not --standalone.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    customers: Option<u32>,
    /// How many connections the clients share.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Call the roles themselves instead of the gateway.
    #[arg(long, conflicts_with = "url")]
    direct: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Start a mesh for this, on free ports, with a null mailer. It is durable as `up` is.
    #[arg(long)]
    standalone: bool,
    /// The gateway of a mesh that runs somewhere. The promises, which are checked in its databases, are left to
    /// `tourmesh verify` there.
    #[arg(long, conflicts_with_all = ["standalone", "data_dir"])]
    url: Option<String>,
    /// The data directory of the mesh: of a running `tourmesh up`, or where --standalone shall keep its data (by default
    /// a temporary directory that is removed).
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// How long what is under way in the end may take to settle before a promise counts as broken, in seconds.
    #[arg(long, default_value_t = 60)]
    settle: u64,
}

impl Replay {
    /// Runs it.
    pub async fn run(self) -> anyhow::Result<()> {
        let process = Env::of_process("tourmesh");
        let names = if self.standalone { roles::ALL.iter().map(|r| r.name()).collect() } else { Vec::new() };
        let mut config = TelemetryConfig::of_env(&process, LogFormat::Pretty, names);
        config.log_filter.get_or_insert_with(|| "warn,async_nats=error,sqlx=error,sqlx_core=error".to_owned());
        let telemetry = telemetry::init(config);
        let outcome = self.replay().await;
        telemetry.shutdown(Duration::from_secs(3)).await;
        let report = outcome?;
        if self.json {
            println!("{}", serde_json::to_string(&report.json())?);
        } else {
            print!("{report}");
        }
        let wrong = report.wrong();
        if !wrong.is_empty() {
            bail!("{}", wrong.join("; "));
        }
        Ok(())
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            standalone: self.standalone,
            url: self.url.clone(),
            data_dir: self.data_dir.clone(),
            gateway: !self.direct,
            connections: self.connections,
            customers: self.customers,
            seed_sites: Some(0),
            mail: Mailer::default(),
        }
    }

    async fn replay(&self) -> anyhow::Result<Report> {
        let rows = demand::read(&self.file)?;
        let waiting = output::spinner("starting");
        let ground = Ground::prepare(&self.wanted(), &waiting).await?;
        let outcome = self.replay_on(&ground, rows, &waiting).await;
        waiting.finish_and_clear();
        let stopped = ground.stop().await;
        let report = outcome?;
        stopped?;
        Ok(report)
    }

    async fn replay_on(
        &self,
        ground: &Ground,
        rows: Vec<demand::Demand>,
        waiting: &ProgressBar,
    ) -> anyhow::Result<Report> {
        let mut agenda = Agenda::of(&rows, self.capacity.is_none());
        let stage = Stage::set(ground, &rows, &agenda, self.capacity.unwrap_or(ROOM), waiting).await?;
        let caller = Caller::new(ground.each(Ground::booking)?);
        let steps = std::mem::take(&mut agenda.steps);
        let (customers, staff) = (ground.customers.clone(), ground.staff.clone());
        let play = Arc::new(Play::new(rows, stage, caller, customers, staff));
        waiting.set_message("replaying");
        let bar = output::bar(u64::try_from(steps.len())?, "replaying");
        let begun = Instant::now();
        play.through(steps, usize::from(self.clients), &bar).await?;
        let took = begun.elapsed();
        bar.finish_and_clear();
        let calls = play.caller().calls();
        ground.quiet(waiting).await?;
        waiting.set_message("counting what the mesh has");
        let records = Records::read(&play, ground).await?;
        // What was measured is told also when this goes wrong.
        let (promises, unchecked) = match &ground.env {
            Some(env) => {
                waiting.set_message("checking the promises");
                match verify::look(env, Duration::from_secs(self.settle)).await {
                    Ok(findings) => (Some(findings), None),
                    Err(error) => (None, Some(format!("{error:#}"))),
                }
            }
            None => (None, None),
        };
        Ok(Report {
            file: Totals::of_file(play.rows()),
            records,
            play,
            calls,
            took,
            short: self.capacity.is_some(),
            promises,
            unchecked,
            told: ground.told.clone(),
        })
    }
}
