//! Quiet hours: what is not urgent waits until a person is awake, in the person's own time.

use chrono::{DateTime, Duration, NaiveDateTime, TimeZone as _, Utc};
use chrono_tz::Tz;

use super::message::QuietHours;

/// When a message that is due now may go out: now, or at the end of the quiet hours.
pub fn next_allowed(now: DateTime<Utc>, zone: Tz, quiet: QuietHours) -> DateTime<Utc> {
    if quiet.from == quiet.until {
        return now;
    }
    let local = now.with_timezone(&zone).naive_local();
    let (date, time) = (local.date(), local.time());
    let over_midnight = quiet.from > quiet.until;
    let end = if over_midnight && time >= quiet.from {
        date.succ_opt().unwrap_or(date).and_time(quiet.until)
    } else if time < quiet.until && (over_midnight || time >= quiet.from) {
        date.and_time(quiet.until)
    } else {
        return now;
    };
    // On the day on which clocks go back a local time comes twice, and the first may be behind us.
    instant(end, zone).max(now)
}

/// The instant of a local time; one that clocks skip is moved behind the gap, of one that comes twice the first counts.
pub fn instant(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    for shift in 0..=24 {
        let local = local + Duration::minutes(15 * shift);
        if let Some(at) = zone.from_local_datetime(&local).earliest() {
            return at.to_utc();
        }
    }
    local.and_utc()
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveTime, Timelike as _};
    use proptest::prelude::*;

    use super::*;

    fn quiet(from: u32, until: u32) -> QuietHours {
        let at = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
        QuietHours { from: at(from), until: at(until) }
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_night_in_tokyo_is_not_a_night_in_paris() {
        let now = utc("2027-01-01T21:30:00Z");
        assert_eq!(next_allowed(now, Tz::Europe__Paris, quiet(22, 7)), utc("2027-01-02T06:00:00Z"));
        assert_eq!(next_allowed(now, Tz::Asia__Tokyo, quiet(22, 7)), utc("2027-01-01T22:00:00Z"));
        assert_eq!(next_allowed(now, Tz::America__New_York, quiet(22, 7)), now);
        // A siesta.
        assert_eq!(
            next_allowed(utc("2027-07-01T11:00:00Z"), Tz::Europe__Madrid, quiet(13, 16)),
            utc("2027-07-01T14:00:00Z")
        );
    }

    #[test]
    fn an_end_that_clocks_skip_is_behind_the_gap() {
        let end = next_allowed(utc("2027-03-28T00:30:00Z"), Tz::Europe__Paris, quiet(22, 2));
        assert_eq!(end, utc("2027-03-28T01:00:00Z"));
    }

    proptest! {
        #[test]
        fn nothing_goes_out_in_quiet_hours_and_nothing_waits_longer_than_a_day(
            at in 1_700_000_000_i64..1_900_000_000, from in 0_u32..24, until in 0_u32..24,
            zone in prop::sample::select(vec![Tz::Europe__Paris, Tz::Asia__Kathmandu, Tz::America__St_Johns, Tz::UTC]),
        ) {
            let now = DateTime::from_timestamp(at, 0).unwrap();
            let hours = quiet(from, until);
            let then = next_allowed(now, zone, hours);
            prop_assert!(then >= now && then - now <= Duration::hours(25));
            let hour = then.with_timezone(&zone).hour();
            let inside = if from <= until { (from..until).contains(&hour) } else { hour >= from || hour < until };
            // Clocks that go back repeat an hour of the night: the end has been then.
            prop_assert!(!inside || then.with_timezone(&zone).naive_local().time() == hours.until
                || then - now <= Duration::hours(1), "{now} -> {then}");
        }
    }
}
