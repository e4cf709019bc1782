//! Giving seats and money back: what the preview says is what the cancellation does.

use std::{collections::BTreeSet, time::Duration};

use sqlx::PgConnection;
use tourmesh_kit::{
    ApiResult,
    db::Db,
    events::{Event, outbox},
    idempotency::RequestKey,
    money::Money,
    shutdown::Shutdown,
};

use crate::{
    access::Caller,
    availability::Board,
    domain::{
        BookingId, DepartureId, ItemId,
        booking::{Booking, State, Who},
        refund::Cause,
    },
    error::BookingError,
    events,
    store::{
        bookings as store, departures, promos,
        refund_tasks::{self, Reason, Task},
        requests::{Remembered, remember},
    },
    waiting,
};

/// How many bookings of a departure that was called off are cancelled in one transaction.
const BATCH: i64 = 500;

/// What a cancellation by this caller would give back now: percent and amount. No guests: all.
pub(crate) async fn preview(
    db: &Db,
    caller: &Caller,
    id: BookingId,
    guests: &BTreeSet<ItemId>,
) -> ApiResult<(i32, Money)> {
    let mut connection = db.pool().acquire().await?;
    let now = store::now(&mut connection).await?;
    let booking = caller.sees(store::load_one(&mut connection, id).await?)?;
    let found = booking.cancellation(now, caller.cause(&booking), who(guests))?;
    Ok((found.percent, found.refund))
}

fn who(guests: &BTreeSet<ItemId>) -> Who<'_> {
    if guests.is_empty() { Who::All } else { Who::Some(guests) }
}

/// Cancels one booking, or some of its guests. No guests: all.
pub(crate) async fn cancel(
    db: &Db,
    board: &Board,
    caller: Caller,
    key: RequestKey,
    id: BookingId,
    guests: BTreeSet<ItemId>,
) -> ApiResult<Booking> {
    let booking = db
        .write(move |tx| {
            let (caller, key, guests) = (caller.clone(), key.clone(), guests.clone());
            Box::pin(async move {
                let now = store::lock(tx, &[id]).await?;
                let booking = caller.sees(store::load_one(tx, id).await?)?;
                if remember(tx, &caller.scope, "CancelBooking", &key, id.uuid(), 0).await? != Remembered::New {
                    return Ok(booking);
                }
                let cause = caller.cause(&booking);
                let mut one = vec![booking];
                cancel_locked(tx, &mut one, now, cause, who(&guests)).await?;
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
    who: Who<'_>,
) -> ApiResult<()> {
    let mut refunds: Vec<Task> = Vec::new();
    let mut seats: Vec<(DepartureId, u32)> = Vec::with_capacity(bookings.len());
    let mut told: Vec<Event> = Vec::with_capacity(bookings.len());
    let mut uses = Vec::new();
    for booking in bookings.iter_mut() {
        let used = booking.use_of_promo();
        let freed = booking.cancel(now, cause, who)?;
        let whole = booking.state == State::Cancelled;
        uses.extend(used.filter(|_| whole));
        refunds.extend(freed.refund.map(|(payment, amount)| Task {
            booking: booking.id,
            payment,
            amount,
            reason: if whole { Reason::Cancelled } else { Reason::Left(booking.version) },
        }));
        seats.push((booking.departure, freed.seats));
        told.push(if whole { events::cancelled(booking, cause) } else { events::changed(booking) });
    }
    let changed: Vec<&Booking> = bookings.iter().collect();
    store::save(tx, &changed).await?;
    store::save_items(tx, &changed).await?;
    promos::give_back(tx, uses).await?;
    waiting::release(tx, seats).await?;
    refund_tasks::add(tx, &refunds).await?;
    outbox::append(tx, &told).await
}

/// How often departures that were called off are looked for.
const CALL_OFF_EVERY: Duration = Duration::from_millis(500);

/// Cancels the bookings of departures that were called off, until shutdown. It reads what is left to do and does it, so
/// it goes on wherever it was stopped.
pub(crate) async fn call_off(db: Db, board: Board, shutdown: Shutdown) {
    loop {
        match call_off_next(&db, &board).await {
            // There may be more, of this departure or of another one.
            Ok(true) if !shutdown.is_triggered() => continue,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "bookings of a departure that was called off could not be cancelled yet");
            }
        }
        if !shutdown.sleep(CALL_OFF_EVERY).await {
            return;
        }
    }
}

/// One batch; true: there may be more to do at once.
async fn call_off_next(db: &Db, board: &Board) -> ApiResult<bool> {
    // Looking is no write: it wakes nobody.
    let departure = departures::calling_off(&mut *db.pool().acquire().await?).await?;
    let Some(departure) = departure else { return Ok(false) };
    let cancelled = db.write(move |tx| Box::pin(call_off_some(tx, departure))).await?;
    board.touch([departure]);
    Ok(cancelled > 0)
}

async fn call_off_some(tx: &mut PgConnection, departure: DepartureId) -> ApiResult<usize> {
    let ids = store::lock_of_departure(tx, departure, BATCH).await?;
    if ids.is_empty() {
        departures::called_off(tx, departure).await?;
        return Ok(0);
    }
    let now = store::now(tx).await?;
    let mut bookings: Vec<Booking> = store::load(tx, &ids).await?.into_values().collect();
    cancel_locked(tx, &mut bookings, now, Cause::Departure, Who::All).await?;
    Ok(bookings.len())
}
