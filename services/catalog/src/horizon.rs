//! Schedules become departures up to a rolling horizon: at once when they are added, and further as days pass.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db, events::outbox, shutdown::Shutdown};

use crate::{
    catalog::{Catalog, transaction},
    domain::{
        OptionId, TourId,
        blackout::Blackouts,
        departure::Departure,
        local_time::{date_at, days_after},
        option::TourOption,
        schedule::Schedule,
        tour::{Tour, WholeTour},
    },
    events,
    store::{blackouts, departures, schedules, search},
};

/// How often the horizon moves on.
const PAUSE: Duration = Duration::from_secs(60 * 60);
/// How soon it is tried again when the database does not answer.
const RETRY: Duration = Duration::from_secs(10);
/// How many tours one transaction takes.
const TOURS: i64 = 50;
/// "horizon" as a number: the advisory lock of who moves the horizon. It only saves work: rows are locked, and a
/// departure that is there is not made again.
const LOCK: i64 = 0x0068_6f72_697a_6f6e;

/// The departures of a schedule that are to be there from one local date to another and start after `now`, but for
/// blackouts.
pub(crate) fn departures_of(
    tour: &Tour,
    option: &TourOption,
    schedule: &Schedule,
    dates: (NaiveDate, NaiveDate),
    blackouts: &Blackouts,
    now: DateTime<Utc>,
) -> Vec<Departure> {
    schedule
        .starts(dates.0, dates.1)
        .map(|start| Departure::new(tour, option, Some(schedule.id), start, schedule.capacity))
        .filter(|departure| departure.starts_at > now)
        .filter(|departure| blackouts.on(tour.supplier, tour.id, departure.local_start.date()).is_none())
        .collect()
}

/// Adds departures and tells it, tour by tour. What was there is left as it is; the number of new ones is returned.
pub(crate) async fn add(tx: &mut PgConnection, planned: Vec<Departure>) -> ApiResult<usize> {
    let added = departures::insert(tx, planned).await?;
    let count = added.len();
    let mut by_tour: BTreeMap<TourId, Vec<Departure>> = BTreeMap::new();
    for departure in added {
        by_tour.entry(departure.tour).or_default().push(departure);
    }
    let told: Vec<_> = by_tour.iter().flat_map(|(tour, some)| events::scheduled(*tour, some)).collect();
    outbox::append(tx, &told).await?;
    Ok(count)
}

/// Moves the horizon of every schedule that needs it to `days` from today. Returns how many departures were added.
///
/// # Errors
/// DEPENDENCY_UNAVAILABLE; what was added by then stays.
pub(crate) async fn extend(db: &Db, days: u64, now: DateTime<Utc>) -> ApiResult<usize> {
    // The earliest "today" on earth plus the horizon: then no zone is asked for a date that has not come there.
    let horizon = days_after((now - chrono::TimeDelta::hours(12)).date_naive(), days);
    let mut added = 0;
    let mut last = Vec::new();
    loop {
        let tours = schedules::tours_to_fill(db, horizon, TOURS).await?;
        // The same tours again would be a defect, and an endless loop.
        if tours.is_empty() || tours == last {
            return Ok(added);
        }
        last.clone_from(&tours);
        added += transaction!(db, [tours], |tx| fill(tx, &tours, horizon, days, now).await)?;
    }
}

/// One transaction of it. Of several at a time the second waits and finds little left to do.
async fn fill(
    tx: &mut PgConnection,
    tours: &[TourId],
    horizon: NaiveDate,
    days: u64,
    now: DateTime<Utc>,
) -> ApiResult<usize> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await?;
    let wholes: HashMap<TourId, WholeTour> =
        search::lock_whole(tx, tours).await?.into_iter().map(|whole| (whole.tour.id, whole)).collect();
    let blackouts = blackouts::of_tours(tx, wholes.values().map(|whole| &whole.tour), now).await?;
    let mut planned = Vec::new();
    let mut filled = Vec::new();
    for schedule in schedules::lock_unfilled(tx, tours, horizon).await? {
        let Some(whole) = wholes.get(&schedule.tour) else { continue };
        let Some(option) = option_of(whole, schedule.option) else { continue };
        let today = date_at(now, whole.tour.time_zone);
        let until = days_after(today, days);
        let from = days_after(schedule.filled_until, 1).max(today);
        planned.extend(departures_of(&whole.tour, option, &schedule, (from, until), &blackouts, now));
        filled.push((schedule.id, until.max(schedule.filled_until)));
    }
    schedules::filled(tx, &filled).await?;
    add(tx, planned).await
}

pub(crate) fn option_of(whole: &WholeTour, id: OptionId) -> Option<&TourOption> {
    whole.options.iter().find(|o| o.id == id)
}

/// Refreshes the "from" price of tours where a price list has begun or ended.
async fn reprice(db: &Db, now: DateTime<Utc>) -> ApiResult<usize> {
    let mut count = 0;
    loop {
        let due = search::price_changes_due(db, TOURS, now).await?;
        if due.is_empty() {
            return Ok(count);
        }
        count += due.len();
        transaction!(db, [due], |tx| {
            let wholes = search::lock_whole(tx, &due).await?;
            search::index(tx, &wholes.iter().collect::<Vec<_>>(), now).await
        })?;
    }
}

impl Catalog {
    /// Moves the horizon and refreshes prices once an hour, until shutdown.
    pub(crate) async fn keep_horizon(self, shutdown: Shutdown) {
        loop {
            let now = Utc::now();
            let done = async {
                let repriced = reprice(&self.db, now).await?;
                let added = extend(&self.db, self.config.horizon_days, now).await?;
                ApiResult::Ok((repriced, added))
            };
            let Some(done) = shutdown.unless(done).await else { return };
            let pause = match done {
                Ok((repriced, added)) => {
                    if repriced + added > 0 {
                        self.facets.forget();
                        tracing::info!(added, repriced, "the horizon moved on");
                    }
                    PAUSE
                }
                Err(error) => {
                    tracing::warn!(%error, "the horizon did not move; it is tried again");
                    RETRY
                }
            };
            if !shutdown.sleep(pause).await {
                return;
            }
        }
    }
}
