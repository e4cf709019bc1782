//! One start of an option.

use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;

use super::{
    DepartureId, OptionId, ScheduleId, SupplierId, TourId, local_time, numbered, option::TourOption, tour::Tour,
};
use crate::error::CatalogError;

numbered!(
    /// Whether a departure is sold. A cancelled one stays cancelled.
    DepartureState { Open = 1, Closed = 2, Cancelled = 3 }
);

/// A departure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Departure {
    pub id: DepartureId,
    pub tour: TourId,
    pub option: OptionId,
    pub supplier: SupplierId,
    /// `None`: it was made by hand.
    pub schedule: Option<ScheduleId>,
    pub local_start: NaiveDateTime,
    pub time_zone: Tz,
    /// Derived from the two above.
    pub starts_at: DateTime<Utc>,
    pub duration_minutes: i32,
    pub capacity: i32,
    pub state: DepartureState,
    /// Closed because its schedule no longer has it or its date is blacked out, not by hand.
    pub withdrawn: bool,
    /// Grows by one with every change.
    pub version: i64,
}

impl Departure {
    /// A new one, on sale. `planned` is the local time that was asked for; see [`local_time::resolve`].
    pub(crate) fn new(
        tour: &Tour,
        option: &TourOption,
        schedule: Option<ScheduleId>,
        planned: NaiveDateTime,
        capacity: i32,
    ) -> Self {
        let (local_start, starts_at) = local_time::resolve(planned, tour.time_zone);
        Self {
            id: DepartureId::at(option.id, local_start),
            tour: tour.id,
            option: option.id,
            supplier: tour.supplier,
            schedule,
            local_start,
            time_zone: tour.time_zone,
            starts_at,
            duration_minutes: option.duration_minutes,
            capacity,
            state: DepartureState::Open,
            withdrawn: false,
            version: 1,
        }
    }

    /// With another capacity or state; `None`: nothing would change. The version that the change was decided on must be
    /// the present one, 0: whatever it is.
    pub(crate) fn changed(
        &self,
        version: i64,
        capacity: Option<i32>,
        state: Option<DepartureState>,
    ) -> Result<Option<Self>, CatalogError> {
        if self.state == DepartureState::Cancelled {
            return Err(CatalogError::DepartureCancelled);
        }
        if version != 0 && version != self.version {
            return Err(CatalogError::ChangedMeanwhile);
        }
        if state == Some(DepartureState::Cancelled) {
            return Err(CatalogError::field("state", "must be OPEN or CLOSED; CancelDeparture cancels"));
        }
        let next = Self {
            capacity: capacity.unwrap_or(self.capacity),
            state: state.unwrap_or(self.state),
            // Whoever opens or closes it by hand decides for good.
            withdrawn: self.withdrawn && state.is_none(),
            version: self.version + 1,
            ..self.clone()
        };
        let same = (self.capacity, self.state, self.withdrawn) == (next.capacity, next.state, next.withdrawn);
        Ok((!same).then_some(next))
    }

    /// Called off; `None`: it is already.
    pub(crate) fn cancelled(&self) -> Option<Self> {
        (self.state != DepartureState::Cancelled).then(|| Self {
            state: DepartureState::Cancelled,
            withdrawn: false,
            version: self.version + 1,
            ..self.clone()
        })
    }
}
