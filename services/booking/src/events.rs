//! What Booking publishes and what it listens to.

use tourmesh::{booking::v1 as pb, payment::v1 as payment};
use tourmesh_kit::{
    events::{Consumer, Event},
    money::Money,
};

use crate::{
    convert,
    domain::{
        DepartureId, ItemId, PaymentId, booking::Booking, moves::Move, promo::PromoCode, refund::Cause, waiting::Entry,
    },
};

/// The domain whose stream holds our events.
pub(crate) const DOMAIN: &str = "booking";

/// Captured payments confirm bookings and make moves, or go back; failed ones end moves, and are told with their booking.
pub(crate) const PAYMENTS: Consumer = Consumer {
    name: "booking-payments",
    domain: "payment",
    subjects: &["payment.payment.captured.*", "payment.payment.failed.*"],
};

/// What the catalog says about departures, and about the pools that they share, keeps the seat inventory right.
pub(crate) const DEPARTURES: Consumer = Consumer {
    name: "booking-departures",
    domain: "catalog",
    subjects: &["catalog.departure.>", "catalog.tour.>", "catalog.pool.>"],
};

fn subject(verb: &str, booking: &Booking) -> String {
    format!("booking.booking.{verb}.{}", booking.id)
}

/// Seats are held; also hands out the booking as it is told, for the answer.
pub(crate) fn held(booking: &Booking) -> (Event, pb::Booking) {
    let mut message = pb::BookingHeld { booking: Some(convert::booking(booking)) };
    let event = Event::new(subject("held", booking), &message);
    (event, message.booking.take().unwrap_or_default())
}

/// A booking is sold.
pub(crate) fn confirmed(booking: &Booking) -> Event {
    Event::new(subject("confirmed", booking), &pb::BookingConfirmed { booking: Some(convert::booking(booking)) })
}

/// A booking was cancelled.
pub(crate) fn cancelled(booking: &Booking, cause: Cause) -> Event {
    let message =
        pb::BookingCancelled { booking: Some(convert::booking(booking)), cause: convert::cause(cause).into() };
    Event::new(subject("cancelled", booking), &message)
}

/// A booking changed and is what it was: fewer guests, other names.
pub(crate) fn changed(booking: &Booking) -> Event {
    Event::new(subject("changed", booking), &pb::BookingChanged { booking: Some(convert::booking(booking)) })
}

/// A booking was moved, and there was nothing to pay.
pub(crate) fn rescheduled(booking: &Booking, from: DepartureId, difference: Money, refund: Money) -> Event {
    let message = pb::BookingRescheduled { refund: Some(refund.to_wire()), ..moved(booking, from, difference) };
    Event::new(subject("rescheduled", booking), &message)
}

/// A booking was moved by a payment of what it costs more, so much of which is taxes.
pub(crate) fn move_paid(booking: &Booking, from: DepartureId, paid: &Move, payment: PaymentId, tax: Money) -> Event {
    let message = pb::BookingRescheduled {
        refund: Some(Money::zero(paid.difference.currency()).to_wire()),
        move_id: paid.id.to_string(),
        payment_id: payment.to_string(),
        tax: Some(tax.to_wire()),
        ..moved(booking, from, paid.difference)
    };
    Event::new(subject("rescheduled", booking), &message)
}

fn moved(booking: &Booking, from: DepartureId, difference: Money) -> pb::BookingRescheduled {
    pb::BookingRescheduled {
        booking: Some(convert::booking(booking)),
        from_departure_id: from.to_string(),
        price_difference: Some(difference.to_wire()),
        ..pb::BookingRescheduled::default()
    }
}

/// Seats are held for a move that has to be paid for.
pub(crate) fn move_begun(begun: &Move) -> Event {
    let message = pb::MoveBegun { r#move: Some(convert::paid_move(begun)) };
    Event::new(format!("booking.move.begun.{}", begun.id), &message)
}

/// A move that had to be paid for has come to nothing.
pub(crate) fn move_ended(ended: &Move) -> Event {
    let message = pb::MoveEnded { r#move: Some(convert::paid_move(ended)) };
    Event::new(format!("booking.move.ended.{}", ended.id), &message)
}

/// A hold ran out.
pub(crate) fn expired(booking: &Booking) -> Event {
    Event::new(subject("expired", booking), &pb::BookingExpired { booking: Some(convert::booking(booking)) })
}

/// A guest was checked in.
pub(crate) fn redeemed(booking: &Booking, item: ItemId) -> Event {
    let message = pb::BookingRedeemed { booking: Some(convert::booking(booking)), item_id: item.to_string() };
    Event::new(subject("redeemed", booking), &message)
}

/// A captured payment goes back.
pub(crate) fn refunding(booking: &Booking, payment: PaymentId, amount: Money) -> Event {
    let message = pb::LatePaymentRefunding {
        booking: Some(convert::booking(booking)),
        payment_id: payment.to_string(),
        amount: Some(amount.to_wire()),
    };
    Event::new(subject("refunding", booking), &message)
}

/// A payment came to nothing.
pub(crate) fn payment_failed(booking: &Booking, payment: &payment::Payment) -> Event {
    let message = pb::BookingPaymentFailed {
        booking: Some(convert::booking(booking)),
        payment_id: payment.id.clone(),
        amount: payment.amount.clone(),
        decline_code: payment.decline_code.clone(),
        move_id: payment.purpose.clone(),
    };
    Event::new(format!("booking.payment.failed.{}", payment.id), &message)
}

/// Somebody waits.
pub(crate) fn joined(entry: &Entry) -> Event {
    let message = pb::WaitingListJoined { entry: Some(convert::entry(entry)) };
    Event::new(format!("booking.waiting.joined.{}", entry.id), &message)
}

/// Seats are held for somebody who waited.
pub(crate) fn offered(entry: &Entry, booking: &Booking) -> Event {
    let message =
        pb::WaitingListOffered { entry: Some(convert::entry(entry)), booking: Some(convert::booking(booking)) };
    Event::new(format!("booking.waiting.offered.{}", entry.id), &message)
}

/// Somebody waits no longer.
pub(crate) fn left(entry: &Entry) -> Event {
    let message = pb::WaitingListLeft { entry: Some(convert::entry(entry)) };
    Event::new(format!("booking.waiting.left.{}", entry.id), &message)
}

/// A promo code was added.
pub(crate) fn promo_created(code: &PromoCode) -> Event {
    let message = pb::PromoCodeCreated { promo_code: Some(convert::promo::promo_code(code)) };
    Event::new(format!("booking.promo.created.{}", code.promo.id), &message)
}

/// A promo code was ended.
pub(crate) fn promo_ended(code: &PromoCode) -> Event {
    let message = pb::PromoCodeEnded { promo_code: Some(convert::promo::promo_code(code)) };
    Event::new(format!("booking.promo.ended.{}", code.promo.id), &message)
}
