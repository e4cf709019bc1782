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

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tourmesh_kit::money::Money;

use super::{BookingId, DepartureId, ItemId, PaymentId, Unit, UserId, offer::Terms, refund::Cause};
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
    pub(crate) price: Money,
    /// Set by the confirmation.
    pub(crate) voucher: Option<String>,
    pub(crate) redeemed_at: Option<DateTime<Utc>>,
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
    pub(crate) payment: Option<PaymentId>,
    /// How many payments were asked for.
    pub(crate) payment_attempts: i32,
    pub(crate) refund: Option<Money>,
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
    /// The payment and the amount that goes back, when there is one.
    pub(crate) refund: Option<(PaymentId, Money)>,
}

impl Booking {
    /// It is confirmed without a payment.
    pub(crate) fn needs_no_payment(&self) -> bool {
        self.pay_on_arrival || self.total.is_zero()
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
        if self.confirmed_at.is_some() && !self.needs_no_payment() && self.payment == Some(payment) {
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
            item.voucher = Some(voucher);
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

    /// What a cancellation would give back now: the share of the price and the amount.
    pub(crate) fn refund_due(&self, now: DateTime<Utc>, cause: Cause) -> Result<(i32, Money), BookingError> {
        let nothing = (0, Money::zero(self.total.currency()));
        match self.state {
            State::OnHold => Ok(nothing),
            State::Confirmed if cause != Cause::Departure && self.items.iter().any(|i| i.redeemed_at.is_some()) => {
                Err(BookingError::CheckedIn(self.state))
            }
            // Nothing was paid here, so nothing can go back from here.
            State::Confirmed if self.needs_no_payment() => Ok(nothing),
            State::Confirmed => Ok(self.terms.refund_policy.due(self.total, self.terms.starts_at, now, cause)?),
            State::Expired | State::Cancelled | State::Redeemed | State::Pending | State::Rejected => {
                Err(BookingError::State(self.state))
            }
        }
    }

    /// Cancels, and says what goes back: what [`refund_due`](Self::refund_due) says at the same moment.
    pub(crate) fn cancel(&mut self, now: DateTime<Utc>, cause: Cause) -> Result<Freed, BookingError> {
        let (_, refund) = self.refund_due(now, cause)?;
        let freed = Freed { refund: self.payment.filter(|_| refund.is_positive()).map(|payment| (payment, refund)) };
        self.state = State::Cancelled;
        self.hold_expires_at = None;
        self.cancelled_at = Some(now);
        self.refund = Some(refund);
        self.version += 1;
        Ok(freed)
    }

    /// Checks a guest in; with the last one the booking is REDEEMED.
    pub(crate) fn redeem(&mut self, position: usize, now: DateTime<Utc>) -> Result<(), BookingError> {
        let item = self.items.get_mut(position).ok_or(BookingError::VoucherNotFound)?;
        if let Some(before) = item.redeemed_at {
            return Err(BookingError::VoucherRedeemed(before));
        }
        match self.state {
            State::Confirmed => {
                item.redeemed_at = Some(now);
                if self.items.iter().all(|i| i.redeemed_at.is_some()) {
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
        if !open || self.payment == Some(payment) || self.confirmed_at.is_some() {
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
