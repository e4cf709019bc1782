//! From a local time to its instant: a 09:00 departure stays 09:00 through every clock change.

use chrono::{DateTime, Days, MappedLocalTime, NaiveDate, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;

/// The local time at which something planned for `local` really starts, and its instant.
///
/// A time that the clocks skip is moved forward by the gap (02:30 becomes 03:30 where 02:00 to 03:00 is skipped); of a
/// time that the clocks repeat the earlier one counts.
pub(crate) fn resolve(local: NaiveDateTime, zone: Tz) -> (NaiveDateTime, DateTime<Utc>) {
    let start = match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(time) | MappedLocalTime::Ambiguous(time, _) => time,
        MappedLocalTime::None => {
            // The clock before the gap, read on: that is what "moved by the gap" means.
            let before = (1_i32..200)
                .filter_map(|quarters| local.checked_sub_signed(TimeDelta::minutes(i64::from(quarters) * 15)))
                .find_map(|earlier| zone.from_local_datetime(&earlier).latest());
            let offset = before.map_or(0, |time| time.offset().fix().local_minus_utc());
            let instant = local.checked_sub_signed(TimeDelta::seconds(i64::from(offset))).unwrap_or(local);
            zone.from_utc_datetime(&instant)
        }
    };
    (start.naive_local(), start.to_utc())
}

/// The local date at an instant.
pub(crate) fn date_at(instant: DateTime<Utc>, zone: Tz) -> NaiveDate {
    instant.with_timezone(&zone).date_naive()
}

/// So many days later, as far as the calendar goes.
pub(crate) fn days_after(date: NaiveDate, days: u64) -> NaiveDate {
    date.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").unwrap()
    }
    fn utc(text: &str) -> DateTime<Utc> {
        at(text).and_utc()
    }

    #[test]
    fn nine_o_clock_stays_nine_o_clock_through_clock_changes() {
        for (zone, local, instant) in [
            (Tz::Europe__Paris, "2026-03-28T09:00", "2026-03-28T08:00"),
            (Tz::Europe__Paris, "2026-03-29T09:00", "2026-03-29T07:00"),
            (Tz::Europe__Paris, "2026-10-25T09:00", "2026-10-25T08:00"),
            (Tz::America__New_York, "2026-03-07T09:00", "2026-03-07T14:00"),
            (Tz::America__New_York, "2026-03-08T09:00", "2026-03-08T13:00"),
            (Tz::Australia__Lord_Howe, "2026-04-04T09:00", "2026-04-03T22:00"),
            (Tz::Australia__Lord_Howe, "2026-04-05T09:00", "2026-04-04T22:30"),
            (Tz::Asia__Kathmandu, "2026-06-01T09:00", "2026-06-01T03:15"),
            (Tz::America__Sao_Paulo, "2026-11-01T09:00", "2026-11-01T12:00"),
        ] {
            assert_eq!(resolve(at(local), zone), (at(local), utc(instant)), "{zone} {local}");
        }
    }

    #[test]
    fn a_skipped_time_moves_forward_by_the_gap() {
        for (zone, local, moved, instant) in [
            (Tz::Europe__Paris, "2026-03-29T02:30", "2026-03-29T03:30", "2026-03-29T01:30"),
            (Tz::America__New_York, "2026-03-08T02:00", "2026-03-08T03:00", "2026-03-08T07:00"),
            (Tz::Australia__Lord_Howe, "2026-10-04T02:10", "2026-10-04T02:40", "2026-10-03T15:40"),
            (Tz::Africa__Cairo, "2026-04-24T00:15", "2026-04-24T01:15", "2026-04-23T22:15"),
            // Samoa skipped a whole day.
            (Tz::Pacific__Apia, "2011-12-30T09:00", "2011-12-31T09:00", "2011-12-30T19:00"),
        ] {
            assert_eq!(resolve(at(local), zone), (at(moved), utc(instant)), "{zone} {local}");
        }
    }

    #[test]
    fn of_a_repeated_time_the_earlier_one_counts() {
        for (zone, local, instant) in [
            (Tz::Europe__Paris, "2026-10-25T02:30", "2026-10-25T00:30"),
            (Tz::America__New_York, "2026-11-01T01:30", "2026-11-01T05:30"),
            (Tz::Australia__Lord_Howe, "2026-04-05T01:45", "2026-04-04T14:45"),
        ] {
            assert_eq!(resolve(at(local), zone), (at(local), utc(instant)), "{zone} {local}");
        }
    }

    proptest! {
        #[test]
        fn the_instant_shows_the_local_time_again(minutes in 0_i64..20 * 365 * 24 * 60, zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec())) {
            let local = at("2015-01-01T00:00") + TimeDelta::minutes(minutes);
            let (start, instant) = resolve(local, zone);
            prop_assert_eq!(instant.with_timezone(&zone).naive_local(), start);
            prop_assert!(start >= local && start <= local + TimeDelta::days(1));
            prop_assert_eq!(resolve(start, zone), (start, instant));
        }
    }
}
