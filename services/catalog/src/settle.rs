//! Departures follow their schedules and blackouts: at once when one changes, and in the background what was left over.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, events::outbox, shutdown::Shutdown};

use crate::{
    catalog::{Catalog, transaction},
    domain::{
        ScheduleId, TourId,
        departure::DepartureState,
        local_time::{date_at, days_after},
        schedule::Schedule,
        settle::settled,
        tour::{TourState, WholeTour},
    },
    events, horizon,
    store::{blackouts, departures, schedules, search, unsettled},
};

/// How many tours one transaction settles.
const TOURS: i64 = 20;
/// How many such transactions a call waits for; the rest is done in the background.
const ROUNDS: usize = 10;
const PAUSE: Duration = Duration::from_secs(5);

/// What settling did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub added: usize,
    pub closed: usize,
}

/// Settles these tours, as far as they are unsettled: closes, opens and adds departures, with an event for each change.
pub(crate) async fn settle(tx: &mut PgConnection, tours: &[TourId], now: DateTime<Utc>) -> ApiResult<Settled> {
    let wholes: HashMap<TourId, WholeTour> =
        search::lock_whole(tx, tours).await?.into_iter().map(|whole| (whole.tour.id, whole)).collect();
    let work = unsettled::take(tx, tours).await?;
    let all_schedules = schedules::of_tours(tx, tours).await?;
    let capacities: HashMap<ScheduleId, i32> = all_schedules.iter().map(|s| (s.id, s.capacity)).collect();
    let blackouts = blackouts::of_tours(tx, wholes.values().map(|whole| &whole.tour), now).await?;
    let mut done = Settled::default();
    for (tour, first, last) in work {
        let Some(whole) = wholes.get(&tour).filter(|whole| whole.tour.state != TourState::Archived) else { continue };
        let from = first.max(date_at(now, whole.tour.time_zone));
        let plan = |schedule: &Schedule| {
            let option = horizon::option_of(whole, schedule.option)?;
            let dates = (from, last.min(schedule.filled_until));
            Some(horizon::departures_of(&whole.tour, option, schedule, dates, &blackouts, now))
        };
        let planned: Vec<_> = all_schedules.iter().filter(|s| s.tour == tour).filter_map(plan).flatten().collect();
        let local = (from.into(), days_after(last, 1).into());
        let existing = departures::lock_between(tx, tour, local, now).await?;
        let changed = settled(existing, &planned, &capacities, |d| {
            blackouts.on(whole.tour.supplier, tour, d.local_start.date()).is_some()
        });
        departures::update(tx, &changed).await?;
        outbox::append(tx, &changed.iter().map(events::departure).collect::<Vec<_>>()).await?;
        done.closed += changed.iter().filter(|d| d.withdrawn && d.state == DepartureState::Closed).count();
        done.added += horizon::add(tx, planned).await?;
    }
    Ok(done)
}

/// Settles one tour from a local date on, within the caller's transaction, in which its schedules have changed.
pub(crate) async fn settle_from(
    tx: &mut PgConnection,
    tour: TourId,
    from: NaiveDate,
    now: DateTime<Utc>,
) -> ApiResult<Settled> {
    // Nothing is made further ahead than two years.
    unsettled::add_tour(tx, tour, (from, days_after(from, 4000))).await?;
    settle(tx, &[tour], now).await
}

impl Catalog {
    /// Settles what is unsettled, up to so many transactions; `true`: all of it.
    async fn settle_some(&self, rounds: usize) -> ApiResult<bool> {
        for _ in 0..rounds {
            let tours = unsettled::some(&self.db, TOURS).await?;
            if tours.is_empty() {
                return Ok(true);
            }
            let now = Utc::now();
            transaction!(self.db, [tours], |tx| settle(tx, &tours, now).await)?;
            self.facets.forget();
        }
        Ok(false)
    }

    /// The same after a change that is committed: what cannot be done now is done later.
    pub(crate) async fn settle_now(&self) {
        if let Err(error) = self.settle_some(ROUNDS).await {
            tracing::warn!(%error, "departures are not settled; it is tried again");
        }
    }

    /// Settles what others left over, until shutdown.
    pub(crate) async fn keep_settled(self, shutdown: Shutdown) {
        while shutdown.sleep(PAUSE).await {
            match shutdown.unless(self.settle_some(usize::MAX)).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => tracing::warn!(%error, "departures are not settled; it is tried again"),
                None => return,
            }
        }
    }
}
