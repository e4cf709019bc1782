//! Moving a booking to another departure of its tour: what it costs there, and what that gives back.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use tourmesh_kit::{money::Money, tax::Tax};

use super::{
    DepartureId, PaymentId, Unit,
    booking::{Booking, Item, State},
    offer::{Offer, Terms},
    price::{self, PricedItem},
    refund::{self, Cause},
};
use crate::error::BookingError;

/// What a move would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quote {
    /// What all of the booking would cost.
    pub(crate) total: Money,
    /// That less what it costs now.
    pub(crate) difference: Money,
    /// What would go back.
    pub(crate) refund: Money,
    /// The most that a cancellation by the traveller gives back afterwards, in percent.
    pub(crate) refund_limit: i32,
    /// The seats that it would take.
    pub(crate) seats: u32,
    /// What each guest who was not cancelled takes and costs there, by unit.
    guests: Vec<PricedItem>,
}

/// What a move has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Where it was, and the seats that are free there now.
    pub(crate) from: (DepartureId, u32),
    /// The payment and the amount that goes back, when there is one.
    pub(crate) refund: Option<(PaymentId, Money)>,
}

impl Booking {
    /// What a move to the offer's departure would do. Whether it has seats is decided where the seats are.
    pub(crate) fn quote_move(&self, now: DateTime<Utc>, cause: Cause, to: &Offer) -> Result<Quote, BookingError> {
        match self.state {
            State::Confirmed => {}
            State::OnHold | State::Expired | State::Cancelled | State::Redeemed | State::Pending | State::Rejected => {
                return Err(BookingError::State(self.state));
            }
        }
        if self.items.iter().any(|i| i.lives() && i.redeemed_at.is_some()) {
            return Err(BookingError::CheckedIn(self.state));
        }
        if to.departure.id == self.departure || to.departure.tour != self.terms.tour {
            return Err(BookingError::NotAnotherDeparture);
        }
        if self.terms.starts_at <= now || to.departure.starts_at <= now {
            return Err(BookingError::DepartureInPast);
        }
        if to.currency != self.total.currency() {
            return Err(BookingError::OtherCurrency);
        }
        let mut party: BTreeMap<Unit, u32> = BTreeMap::new();
        let mut cost = Money::zero(to.currency);
        for item in self.items.iter().filter(|i| i.lives()) {
            *party.entry(item.unit).or_default() += 1;
            cost = cost.add(item.price)?;
        }
        let party: Vec<(Unit, u32)> = party.into_iter().collect();
        let priced = price::price(to, &party, self.promo.as_deref())?;
        let difference = priced.total.sub(cost)?;
        if difference.is_positive() && !self.pay_on_arrival {
            return Err(BookingError::Dearer(difference));
        }
        let share = self.share(now, cause);
        let paid = self.paid.is_positive();
        let refund = refund::sum(to.currency, paid.then_some((difference.negated(), share)))?;
        let refund_limit = if paid && cause == Cause::Traveller { share } else { self.refund_limit };
        let total = self.total.add(difference)?;
        Ok(Quote { total, difference, refund, refund_limit, seats: priced.seats, guests: priced.items })
    }

    /// The taxes that it is under once it was moved: those of the new departure, then those under which guests were sold
    /// who were cancelled since.
    pub(crate) fn taxes_after(&self, there: &[Tax]) -> Vec<Tax> {
        let mut taxes = there.to_vec();
        if self.items.iter().any(|item| !item.lives()) {
            taxes.extend(self.terms.taxes.iter().filter(|tax| !there.contains(tax)).cloned());
        }
        taxes
    }

    /// Moves, as [`quote_move`](Self::quote_move) says at the same moment. The terms are those of the new departure,
    /// with the policy that was frozen at purchase, and the taxes of [`taxes_after`](Self::taxes_after).
    pub(crate) fn reschedule(
        &mut self,
        to: DepartureId,
        terms: Arc<Terms>,
        quote: &Quote,
    ) -> Result<Moved, BookingError> {
        let refund = self.refund.map_or(Ok(quote.refund), |before| before.add(quote.refund))?;
        let returned = self.returned.add(quote.refund)?;
        let moved = Moved {
            from: (self.departure, self.seats),
            refund: self.payment.filter(|_| quote.refund.is_positive()).map(|payment| (payment, quote.refund)),
        };
        let (mut live, gone): (Vec<&mut Item>, Vec<&mut Item>) = self.items.iter_mut().partition(|i| i.lives());
        live.sort_by_key(|item| item.unit);
        for (item, there) in live.into_iter().zip(&quote.guests) {
            item.seats = there.seats;
            item.price = there.price;
            item.discount = there.discount;
            item.taxes.clone_from(&there.taxes);
            item.taxes.resize(terms.taxes.len(), Money::zero(quote.total.currency()));
        }
        for item in gone {
            let before: Vec<(&Tax, Money)> = self.terms.taxes.iter().zip(std::mem::take(&mut item.taxes)).collect();
            let amount = |tax: &Tax| before.iter().find(|(known, _)| *known == tax).map(|(_, amount)| *amount);
            let zero = Money::zero(quote.total.currency());
            item.taxes = terms.taxes.iter().map(|tax| amount(tax).unwrap_or(zero)).collect();
        }
        if self.refund.is_some() || quote.refund.is_positive() {
            self.refund = Some(refund);
        }
        self.returned = returned;
        self.refund_limit = quote.refund_limit;
        self.departure = to;
        self.terms = terms;
        self.total = quote.total;
        self.seats = quote.seats;
        self.moves += 1;
        self.version += 1;
        Ok(moved)
    }
}
