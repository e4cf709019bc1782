//! Waiting lists: who gets the seats that come free.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use tourmesh_kit::money::Money;
use uuid::Uuid;

use super::{
    BookingId, DepartureId, ItemId, PromoId, SupplierId, TourId, Unit, UserId, WaitingId,
    booking::{Booking, Contact, Item, State},
    offer::Terms,
    pool::Room,
    price::{self, PricedItem},
    promo::Promo,
};
use crate::error::BookingError;

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

/// The dates on which a departure may start, in the tour's own time; None: no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dates {
    pub(crate) from: Option<NaiveDate>,
    pub(crate) to: Option<NaiveDate>,
}

impl Dates {
    /// Whether a departure with these terms starts on one of them.
    pub(crate) fn has(&self, terms: &Terms) -> bool {
        // "2026-12-31T09:00"
        let date = terms.local_start.get(..10).and_then(|text| text.parse::<NaiveDate>().ok());
        date.is_some_and(|date| self.from.is_none_or(|from| from <= date) && self.to.is_none_or(|to| date <= to))
    }
}

/// What an offer of one departure would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chance {
    pub(crate) departure: DepartureId,
    pub(crate) terms: Uuid,
    pub(crate) items: Vec<PricedItem>,
    pub(crate) seats: u32,
    pub(crate) total: Money,
    pub(crate) pay_on_arrival: bool,
}

/// The promo code that an offer is to be made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) id: PromoId,
    /// In upper case.
    pub(crate) code: String,
    /// Why an offer was made without it.
    pub(crate) refused: Option<Refusal>,
}

/// Why a promo code could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    UsedUp,
    Ended,
    NotApplicable,
}

impl Refusal {
    const ALL: [Self; 3] = [Self::UsedUp, Self::Ended, Self::NotApplicable];

    /// As the database has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::UsedUp => "USED_UP",
            Self::Ended => "ENDED",
            Self::NotApplicable => "NOT_APPLICABLE",
        }
    }
    /// Reads the database's text.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.as_str() == text)
    }
    /// What an error means.
    pub(crate) const fn of(error: &BookingError) -> Self {
        match error {
            BookingError::PromoUsedUp { .. } => Self::UsedUp,
            BookingError::PromoEnded => Self::Ended,
            _ => Self::NotApplicable,
        }
    }
}

/// A party that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: WaitingId,
    pub(crate) customer: UserId,
    pub(crate) supplier: SupplierId,
    pub(crate) tour: TourId,
    /// It waits for whatever departure of the tour has seats first, on these dates; None: for one departure.
    pub(crate) tour_wide: Option<Dates>,
    pub(crate) standing: Standing,
    /// The guests, one element each.
    pub(crate) units: Vec<Unit>,
    /// The departure that it waits for or was offered; None: any of the tour.
    pub(crate) chance: Option<Chance>,
    pub(crate) contact: Contact,
    pub(crate) offer_seconds: i32,
    pub(crate) promo: Option<Wanted>,
    pub(crate) booking: Option<BookingId>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) offered_at: Option<DateTime<Utc>>,
}

impl Entry {
    /// Offers its chance: a hold with a deadline of its own; None: it has none.
    pub(crate) fn offer(
        &mut self,
        booking: BookingId,
        items: Vec<ItemId>,
        terms: Arc<Terms>,
        promo: Option<Arc<Promo>>,
        now: DateTime<Utc>,
    ) -> Option<Booking> {
        let chance = self.chance.as_ref()?;
        let (mut priced, mut total) = (chance.items.clone(), chance.total);
        let mut used = None;
        match promo.map(|promo| price::discounted(&chance.items, &terms, &promo).map(|less| (less, promo))) {
            Some(Ok((less, promo))) => {
                (priced, total) = less;
                used = Some(promo);
            }
            Some(Err(error)) => self.promo.iter_mut().for_each(|wanted| wanted.refused = Some(Refusal::of(&error))),
            None => {}
        }
        self.standing = Standing::Offered;
        self.booking = Some(booking);
        self.offered_at = Some(now);
        let zero = Money::zero(chance.total.currency());
        let items = items.into_iter().zip(&priced).map(|(id, item)| Item::sold(id, item));
        Some(Booking {
            id: booking,
            customer: self.customer,
            departure: chance.departure,
            terms,
            state: State::OnHold,
            contact: self.contact.clone(),
            items: items.collect(),
            seats: chance.seats,
            total,
            pay_on_arrival: chance.pay_on_arrival,
            promo: used,
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
        })
    }
}

/// One possible offer: who waits for a tour has one of each departure that suits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Possible {
    pub(crate) entry: WaitingId,
    pub(crate) departure: DepartureId,
    pub(crate) seats: u32,
}

/// Which offers are made, by position: in the order of joining, everybody gets the first that fits into what is left, and
/// one at most. A large party does not keep seats empty that a later one can use, and is not passed over when it fits.
pub(crate) fn hand_out(line: &[Possible], room: &Room, now: DateTime<Utc>) -> Vec<usize> {
    let mut room = room.clone();
    let mut served = BTreeSet::new();
    let mut next = Vec::new();
    for (at, wish) in line.iter().enumerate() {
        if !served.contains(&wish.entry) && room.may_give(wish.departure, wish.seats, now).is_ok() {
            room.take(wish.departure, wish.seats);
            served.insert(wish.entry);
            next.push(at);
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{offer::DepartureState, pool::Seats};

    proptest! {
        /// Against a model that goes through the parties one by one, with nothing but what is left of each departure.
        #[test]
        fn seats_go_out_in_order_never_twice_and_none_is_left_that_somebody_could_use(
            departures in prop::collection::vec((0_u32..12, 0_u32..12, any::<bool>()), 1..4),
            // What each party needs, and which departures suit it, as bits; one bit: it waits for that departure.
            parties in prop::collection::vec((1_u32..6, 1_u8..8), 0..20),
        ) {
            let now = Utc::now();
            let ids: Vec<DepartureId> = departures.iter().map(|_| DepartureId::new()).collect();
            let departures_now = ids.iter().zip(&departures).map(|(id, &(capacity, held, open))| {
                let state = if open { DepartureState::Open } else { DepartureState::Closed };
                (*id, Seats { capacity, held: held.min(capacity), state, starts_at: now + TimeDelta::days(1) })
            }).collect();
            let room = Room { departures: departures_now, ..Room::default() };
            let entries: Vec<WaitingId> = parties.iter().map(|_| WaitingId::new()).collect();
            let suits = |party: usize, departure: usize| parties[party].1 & (1 << departure) != 0;
            let mut line = Vec::new();
            for (party, &(wanted, _)) in parties.iter().enumerate() {
                for (at, id) in ids.iter().enumerate().filter(|(at, _)| suits(party, *at)) {
                    let _ = at;
                    line.push(Possible { entry: entries[party], departure: *id, seats: wanted });
                }
            }
            let chosen = hand_out(&line, &room, now);
            prop_assert!(chosen.is_sorted());

            let mut left: Vec<u32> = departures.iter().map(|&(capacity, held, open)| if open { capacity - held.min(capacity) } else { 0 }).collect();
            let mut expected = Vec::new();
            for (party, &(wanted, _)) in parties.iter().enumerate() {
                if let Some(at) = (0..ids.len()).find(|at| suits(party, *at) && left[*at] >= wanted) {
                    left[at] -= wanted;
                    expected.push((entries[party], ids[at]));
                }
            }
            let got: Vec<_> = chosen.iter().map(|at| (line[*at].entry, line[*at].departure)).collect();
            prop_assert_eq!(&got, &expected);
            // Nobody who got nothing fits into what nobody got.
            for (party, &(wanted, _)) in parties.iter().enumerate().filter(|(p, _)| !got.iter().any(|(e, _)| *e == entries[*p])) {
                prop_assert!((0..ids.len()).all(|at| !suits(party, at) || left[at] < wanted));
            }
        }
    }
}
