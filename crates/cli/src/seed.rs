//! `tourmesh seed`: tours to the world heritage sites, for a catalog that would be empty.

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tourmesh_catalog::seed::{SeedReport, Wish};
use tourmesh_kit::{
    config::Env,
    db::{Db, OWNER_DATABASE_URL},
};

use crate::{output, platform};

/// Fill the catalog.
///
/// For each of the 1,121 world heritage sites a tour in English and French, with options, prices and departures for the
/// next 120 days. The same on every machine; a second time only adds the departures of the days that have passed.
#[derive(Args)]
pub struct Seed {
    /// The data directory of a running `tourmesh up`; by default yours, or what TOURMESH_CATALOG_DATABASE_URL says.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Only the first so many sites.
    #[arg(long)]
    sites: Option<usize>,
}

impl Seed {
    pub async fn run(self) -> anyhow::Result<()> {
        let env = platform::reach(self.data_dir.as_deref())?;
        let report = seed(&env, self.sites, &output::spinner("seeding")).await?;
        println!("{} tours, {} departures, {} of them new", report.tours, report.departures, report.new);
        Ok(())
    }
}

/// Seeds the catalog of this environment; quick when there is nothing to do.
pub async fn seed(env: &Env, sites: Option<usize>, waiting: &ProgressBar) -> anyhow::Result<SeedReport> {
    waiting.set_message("looking at the catalog");
    let db = Db::of_env(&env.for_role(tourmesh_catalog::ROLE))?;
    let bar = output::bar(0, "seeding tours");
    let shown = bar.clone();
    let report =
        tourmesh_catalog::seed::seed(&db, Wish { sites, ..Wish::at(chrono::Utc::now()) }, move |done, total| {
            shown.set_length(total);
            shown.set_position(done);
        })
        .await?;
    bar.finish_and_clear();
    if report.new > 0 {
        // A planner that has no statistics of so many new rows takes four times as long for a search. Where the owner is
        // not known here, autovacuum does it within a minute or two.
        if let Some(owner) = env.for_role(tourmesh_catalog::ROLE).optional::<String>(&OWNER_DATABASE_URL)? {
            let mut owner = PgConnection::connect(&owner).await?;
            owner.execute("ANALYZE").await?;
            owner.close().await?;
        }
    }
    Ok(report)
}
