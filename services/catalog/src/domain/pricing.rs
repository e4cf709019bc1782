//! What a party pays for a departure, and whether it is sold to this party at all.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use tourmesh_kit::{
    money::{Currency, Money},
    tax::{self, Tax},
};

use super::{
    departure::{Departure, DepartureState},
    numbered,
    option::{PriceList, TourOption},
    tour::TourState,
};
use crate::error::CatalogError;

numbered!(
    /// Who pays a price (OCTO).
    UnitType {
        Adult = 1, Youth = 2, Child = 3, Infant = 4, Family = 5, Senior = 6, Student = 7, Military = 8, Other = 9,
    }
);

/// The list that counts on a local date: of those that are valid the one that begins last.
pub(crate) fn list_on(lists: &[PriceList], date: NaiveDate) -> Option<&PriceList> {
    let valid = |l: &&PriceList| l.valid_from.is_none_or(|d| d <= date) && l.valid_until.is_none_or(|d| date <= d);
    // `None`, "always", begins before every date.
    lists.iter().filter(valid).max_by_key(|l| l.valid_from)
}

/// What one of a unit costs on a local date; `None`: it is not sold.
pub(crate) fn price_on(lists: &[PriceList], date: NaiveDate, unit: UnitType) -> Option<Money> {
    list_on(lists, date)?.prices.iter().find(|p| p.unit == unit).map(|p| p.price)
}

/// One line of a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub unit: UnitType,
    pub quantity: i32,
    pub unit_price: Money,
    pub total: Money,
}

/// What a party pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quote {
    pub lines: Vec<Line>,
    /// What is paid: the lines and the added taxes.
    pub total: Money,
    pub net: Money,
    /// How much of the total each tax is, in the order of the taxes.
    pub taxes: Vec<Money>,
    pub seats: i32,
}

/// Prices a party. What is wrong with the departure is told before what is wrong with the party.
pub(crate) fn quote(
    tour_state: TourState,
    currency: Currency,
    departure: &Departure,
    option: &TourOption,
    taxes: &[Tax],
    party: &[(UnitType, i32)],
    now: DateTime<Utc>,
) -> Result<Quote, CatalogError> {
    if tour_state != TourState::Published {
        return Err(CatalogError::TourNotPublished);
    }
    match departure.state {
        DepartureState::Open => {}
        DepartureState::Closed => return Err(CatalogError::DepartureClosed),
        DepartureState::Cancelled => return Err(CatalogError::DepartureCancelled),
    }
    if departure.starts_at <= now {
        return Err(CatalogError::DepartureInPast);
    }
    let mut seen = BTreeSet::new();
    let mut lines = Vec::with_capacity(party.len());
    let (mut total, mut net) = (Money::zero(currency), Money::zero(currency));
    let mut amounts = vec![Money::zero(currency); taxes.len()];
    let mut seats = 0;
    for (i, (unit, quantity)) in party.iter().copied().enumerate() {
        if !seen.insert(unit) {
            return Err(CatalogError::field(format!("units[{i}].unit"), "appears twice"));
        }
        let sold = option.units.iter().find(|u| u.unit == unit).ok_or(CatalogError::UnitNotSold(unit))?;
        let unit_price =
            price_on(&option.price_lists, departure.local_start.date(), unit).ok_or(CatalogError::UnitNotSold(unit))?;
        let line = Line { unit, quantity, unit_price, total: unit_price.times(i64::from(quantity))? };
        let ticket = tax::taxed(unit_price, taxes)?;
        let of_all = |one: Money| one.times(i64::from(quantity));
        total = total.add(of_all(ticket.total)?)?;
        net = net.add(of_all(ticket.net)?)?;
        for (sum, one) in amounts.iter_mut().zip(ticket.amounts) {
            *sum = sum.add(of_all(one)?)?;
        }
        seats += sold.seats * quantity;
        lines.push(line);
    }
    let most = if option.max_party == 0 { departure.capacity } else { option.max_party.min(departure.capacity) };
    if seats < option.min_party || seats > most {
        return Err(CatalogError::PartySize { seats, least: option.min_party, most });
    }
    Ok(Quote { lines, total, net, taxes: amounts, seats })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::local_time::days_after;

    fn day(n: u64) -> NaiveDate {
        days_after(NaiveDate::default(), n)
    }

    proptest! {
        #[test]
        fn the_list_that_counts_is_valid_and_none_that_is_valid_begins_later(
            ranges in prop::collection::vec((prop::option::of(0_u64..60), prop::option::of(0_u64..60)), 0..12),
            date in 0_u64..70,
        ) {
            let list = |(from, until): &(Option<u64>, Option<u64>)| PriceList {
                valid_from: from.map(day),
                valid_until: until.map(day),
                prices: Vec::new(),
            };
            let lists: Vec<_> = ranges.iter().map(list).collect();
            let valid: Vec<_> = ranges
                .iter()
                .filter(|(from, until)| from.is_none_or(|f| f <= date) && until.is_none_or(|u| date <= u))
                .collect();
            let latest = valid.iter().map(|(from, _)| from.map(day)).max();
            prop_assert_eq!(list_on(&lists, day(date)).map(|l| l.valid_from), latest);
        }
    }
}
