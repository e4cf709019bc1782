//! `tourmesh verify`: the promises, checked across all databases.
//!
//! No transaction spans the databases, so a booking that moves while it is looked at can seem to break a promise. What
//! seems broken is therefore looked at again until it is whole or the time is up; what stays is broken.

mod facts;
mod promises;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::Args;
use tourmesh_kit::config::Env;

use crate::{output, platform};
use facts::Facts;

/// Check the promises across all databases.
///
/// Seats are never oversold, nobody is charged twice, confirmed means paid, refunds are what the policy says, the ledger
/// balances, every change is told once and heard once, every customer is told once, repeats are harmless, promo codes are used as often as they may be, resource pools have no more in use
/// than there is. The exit code
/// is 1 when one is broken; the offending ids are printed.
#[derive(Args)]
pub struct Verify {
    /// The data directory of a running `tourmesh up`; by default yours, or what TOURMESH_<ROLE>_DATABASE_URL says.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// How long things that are under way may take to settle, in seconds.
    #[arg(long, default_value_t = 15)]
    settle: u64,
}

/// What was found about one promise.
pub struct Finding {
    /// The promise, in a few words.
    pub promise: &'static str,
    /// What was counted.
    pub counts: String,
    /// What breaks it: an id and why.
    pub broken: Vec<String>,
}

/// Looks until every promise is kept, or the time is up.
pub async fn look(env: &Env, settle: Duration) -> anyhow::Result<Vec<Finding>> {
    let end = Instant::now() + settle;
    loop {
        let findings = promises::all(&Facts::read(env).await?);
        if findings.iter().all(|f| f.broken.is_empty()) || Instant::now() > end {
            return Ok(findings);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

impl Verify {
    pub async fn run(self) -> anyhow::Result<()> {
        let env = platform::reach(self.data_dir.as_deref())?;
        let findings = look(&env, Duration::from_secs(self.settle)).await?;
        let rows = findings.iter().enumerate().map(|(index, finding)| {
            let verdict = if finding.broken.is_empty() { "kept" } else { "BROKEN" };
            vec![(index + 1).to_string(), verdict.to_owned(), finding.promise.to_owned(), finding.counts.clone()]
        });
        print!("{}", output::table(&rows.collect::<Vec<_>>()));
        let mut broken = 0;
        for (index, finding) in findings.iter().enumerate().filter(|(_, f)| !f.broken.is_empty()) {
            broken += 1;
            println!("\npromise {}, broken {} times:", index + 1, finding.broken.len());
            finding.broken.iter().take(50).for_each(|b| println!("  {b}"));
        }
        if broken > 0 {
            bail!("{broken} of {} promises are broken", findings.len());
        }
        println!("verify: all {} promises are kept", findings.len());
        Ok(())
    }
}
