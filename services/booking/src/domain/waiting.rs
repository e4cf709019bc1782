//! Waiting lists: who gets the seats that come free.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tourmesh_kit::money::Money;
use uuid::Uuid;

use super::{
    BookingId, DepartureId, ItemId, SupplierId, TourId, UserId, WaitingId,
    booking::{Booking, Contact, Item, State},
    hold::Seats,
    offer::Terms,
    price::PricedItem,
};

/// Where somebody who waits is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Waiting,
    Offered,
    /// The offer was confirmed.
    Taken,
    /// The offer was not, or there is nothing to wait for any more.
    Lapsed,
    Left,
}

impl Standing {
    /// As the API and the database have it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Offered => "OFFERED",
            Self::Taken => "TAKEN",
            Self::Lapsed => "LAPSED",
            Self::Left => "LEFT",
        }
    }
    /// Reads the database's text.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        [Self::Waiting, Self::Offered, Self::Taken, Self::Lapsed, Self::Left].into_iter().find(|s| s.as_str() == text)
    }
}

/// A party that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: WaitingId,
    pub(crate) customer: UserId,
    pub(crate) supplier: SupplierId,
    pub(crate) tour: TourId,
    pub(crate) departure: DepartureId,
    pub(crate) terms: Uuid,
    pub(crate) standing: Standing,
    pub(crate) items: Vec<PricedItem>,
    pub(crate) seats: u32,
    pub(crate) total: Money,
    pub(crate) pay_on_arrival: bool,
    pub(crate) contact: Contact,
    pub(crate) offer_seconds: i32,
    pub(crate) booking: Option<BookingId>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) offered_at: Option<DateTime<Utc>>,
}

impl Entry {
    /// Makes the offer: a hold with a deadline of its own.
    pub(crate) fn offer(
        &mut self,
        booking: BookingId,
        items: Vec<ItemId>,
        terms: Arc<Terms>,
        now: DateTime<Utc>,
    ) -> Booking {
        self.standing = Standing::Offered;
        self.booking = Some(booking);
        self.offered_at = Some(now);
        let zero = Money::zero(self.total.currency());
        let items = items.into_iter().zip(&self.items).map(|(id, item)| Item::sold(id, item));
        Booking {
            id: booking,
            customer: self.customer,
            departure: self.departure,
            terms,
            state: State::OnHold,
            contact: self.contact.clone(),
            items: items.collect(),
            seats: self.seats,
            total: self.total,
            pay_on_arrival: self.pay_on_arrival,
            promo: None,
            payment: None,
            payment_attempts: 0,
            paid: zero,
            refund: None,
            returned: zero,
            refund_limit: 100,
            changes: 0,
            moves: 0,
            created_at: now,
            hold_expires_at: Some(now + TimeDelta::seconds(i64::from(self.offer_seconds))),
            confirmed_at: None,
            cancelled_at: None,
            version: 1,
        }
    }
}

/// Who of a line gets an offer, by position: in order, everybody who fits into what is left. A large party does not keep
/// seats empty that a later one can use, and is not passed over when it fits.
pub(crate) fn next_in_line(line: &[u32], seats: &Seats, now: DateTime<Utc>) -> Vec<usize> {
    let mut seats = *seats;
    let mut next = Vec::new();
    for (at, &wanted) in line.iter().enumerate() {
        if seats.may_give(wanted, now).is_ok() {
            seats.held += wanted;
            next.push(at);
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::offer::DepartureState;

    proptest! {
        #[test]
        fn seats_go_out_in_order_never_twice_and_none_is_left_that_somebody_could_use(
            capacity in 0_u32..20, held in 0_u32..20, line in prop::collection::vec(1_u32..6, 0..20), open in any::<bool>(),
        ) {
            let now = Utc::now();
            let state = if open { DepartureState::Open } else { DepartureState::Closed };
            let held = held.min(capacity);
            let seats = Seats { capacity, held, state, starts_at: now + TimeDelta::days(1) };
            let next = next_in_line(&line, &seats, now);
            let mut left = capacity - held;
            for (at, wanted) in line.iter().enumerate() {
                let fits = open && *wanted <= left;
                prop_assert_eq!(next.contains(&at), fits);
                if fits { left -= wanted; }
            }
            prop_assert!(next.is_sorted());
        }
    }
}
