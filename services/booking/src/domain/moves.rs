//! A move that costs more: it holds seats at the new departure until it is paid for, and the booking stays where it is.
//!
//! ```text
//! OPEN ──captured──▶ DONE (the booking is there now)
//!   ├──payment fails──▶ FAILED
//!   ├──time runs out──▶ EXPIRED
//!   └──guests are cancelled, or the departure is called off──▶ CANCELLED
//! ```

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use tourmesh_kit::money::Money;
use uuid::Uuid;

use super::{
    BookingId, DepartureId, MoveId, PaymentId, UserId,
    booking::{Booking, OnCapture, State},
    offer::Terms,
    price::PricedItem,
    reschedule::Quote,
};
use crate::error::BookingError;

/// Where a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    Done,
    Failed,
    Expired,
    Cancelled,
}

impl Stage {
    /// As the API and the database have it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
        }
    }
    /// Reads the database's text.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        [Self::Open, Self::Done, Self::Failed, Self::Expired, Self::Cancelled].into_iter().find(|s| s.as_str() == text)
    }
}

/// A move that has to be paid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) id: MoveId,
    pub(crate) booking: BookingId,
    pub(crate) customer: UserId,
    pub(crate) to: DepartureId,
    /// Those of the new departure, under the policy that was frozen at purchase.
    pub(crate) terms: Uuid,
    pub(crate) stage: Stage,
    /// The seats that it holds there while it is open.
    pub(crate) seats: u32,
    /// What has to be paid.
    pub(crate) difference: Money,
    /// The most that a cancellation by the traveller gives back afterwards, in percent.
    pub(crate) refund_limit: i32,
    /// What each guest takes and costs there, by unit.
    pub(crate) guests: Vec<PricedItem>,
    pub(crate) payment: Option<PaymentId>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
}

impl Move {
    /// What a payment that was captured for it means. As with holds, the stage decides and not the clock.
    pub(crate) fn on_capture(&self, booking: &Booking, payment: PaymentId, captured: Money) -> OnCapture {
        let checked_in = booking.items.iter().any(|i| i.lives() && i.redeemed_at.is_some());
        match self.stage {
            Stage::Done if self.payment == Some(payment) => OnCapture::Known,
            Stage::Open
                if captured == self.difference
                    && booking.id == self.booking
                    && booking.state == State::Confirmed
                    && !checked_in =>
            {
                OnCapture::Confirms
            }
            Stage::Open | Stage::Done | Stage::Failed | Stage::Expired | Stage::Cancelled => OnCapture::GoesBack,
        }
    }

    /// How much of the difference is taxes: what they are there for the guests who go, less what was paid of them for the
    /// same guests already. Where the taxes fall while the price rises it is none, and never more than the difference.
    pub(crate) fn tax(&self, booking: &Booking) -> Result<Money, BookingError> {
        let zero = || Money::zero(self.difference.currency());
        let there = self.guests.iter().flat_map(|guest| &guest.taxes).try_fold(zero(), |sum, tax| sum.add(*tax))?;
        let living = booking.items.iter().filter(|item| item.lives());
        let paid = living.flat_map(|item| &item.taxes).try_fold(zero(), |sum, tax| sum.add(*tax))?;
        let more = there.sub(paid)?.amount().clamp(Decimal::ZERO, self.difference.amount());
        Ok(Money::new(more, self.difference.currency()))
    }

    /// Comes to nothing; false: it is not open any more.
    pub(crate) fn end(&mut self, stage: Stage) -> bool {
        let open = self.stage == Stage::Open && stage != Stage::Done;
        if open {
            self.stage = stage;
        }
        open
    }

    /// Notes the payment that was opened for it; false: there is nothing to note.
    pub(crate) fn note_payment(&mut self, payment: PaymentId) -> bool {
        let new = self.stage == Stage::Open && self.payment != Some(payment);
        if new {
            self.payment = Some(payment);
        }
        new
    }
}

impl Booking {
    /// Begins a move that has to be paid for: nothing of the booking changes before it is.
    pub(crate) fn begin_move(
        &self,
        id: MoveId,
        now: DateTime<Utc>,
        to: DepartureId,
        terms: &Terms,
        quote: &Quote,
    ) -> Move {
        Move {
            id,
            booking: self.id,
            customer: self.customer,
            to,
            terms: terms.id,
            stage: Stage::Open,
            seats: quote.seats,
            difference: quote.difference,
            refund_limit: quote.refund_limit,
            guests: quote.guests.clone(),
            payment: None,
            created_at: now,
            expires_at: now + TimeDelta::seconds(i64::from(terms.hold_seconds)),
        }
    }

    /// Makes a move whose payment was captured; says where the booking was, and the seats that are free there now.
    pub(crate) fn complete_move(
        &mut self,
        paid: &mut Move,
        payment: PaymentId,
        captured: Money,
        terms: Arc<Terms>,
    ) -> Result<(DepartureId, u32), BookingError> {
        match paid.on_capture(self, payment, captured) {
            OnCapture::Confirms => {}
            OnCapture::Known | OnCapture::GoesBack => return Err(BookingError::State(self.state)),
        }
        let from = (self.departure, self.seats);
        let (total, all) = (self.total.add(paid.difference)?, self.paid.add(captured)?);
        self.rebook(paid.to, terms, &paid.guests);
        self.total = total;
        self.paid = all;
        self.seats = paid.seats;
        self.refund_limit = paid.refund_limit;
        // What cost nothing so far has its first payment now.
        self.payment = self.payment.or(Some(payment));
        self.moves += 1;
        self.version += 1;
        paid.stage = Stage::Done;
        paid.payment = Some(payment);
        Ok(from)
    }
}
