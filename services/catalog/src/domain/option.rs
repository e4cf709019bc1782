//! A way to take a tour: what it sells, at which price, and on which terms.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use tourmesh_kit::money::{Currency, Money};

use super::{OptionId, TourId, pool::PoolUse, pricing::UnitType, text::LocalizedText};
use crate::error::CatalogError;

/// An option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TourOption {
    pub id: OptionId,
    pub tour: TourId,
    pub title: LocalizedText,
    pub duration_minutes: i32,
    pub units: Vec<Unit>,
    pub price_lists: Vec<PriceList>,
    /// At least 1.
    pub min_party: i32,
    /// 0: as many as the departure has.
    pub max_party: i32,
    /// 0: the platform's default.
    pub hold_seconds: i32,
    pub refund_tiers: Vec<RefundTier>,
    pub pay_on_arrival: bool,
    pub pools: Vec<PoolUse>,
    /// 0: the platform's limit.
    pub max_open_holds: i32,
    pub version: i64,
    pub created_at: DateTime<Utc>,
}

/// A unit that an option sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub unit: UnitType,
    /// How many seats one of it takes.
    pub seats: i32,
    /// 0: none.
    pub min_age: i32,
    /// 0: none.
    pub max_age: i32,
}

/// What the units cost in a range of local dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PriceList {
    /// `None`: always.
    pub valid_from: Option<NaiveDate>,
    /// Inclusive. `None`: for ever.
    pub valid_until: Option<NaiveDate>,
    pub prices: Vec<UnitPrice>,
}

/// What one of a unit costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnitPrice {
    pub unit: UnitType,
    pub price: Money,
}

/// Who cancels at least so many hours before the start gets so many percent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefundTier {
    pub hours_before: i32,
    pub refund_percent: i32,
}

impl TourOption {
    /// The rules that no single field can tell. Prices are checked against the tour's currency first, because that
    /// mistake has a reason of its own.
    pub(crate) fn check(&self, currency: Currency) -> Result<(), CatalogError> {
        let mut wrong = Vec::new();
        let mut refuse = |field: String, problem: &str| wrong.push((field, problem.to_owned()));
        if self.duration_minutes < 1 {
            refuse("option.duration_minutes".into(), "must be at least 1");
        }
        if self.units.is_empty() {
            refuse("option.units".into(), "must have at least 1 item");
        }
        if self.price_lists.is_empty() {
            refuse("option.price_lists".into(), "must have at least 1 item");
        }
        if self.max_party != 0 && self.max_party < self.min_party {
            refuse("option.max_party".into(), "must be 0 or at least min_party");
        }
        let mut units = BTreeSet::new();
        for (i, unit) in self.units.iter().enumerate() {
            if !units.insert(unit.unit) {
                refuse(format!("option.units[{i}].type"), "appears twice");
            }
            if unit.max_age != 0 && unit.max_age < unit.min_age {
                refuse(format!("option.units[{i}].max_age"), "must be 0 or at least min_age");
            }
        }
        let mut beginnings = BTreeSet::new();
        for (i, list) in self.price_lists.iter().enumerate() {
            let at = format!("option.price_lists[{i}]");
            if matches!((list.valid_from, list.valid_until), (Some(from), Some(until)) if until < from) {
                refuse(format!("{at}.valid_until"), "must not lie before valid_from");
            }
            if !beginnings.insert(list.valid_from) {
                refuse(format!("{at}.valid_from"), "is the beginning of another list too: which one counts?");
            }
            let mut priced = BTreeSet::new();
            for (j, price) in list.prices.iter().enumerate() {
                let at = format!("{at}.prices[{j}]");
                if price.price.currency() != currency {
                    return Err(CatalogError::CurrencyMismatch { field: format!("{at}.price") });
                }
                if price.price.amount().is_sign_negative() && !price.price.is_zero() {
                    refuse(format!("{at}.price"), "must not be negative");
                }
                if !priced.insert(price.unit) {
                    refuse(format!("{at}.unit"), "appears twice");
                }
                if !units.contains(&price.unit) {
                    refuse(format!("{at}.unit"), "is not among the option's units");
                }
            }
        }
        let mut hours = BTreeSet::new();
        for (i, tier) in self.refund_tiers.iter().enumerate() {
            if !hours.insert(tier.hours_before) {
                refuse(format!("option.refund_policy.tiers[{i}].hours_before"), "appears twice");
            }
        }
        wrong.extend(self.title.title_problems("option.title"));
        if wrong.is_empty() { Ok(()) } else { Err(CatalogError::Invalid(wrong)) }
    }
}
