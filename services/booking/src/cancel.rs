//! Giving seats and money back: what the preview says is what the cancellation does.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tourmesh_kit::{
    ApiResult,
    db::Db,
    events::{Event, outbox},
    money::Money,
    shutdown::Shutdown,
};

use crate::{
    access::Caller,
    availability::Board,
    domain::{
        BookingId, DepartureId, ItemId, PromoId, UserId,
        booking::{Booking, State, Who},
        refund::Cause,
    },
    error::BookingError,
    events, moves,
    steps::Step,
    store::{
        bookings as store, departures, promos,
        refund_tasks::{self, Reason},
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

/// Nobody named: all.
pub(crate) fn who(guests: &BTreeSet<ItemId>) -> Who<'_> {
    if guests.is_empty() { Who::All } else { Who::Some(guests) }
}

/// What cancellations free, until it is written.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    bookings: Vec<BookingId>,
    seats: Vec<(DepartureId, u32)>,
    uses: Vec<(PromoId, UserId)>,
    refunds: Vec<(Booking, Money, Reason)>,
}

impl Freed {
    /// Cancels a booking that is locked, or some of its guests; the event that tells it. On an error the booking is to be
    /// thrown away.
    pub(crate) fn cancel(
        &mut self,
        booking: &mut Booking,
        now: DateTime<Utc>,
        cause: Cause,
        who: Who<'_>,
    ) -> Result<Event, BookingError> {
        let used = booking.use_of_promo();
        let freed = booking.cancel(now, cause, who)?;
        let whole = booking.state == State::Cancelled;
        self.bookings.push(booking.id);
        self.seats.push((booking.departure, freed.seats));
        self.uses.extend(used.filter(|_| whole));
        let reason = if whole { Reason::Cancelled } else { Reason::Left(booking.version) };
        if freed.refund.is_positive() {
            self.refunds.push((booking.clone(), freed.refund, reason));
        }
        Ok(if whole { events::cancelled(booking, cause) } else { events::changed(booking) })
    }

    /// Gives back seats, uses of promo codes and money; the departures whose seats came free. The bookings and what tells
    /// of them are written by the caller.
    pub(crate) async fn write(mut self, tx: &mut PgConnection) -> ApiResult<Vec<DepartureId>> {
        if self.bookings.is_empty() {
            return Ok(Vec::new());
        }
        // A move was priced for all who came: it ends with the first who does not.
        self.seats.extend(moves::end_of_bookings(tx, &self.bookings).await?);
        let departures = self.seats.iter().map(|(departure, _)| *departure).collect();
        promos::give_back(tx, self.uses).await?;
        waiting::release(tx, self.seats).await?;
        let mut tasks = Vec::with_capacity(self.refunds.len());
        for (booking, amount, reason) in &self.refunds {
            // What the payments of a booking still hold is read from its tasks.
            if booking.moves > 0 {
                refund_tasks::add(tx, &std::mem::take(&mut tasks)).await?;
            }
            tasks.extend(refund_tasks::of_booking(tx, booking, *amount, *reason).await?);
        }
        refund_tasks::add(tx, &tasks).await?;
        Ok(departures)
    }
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
    let cancelled = db.step(Step::CallOff, move |tx| Box::pin(call_off_some(tx, departure))).await?;
    board.touch([departure]);
    Ok(cancelled > 0)
}

async fn call_off_some(tx: &mut PgConnection, departure: DepartureId) -> ApiResult<usize> {
    let ended = moves::call_off(tx, departure).await?;
    if ended > 0 {
        return Ok(ended);
    }
    let ids = store::lock_of_departure(tx, departure, BATCH).await?;
    if ids.is_empty() {
        departures::called_off(tx, departure).await?;
        return Ok(0);
    }
    let now = store::now(tx).await?;
    let mut bookings: Vec<Booking> = store::load(tx, &ids).await?.into_values().collect();
    let mut freed = Freed::default();
    let told = bookings.iter_mut().map(|booking| freed.cancel(booking, now, Cause::Departure, Who::All));
    let told = told.collect::<Result<Vec<Event>, _>>()?;
    let changed: Vec<&Booking> = bookings.iter().collect();
    store::save(tx, &changed).await?;
    store::save_items(tx, &changed).await?;
    freed.write(tx).await?;
    outbox::append(tx, &told).await?;
    Ok(bookings.len())
}
