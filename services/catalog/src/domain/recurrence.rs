//! Recurrence rules (RFC 5545) as far as they say dates: the time of day is the schedule's.
//!
//! A rule is expanded over dates without any zone (as days at 00:00 UTC, which no clock change touches); each start is
//! then put into the tour's zone by [`super::local_time`]. So a date of the rule can neither be lost nor doubled.

use std::collections::BTreeSet;

use chrono::{NaiveDate, NaiveTime, TimeZone as _};
use rrule::{RRule, RRuleSet, Tz, Unvalidated};

/// What a rule may hold. Hours, minutes and seconds are the start times', the end is the schedule's.
const PARTS: &[&str] =
    &["FREQ", "INTERVAL", "COUNT", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYDAY", "BYSETPOS", "WKST"];
const FREQUENCIES: &[&str] = &["DAILY", "WEEKLY", "MONTHLY", "YEARLY"];
/// The longest rule: a list of days of the month fits well.
const LONGEST: usize = 300;
/// The most values of a list: a year has no more days.
const MOST: u32 = 366;
const COUNT: u32 = 10_000;

/// A rule and the date from which it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recurrence {
    text: String,
    set: Box<RRuleSet>,
}

impl Recurrence {
    /// Reads a rule; the error says what is wrong with it.
    pub(crate) fn parse(text: &str, from: NaiveDate) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("must have at most {LONGEST} characters"));
        }
        let text = text.strip_prefix("RRULE:").unwrap_or(text).to_owned();
        let mut seen = BTreeSet::new();
        for part in text.split(';') {
            let (name, value) = part.split_once('=').ok_or("must be a rule such as FREQ=WEEKLY;BYDAY=MO")?;
            if !PARTS.contains(&name) {
                return Err(match name {
                    "UNTIL" => "must not have UNTIL: end_date says it".to_owned(),
                    "BYHOUR" | "BYMINUTE" | "BYSECOND" => format!("must not have {name}: start_times say it"),
                    _ => "has a part that is not known".to_owned(),
                });
            }
            if !seen.insert(name) {
                return Err(format!("has {name} twice"));
            }
            let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, ',' | '+' | '-');
            if value.is_empty() || !value.chars().all(plain) {
                return Err(format!("has a {name} that cannot be read"));
            }
            let within = |most: u32| value.parse().is_ok_and(|n: u32| (1..=most).contains(&n));
            match name {
                "FREQ" if !FREQUENCIES.contains(&value) => {
                    return Err("must have a FREQ of DAILY, WEEKLY, MONTHLY or YEARLY".to_owned());
                }
                "INTERVAL" if !within(MOST) => return Err(format!("must have an INTERVAL of 1 to {MOST}")),
                "COUNT" if !within(COUNT) => return Err(format!("must have a COUNT of 1 to {COUNT}")),
                _ => {}
            }
        }
        if !seen.contains("FREQ") {
            return Err("must have a FREQ".to_owned());
        }
        if seen.contains("BYSETPOS") && !seen.iter().any(|name| name.starts_with("BY") && *name != "BYSETPOS") {
            return Err("must not have BYSETPOS alone: it picks from what another BY part says".to_owned());
        }
        let rule: RRule<Unvalidated> = text.parse().map_err(|error| format!("cannot be read: {error}"))?;
        let start = Tz::UTC.from_utc_datetime(&from.and_time(NaiveTime::MIN));
        let set = Box::new(rule.build(start).map_err(|error| format!("is not valid: {error}"))?.limit());
        if (&*set).into_iter().next().is_none() {
            return Err("has no date at all".to_owned());
        }
        Ok(Self { text, set })
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Its dates from one to another, both included, in order.
    pub(crate) fn dates(&self, from: NaiveDate, until: NaiveDate) -> impl Iterator<Item = NaiveDate> + '_ {
        let dates = (&*self.set).into_iter().map(|at| at.date_naive());
        dates.take_while(move |date| *date <= until).skip_while(move |date| *date < from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }
    fn dates(rule: &str, from: &str, until: &str) -> Vec<String> {
        let rule = Recurrence::parse(rule, day(from)).unwrap();
        rule.dates(day(from), day(until)).map(|d| d.to_string()).collect()
    }

    #[test]
    fn rules_say_the_dates_that_the_standard_says() {
        assert_eq!(
            dates("FREQ=WEEKLY;BYDAY=MO,WE;INTERVAL=2", "2026-06-01", "2026-06-30"),
            ["2026-06-01", "2026-06-03", "2026-06-15", "2026-06-17", "2026-06-29"]
        );
        assert_eq!(
            dates("FREQ=MONTHLY;BYDAY=1SA", "2026-01-10", "2026-05-01"),
            ["2026-02-07", "2026-03-07", "2026-04-04"]
        );
        assert_eq!(dates("FREQ=MONTHLY;BYMONTHDAY=-1", "2026-01-31", "2026-03-01"), ["2026-01-31", "2026-02-28"]);
        assert_eq!(dates("RRULE:FREQ=MONTHLY", "2026-01-31", "2026-05-31"), ["2026-01-31", "2026-03-31", "2026-05-31"]);
        assert_eq!(
            dates("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "2026-01-01", "2026-02-28"),
            ["2026-01-30", "2026-02-27"]
        );
        assert_eq!(
            dates("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "2026-01-01", "2032-12-31"),
            ["2028-02-29", "2032-02-29"]
        );
        assert_eq!(dates("FREQ=DAILY;COUNT=2", "2026-12-31", "2027-12-31"), ["2026-12-31", "2027-01-01"]);
    }

    #[test]
    fn a_rule_counts_from_its_start_wherever_the_window_begins() {
        let rule = Recurrence::parse("FREQ=DAILY;INTERVAL=3", day("2026-01-01")).unwrap();
        let window: Vec<_> = rule.dates(day("2026-02-01"), day("2026-02-07")).map(|d| d.to_string()).collect();
        assert_eq!(window, ["2026-02-03", "2026-02-06"]);
    }

    #[test]
    fn what_is_no_rule_or_too_much_of_one_is_refused() {
        for rule in [
            "",
            "MO",
            "FREQ=HOURLY",
            "FREQ=MINUTELY;INTERVAL=5",
            "FREQ=SECONDLY",
            "INTERVAL=2",
            "FREQ=DAILY;BYHOUR=9",
            "FREQ=DAILY;UNTIL=20261231",
            "FREQ=DAILY;INTERVAL=0",
            "FREQ=DAILY;INTERVAL=367",
            "FREQ=DAILY;COUNT=0",
            "FREQ=DAILY;COUNT=10001",
            "FREQ=DAILY;FREQ=WEEKLY",
            "FREQ=DAILY;EXDATE=20260101",
            "FREQ=DAILY\nDTSTART:20260101",
            "freq=daily",
            "FREQ=WEEKLY;BYDAY=XX",
            "FREQ=WEEKLY;BYMONTHDAY=1",
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=DAILY;BYMONTH=13",
            "FREQ=DAILY;BYSETPOS=1",
        ] {
            assert!(Recurrence::parse(rule, day("2026-01-01")).is_err(), "{rule}");
        }
        assert!(Recurrence::parse(&format!("FREQ=DAILY;BYMONTHDAY={}1", "1,".repeat(200)), day("2026-01-01")).is_err());
    }

    fn list(range: std::ops::RangeInclusive<i32>) -> impl Strategy<Value = Option<String>> {
        let values = prop::collection::vec(range, 1..4);
        prop::option::of(values.prop_map(|v| v.iter().map(i32::to_string).collect::<Vec<_>>().join(",")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn any_rule_is_refused_or_gives_dates_in_order_without_repeats(
            freq in prop::sample::select(FREQUENCIES), interval in 0_u32..40, days in prop::option::of("[+-]?[1-5]?(MO|WE|SA)(,(TU|SU))?"),
            month in list(-1..=13), month_day in list(-32..=32), year_day in list(-367..=367), week in list(-54..=54), position in list(-3..=3),
            start in 0_i64..3000,
        ) {
            let mut text = format!("FREQ={freq};INTERVAL={interval}");
            for (name, value) in [("BYDAY", days), ("BYMONTH", month), ("BYMONTHDAY", month_day), ("BYYEARDAY", year_day), ("BYWEEKNO", week), ("BYSETPOS", position)] {
                if let Some(value) = value {
                    text += &format!(";{name}={value}");
                }
            }
            let from = day("2020-01-01") + chrono::TimeDelta::days(start);
            if let Ok(rule) = Recurrence::parse(&text, from) {
                let until = from + chrono::TimeDelta::days(2000);
                let dates: Vec<_> = rule.dates(from, until).collect();
                prop_assert!(dates.is_sorted_by(|a, b| a < b), "{}: {:?}", text, dates);
                prop_assert!(dates.iter().all(|d| (from..=until).contains(d)));
            }
        }
    }
}
