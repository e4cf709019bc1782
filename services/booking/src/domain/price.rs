//! What a party pays: each guest by its own unit, the total to the cent.

use tourmesh_kit::money::Money;

use super::{
    Unit,
    offer::{DepartureState, Offer},
};
use crate::error::BookingError;

/// One guest or ticket with its price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PricedItem {
    pub(crate) unit: Unit,
    pub(crate) seats: u32,
    pub(crate) price: Money,
}

/// A party with its price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Priced {
    pub(crate) items: Vec<PricedItem>,
    pub(crate) seats: u32,
    pub(crate) total: Money,
}

/// Prices a party, in the order in which it was given. Whether seats are left is decided where the seats are; that the
/// departure is on sale is decided here already, so that nobody queues in vain.
pub(crate) fn price(offer: &Offer, party: &[(Unit, u32)]) -> Result<Priced, BookingError> {
    if !offer.on_sale {
        return Err(BookingError::TourNotPublished);
    }
    match offer.departure.state {
        DepartureState::Open => {}
        DepartureState::Closed => return Err(BookingError::DepartureClosed),
        DepartureState::Cancelled => return Err(BookingError::DepartureCancelled),
    }
    let mut priced = Priced { items: Vec::new(), seats: 0, total: Money::zero(offer.currency) };
    for &(unit, quantity) in party {
        let sold = offer.units.iter().find(|u| u.unit == unit).ok_or(BookingError::UnitNotSold(unit))?;
        for _ in 0..quantity {
            priced.items.push(PricedItem { unit, seats: sold.seats, price: sold.price });
        }
        priced.seats = priced.seats.saturating_add(sold.seats.saturating_mul(quantity));
        priced.total = priced.total.add(sold.price.times(i64::from(quantity))?)?;
    }
    let least = offer.min_party.max(1);
    if priced.seats < least || (offer.max_party > 0 && priced.seats > offer.max_party) {
        return Err(BookingError::PartySize { seats: priced.seats, least, most: offer.max_party });
    }
    Ok(priced)
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
        DepartureId, OptionId, SupplierId, TourId,
        offer::{Departure, Terms, Text, UnitOffer},
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
            }),
        }
    }

    #[test]
    fn infants_alone_and_parties_beyond_the_limits_are_refused() {
        let mut offer = offer(&[(Unit::Adult, 1, 1_000), (Unit::Infant, 0, 0)]);
        offer.max_party = 4;
        assert!(matches!(price(&offer, &[(Unit::Infant, 2)]), Err(BookingError::PartySize { seats: 0, .. })));
        assert!(matches!(price(&offer, &[(Unit::Adult, 5)]), Err(BookingError::PartySize { seats: 5, .. })));
        assert_eq!(price(&offer, &[(Unit::Adult, 4), (Unit::Infant, 3)]).unwrap().seats, 4);
        assert!(matches!(price(&offer, &[(Unit::Senior, 1)]), Err(BookingError::UnitNotSold(Unit::Senior))));
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_of_the_items(
            adults in 1_u32..50, children in 0_u32..50, cents in 0_i64..1_000_000, child_cents in 0_i64..1_000_000,
        ) {
            let offer = offer(&[(Unit::Adult, 1, cents), (Unit::Child, 1, child_cents)]);
            let priced = price(&offer, &[(Unit::Adult, adults), (Unit::Child, children)]).unwrap();
            let sum: Decimal = priced.items.iter().map(|i| i.price.amount()).sum();
            prop_assert_eq!(sum, priced.total.amount());
            prop_assert_eq!(priced.items.len(), usize::try_from(adults + children).unwrap());
            prop_assert_eq!(priced.seats, adults + children);
        }
    }
}
