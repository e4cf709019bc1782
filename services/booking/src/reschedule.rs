//! Moving a booking to another departure of its tour: the seats of both are swapped in one transaction, so that there is
//! no moment at which the booking has none or both.

use std::sync::Arc;

use sqlx::PgConnection;
use tourmesh_kit::{ApiError, ApiResult, db::Db, events::outbox, idempotency::RequestKey, money::Money};

use crate::{
    access::Caller,
    availability::Board,
    convert,
    domain::{BookingId, DepartureId, booking::Booking, offer::Offer, reschedule::Quote},
    error::BookingError,
    events,
    offers::Offers,
    store::{
        bookings as store, departures,
        refund_tasks::{self, Reason, Task},
        requests::{Remembered, remember},
    },
    waiting,
};

/// What a move by this caller would do now.
pub(crate) async fn preview(
    db: &Db,
    offers: &Offers,
    caller: &Caller,
    id: BookingId,
    to: DepartureId,
) -> ApiResult<Quote> {
    let mut connection = db.pool().acquire().await?;
    let booking = caller.sees(store::load_one(&mut connection, id).await?)?;
    let now = store::now(&mut connection).await?;
    drop(connection);
    let offer = offers.get(to).await?.ok_or(BookingError::DepartureNotFound)?;
    let quote = booking.quote_move(now, caller.cause(&booking), &offer)?;
    let seats = departures::seats(&db.orm(), &[to]).await?.remove(&to).ok_or(BookingError::DepartureNotFound)?;
    seats.may_give(quote.seats, now)?;
    Ok(quote)
}

/// A move that somebody asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) caller: Caller,
    pub(crate) key: RequestKey,
    pub(crate) booking: BookingId,
    pub(crate) to: DepartureId,
    /// The difference that was quoted; None: whatever it is.
    pub(crate) quoted: Option<Money>,
}

/// Moves a booking.
pub(crate) async fn reschedule(db: &Db, offers: &Offers, board: &Board, wish: Wish) -> ApiResult<Booking> {
    // A repeat is answered also when the departure is no longer offered, so this is no error yet.
    let offer = match offers.get(wish.to).await {
        Ok(offer) => offer.ok_or_else(|| BookingError::DepartureNotFound.into()),
        Err(error) => Err(error),
    };
    let offer: Arc<ApiResult<Arc<Offer>>> = Arc::new(offer);
    let (booking, from) = db
        .write(move |tx| {
            let (wish, offer) = (wish.clone(), offer.clone());
            Box::pin(async move { swap(tx, &wish, offer.as_ref().as_ref()).await })
        })
        .await?;
    board.touch([from, booking.departure]);
    Ok(booking)
}

async fn swap(
    tx: &mut PgConnection,
    wish: &Wish,
    offer: Result<&Arc<Offer>, &ApiError>,
) -> ApiResult<(Booking, DepartureId)> {
    let id = wish.booking;
    let now = store::lock(tx, &[id]).await?;
    let mut booking = wish.caller.sees(store::load_one(tx, id).await?)?;
    let from = booking.departure;
    if remember(tx, &wish.caller.scope, "RescheduleBooking", &wish.key, id.uuid(), 0).await? != Remembered::New {
        return Ok((booking, from));
    }
    let offer = offer.map_err(ApiError::told_again)?;
    let quote = booking.quote_move(now, wish.caller.cause(&booking), offer)?;
    if wish.quoted.is_some_and(|quoted| quoted != quote.difference) {
        return Err(BookingError::OtherDifference(quote.difference).into());
    }
    let seats = departures::lock(tx, &[from, wish.to]).await?;
    seats.get(&wish.to).ok_or(BookingError::DepartureNotFound)?.may_give(quote.seats, now)?;
    let terms = Arc::new(convert::frozen(&offer.terms, &booking));
    let moved = booking.reschedule(wish.to, terms, &quote)?;
    store::save(tx, &[&booking]).await?;
    store::save_move(tx, &booking).await?;
    departures::take(tx, wish.to, quote.seats).await?;
    waiting::release(tx, [moved.from]).await?;
    let refund = moved.refund.map(|(payment, amount)| Task {
        booking: id,
        payment,
        amount,
        reason: Reason::Moved(booking.version),
    });
    refund_tasks::add(tx, refund.as_slice()).await?;
    outbox::append(tx, &[events::rescheduled(&booking, from, &quote)]).await?;
    Ok((booking, from))
}
