//! The file: one real booking a row, as it was made, changed and ended.

use std::{fmt, path::Path};

use anyhow::{Context as _, ensure};
use chrono::{Days, NaiveDate};
use rust_decimal::Decimal;
use serde::Deserialize;

/// How a booking ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Ending {
    /// The guests had been there and left.
    #[serde(rename = "Check-Out")]
    CheckOut,
    /// Cancelled before.
    #[serde(rename = "Canceled")]
    Cancelled,
    /// Nobody came.
    #[serde(rename = "No-Show")]
    NoShow,
}

impl fmt::Display for Ending {
    /// As the file has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CheckOut => "Check-Out",
            Self::Cancelled => "Canceled",
            Self::NoShow => "No-Show",
        })
    }
}

/// What is booked: a property, under one of two refund policies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Plan {
    /// "Resort Hotel".
    pub property: String,
    /// Nothing goes back on cancellation.
    pub non_refundable: bool,
}

/// One booking of the file.
#[derive(Debug, Clone)]
pub struct Demand {
    /// Its number in the file.
    pub row: u32,
    /// What is booked.
    pub plan: Plan,
    /// The first night.
    pub arrival: NaiveDate,
    /// When it was made.
    pub made: NaiveDate,
    /// The party.
    pub adults: i32,
    /// Who takes a seat and pays half.
    pub children: i32,
    /// Who takes none and pays nothing.
    pub babies: i32,
    /// How long it waited for a confirmation.
    pub waited: u32,
    /// How often it was changed.
    pub changes: u32,
    /// A night's price.
    pub rate: Decimal,
    /// How it ended.
    pub ending: Ending,
    /// When.
    pub ended: NaiveDate,
}

impl Demand {
    /// How many people it is for.
    pub fn guests(&self) -> i32 {
        self.adults + self.children + self.babies
    }

    /// How many seats it takes: babies take none, and a room that was booked without naming anybody takes one.
    pub fn seats(&self) -> i32 {
        (self.adults + self.children).max(1)
    }

    /// When somebody who waited was given a place: not later than the booking's end.
    pub fn granted(&self) -> NaiveDate {
        later(self.made, self.waited).min(self.ended)
    }
}

/// So many days later.
pub fn later(day: NaiveDate, days: u32) -> NaiveDate {
    day.checked_add_days(Days::new(u64::from(days))).unwrap_or(NaiveDate::MAX)
}

/// A line as it is written.
#[derive(Deserialize)]
struct Line {
    row: u32,
    property: String,
    arrival_date: NaiveDate,
    lead_time_days: u64,
    adults: i32,
    /// "NA" in four rows.
    children: String,
    babies: i32,
    deposit_type: String,
    days_in_waiting_list: u32,
    booking_changes: u32,
    average_daily_rate: Decimal,
    status: Ending,
    status_date: NaiveDate,
}

/// Reads the file.
pub fn read(path: &Path) -> anyhow::Result<Vec<Demand>> {
    let told = || path.display().to_string();
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("cannot read {}", told()))?;
    let mut all = Vec::new();
    for line in reader.deserialize() {
        let line: Line = line.with_context(|| format!("{} is not a list of bookings", told()))?;
        all.push(demand(line).with_context(told)?);
    }
    ensure!(!all.is_empty(), "{} has no bookings", told());
    Ok(all)
}

fn demand(line: Line) -> anyhow::Result<Demand> {
    let row = line.row;
    let made = line.arrival_date.checked_sub_days(Days::new(line.lead_time_days));
    let children = match line.children.as_str() {
        "" | "NA" => 0,
        number => number.parse().with_context(|| format!("row {row}: {number:?} children"))?,
    };
    let demand = Demand {
        row,
        plan: Plan { property: line.property, non_refundable: line.deposit_type == "Non Refund" },
        arrival: line.arrival_date,
        made: made.with_context(|| format!("row {row}: no such date"))?,
        adults: line.adults,
        children,
        babies: line.babies,
        waited: line.days_in_waiting_list,
        changes: line.booking_changes,
        rate: line.average_daily_rate,
        ending: line.status,
        ended: line.status_date,
    };
    ensure!(demand.ended >= demand.made, "row {row}: it ended before it was made");
    ensure!([demand.adults, children, demand.babies].iter().all(|n| (0..=100).contains(n)), "row {row}: its party");
    Ok(demand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_repository_has_the_totals_that_its_source_note_says() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/booking-demand.csv");
        let all = read(&file).unwrap();
        let ended = |ending| all.iter().filter(|d| d.ending == ending).count();
        assert_eq!(all.len(), 14_938);
        assert_eq!((ended(Ending::Cancelled), ended(Ending::CheckOut), ended(Ending::NoShow)), (7_793, 6_938, 207));
        assert_eq!(all.iter().map(Demand::guests).sum::<i32>(), 30_093);
        let arrivals = all.iter().map(|d| d.arrival);
        assert_eq!(arrivals.clone().min(), NaiveDate::from_ymd_opt(2015, 7, 1));
        assert_eq!(arrivals.max(), NaiveDate::from_ymd_opt(2017, 2, 4));
        assert!(all.iter().all(|d| d.granted() >= d.made && d.granted() <= d.ended));
    }
}
