//! A rhythm that departures are made from.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Utc};

use super::{OptionId, ScheduleId, TourId, recurrence::Recurrence};

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

/// The most departures that a new schedule may have up to the horizon: they are made in one transaction.
pub(crate) const MOST_DEPARTURES: usize = 5000;

/// Which dates a schedule has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rhythm {
    /// These days of every week.
    Weekly(Weekdays),
    /// What a rule says; it counts from the schedule's first date.
    Rule(Recurrence),
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub id: ScheduleId,
    pub option: OptionId,
    pub tour: TourId,
    pub rhythm: Rhythm,
    /// In order, without repeats.
    pub start_times: Vec<NaiveTime>,
    /// The rhythm begins here.
    pub start_date: NaiveDate,
    /// Inclusive. `None`: for ever.
    pub end_date: Option<NaiveDate>,
    pub capacity: i32,
    /// Dates of the rhythm that it leaves out.
    pub except_dates: BTreeSet<NaiveDate>,
    /// Dates outside of the rhythm that it has too.
    pub extra_dates: BTreeSet<NaiveDate>,
    /// It counts from here on: what was before is another schedule's.
    pub effective_from: NaiveDate,
    /// From here on another schedule counts.
    pub superseded_from: Option<NaiveDate>,
    /// Departures exist up to and including this local date.
    pub filled_until: NaiveDate,
    pub created_at: DateTime<Utc>,
}

impl Schedule {
    /// Its last date; `None`: for ever.
    pub(crate) fn last_date(&self) -> Option<NaiveDate> {
        let before = self.superseded_from.map(|date| date.pred_opt().unwrap_or(date));
        [self.end_date, before].into_iter().flatten().min()
    }

    /// Nothing of it is left: it ends before it begins.
    pub(crate) fn is_over_before_it_begins(&self) -> bool {
        self.last_date().is_some_and(|last| last < self.effective_from)
    }

    /// The local times of its departures from one local date to another, both included, in order.
    pub(crate) fn starts(&self, from: NaiveDate, until: NaiveDate) -> impl Iterator<Item = NaiveDateTime> + '_ {
        let first = from.max(self.start_date).max(self.effective_from);
        let last = self.last_date().map_or(until, |end| end.min(until));
        let mut dates: BTreeSet<NaiveDate> = match &self.rhythm {
            _ if first > last => BTreeSet::new(),
            Rhythm::Weekly(days) => {
                let all = first.iter_days().take_while(|day| *day <= last);
                all.filter(|day| days.has(day.weekday().num_days_from_monday())).collect()
            }
            Rhythm::Rule(rule) => rule.dates(first, last).collect(),
        };
        dates.extend(self.extra_dates.iter().filter(|day| (first..=last).contains(day)));
        let kept = dates.into_iter().filter(|day| !self.except_dates.contains(day));
        kept.flat_map(|day| self.start_times.iter().map(move |time| day.and_time(*time)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::{MappedLocalTime, TimeDelta, TimeZone as _};
    use proptest::prelude::*;

    use super::*;
    use crate::domain::local_time::resolve;

    fn a_schedule(start: NaiveDate) -> Schedule {
        Schedule {
            id: ScheduleId::new(),
            option: OptionId::new(),
            tour: TourId::new(),
            rhythm: Rhythm::Weekly(Weekdays::ALL),
            start_times: vec![NaiveTime::MIN],
            start_date: start,
            end_date: None,
            capacity: 10,
            except_dates: BTreeSet::new(),
            extra_dates: BTreeSet::new(),
            effective_from: start,
            superseded_from: None,
            filled_until: start,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn departures_follow_weekdays_times_dates_and_exceptions() {
        let mut schedule = Schedule {
            rhythm: Rhythm::Weekly(Weekdays(0b010_0001)), // Monday and Saturday
            start_times: ["09:00:00", "14:30:00"].map(|t| t.parse().unwrap()).to_vec(),
            end_date: Some(day("2026-06-15")),
            except_dates: [day("2026-06-13")].into(),
            ..a_schedule(day("2026-06-03"))
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
        // Wednesday too, once; and from the 15th on another schedule counts.
        schedule.extra_dates = [day("2026-06-10"), day("2026-06-08"), day("2026-06-20")].into();
        schedule.superseded_from = Some(day("2026-06-15"));
        assert_eq!(schedule.starts(day("2026-06-08"), day("2026-12-31")).count(), 4);
        assert!(!schedule.is_over_before_it_begins());
        schedule.superseded_from = Some(day("2026-06-03"));
        assert!(schedule.is_over_before_it_begins());
        assert_eq!(schedule.starts(day("2026-06-01"), day("2026-12-31")).count(), 0);
    }

    /// What a rule says, and the same said in another way.
    fn rule(kind: u8, interval: i64, start: NaiveDate) -> (String, Box<dyn Fn(NaiveDate) -> bool>) {
        let weeks = move |d: NaiveDate| {
            let monday = |d: NaiveDate| d - TimeDelta::days(d.weekday().num_days_from_monday().into());
            (monday(d) - monday(start)).num_days() / 7
        };
        match kind {
            0 => (format!("FREQ=DAILY;INTERVAL={interval}"), Box::new(move |d| (d - start).num_days() % interval == 0)),
            1 => (
                format!("FREQ=WEEKLY;INTERVAL={interval};BYDAY=TU,SU"),
                Box::new(move |d| {
                    weeks(d) % interval == 0 && matches!(d.weekday(), chrono::Weekday::Tue | chrono::Weekday::Sun)
                }),
            ),
            2 => (
                "FREQ=MONTHLY;BYDAY=-1SU".into(),
                Box::new(|d| d.weekday() == chrono::Weekday::Sun && (d + TimeDelta::days(7)).month() != d.month()),
            ),
            _ => ("FREQ=MONTHLY;BYMONTHDAY=28,31".into(), Box::new(|d| matches!(d.day(), 28 | 31))),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        /// Over the clock changes of every zone there is, in a year and a half of each of two decades.
        #[test]
        fn no_date_of_a_rule_is_missing_or_doubled_and_the_time_of_day_is_the_schedules(
            zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
            start in 0_i64..20 * 365,
            kind in 0_u8..4,
            interval in 1_i64..5,
            minutes in prop::collection::btree_set(prop_oneof![0_u32..1440, 0_u32..240, Just(540)], 1..5),
            except in prop::collection::btree_set(0_i64..500, 0..20),
            extra in prop::collection::btree_set(0_i64..500, 0..20),
        ) {
            let start = day("2010-01-01") + TimeDelta::days(start);
            let until = start + TimeDelta::days(500);
            let (text, model) = rule(kind, interval, start);
            let dates = |offsets: &BTreeSet<i64>| offsets.iter().map(|n| start + TimeDelta::days(*n)).collect::<BTreeSet<_>>();
            let (except, extra) = (dates(&except), dates(&extra));
            let times: Vec<_> = minutes.iter().map(|m| NaiveTime::from_hms_opt(m / 60, m % 60, 0).unwrap()).collect();
            let schedule = Schedule {
                rhythm: Rhythm::Rule(Recurrence::parse(&text, start).unwrap()),
                start_times: times.clone(),
                except_dates: except.clone(),
                extra_dates: extra.clone(),
                ..a_schedule(start)
            };
            // No date is missing, none is too many, each has all its times, once and in order.
            let planned: Vec<_> = schedule.starts(start, until).collect();
            let on = |d: &NaiveDate| (model(*d) || extra.contains(d)) && !except.contains(d);
            let all = start.iter_days().take_while(|d| *d <= until).filter(on);
            let expected: Vec<_> = all.flat_map(|d| times.iter().map(move |t| d.and_time(*t))).collect();
            prop_assert_eq!(&planned, &expected, "{} from {}", text, start);

            // In two windows it is the same: that is how the horizon moves.
            let middle = start + TimeDelta::days(211);
            let first = schedule.starts(start, middle);
            let both: Vec<_> = first.chain(schedule.starts(middle.succ_opt().unwrap(), until)).collect();
            prop_assert_eq!(&both, &planned);

            let mut real = BTreeMap::new();
            for local in planned {
                let (at, instant) = resolve(local, zone);
                let skipped = zone.from_local_datetime(&local) == MappedLocalTime::None;
                prop_assert!(at == local || (skipped && at > local), "{} became {} in {}", local, at, zone);
                prop_assert_eq!(instant.with_timezone(&zone).naive_local(), at);
                real.insert(at, instant);
            }
            // Later by the clock on the wall is later in truth: none is doubled.
            prop_assert!(real.values().is_sorted_by(|a, b| a < b), "in {}", zone);
        }
    }
}
