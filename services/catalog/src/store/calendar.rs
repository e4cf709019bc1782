//! The calendar in a search row: what it tells of a tour's departures, so that few of them have to be looked at.
//!
//! The database keeps it with the departures, in the same transaction. It knows local days. Which departures of today have
//! left, and which of them takes a party, only departures tell.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::{Postgres, QueryBuilder};

use super::search::Filters;
use crate::domain::local_time::days_after;

/// Leaves the tours that have an open departure on the days that are looked for, and lets those pass whose calendar ends
/// before them.
pub(super) fn push_perhaps(sql: &mut QueryBuilder<Postgres>, filters: &Filters, now: DateTime<Utc>) {
    sql.push(" AND (s.open_later OR ");
    // No zone is further behind UTC than twelve hours.
    push_open(sql, filters, (now - TimeDelta::hours(12)).date_naive());
    sql.push(")");
}

/// Is true where the calendar alone shows that a departure fits.
pub(super) fn push_surely(sql: &mut QueryBuilder<Postgres>, filters: &Filters, now: DateTime<Utc>) {
    // No zone is further ahead of UTC than fourteen hours: the day after that has begun nowhere.
    push_open(sql, filters, days_after((now + TimeDelta::hours(14)).date_naive(), 1));
    if filters.party > 0 {
        // Then any departure and any option will do.
        sql.push(" AND s.open_capacity >= ").push_bind(filters.party);
        sql.push(" AND s.all_from <= ").push_bind(filters.party);
        sql.push(" AND s.all_until >= ").push_bind(filters.party);
    }
}

/// A departure is open on one of the days that are looked for, from `earliest` on.
fn push_open(sql: &mut QueryBuilder<Postgres>, filters: &Filters, earliest: NaiveDate) {
    let first = filters.dates.0.map_or(earliest, |from| from.max(earliest));
    sql.push("position(B'1' IN substring(s.open_days FROM ").push_bind(first).push(" - s.open_since + 1");
    if let Some(last) = filters.dates.1 {
        let days = (last - first).num_days() + 1;
        // Days that are over are none.
        sql.push(" FOR ").push_bind(i32::try_from(days.max(0)).unwrap_or(i32::MAX / 2));
    }
    sql.push(")) > 0");
}
