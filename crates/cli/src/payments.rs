//! `tourmesh payments`: money beside the provider's own list, and what suppliers are owed.

use std::{fs::File, path::PathBuf};

use anyhow::{Context as _, bail};
use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Subcommand};
use tourmesh_payment::{
    domain::SupplierId,
    payouts,
    provider::Period,
    reconciliation::{self, Report},
};

use crate::{output, platform};

/// Look after money.
#[derive(Args)]
pub struct Payments {
    #[command(subcommand)]
    action: Action,
    /// The data directory of a running `tourmesh up`; by default yours, or what TOURMESH_PAYMENT_DATABASE_URL says.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Compare our payments and refunds of a period with the provider's list: what is missing here or there, other
    /// amounts, other standings. What the provider has decided and we have not heard is booked; the rest is for people.
    /// The exit code is 1 while a difference is open.
    Reconcile {
        #[command(flatten)]
        period: Between,
        /// Change nothing, only report.
        #[arg(long)]
        report_only: bool,
    },
    /// What suppliers have earned in a period, what the platform has kept, and what is to be paid out: CSV, whose totals
    /// are held against the ledger.
    Payouts {
        #[command(flatten)]
        period: Between,
        /// Only this supplier ("sup_…").
        #[arg(long)]
        supplier: Option<String>,
        /// Into this file instead of to the terminal.
        #[arg(long)]
        output: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Between {
    /// The first day, in UTC (2026-11-01), or the first moment (2026-11-01T00:00:00+01:00).
    #[arg(long, value_parser = moment)]
    from: DateTime<Utc>,
    /// The first day, or moment, that no longer belongs to it.
    #[arg(long, value_parser = moment)]
    to: DateTime<Utc>,
}

impl Between {
    fn period(&self) -> anyhow::Result<Period> {
        if self.from >= self.to {
            bail!("--from is not before --to, which is the first day that no longer belongs to the period");
        }
        Ok(Period { from: self.from, to: self.to })
    }
}

fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    let moment = DateTime::parse_from_rfc3339(text).map_err(|e| format!("neither a day nor a moment: {e}"))?;
    Ok(moment.to_utc())
}

impl Payments {
    pub async fn run(self) -> anyhow::Result<()> {
        let env = platform::reach(self.data_dir.as_deref())?.for_role("payment");
        match self.action {
            Action::Reconcile { period, report_only } => {
                let reports = reconciliation::of_env(&env, period.period()?, !report_only).await?;
                tell(&reports)
            }
            Action::Payouts { period, supplier, output } => {
                let supplier = supplier.map(|id| id.parse::<SupplierId>()).transpose().context("--supplier")?;
                let period = period.period()?;
                let report = payouts::of_env(&env, period, supplier).await?;
                match output {
                    Some(path) => {
                        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
                        report.write(file, period)?;
                    }
                    None => report.write(std::io::stdout().lock(), period)?,
                }
                Ok(())
            }
        }
    }
}

fn tell(reports: &[Report]) -> anyhow::Result<()> {
    let mut open = 0;
    for report in reports {
        let rows = report.differences.iter().map(|d| {
            open += usize::from(!d.mended);
            let state = if d.mended { "mended" } else { "OPEN" };
            let (what, here, there) = (d.what.clone(), d.here.clone(), d.there.clone());
            vec![state.to_owned(), d.kind.as_str().to_owned(), what, format!("here: {here}"), format!("there: {there}")]
        });
        print!("{}", output::table(&rows.collect::<Vec<_>>()));
        println!("{report}");
    }
    if open > 0 {
        bail!("{open} differences are open");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_moments_are_read_and_nothing_else() {
        assert_eq!(moment("2026-11-01").unwrap().to_rfc3339(), "2026-11-01T00:00:00+00:00");
        assert_eq!(moment("2026-11-01T00:00:00+01:00").unwrap().to_rfc3339(), "2026-10-31T23:00:00+00:00");
        for wrong in ["yesterday", "2026-11-31", "2026-11-01 10:00", ""] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
