//! Promo codes: what they take off, for whom, and how often.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use tourmesh_kit::money::Money;

use super::{PromoId, SupplierId, TourId, UserId, offer::Terms};
use crate::error::BookingError;

/// How much less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discount {
    /// A share of all prices.
    Percent(Decimal),
    /// So much off all prices together, at most what they are.
    Amount(Money),
    /// So much off each guest's price, at most that price.
    PerUnit(Money),
}

impl Discount {
    /// What is taken off each price. It is rounded once and split to the last cent; nobody gets more than the own price.
    pub(crate) fn off(&self, prices: &[Money]) -> Result<Vec<Money>, BookingError> {
        let Some(first) = prices.first() else { return Ok(Vec::new()) };
        let currency = first.currency();
        let mut all = Money::zero(currency);
        for price in prices {
            all = all.add(*price)?;
        }
        let off = match self {
            Self::Percent(percent) => all.percent(*percent)?,
            Self::Amount(amount) => least(*amount, all)?,
            Self::PerUnit(amount) => return prices.iter().map(|price| least(*amount, *price)).collect(),
        };
        let weights: Vec<Decimal> = prices.iter().map(|price| price.amount()).collect();
        Ok(off.split(&weights))
    }
}

/// The smaller one of two amounts in one currency.
fn least(one: Money, other: Money) -> Result<Money, BookingError> {
    if one.currency() != other.currency() {
        return Err(BookingError::PromoNotApplicable("currency"));
    }
    Ok(if one.amount() < other.amount() { one } else { other })
}

/// What a booking keeps of the code that it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Promo {
    pub(crate) id: PromoId,
    /// In upper case.
    pub(crate) code: String,
    pub(crate) discount: Discount,
    /// Local dates of departures, both inclusive; `None`: any.
    pub(crate) depart_from: Option<NaiveDate>,
    pub(crate) depart_until: Option<NaiveDate>,
}

impl Promo {
    /// It counts for a departure of these terms. A booking that moves elsewhere loses its discount there.
    pub(crate) fn is_for_date_of(&self, terms: &Terms) -> bool {
        if self.depart_from.is_none() && self.depart_until.is_none() {
            return true;
        }
        let date = terms.local_start.get(..10).and_then(|date| date.parse::<NaiveDate>().ok());
        date.is_some_and(|date| {
            self.depart_from.is_none_or(|from| from <= date) && self.depart_until.is_none_or(|until| date <= until)
        })
    }
}

/// A promo code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PromoCode {
    pub(crate) promo: Promo,
    /// `None`: for all suppliers.
    pub(crate) supplier: Option<SupplierId>,
    /// None: for all tours.
    pub(crate) tours: Vec<TourId>,
    pub(crate) limits: Limits,
    pub(crate) uses: u32,
    pub(crate) created_at: DateTime<Utc>,
}

impl PromoCode {
    /// Whether it is for departures of a tour, be it of some dates only.
    pub(crate) fn is_for_tour(&self, supplier: SupplierId, tour: TourId) -> Result<(), BookingError> {
        if self.supplier.is_some_and(|own| own != supplier) {
            return Err(BookingError::PromoUnknown);
        }
        if !self.tours.is_empty() && !self.tours.contains(&tour) {
            return Err(BookingError::PromoNotApplicable("tour"));
        }
        Ok(())
    }

    /// Whether it is for a departure of these terms.
    pub(crate) fn is_for(&self, terms: &Terms) -> Result<(), BookingError> {
        self.is_for_tour(terms.supplier, terms.tour)?;
        if !self.promo.is_for_date_of(terms) {
            return Err(BookingError::PromoNotApplicable("departure date"));
        }
        Ok(())
    }
}

/// When and how often a code can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    pub(crate) book_from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub(crate) book_until: Option<DateTime<Utc>>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) max_uses: Option<u32>,
    pub(crate) max_per_customer: Option<u32>,
}

impl Limits {
    /// It was ended, or its time is over.
    pub(crate) fn ended_by(&self, now: DateTime<Utc>) -> bool {
        self.ended_at.is_some() || self.book_until.is_some_and(|until| until <= now)
    }
}

/// The uses of one code, as they are under the lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses {
    pub(crate) limits: Limits,
    pub(crate) all: u32,
    /// Those who have none are left out.
    pub(crate) of: HashMap<UserId, u32>,
}

impl Uses {
    /// Whether a customer may use it now.
    pub(crate) fn may_take(&self, customer: UserId, now: DateTime<Utc>) -> Result<(), BookingError> {
        let Limits { book_from, max_uses, max_per_customer, .. } = self.limits;
        if self.limits.ended_by(now) || book_from.is_some_and(|from| now < from) {
            return Err(BookingError::PromoEnded);
        }
        if max_uses.is_some_and(|most| self.all >= most) {
            return Err(BookingError::PromoUsedUp { limit: "total" });
        }
        let own = self.of.get(&customer).copied().unwrap_or_default();
        if max_per_customer.is_some_and(|most| own >= most) {
            return Err(BookingError::PromoUsedUp { limit: "customer" });
        }
        Ok(())
    }

    /// Takes a use of which [`may_take`](Self::may_take) says that it is there.
    pub(crate) fn take(&mut self, customer: UserId) {
        self.all += 1;
        *self.of.entry(customer).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn money(minor: i64, currency: &str) -> Money {
        let currency: tourmesh_kit::money::Currency = currency.parse().unwrap();
        Money::new(Decimal::new(minor, currency.minor_digits()), currency)
    }

    fn sum(all: &[Money]) -> Decimal {
        all.iter().map(|m| m.amount()).sum()
    }

    #[test]
    fn what_codes_take_off_by_hand() {
        let eur = |cents: i64| money(cents, "EUR");
        let prices = [eur(3_000), eur(3_000), eur(1_235), eur(0)];
        let percent = Discount::Percent(Decimal::new(125, 1)).off(&prices).unwrap();
        // 12.5 % of 72.35 are 9.04.
        assert_eq!((sum(&percent), percent[3]), (Decimal::new(904, 2), eur(0)));
        let amount = Discount::Amount(eur(1_000)).off(&prices).unwrap();
        assert_eq!(amount, [eur(415), eur(415), eur(170), eur(0)]);
        let unit = Discount::PerUnit(eur(1_500)).off(&prices).unwrap();
        assert_eq!(unit, [eur(1_500), eur(1_500), eur(1_235), eur(0)]);
        for all in [Discount::Percent(Decimal::ONE_HUNDRED), Discount::Amount(eur(99_999))] {
            assert_eq!(all.off(&prices).unwrap(), prices);
        }
        let dollars = Discount::PerUnit(money(1, "USD")).off(&prices);
        assert_eq!(dollars, Err(BookingError::PromoNotApplicable("currency")));
    }

    proptest! {
        #[test]
        fn a_discount_is_split_to_the_last_cent_and_is_never_more_than_a_price(
            prices in prop::collection::vec(0_i64..1_000_000, 0..40),
            percent in 1_i64..=1_000_000,
            amount in 1_i64..3_000_000,
            currency in prop::sample::select(vec!["EUR", "JPY", "KWD"]),
        ) {
            let prices: Vec<Money> = prices.into_iter().map(|p| money(p, currency)).collect();
            let all = sum(&prices);
            let percent = Decimal::new(percent, 4);
            let unit = money(1, currency).amount();
            for discount in [Discount::Percent(percent), Discount::Amount(money(amount, currency)),
                             Discount::PerUnit(money(amount, currency))] {
                let off = discount.off(&prices).unwrap();
                prop_assert_eq!(off.len(), prices.len());
                for (off, price) in off.iter().zip(&prices) {
                    prop_assert!(off.amount() >= Decimal::ZERO && off.amount() <= price.amount(), "{} of {}", off, price);
                    prop_assert_eq!(off.rounded(), *off);
                }
                match discount {
                    Discount::Percent(percent) => {
                        let exact = all * percent / Decimal::ONE_HUNDRED;
                        prop_assert!((sum(&off) - exact).abs() <= unit / Decimal::TWO);
                    }
                    Discount::Amount(amount) => prop_assert_eq!(sum(&off), amount.amount().min(all)),
                    Discount::PerUnit(amount) => {
                        let each: Decimal = prices.iter().map(|p| p.amount().min(amount.amount())).sum();
                        prop_assert_eq!(sum(&off), each);
                    }
                }
            }
        }

        #[test]
        fn nobody_takes_more_than_the_limits_or_outside_of_the_dates(
            wants in prop::collection::vec((0_usize..5, 0_i64..100), 0..60),
            most in prop::option::of(1_u32..20),
            each in prop::option::of(1_u32..5),
            from in prop::option::of(0_i64..100),
            until in prop::option::of(0_i64..100),
        ) {
            let start = DateTime::UNIX_EPOCH;
            let at = |hours: i64| start + TimeDelta::hours(hours);
            let customers: Vec<UserId> = (0..5).map(|_| UserId::new()).collect();
            let limits = Limits { book_from: from.map(at), book_until: until.map(at), ended_at: None, max_uses: most, max_per_customer: each };
            let mut uses = Uses { limits, ..Uses::default() };
            for (who, hour) in wants {
                let own = uses.of.get(&customers[who]).copied().unwrap_or_default();
                let open = from.is_none_or(|f| f <= hour) && until.is_none_or(|u| hour < u);
                let free = most.is_none_or(|m| uses.all < m) && each.is_none_or(|m| own < m);
                let verdict = uses.may_take(customers[who], at(hour));
                prop_assert_eq!(verdict.is_ok(), open && free);
                if verdict.is_ok() { uses.take(customers[who]); }
            }
            prop_assert!(most.is_none_or(|m| uses.all <= m));
            prop_assert_eq!(uses.of.values().sum::<u32>(), uses.all);
        }
    }
}
