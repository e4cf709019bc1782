//! Giving seats and money back: what the preview says is what the cancellation does.

use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db, events::{Event, outbox}, idempotency::RequestKey, money::Money, shutdown::Shutdown};

use crate::{
    access::Caller,
    availability::Board,
    domain::{BookingId, DepartureId, booking::Booking, refund::Cause},
    error::BookingError,
    events,
    store::{
        bookings as store, departures,
        refund_tasks::{self, Reason, Task},
        requests::{Remembered, remember},
    },
};

/// How many bookings of a departure that was called off are cancelled in one transaction.
const BATCH: i64 = 500;

/// What a cancellation by this caller would give back now: percent and amount.
pub(crate) async fn preview(db: &Db, caller: &Caller, id: BookingId) -> ApiResult<(i32, Money)> {
    let mut connection = db.pool().acquire().await?;
    let now = store::now(&mut connection).await?;
    let booking = caller.sees(store::load_one(&mut connection, id).await?)?;
    Ok(booking.refund_due(now, caller.cause(&booking))?)
}

/// Cancels one booking.
pub(crate) async fn cancel(
    db: &Db,
    board: &Board,
    caller: Caller,
    key: RequestKey,
    id: BookingId,
) -> ApiResult<Booking> {
    let booking = db
        .write(move |tx| {
            let (caller, key) = (caller.clone(), key.clone());
            Box::pin(async move {
                let now = store::lock(tx, &[id]).await?;
                let booking = caller.sees(store::load_one(tx, id).await?)?;
                if remember(tx, &caller.scope, "CancelBooking", &key, id.uuid(), 0).await? != Remembered::New {
                    return Ok(booking);
                }
                let cause = caller.cause(&booking);
                let mut one = vec![booking];
                cancel_locked(tx, &mut one, now, cause).await?;
                one.pop().ok_or_else(|| BookingError::BookingNotFound.into())
            })
        })
        .await?;
    board.touch([booking.departure]);
    Ok(booking)
}

/// Cancels bookings that are locked and loaded: state, seats, refunds and events in the caller's transaction.
async fn cancel_locked(
    tx: &mut PgConnection,
    bookings: &mut [Booking],
    now: chrono::DateTime<chrono::Utc>,
    cause: Cause,
) -> ApiResult<()> {
    let mut refunds: Vec<Task> = Vec::new();
    let mut told: Vec<Event> = Vec::with_capacity(bookings.len());
    for booking in bookings.iter_mut() {
        let freed = booking.cancel(now, cause)?;
        refunds.extend(freed.refund.map(|(payment, amount)| Task {
            booking: booking.id,
            payment,
            amount,
            reason: Reason::Cancelled,
        }));
        told.push(events::cancelled(booking, cause));
    }
    store::save(tx, &bookings.iter().collect::<Vec<_>>()).await?;
    departures::release(tx, bookings.iter().map(|b| (b.departure, b.seats))).await?;
    refund_tasks::add(tx, &refunds).await?;
    outbox::append(tx, &told).await
}

/// Cancels the bookings of departures that were called off, until shutdown. It reads what is left to do and does it, so
/// it goes on wherever it was stopped.
pub(crate) async fn call_off(db: Db, board: Board, shutdown: Shutdown) {
    loop {
        let done = db
            .write(|tx| {
                Box::pin(async move {
                    let Some(departure) = departures::calling_off(tx, 1).await?.pop() else { return Ok(None) };
                    let cancelled = call_off_some(tx, departure).await?;
                    Ok(Some((departure, cancelled)))
                })
            })
            .await;
        match done {
            Ok(Some((departure, cancelled))) => {
                board.touch([departure]);
                if cancelled == 0 && !shutdown.sleep(std::time::Duration::from_millis(50)).await {
                    return;
                }
            }
            Ok(None) => db.committed(std::time::Duration::from_secs(1)).await,
            Err(error) => {
                tracing::warn!(%error, "bookings of a departure that was called off could not be cancelled yet");
                shutdown.sleep(std::time::Duration::from_secs(1)).await;
            }
        }
        if shutdown.is_triggered() || !shutdown.sleep(std::time::Duration::from_millis(5)).await {
            return;
        }
    }
}

async fn call_off_some(tx: &mut PgConnection, departure: DepartureId) -> ApiResult<usize> {
    let ids = store::lock_of_departure(tx, departure, BATCH).await?;
    if ids.is_empty() {
        departures::called_off(tx, departure).await?;
        return Ok(0);
    }
    let now = store::now(tx).await?;
    let mut bookings: Vec<Booking> = store::load(tx, &ids).await?.into_values().collect();
    cancel_locked(tx, &mut bookings, now, Cause::Departure).await?;
    Ok(bookings.len())
}
