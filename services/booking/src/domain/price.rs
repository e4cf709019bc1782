//! What a party pays: each guest by its own unit, less the discount, with the taxes; the total to the cent.

use tourmesh_kit::{
    money::Money,
    tax::{self, Tax},
};

use super::{
    Unit,
    offer::{DepartureState, Offer, Terms},
    promo::Promo,
};
use crate::error::BookingError;

/// One guest or ticket with its price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PricedItem {
    pub(crate) unit: Unit,
    pub(crate) seats: u32,
    /// What is paid: the listed price less the discount, with all taxes.
    pub(crate) price: Money,
    /// Its part of the discount.
    pub(crate) discount: Money,
    /// How much of the price each tax of the terms is; empty: no tax counts.
    pub(crate) taxes: Vec<Money>,
}

/// A party with its price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Priced {
    pub(crate) items: Vec<PricedItem>,
    pub(crate) seats: u32,
    pub(crate) total: Money,
}

/// What a total is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Breakdown {
    /// Without any tax.
    pub(crate) net: Money,
    /// How much of it each tax is, in the order of the taxes.
    pub(crate) taxes: Vec<Money>,
    /// How much less it is by the promo code, before added taxes.
    pub(crate) discount: Money,
}

/// Prices a party, in the order in which it was given. Whether seats are left is decided where the seats are; that the
/// departure is on sale is decided here already, so that nobody queues in vain. Whether there is a use of the promo code
/// left is decided where its uses are.
pub(crate) fn price(offer: &Offer, party: &[(Unit, u32)], promo: Option<&Promo>) -> Result<Priced, BookingError> {
    if !offer.on_sale {
        return Err(BookingError::TourNotPublished);
    }
    match offer.departure.state {
        DepartureState::Open => {}
        DepartureState::Closed => return Err(BookingError::DepartureClosed),
        DepartureState::Cancelled => return Err(BookingError::DepartureCancelled),
    }
    let zero = Money::zero(offer.currency);
    let mut priced = Priced { items: Vec::new(), seats: 0, total: zero };
    for &(unit, quantity) in party {
        let sold = offer.units.iter().find(|u| u.unit == unit).ok_or(BookingError::UnitNotSold(unit))?;
        for _ in 0..quantity {
            let item = PricedItem { unit, seats: sold.seats, price: sold.price, discount: zero, taxes: Vec::new() };
            priced.items.push(item);
        }
        priced.seats = priced.seats.saturating_add(sold.seats.saturating_mul(quantity));
    }
    let least = offer.min_party.max(1);
    if priced.seats < least || (offer.max_party > 0 && priced.seats > offer.max_party) {
        return Err(BookingError::PartySize { seats: priced.seats, least, most: offer.max_party });
    }
    priced.total = settle(&mut priced.items, zero, &offer.terms, promo)?;
    Ok(priced)
}

/// Makes listed prices what is paid: less the discount, with the taxes. Returns their sum.
fn settle(items: &mut [PricedItem], zero: Money, terms: &Terms, promo: Option<&Promo>) -> Result<Money, BookingError> {
    if let Some(promo) = promo.filter(|promo| promo.is_for_date_of(terms)) {
        let listed: Vec<Money> = items.iter().map(|item| item.price).collect();
        for (item, off) in items.iter_mut().zip(promo.discount.off(&listed)?) {
            item.discount = off;
            item.price = item.price.sub(off)?;
        }
    }
    let mut total = zero;
    for item in items {
        if !terms.taxes.is_empty() {
            let taxed = tax::taxed(item.price, &terms.taxes)?;
            (item.price, item.taxes) = (taxed.total, taxed.amounts);
        }
        total = total.add(item.price)?;
    }
    Ok(total)
}

/// What guests who were priced without a discount pay with a promo code, and all of them together.
pub(crate) fn discounted(
    items: &[PricedItem],
    terms: &Terms,
    promo: &Promo,
) -> Result<(Vec<PricedItem>, Money), BookingError> {
    let zero = items.first().map(|item| Money::zero(item.price.currency())).ok_or(BookingError::PromoUnknown)?;
    let mut items = items.to_vec();
    for item in &mut items {
        // Added taxes are no part of the listed price.
        for (_, amount) in terms.taxes.iter().zip(&item.taxes).filter(|(tax, _)| !tax.included) {
            item.price = item.price.sub(*amount)?;
        }
        item.taxes.clear();
    }
    let total = settle(&mut items, zero, terms, Some(promo))?;
    Ok((items, total))
}

/// What the total of some guests is made of, each with discount and taxes.
pub(crate) fn breakdown<'a>(
    total: Money,
    taxes: &[Tax],
    guests: impl IntoIterator<Item = (Money, &'a [Money])>,
) -> Result<Breakdown, BookingError> {
    let zero = Money::zero(total.currency());
    let mut sums = Breakdown { net: total, taxes: vec![zero; taxes.len()], discount: zero };
    for (discount, amounts) in guests {
        sums.discount = sums.discount.add(discount)?;
        for (sum, amount) in sums.taxes.iter_mut().zip(amounts) {
            *sum = sum.add(*amount)?;
            sums.net = sums.net.sub(*amount)?;
        }
    }
    Ok(sums)
}

impl Breakdown {
    /// All taxes together; `None`: there is none.
    pub(crate) fn tax(&self) -> Result<Option<Money>, BookingError> {
        let Some((first, others)) = self.taxes.split_first() else { return Ok(None) };
        let sum = others.iter().try_fold(*first, |sum, tax| sum.add(*tax))?;
        Ok(Some(sum))
    }
}

impl Priced {
    /// What the total is made of.
    pub(crate) fn breakdown(&self, taxes: &[Tax]) -> Result<Breakdown, BookingError> {
        breakdown(self.total, taxes, self.items.iter().map(|item| (item.discount, item.taxes.as_slice())))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use chrono::{TimeZone as _, Utc};
    use proptest::prelude::*;
    use rust_decimal::Decimal;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{
        DepartureId, OptionId, PromoId, SupplierId, TourId,
        offer::{Departure, Terms, Text, UnitOffer},
        pool::OptionPools,
        promo::Discount,
        refund::RefundPolicy,
    };

    pub(crate) fn offer(units: &[(Unit, u32, i64)]) -> Offer {
        let eur = "EUR".parse().unwrap();
        let starts_at = Utc.with_ymd_and_hms(2030, 1, 1, 9, 0, 0).unwrap();
        let (supplier, tour, option) = (SupplierId::new(), TourId::new(), OptionId::new());
        Offer {
            departure: Departure {
                id: DepartureId::new(),
                tour,
                option,
                supplier,
                starts_at,
                capacity: 10,
                state: DepartureState::Open,
                version: 1,
            },
            on_sale: true,
            units: units
                .iter()
                .map(|&(unit, seats, cents)| UnitOffer { unit, seats, price: Money::new(Decimal::new(cents, 2), eur) })
                .collect(),
            currency: eur,
            min_party: 1,
            max_party: 0,
            pay_on_arrival: false,
            country: "FR".into(),
            terms: Arc::new(Terms {
                id: Uuid::nil(),
                supplier,
                tour,
                option,
                tour_title: Text::default(),
                option_title: Text::default(),
                local_start: "2030-01-01T10:00".into(),
                time_zone: "Europe/Paris".into(),
                starts_at,
                duration_minutes: 60,
                hold_seconds: 900,
                refund_policy: RefundPolicy::default(),
                taxes: Vec::new(),
            }),
            max_open_holds: 0,
            uses: OptionPools { option, tour, version: 1, duration_minutes: 60, uses: Vec::new() },
            pools: Vec::new(),
        }
    }

    #[test]
    fn infants_alone_and_parties_beyond_the_limits_are_refused() {
        let mut offer = offer(&[(Unit::Adult, 1, 1_000), (Unit::Infant, 0, 0)]);
        offer.max_party = 4;
        assert!(matches!(price(&offer, &[(Unit::Infant, 2)], None), Err(BookingError::PartySize { seats: 0, .. })));
        assert!(matches!(price(&offer, &[(Unit::Adult, 5)], None), Err(BookingError::PartySize { seats: 5, .. })));
        assert_eq!(price(&offer, &[(Unit::Adult, 4), (Unit::Infant, 3)], None).unwrap().seats, 4);
        assert!(matches!(price(&offer, &[(Unit::Senior, 1)], None), Err(BookingError::UnitNotSold(Unit::Senior))));
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_of_the_items(
            adults in 1_u32..50, children in 0_u32..50, cents in 0_i64..1_000_000, child_cents in 0_i64..1_000_000,
        ) {
            let offer = offer(&[(Unit::Adult, 1, cents), (Unit::Child, 1, child_cents)]);
            let priced = price(&offer, &[(Unit::Adult, adults), (Unit::Child, children)], None).unwrap();
            let sum: Decimal = priced.items.iter().map(|i| i.price.amount()).sum();
            prop_assert_eq!(sum, priced.total.amount());
            prop_assert_eq!(priced.items.len(), usize::try_from(adults + children).unwrap());
            prop_assert_eq!(priced.seats, adults + children);
        }

        #[test]
        fn listed_prices_less_the_discount_are_net_and_included_taxes_and_the_total_is_net_and_all_taxes(
            parties in prop::collection::vec((1_u32..6, 0_i64..100_000), 1..5),
            rates in prop::collection::vec((0_i64..=300_000, any::<bool>()), 0..5),
            discount in prop::option::of((0_usize..3, 1_i64..=1_000_000)),
        ) {
            const UNITS: [Unit; 4] = [Unit::Adult, Unit::Child, Unit::Senior, Unit::Student];
            let units: Vec<(Unit, u32, i64)> = parties.iter().zip(UNITS).map(|((_, cents), unit)| (unit, 1, *cents)).collect();
            let party: Vec<(Unit, u32)> = parties.iter().zip(UNITS).map(|((n, _), unit)| (unit, *n)).collect();
            let mut offer = offer(&units);
            let taxes: Vec<Tax> = rates.into_iter()
                .map(|(rate, included)| Tax { name: "T".into(), percent: Decimal::new(rate, 4), included }).collect();
            let terms = Terms { taxes: taxes.clone(), ..(*offer.terms).clone() };
            offer.terms = Arc::new(terms);
            let promo = discount.map(|(kind, number)| {
                let amount = Money::new(Decimal::new(number, 2), offer.currency);
                let discount = [Discount::Percent(Decimal::new(number, 4)), Discount::Amount(amount), Discount::PerUnit(amount)][kind];
                Promo { id: PromoId::new(), code: "CODE".into(), discount, depart_from: None, depart_until: None }
            });
            let priced = price(&offer, &party, promo.as_ref()).unwrap();
            if let Some(promo) = &promo {
                // Who was priced without the code and gets it later pays the same.
                let before = price(&offer, &party, None).unwrap();
                let (items, total) = discounted(&before.items, &offer.terms, promo).unwrap();
                prop_assert_eq!((&items, total), (&priced.items, priced.total));
            }
            let parts = priced.breakdown(&taxes).unwrap();
            let listed: Decimal = parties.iter().map(|(n, cents)| Decimal::new(*cents, 2) * Decimal::from(*n)).sum();
            let of = |included: bool| -> Decimal {
                parts.taxes.iter().zip(&taxes).filter(|(_, t)| t.included == included).map(|(a, _)| a.amount()).sum()
            };
            prop_assert_eq!(listed - parts.discount.amount(), parts.net.amount() + of(true));
            prop_assert_eq!(priced.total.amount(), parts.net.amount() + of(true) + of(false));
            prop_assert!(parts.net.amount() >= Decimal::ZERO);
            let items: Decimal = priced.items.iter().map(|i| i.price.amount()).sum();
            prop_assert_eq!(items, priced.total.amount());
            for item in &priced.items {
                let sold = offer.units.iter().find(|u| u.unit == item.unit).unwrap();
                let added: Decimal = item.taxes.iter().zip(&taxes).filter(|(_, t)| !t.included).map(|(a, _)| a.amount()).sum();
                prop_assert_eq!(item.price.amount(), sold.price.amount() - item.discount.amount() + added);
            }
        }
    }
}
