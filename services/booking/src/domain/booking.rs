//! A booking and its life: the only place that says which state may follow which.
//!
//! ```text
//! ON_HOLD ──confirm──▶ CONFIRMED ──last guest in──▶ REDEEMED
//!    │ │                   │
//!    │ └──time runs out──▶ EXPIRED
//!    └──────cancel──────▶ CANCELLED ◀──cancel──┘
//! ```
//!
//! Every method here is one change: it either refuses, or changes the booking and its version by one.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use tourmesh_kit::money::Money;

use super::{
    BookingId, DepartureId, ItemId, PaymentId, PromoId, Unit, UserId,
    offer::Terms,
    price::{Breakdown, PricedItem, breakdown},
    promo::Promo,
    refund::{self, Cause},
};
use crate::error::BookingError;

/// Where a booking is in its life (OCTO).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    OnHold,
    Confirmed,
    Expired,
    Cancelled,
    Redeemed,
    /// Waits for the supplier's word; no way leads here yet.
    Pending,
    /// The supplier said no; no way leads here yet.
    Rejected,
}

impl State {
    pub(crate) const ALL: [Self; 7] =
        [Self::OnHold, Self::Confirmed, Self::Expired, Self::Cancelled, Self::Redeemed, Self::Pending, Self::Rejected];

    /// As the API and the database have it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OnHold => "ON_HOLD",
            Self::Confirmed => "CONFIRMED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
            Self::Redeemed => "REDEEMED",
            Self::Pending => "PENDING",
            Self::Rejected => "REJECTED",
        }
    }
    /// Reads the database's text.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) full_name: String,
    pub(crate) email: String,
    /// "en" or "fr".
    pub(crate) language: String,
}

/// One guest or ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) id: ItemId,
    pub(crate) unit: Unit,
    pub(crate) seats: u32,
    /// What is paid: the listed price less the discount, with all taxes.
    pub(crate) price: Money,
    /// Its part of the booking's discount.
    pub(crate) discount: Money,
    /// How much of the price each tax of the terms is; empty: no tax counts.
    pub(crate) taxes: Vec<Money>,
    /// Set by the confirmation.
    pub(crate) voucher: Option<String>,
    pub(crate) redeemed_at: Option<DateTime<Utc>>,
    /// Empty: not said.
    pub(crate) guest_name: String,
    pub(crate) cancelled_at: Option<DateTime<Utc>>,
    /// The share of the price that its cancellation gives back.
    pub(crate) refund_percent: i32,
}

impl Item {
    /// A guest as priced.
    pub(crate) fn sold(id: ItemId, priced: &PricedItem) -> Self {
        Self {
            id,
            unit: priced.unit,
            seats: priced.seats,
            price: priced.price,
            discount: priced.discount,
            taxes: priced.taxes.clone(),
            voucher: None,
            redeemed_at: None,
            guest_name: String::new(),
            cancelled_at: None,
            refund_percent: 0,
        }
    }

    /// It was not cancelled.
    pub(crate) fn lives(&self) -> bool {
        self.cancelled_at.is_none()
    }
}

/// A booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Booking {
    pub(crate) id: BookingId,
    pub(crate) customer: UserId,
    pub(crate) departure: DepartureId,
    pub(crate) terms: Arc<Terms>,
    pub(crate) state: State,
    pub(crate) contact: Contact,
    pub(crate) items: Vec<Item>,
    pub(crate) seats: u32,
    pub(crate) total: Money,
    pub(crate) pay_on_arrival: bool,
    /// The promo code that it was made with.
    pub(crate) promo: Option<Arc<Promo>>,
    pub(crate) payment: Option<PaymentId>,
    /// How many payments were asked for.
    pub(crate) payment_attempts: i32,
    /// What was captured for it, in sum; the payments of its moves included.
    pub(crate) paid: Money,
    /// What goes back, in sum.
    pub(crate) refund: Option<Money>,
    /// The part of it that goes back because other departures cost less.
    pub(crate) returned: Money,
    /// The most that a cancellation by the traveller gives back, in percent.
    pub(crate) refund_limit: i32,
    /// How many changes it has told that left its state alone.
    pub(crate) changes: i32,
    /// How often it was moved.
    pub(crate) moves: i32,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) hold_expires_at: Option<DateTime<Utc>>,
    pub(crate) confirmed_at: Option<DateTime<Utc>>,
    pub(crate) cancelled_at: Option<DateTime<Utc>>,
    pub(crate) version: i64,
}

/// What a captured payment means for a booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnCapture {
    /// It confirms the booking.
    Confirms,
    /// It has confirmed the booking before.
    Known,
    /// There is nothing that it could pay for: all of it goes back.
    GoesBack,
}

/// What a cancellation frees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freed {
    /// The amount that goes back.
    pub(crate) refund: Money,
    pub(crate) seats: u32,
}

/// Who leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who<'a> {
    All,
    /// Only these; all who are left is all.
    Some(&'a BTreeSet<ItemId>),
}

/// What a cancellation would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cancellation {
    /// The share of the price that goes back.
    pub(crate) percent: i32,
    /// The amount that goes back now.
    pub(crate) refund: Money,
    /// The positions of those who leave.
    leaving: Vec<usize>,
    /// Nobody is left.
    whole: bool,
}

impl Booking {
    /// It is confirmed without a payment.
    pub(crate) fn needs_no_payment(&self) -> bool {
        self.pay_on_arrival || self.total.is_zero()
    }

    /// The use of a promo code that comes back when the hold ends: from its confirmation on it stays used.
    pub(crate) fn use_of_promo(&self) -> Option<(PromoId, UserId)> {
        let promo = self.promo.as_ref().filter(|_| self.state == State::OnHold)?;
        Some((promo.id, self.customer))
    }

    /// What `total` is made of.
    pub(crate) fn breakdown(&self) -> Result<Breakdown, BookingError> {
        let counted = self.items.iter().filter(|item| self.counts(item));
        breakdown(self.total, &self.terms.taxes, counted.map(|item| (item.discount, item.taxes.as_slice())))
    }

    /// How much of the total is taxes, as they were frozen; `None`: no tax is known.
    pub(crate) fn tax(&self) -> Result<Option<Money>, BookingError> {
        self.breakdown()?.tax()
    }

    /// Its price is in `total`: it was not cancelled before anything was paid while others stayed.
    fn counts(&self, item: &Item) -> bool {
        let Some(left) = item.cancelled_at else { return true };
        self.cancelled_at == Some(left)
            || self.paid.is_positive() && self.confirmed_at.is_some_and(|confirmed| confirmed <= left)
    }

    /// Starts the hold's time anew, up to `most` after the booking was made.
    pub(crate) fn extend(&mut self, now: DateTime<Utc>, most: TimeDelta) -> Result<(), BookingError> {
        let until = self.open_hold(now)?;
        let anew = (now + TimeDelta::seconds(i64::from(self.terms.hold_seconds))).min(self.created_at + most);
        if anew <= until {
            return Err(BookingError::HoldLimit);
        }
        self.hold_expires_at = Some(anew);
        self.version += 1;
        Ok(())
    }

    /// It is held, and its time has not run out.
    pub(crate) fn is_open_hold(&self, now: DateTime<Utc>) -> bool {
        self.open_hold(now).is_ok()
    }

    /// The end of a hold that still runs.
    fn open_hold(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, BookingError> {
        match (self.state, self.hold_expires_at) {
            (State::OnHold, Some(until)) if until > now => Ok(until),
            (State::OnHold, _) | (State::Expired, _) => Err(BookingError::HoldExpired),
            (state, _) => Err(BookingError::State(state)),
        }
    }

    /// Numbers the next request to Payment.
    pub(crate) fn begin_payment(&mut self, now: DateTime<Utc>) -> Result<i32, BookingError> {
        self.open_hold(now)?;
        self.payment_attempts += 1;
        self.version += 1;
        Ok(self.payment_attempts)
    }

    /// Confirms a booking that nothing has to be paid for now.
    pub(crate) fn confirm_unpaid(&mut self, now: DateTime<Utc>, vouchers: Vec<String>) -> Result<(), BookingError> {
        self.open_hold(now)?;
        if !self.needs_no_payment() {
            return Err(BookingError::State(self.state));
        }
        self.confirm(now, None, vouchers);
        Ok(())
    }

    /// What a captured payment means. The state decides, not the clock: a hold whose time has run out but whose seats
    /// were not given back yet is still confirmed.
    pub(crate) fn on_capture(&self, payment: PaymentId, captured: Money) -> OnCapture {
        // Also when it costs nothing any more, because it was moved since.
        if self.confirmed_at.is_some() && self.paid.is_positive() && self.payment == Some(payment) {
            return OnCapture::Known;
        }
        match self.state {
            State::OnHold if !self.needs_no_payment() && captured == self.total => OnCapture::Confirms,
            State::OnHold
            | State::Confirmed
            | State::Expired
            | State::Cancelled
            | State::Redeemed
            | State::Pending
            | State::Rejected => OnCapture::GoesBack,
        }
    }

    /// Confirms by a payment of which [`on_capture`](Self::on_capture) says that it does.
    pub(crate) fn confirm_paid(
        &mut self,
        now: DateTime<Utc>,
        payment: PaymentId,
        captured: Money,
        vouchers: Vec<String>,
    ) -> Result<(), BookingError> {
        match self.on_capture(payment, captured) {
            OnCapture::Confirms => {
                self.confirm(now, Some(payment), vouchers);
                self.paid = captured;
                Ok(())
            }
            OnCapture::Known => Err(BookingError::State(self.state)),
            OnCapture::GoesBack if self.state == State::OnHold => Err(BookingError::WrongAmount(captured)),
            OnCapture::GoesBack => Err(BookingError::State(self.state)),
        }
    }

    fn confirm(&mut self, now: DateTime<Utc>, payment: Option<PaymentId>, vouchers: Vec<String>) {
        self.state = State::Confirmed;
        self.hold_expires_at = None;
        self.confirmed_at = Some(now);
        self.payment = payment.or(self.payment);
        for (item, voucher) in self.items.iter_mut().zip(vouchers) {
            // Who left while the booking was held is not let in.
            item.voucher = Some(voucher).filter(|_| item.lives());
        }
        self.version += 1;
    }

    /// Ends a hold whose time has run out.
    pub(crate) fn expire(&mut self, now: DateTime<Utc>) -> Result<(), BookingError> {
        match (self.state, self.hold_expires_at) {
            (State::OnHold, Some(until)) if until <= now => {
                self.state = State::Expired;
                self.hold_expires_at = None;
                self.version += 1;
                Ok(())
            }
            (state, _) => Err(BookingError::State(state)),
        }
    }

    /// What a cancellation would do now.
    pub(crate) fn cancellation(
        &self,
        now: DateTime<Utc>,
        cause: Cause,
        who: Who<'_>,
    ) -> Result<Cancellation, BookingError> {
        match self.state {
            State::OnHold | State::Confirmed => {}
            State::Expired | State::Cancelled | State::Redeemed | State::Pending | State::Rejected => {
                return Err(BookingError::State(self.state));
            }
        }
        let leaving = self.leaving(who)?;
        if cause != Cause::Departure && leaving.iter().any(|&at| self.items[at].redeemed_at.is_some()) {
            return Err(BookingError::CheckedIn(self.state));
        }
        let staying = |(at, item): &(usize, &Item)| item.lives() && !leaving.contains(at);
        let (guests, seats) = self
            .items
            .iter()
            .enumerate()
            .filter(staying)
            .fold((0, 0), |(guests, seats), (_, item)| (guests + 1, seats + item.seats));
        let whole = guests == 0;
        if !whole && seats == 0 {
            return Err(BookingError::PartySize { seats, least: 1, most: 0 });
        }
        // The amount of a payment that is under way cannot change any more.
        if !whole && self.state == State::OnHold && self.payment_attempts > 0 {
            return Err(BookingError::PaymentBegun(self.state));
        }
        // What was not paid here cannot go back from here.
        let percent = if self.paid.is_positive() { self.share(now, cause) } else { 0 };
        let before = self.items.iter().filter(|i| !i.lives()).map(|i| (i.price, i.refund_percent));
        let parts = before.chain(leaving.iter().map(|&at| (self.items[at].price, percent)));
        let due = refund::sum(self.total.currency(), parts)?;
        let before = self.refund.map_or(Ok(Money::zero(due.currency())), |all| all.sub(self.returned))?;
        let refund = due.sub(before)?;
        Ok(Cancellation { percent, refund, leaving, whole })
    }

    /// The share of the price that goes back now.
    pub(super) fn share(&self, now: DateTime<Utc>, cause: Cause) -> i32 {
        let share = self.terms.refund_policy.share(self.terms.starts_at, now, cause);
        match cause {
            Cause::Traveller => share.min(self.refund_limit),
            Cause::Supplier | Cause::Departure => share,
        }
    }

    /// The positions of those who leave.
    fn leaving(&self, who: Who<'_>) -> Result<Vec<usize>, BookingError> {
        let live = |at: &usize| self.items[*at].lives();
        let Who::Some(ids) = who else { return Ok((0..self.items.len()).filter(live).collect()) };
        ids.iter().map(|id| self.live_item(*id)).collect()
    }

    /// The position of a guest who was not cancelled.
    fn live_item(&self, id: ItemId) -> Result<usize, BookingError> {
        let at = self.items.iter().position(|i| i.id == id).ok_or(BookingError::GuestUnknown(id))?;
        if self.items[at].lives() { Ok(at) } else { Err(BookingError::GuestCancelled(id)) }
    }

    /// Cancels, and says what goes back: what [`cancellation`](Self::cancellation) says at the same moment.
    ///
    /// What goes back is rounded over all cancellations of the booking together: guests who leave one by one get to the
    /// cent what they would get at once.
    pub(crate) fn cancel(&mut self, now: DateTime<Utc>, cause: Cause, who: Who<'_>) -> Result<Freed, BookingError> {
        let Cancellation { percent, refund, leaving, whole } = self.cancellation(now, cause, who)?;
        let refunded = self.refund.map_or(Ok(refund), |before| before.add(refund))?;
        let mut total = self.total;
        let mut freed = Freed { refund, seats: 0 };
        for &at in &leaving {
            let item = &mut self.items[at];
            item.cancelled_at = Some(now);
            item.refund_percent = percent;
            freed.seats += item.seats;
            if !whole && !self.paid.is_positive() {
                total = total.sub(item.price)?;
            }
        }
        self.total = total;
        if whole {
            self.state = State::Cancelled;
            self.hold_expires_at = None;
            self.cancelled_at = Some(now);
        } else {
            self.seats -= freed.seats;
            self.changes += 1;
            if self.state == State::Confirmed && self.all_in() {
                self.state = State::Redeemed;
            }
        }
        if whole || self.paid.is_positive() {
            self.refund = Some(refunded);
        }
        self.version += 1;
        Ok(freed)
    }

    /// All guests who were not cancelled have been checked in.
    fn all_in(&self) -> bool {
        self.items.iter().all(|i| i.redeemed_at.is_some() || !i.lives())
    }

    /// Changes names and the contact; false: there is nothing to change.
    pub(crate) fn update(
        &mut self,
        now: DateTime<Utc>,
        contact: Option<Contact>,
        names: &[(ItemId, String)],
    ) -> Result<bool, BookingError> {
        match self.state {
            State::OnHold => {
                self.open_hold(now)?;
            }
            State::Confirmed => {}
            State::Expired | State::Cancelled | State::Redeemed | State::Pending | State::Rejected => {
                return Err(BookingError::State(self.state));
            }
        }
        if self.terms.starts_at <= now {
            return Err(BookingError::DepartureInPast);
        }
        let places = names.iter().map(|(id, _)| self.live_item(*id)).collect::<Result<Vec<_>, _>>()?;
        let before = (self.contact.clone(), self.items.clone());
        for (at, (_, name)) in places.into_iter().zip(names) {
            self.items[at].guest_name.clone_from(name);
        }
        self.contact = contact.unwrap_or_else(|| before.0.clone());
        let changed = (&before.0, &before.1) != (&self.contact, &self.items);
        if changed {
            self.changes += 1;
            self.version += 1;
        }
        Ok(changed)
    }

    /// Checks a guest in; with the last one the booking is REDEEMED.
    pub(crate) fn redeem(&mut self, position: usize, now: DateTime<Utc>) -> Result<(), BookingError> {
        let item = self.items.get_mut(position).ok_or(BookingError::VoucherNotFound)?;
        if let Some(before) = item.redeemed_at {
            return Err(BookingError::VoucherRedeemed(before));
        }
        if !item.lives() {
            return Err(BookingError::GuestCancelled(item.id));
        }
        match self.state {
            State::Confirmed => {
                item.redeemed_at = Some(now);
                if self.all_in() {
                    self.state = State::Redeemed;
                }
                self.version += 1;
                Ok(())
            }
            State::OnHold | State::Expired | State::Cancelled | State::Redeemed | State::Pending | State::Rejected => {
                Err(BookingError::State(self.state))
            }
        }
    }

    /// Notes the payment that was opened for it; false: there is nothing to note.
    pub(crate) fn note_payment(&mut self, payment: PaymentId) -> bool {
        let open = self.state == State::OnHold || self.payment.is_none();
        // What costs nothing has no payment: one that was noted would count as known once a dearer move is paid for.
        if self.needs_no_payment() || !open || self.payment == Some(payment) || self.confirmed_at.is_some() {
            return false;
        }
        self.payment = Some(payment);
        self.version += 1;
        true
    }
}

#[cfg(test)]
#[path = "booking_tests.rs"]
mod tests;
