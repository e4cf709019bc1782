//! Schedules: added to an option, changed from a date on, listed.

use chrono::NaiveDate;
use prost_types::FieldMask;
use tourmesh::catalog::v1 as wire;
use tourmesh_kit::{ApiError, ApiResult, mask};

use crate::{
    access::Reach,
    catalog::{Asked, Catalog, transaction},
    convert,
    domain::{
        OptionId, ScheduleId,
        local_time::{date_at, days_after},
        schedule::{MOST_DEPARTURES, Schedule},
        tour::TourState,
    },
    error::CatalogError,
    horizon,
    options::{own_tour_of, the_option},
    settle::settle_from,
    store::{blackouts, options, requests::Claim, schedules, tours},
};

/// What UpdateSchedule may change.
const CHANGEABLE: &[&str] =
    &["weekdays", "recurrence", "start_times", "end_date", "capacity", "except_dates", "extra_dates"];

impl Catalog {
    /// Adds a schedule and makes its departures up to the horizon; returns how many.
    pub(crate) async fn create_schedule(&self, asked: Asked, new: wire::Schedule) -> ApiResult<(Schedule, i32)> {
        let option_id = OptionId::of_field("schedule.option_id", &new.option_id)?;
        let days = self.config.horizon_days;
        let id = ScheduleId::new();
        let done = transaction!(self.db, [asked, new], |tx| {
            let tour = own_tour_of(tx, asked.reach, option_id).await?;
            if let Claim::Done(id, answer) = asked.request.claim(tx, id.uuid()).await? {
                let [count] = read_counts(answer)?;
                return Ok((schedules::get(tx, id).await?, count));
            }
            let today = date_at(asked.now, tour.time_zone);
            let whole = tours::whole(tx, tour).await?;
            let option = the_option(whole.clone(), option_id)?;
            let mut schedule = convert::read_schedule(&new, id, option_id, option.tour, today, asked.now)?;
            // An archived tour starts no more.
            let on = whole.tour.state != TourState::Archived;
            schedule.filled_until = if on { days_after(today, days) } else { today };
            let dates = (today, schedule.filled_until);
            check_size(&schedule, dates)?;
            schedules::insert(tx, std::slice::from_ref(&schedule)).await?;
            let blackouts = blackouts::of_tours(tx, [&whole.tour], asked.now).await?;
            let planned = if on {
                horizon::departures_of(&whole.tour, &option, &schedule, dates, &blackouts, asked.now)
            } else {
                Vec::new()
            };
            let count = wire_count(horizon::add(tx, planned).await?);
            asked.request.keep_answer(tx, &count.to_be_bytes()).await?;
            Ok((schedule, count))
        });
        self.facets.forget();
        done
    }

    /// Lets a changed copy of a schedule take over from a local date on; returns it, and how many departures were added
    /// and closed.
    pub(crate) async fn update_schedule(
        &self,
        asked: Asked,
        id: ScheduleId,
        effective_from: &str,
        new: wire::Schedule,
        fields: Option<FieldMask>,
    ) -> ApiResult<(Schedule, i32, i32)> {
        let fields = mask::fields(fields.as_ref(), CHANGEABLE)?;
        let wanted = convert::read_date("effective_from", effective_from)?;
        let new_id = ScheduleId::new();
        let done = transaction!(self.db, [asked, new, fields], |tx| {
            let not_found = || ApiError::from(CatalogError::ScheduleNotFound);
            let found = schedules::find(tx, id).await?.ok_or_else(not_found)?;
            let tour = tours::lock(tx, found.tour).await?;
            let tour = tour.filter(|tour| asked.reach.owns(tour.supplier)).ok_or_else(not_found)?;
            if let Claim::Done(id, answer) = asked.request.claim(tx, new_id.uuid()).await? {
                let [added, closed] = read_counts(answer)?;
                return Ok((schedules::get(tx, id).await?, added, closed));
            }
            // Once more, now that nobody else can change it.
            let old = schedules::get(tx, id.uuid()).await?;
            let today = date_at(asked.now, tour.time_zone);
            let from = take_over(&old, wanted, today)?;
            let mut next = Schedule { id: new_id, effective_from: from, created_at: asked.now, ..old.clone() };
            convert::change_schedule(&mut next, &fields, &new, today)?;
            check_size(&next, (today, next.filled_until))?;
            schedules::supersede(tx, old.id, from).await?;
            schedules::insert(tx, std::slice::from_ref(&next)).await?;
            let done = settle_from(tx, tour.id, from, asked.now).await?;
            let (added, closed) = (wire_count(done.added), wire_count(done.closed));
            asked.request.keep_answer(tx, &[added.to_be_bytes(), closed.to_be_bytes()].concat()).await?;
            Ok((next, added, closed))
        });
        self.facets.forget();
        done
    }

    pub(crate) async fn list_schedules(&self, reach: Reach, option: OptionId) -> ApiResult<Vec<Schedule>> {
        let found = options::find(&self.db, option).await?.ok_or(CatalogError::OptionNotFound)?;
        let tour = tours::find(&self.db, found.tour).await?;
        if !tour.is_some_and(|t| reach.owns(t.supplier)) {
            return Err(CatalogError::OptionNotFound.into());
        }
        let mut all = schedules::of_option(&self.db, option).await?;
        all.retain(|schedule| !schedule.is_over_before_it_begins());
        Ok(all)
    }
}

/// The date from which a change of a schedule counts.
fn take_over(old: &Schedule, wanted: Option<NaiveDate>, today: NaiveDate) -> Result<NaiveDate, CatalogError> {
    if wanted.is_some_and(|date| date < today) {
        return Err(CatalogError::field("effective_from", "must not lie before today"));
    }
    let from = wanted.unwrap_or_else(|| days_after(today, 1)).max(old.effective_from);
    if old.last_date().is_some_and(|last| last < from) {
        return Err(CatalogError::field("effective_from", "must not lie after the end of the schedule"));
    }
    Ok(from)
}

/// The departures of a new schedule are made in one transaction: there must not be too many.
pub(crate) fn check_size(schedule: &Schedule, dates: (NaiveDate, NaiveDate)) -> Result<(), CatalogError> {
    if schedule.starts(dates.0, dates.1).nth(MOST_DEPARTURES).is_some() {
        let problem = format!("make more than {MOST_DEPARTURES} departures up to {}", dates.1);
        return Err(CatalogError::field("schedule.start_times", problem));
    }
    Ok(())
}

fn wire_count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The counts that the first call answered.
fn read_counts<const N: usize>(answer: Option<Vec<u8>>) -> ApiResult<[i32; N]> {
    let answer = answer.unwrap_or_default();
    let (counts, []) = answer.as_chunks::<4>() else { return Err(ApiError::internal("an answer was cut")) };
    let counts = <[[u8; 4]; N]>::try_from(counts).map_err(|_| ApiError::internal("an answer was not kept"))?;
    Ok(counts.map(i32::from_be_bytes))
}
