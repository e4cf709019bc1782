//! Schedules: added to an option, listed.

use tourmesh::catalog::v1 as wire;
use tourmesh_kit::{ApiError, ApiResult};

use crate::{
    access::Reach,
    catalog::{Asked, Catalog, transaction},
    convert,
    domain::{
        OptionId, ScheduleId,
        local_time::{date_at, days_after},
        schedule::Schedule,
        tour::TourState,
    },
    error::CatalogError,
    horizon,
    options::{own_tour_of, the_option},
    store::{options, requests::Claim, schedules, tours},
};

impl Catalog {
    /// Adds a schedule and makes its departures up to the horizon; returns how many.
    pub(crate) async fn create_schedule(&self, asked: Asked, new: wire::Schedule) -> ApiResult<(Schedule, i32)> {
        let option_id = OptionId::of_field("schedule.option_id", &new.option_id)?;
        let days = self.config.horizon_days;
        let id = ScheduleId::new();
        let done = transaction!(self.db, [asked, new], |tx| {
            let tour = own_tour_of(tx, asked.reach, option_id).await?;
            if let Claim::Done(id, answer) = asked.request.claim(tx, id.uuid()).await? {
                return Ok((schedules::get(tx, id).await?, read_count(answer)?));
            }
            let today = date_at(asked.now, tour.time_zone);
            let whole = tours::whole(tx, tour).await?;
            let option = the_option(whole.clone(), option_id)?;
            let mut schedule = convert::read_schedule(&new, id, option_id, option.tour, today, asked.now)?;
            // An archived tour starts no more.
            let on = whole.tour.state != TourState::Archived;
            schedule.filled_until = if on { days_after(today, days) } else { today };
            let dates = (today, schedule.filled_until);
            schedules::insert(tx, std::slice::from_ref(&schedule)).await?;
            let planned =
                if on { horizon::departures_of(&whole.tour, &option, &schedule, dates, asked.now) } else { Vec::new() };
            let count = i32::try_from(horizon::add(tx, planned).await?).unwrap_or(i32::MAX);
            asked.request.keep_answer(tx, &count.to_be_bytes()).await?;
            Ok((schedule, count))
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
        schedules::of_option(&self.db, option).await
    }
}

/// How many departures the first call made.
fn read_count(answer: Option<Vec<u8>>) -> ApiResult<i32> {
    let bytes = answer.and_then(|a| <[u8; 4]>::try_from(a).ok());
    bytes.map(i32::from_be_bytes).ok_or_else(|| ApiError::internal("the answer of a CreateSchedule was not kept"))
}
