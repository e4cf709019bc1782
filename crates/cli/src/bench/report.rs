//! What came out, for people and for programs.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::{
    drive::{Figures, Plan},
    pgbench,
};
use crate::output;

/// A measurement.
pub struct Report {
    /// The workload's name.
    pub what: &'static str,
    /// What was measured, in words.
    pub told: String,
    /// How.
    pub plan: Plan,
    /// What came of it.
    pub figures: Figures,
    /// How many more events waited to be published at the end than at the beginning.
    pub backlog: Option<u64>,
    /// How long it took until they were published and taken in.
    pub drained: Option<Duration>,
    /// Beside the database's own loop.
    pub compare: Option<Compared>,
}

/// The comparison.
pub struct Compared {
    outcome: pgbench::Outcome,
    ours: f64,
}

impl Compared {
    /// Our rate beside that of pgbench.
    pub fn new(outcome: pgbench::Outcome, ours: f64) -> Self {
        Self { outcome, ours }
    }

    /// Its best rate.
    fn best(&self) -> f64 {
        self.outcome.tps_by_clients.iter().map(|(_, tps)| *tps).fold(0.0, f64::max)
    }

    fn ratio(&self) -> f64 {
        if self.best() > 0.0 { self.ours / self.best() } else { 0.0 }
    }
}

/// A count to divide.
#[allow(clippy::cast_precision_loss, reason = "nobody counts that far")]
pub fn number(count: u64) -> f64 {
    count as f64
}

/// Three digits after the point are enough.
pub fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// A percentile in milliseconds.
pub fn ms(latency: &Histogram<u64>, percent: f64) -> f64 {
    number(latency.value_at_percentile(percent)) / 1_000.0
}

impl Report {
    /// What was done within the time, a second.
    pub fn rate(&self) -> f64 {
        number(self.figures.done) / self.figures.lasted.as_secs_f64()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let figures = &self.figures;
        let mut all = Map::new();
        let mut put = |name: &str, value: Value| drop(all.insert(name.to_owned(), value));
        put("bench", self.what.into());
        put("measured", self.told.clone().into());
        put("rate_per_s", rounded(self.rate()).into());
        for (name, percent) in [("p50_ms", 50.0), ("p90_ms", 90.0), ("p99_ms", 99.0), ("p999_ms", 99.9)] {
            put(name, rounded(ms(&figures.latency, percent)).into());
        }
        put("max_ms", rounded(number(figures.latency.max()) / 1_000.0).into());
        put("errors", figures.errors().into());
        put("errors_by_reason", json!(figures.missed));
        put("done", figures.done.into());
        put("late", figures.late.into());
        put("seconds", rounded(figures.lasted.as_secs_f64()).into());
        put("clients", self.plan.clients.into());
        put("loop", if self.plan.rate.is_some() { "open" } else { "closed" }.into());
        if let Some(rate) = self.plan.rate {
            put("rate_wanted", rate.into());
            put("unsent", figures.unsent.into());
        }
        if !figures.parts.is_empty() {
            let parts = figures.parts.iter().map(|(name, part)| {
                let part = json!({
                    "count": part.len(), "p50_ms": rounded(ms(part, 50.0)), "p99_ms": rounded(ms(part, 99.0)),
                });
                ((*name).to_owned(), part)
            });
            put("parts", Value::Object(parts.collect()));
        }
        if let Some(backlog) = self.backlog {
            put("events_waiting_at_the_end", backlog.into());
        }
        if let Some(drained) = self.drained {
            put("quiet_after_s", rounded(drained.as_secs_f64()).into());
        }
        if let Some(compared) = &self.compare {
            let tps = compared.outcome.tps_by_clients.iter().map(|(n, tps)| (n.to_string(), rounded(*tps).into()));
            put(
                "compare",
                json!({
                    "with": "pgbench, one statement a hold, prepared",
                    "rate_per_s": rounded(compared.best()),
                    "ratio": rounded(compared.ratio()),
                    "tps_by_clients": Value::Object(tps.collect()),
                }),
            );
        }
        Value::Object(all)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        writeln!(f, "{}: {}", self.what, self.told)?;
        let how = self.plan.rate.map_or("closed loop".to_owned(), |rate| format!("open loop, {rate}/s due"));
        writeln!(f, "  {how}, {} clients, {} s", self.plan.clients, figures.lasted.as_secs())?;
        writeln!(f, "  {:.0}/s, {} errors", self.rate(), figures.errors())?;
        let row = |name: &str, part: &Histogram<u64>| {
            let mut row = vec![name.to_owned(), part.len().to_string()];
            row.extend([50.0, 90.0, 99.0, 99.9].map(|percent| format!("{:.2}", ms(part, percent))));
            row.push(format!("{:.2}", number(part.max()) / 1_000.0));
            row
        };
        let mut rows = vec![["ms", "count", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned).to_vec()];
        rows.push(row("all", &figures.latency));
        rows.extend(figures.parts.iter().map(|(name, part)| row(name, part)));
        f.write_str(&output::table(&rows))?;
        for (why, count) in &figures.missed {
            writeln!(f, "  {count} times {why}{}", hint(why))?;
        }
        if figures.unsent > 0 {
            writeln!(f, "  {} calls were due and not begun: all clients were busy", figures.unsent)?;
        }
        if let (Some(backlog), Some(drained)) = (self.backlog, self.drained) {
            writeln!(
                f,
                "  {backlog} more events waited at the end; all was quiet after {:.1} s",
                drained.as_secs_f64()
            )?;
        }
        if let Some(compared) = &self.compare {
            let all = compared.outcome.tps_by_clients.iter().map(|(n, tps)| format!("{tps:.0} with {n} clients"));
            writeln!(f, "  pgbench, the same writes in one statement: {}", all.collect::<Vec<_>>().join(", "))?;
            writeln!(f, "  ratio to its best: {:.2}", compared.ratio())?;
        }
        Ok(())
    }
}

/// What can be done about a reason.
fn hint(why: &str) -> &'static str {
    match why {
        "TOO_MANY_HOLDS" => ": start the mesh with a higher TOURMESH_BOOKING_MAX_OPEN_HOLDS, or take more --customers",
        "OVERLOADED" => ": the mesh refused at once what it could not do in time",
        "TOKEN_EXPIRED" => ": a token's time is over; measure for a shorter time",
        _ => "",
    }
}
