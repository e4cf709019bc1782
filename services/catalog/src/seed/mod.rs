//! Real places to start with: a tour in English and French for each of the 1,121 sites of the World Heritage List (as
//! of 2019), with prices in its country's currency and departures in its own time.
//!
//! It promises to be the same on every machine (all ids are derived from the site's) and to be harmless: a second run
//! adds nothing but the departures of the days that have passed since. Start at [`seed`].

mod currencies;
mod plan;
mod sites;
mod texts;

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, SubsecRound as _, Utc};
use chrono_tz::Tz;
use tourmesh_kit::{ApiError, ApiResult, db::Db};
use tzf_rs::EmbeddedFinder;
use uuid::Uuid;

use crate::{catalog::transaction, domain::SupplierId, horizon, import, store::suppliers};

/// How many tours one transaction adds.
const BATCH: usize = 50;

/// What is seeded.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// The moment from which departures are made.
    pub now: DateTime<Utc>,
    /// For how many days.
    pub days: u64,
    /// Only the first sites of the list; `None`: all.
    pub sites: Option<usize>,
}

impl Wish {
    /// All sites, with departures for the next 120 days.
    pub const fn at(now: DateTime<Utc>) -> Self {
        Self { now, days: 120, sites: None }
    }
}

/// What the catalog holds after a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedReport {
    /// Seeded tours, old and new.
    pub tours: u64,
    /// Departures of all tours, old and new.
    pub departures: u64,
    /// Tours and departures that this run added.
    pub new: u64,
}

/// The supplier that a demonstration account of the role supplier works for; it is there once the catalog is seeded.
pub fn demo_supplier() -> SupplierId {
    plan::demo_supplier()
}

/// Adds the sites' tours that are not there, and the departures that are missing up to the horizon. `progress` hears
/// how many tours of how many are done.
///
/// # Errors
/// DEPENDENCY_UNAVAILABLE when the database does not answer; what was added by then stays, and another run goes on.
pub async fn seed(db: &Db, wish: Wish, mut progress: impl FnMut(u64, u64) + Send) -> ApiResult<SeedReport> {
    // As the database keeps it.
    let now = wish.now.trunc_subsecs(6);
    let mut sites = sites::all().map_err(ApiError::internal)?;
    sites.truncate(wish.sites.unwrap_or(usize::MAX));
    let total = sites.len() as u64;
    let before = count_departures(db).await?;
    let there = seeded(db, &sites).await?;
    let mut done = there.len() as u64;
    progress(done, total);
    let missing: Vec<_> = sites.into_iter().filter(|site| !there.contains(&plan::tour_id(site).uuid())).collect();
    let mut new = missing.len() as u64;
    if !missing.is_empty() {
        // Borrowed from the binary in place: nothing is unpacked, and nothing is loaded when nothing is missing.
        let zones = EmbeddedFinder::new();
        for batch in missing.chunks(BATCH) {
            let plans = batch
                .iter()
                .map(|site| plan::whole(site, zone(&zones, site)?, now, wish.days))
                .collect::<ApiResult<Vec<_>>>()?;
            let suppliers: BTreeMap<_, _> =
                batch.iter().map(|site| plan::supplier(site, now)).map(|s| (s.id, s)).collect();
            transaction!(db, [plans, suppliers], |tx| {
                for supplier in suppliers.values() {
                    suppliers::insert(tx, supplier).await?;
                }
                import::add(tx, plans, now).await
            })?;
            done += batch.len() as u64;
            progress(done, total);
        }
    }
    horizon::extend(db, wish.days, now).await?;
    let departures = count_departures(db).await?;
    new += departures - before;
    Ok(SeedReport { tours: total, departures, new })
}

fn zone(zones: &EmbeddedFinder, site: &sites::Site) -> ApiResult<Tz> {
    let name = zones.get_tz_name(site.longitude, site.latitude);
    name.parse().map_err(|_| ApiError::internal(format!("site {} has no time zone ({name:?})", site.site_id)))
}

/// Which of the sites' tours are there.
async fn seeded(db: &Db, sites: &[sites::Site]) -> ApiResult<HashSet<Uuid>> {
    let ids: Vec<_> = sites.iter().map(|site| plan::tour_id(site).uuid()).collect();
    let found: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM tours WHERE id = ANY($1)").bind(ids).fetch_all(db.pool()).await?;
    Ok(found.into_iter().collect())
}

async fn count_departures(db: &Db) -> ApiResult<u64> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM departures").fetch_one(db.pool()).await?;
    Ok(u64::try_from(count).unwrap_or_default())
}
