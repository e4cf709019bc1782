//! What the news of a captured payment does: it confirms its booking, unless ConfirmBooking has done so, makes the move
//! that it is for, or goes back; and what a failed one does: it ends its move, and the customer is told. In batches, each
//! event once.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use tourmesh::payment::v1::{Payment, PaymentCaptured, PaymentFailed};
use tourmesh_kit::{
    ApiError, ApiResult,
    events::{Event, Handler, Received, outbox},
    money::Money,
};

use crate::{
    convert,
    domain::{
        BookingId, MoveId, PaymentId,
        booking::{Booking, OnCapture},
    },
    error::BookingError,
    events,
    moves::Settling,
    store::{
        bookings as store,
        refund_tasks::{self, Reason, Task},
    },
    vouchers::vouchers,
};

/// Takes payment.captured and payment.failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payments;

struct Captured<'a> {
    received: &'a Received,
    booking: BookingId,
    payment: PaymentId,
    amount: Money,
    /// The move that it is for; None: the booking itself.
    purpose: Option<MoveId>,
}

struct Failed<'a> {
    received: &'a Received,
    booking: BookingId,
    payment: Payment,
    /// The move that it was for; None: the booking itself, whose hold runs on.
    purpose: Option<MoveId>,
}

impl Handler for Payments {
    fn handle<'a>(&'a self, tx: &'a mut PgConnection, events: &'a [Received]) -> BoxFuture<'a, ApiResult<()>> {
        Box::pin(async move {
            let captured = events.iter().filter_map(|r| read(r).transpose()).collect::<ApiResult<Vec<_>>>()?;
            let failed = events.iter().filter_map(|r| read_failed(r).transpose()).collect::<ApiResult<Vec<_>>>()?;
            take(tx, captured, failed).await
        })
    }
}

fn read(received: &Received) -> ApiResult<Option<Captured<'_>>> {
    let Some(message) = received.decode::<PaymentCaptured>()? else { return Ok(None) };
    let payment = message.payment.ok_or_else(|| ApiError::internal("PaymentCaptured has no payment"))?;
    let amount = payment.captured.as_ref().ok_or_else(|| ApiError::internal("PaymentCaptured has no amount"))?;
    Ok(Some(Captured {
        received,
        booking: convert::foreign(&payment.booking_id)?,
        payment: convert::foreign(&payment.id)?,
        amount: Money::of_wire(amount).map_err(ApiError::internal)?,
        purpose: purpose(&payment.purpose)?,
    }))
}

fn read_failed(received: &Received) -> ApiResult<Option<Failed<'_>>> {
    let Some(message) = received.decode::<PaymentFailed>()? else { return Ok(None) };
    let payment = message.payment.ok_or_else(|| ApiError::internal("PaymentFailed has no payment"))?;
    let (booking, purpose) = (convert::foreign(&payment.booking_id)?, purpose(&payment.purpose)?);
    Ok(Some(Failed { received, booking, payment, purpose }))
}

fn purpose(text: &str) -> ApiResult<Option<MoveId>> {
    if text.is_empty() { Ok(None) } else { convert::foreign(text).map(Some) }
}

/// Confirms a booking by a payment that does, and says so.
///
/// # Errors
/// What [`Booking::confirm_paid`] says.
pub(crate) fn confirm(
    booking: &mut Booking,
    now: DateTime<Utc>,
    payment: PaymentId,
    amount: Money,
) -> Result<Event, BookingError> {
    let codes = vouchers(booking);
    booking.confirm_paid(now, payment, amount, codes)?;
    Ok(events::confirmed(booking))
}

async fn take(tx: &mut PgConnection, mut captured: Vec<Captured<'_>>, failed: Vec<Failed<'_>>) -> ApiResult<()> {
    // Most are known: the call that asked for them has confirmed their bookings. Those are not even locked. Another payment
    // of the same booking is not known: it goes back.
    let of_bookings = captured.iter().filter(|c| c.purpose.is_none()).map(|c| (c.booking, c.payment));
    let known = store::known_payments(tx, of_bookings).await?;
    captured.retain(|c| c.purpose.is_some() || !known.contains(&c.payment));
    let ids = captured.iter().map(|c| c.booking).chain(failed.iter().map(|f| f.booking));
    let ids: Vec<BookingId> = ids.collect::<BTreeSet<_>>().into_iter().collect();
    if ids.is_empty() {
        return Ok(());
    }
    let now = store::lock(tx, &ids).await?;
    let mut bookings = store::load(tx, &ids).await?;
    let purposes = captured.iter().filter_map(|c| c.purpose).chain(failed.iter().filter_map(|f| f.purpose));
    let mut moves = Settling::read(tx, &purposes.collect::<Vec<_>>()).await?;
    let mut confirmed: Vec<BookingId> = Vec::new();
    let mut told: Vec<Event> = Vec::new();
    let mut late: Vec<(&Captured<'_>, Task)> = Vec::new();
    for one in &captured {
        let booking = bookings.get_mut(&one.booking).ok_or_else(|| {
            ApiError::internal(format!("{} was captured for an unknown {}", one.payment, one.booking))
        })?;
        let (meaning, event) = match one.purpose {
            None => (booking.on_capture(one.payment, one.amount), None),
            Some(id) => one.received.span.in_scope(|| moves.captured(id, booking, one.payment, one.amount))?,
        };
        match meaning {
            OnCapture::Confirms if one.purpose.is_some() => told.extend(event),
            OnCapture::Confirms => {
                told.push(one.received.span.in_scope(|| confirm(booking, now, one.payment, one.amount))?);
                confirmed.push(one.booking);
            }
            OnCapture::Known => {}
            OnCapture::GoesBack => {
                let task =
                    Task { booking: one.booking, payment: one.payment, amount: one.amount, reason: Reason::Late };
                late.push((one, task));
            }
        }
    }
    for one in &failed {
        let booking = bookings
            .get(&one.booking)
            .ok_or_else(|| ApiError::internal(format!("{} failed for an unknown {}", one.payment.id, one.booking)))?;
        one.received.span.in_scope(|| {
            told.extend(one.purpose.and_then(|id| moves.failed(id)));
            told.push(events::payment_failed(booking, &one.payment));
        });
    }
    let sold: Vec<_> = confirmed.iter().filter_map(|id| bookings.get(id)).collect();
    let changed: Vec<_> = sold.iter().copied().chain(moves.moved().iter().filter_map(|id| bookings.get(id))).collect();
    store::save(tx, &changed).await?;
    store::save_items(tx, &sold).await?;
    moves.write(tx, &bookings).await?;
    refund(tx, &bookings, late, &mut told).await?;
    outbox::append(tx, &told).await
}

/// One task and one event for each payment that goes back, however often it is told.
async fn refund(
    tx: &mut PgConnection,
    bookings: &HashMap<BookingId, Booking>,
    late: Vec<(&Captured<'_>, Task)>,
    told: &mut Vec<Event>,
) -> ApiResult<()> {
    let tasks: Vec<Task> = late.iter().map(|(_, task)| task.clone()).collect();
    let mut new = refund_tasks::add(tx, &tasks).await?;
    for (one, task) in late {
        if let (true, Some(booking)) = (new.remove(&task.request_id()), bookings.get(&one.booking)) {
            tracing::info!(booking = %one.booking, payment = %one.payment, state = booking.state.as_str(), "a captured payment found no hold and goes back");
            told.push(one.received.span.in_scope(|| events::refunding(booking, one.payment, one.amount)));
        }
    }
    Ok(())
}
