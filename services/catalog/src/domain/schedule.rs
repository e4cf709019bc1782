//! A weekly rhythm that departures are made from.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Utc};

use super::{OptionId, ScheduleId, TourId};

/// A set of weekdays; bit 0 is Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weekdays(pub u8);

impl Weekdays {
    /// Every day.
    pub(crate) const ALL: Self = Self(0b111_1111);

    /// The day of this number (Monday is 0) belongs to it.
    pub(crate) const fn has(self, day: u32) -> bool {
        self.0 & (1 << day) != 0
    }
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub id: ScheduleId,
    pub option: OptionId,
    pub tour: TourId,
    pub weekdays: Weekdays,
    /// In order, without repeats.
    pub start_times: Vec<NaiveTime>,
    pub start_date: NaiveDate,
    /// Inclusive. `None`: for ever.
    pub end_date: Option<NaiveDate>,
    pub capacity: i32,
    pub blackout_dates: BTreeSet<NaiveDate>,
    /// Departures exist up to and including this local date.
    pub filled_until: NaiveDate,
    pub created_at: DateTime<Utc>,
}

impl Schedule {
    /// The local times of its departures from one local date to another, both included, in order.
    pub(crate) fn starts(&self, from: NaiveDate, until: NaiveDate) -> impl Iterator<Item = NaiveDateTime> + '_ {
        let first = from.max(self.start_date);
        let last = self.end_date.map_or(until, |end| end.min(until));
        first
            .iter_days()
            .take_while(move |day| *day <= last)
            .filter(|day| self.weekdays.has(day.weekday().num_days_from_monday()) && !self.blackout_dates.contains(day))
            .flat_map(|day| self.start_times.iter().map(move |time| day.and_time(*time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn departures_follow_weekdays_times_dates_and_blackouts() {
        let schedule = Schedule {
            id: ScheduleId::new(),
            option: OptionId::new(),
            tour: TourId::new(),
            weekdays: Weekdays(0b010_0001), // Monday and Saturday
            start_times: ["09:00:00", "14:30:00"].map(|t| t.parse().unwrap()).to_vec(),
            start_date: day("2026-06-03"),
            end_date: Some(day("2026-06-15")),
            capacity: 10,
            blackout_dates: [day("2026-06-13")].into(),
            filled_until: day("2026-06-02"),
            created_at: DateTime::UNIX_EPOCH,
        };
        let starts: Vec<_> = schedule.starts(day("2026-06-01"), day("2026-12-31")).map(|s| s.to_string()).collect();
        assert_eq!(
            starts,
            [
                "2026-06-06 09:00:00",
                "2026-06-06 14:30:00",
                "2026-06-08 09:00:00",
                "2026-06-08 14:30:00",
                "2026-06-15 09:00:00",
                "2026-06-15 14:30:00",
            ]
        );
        assert_eq!(schedule.starts(day("2026-06-09"), day("2026-06-14")).count(), 0);
        assert_eq!(schedule.starts(day("2026-06-08"), day("2026-06-08")).count(), 2);
    }
}
