//! Moving a booking to another departure of its tour: the seats of both are swapped in one transaction, so that there is
//! no moment at which the booking has none or both. Where it costs more, the move is paid for first (see
//! [`moves`](crate::moves)).

use std::sync::Arc;

use sqlx::PgConnection;
use tourmesh::{booking::v1 as pb, payment::v1::payment_service_client::PaymentServiceClient};
use tourmesh_kit::{
    ApiError, ApiResult, card_number, client::MeshChannel, db::Db, events::outbox, idempotency::RequestKey,
    money::Money,
};

use crate::{
    access::Caller,
    availability::Board,
    convert,
    domain::{
        BookingId, DepartureId, MoveId,
        booking::Booking,
        moves::{Move, Stage},
        offer::Offer,
        reschedule::Quote,
    },
    error::BookingError,
    events,
    moves::{self, Means, Paid},
    offers::Offers,
    steps::Step,
    store::{
        self as tables, bookings as store, departures,
        refund_tasks::{self, Reason},
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
    let mut connection = db.pool().acquire().await?;
    let mut room = departures::room(&mut connection, &[booking.departure, to]).await?;
    if !booking.must_pay(&quote) {
        room.give_back(booking.departure, booking.seats);
    }
    room.may_give(to, quote.seats, now)?;
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
    /// How to pay where it costs more.
    pub(crate) means: Option<Means>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) booking: Booking,
    /// The move that has to be paid for; None: there was nothing to pay.
    pub(crate) paid: Option<Move>,
    pub(crate) next_action_url: String,
}

/// How a request wants to pay.
pub(crate) fn means(request: pb::RescheduleBookingRequest) -> ApiResult<Option<Means>> {
    card_number::refuse("payment_method", &request.payment_method)?;
    card_number::refuse("return_url", &request.return_url)?;
    let pb::RescheduleBookingRequest { payment_method, return_url, .. } = request;
    Ok((!payment_method.is_empty()).then_some(Means { payment_method, return_url }))
}

/// What the transaction decides.
enum Next {
    /// The booking was moved from there.
    Moved(Booking, DepartureId),
    /// There is nothing more to do than to tell how it stands.
    Told(Booking, Option<Move>),
    /// Payment is to be asked.
    Pay(Booking, Move),
}

/// Moves a booking.
pub(crate) async fn reschedule(
    db: &Db,
    offers: &Offers,
    board: &Board,
    payments: &PaymentServiceClient<MeshChannel>,
    wish: Wish,
) -> ApiResult<Answer> {
    // A repeat is answered also when the departure is no longer offered, so this is no error yet.
    let offer = match offers.get(wish.to).await {
        Ok(offer) => offer.ok_or_else(|| BookingError::DepartureNotFound.into()),
        Err(error) => Err(error),
    };
    let offer: Arc<ApiResult<Arc<Offer>>> = Arc::new(offer);
    let means = wish.means.clone();
    let next = db.step(Step::Reschedule, move |tx| {
        let (wish, offer) = (wish.clone(), offer.clone());
        Box::pin(async move { swap(tx, &wish, offer.as_ref().as_ref()).await })
    });
    let next_action_url = String::new();
    match next.await? {
        Next::Moved(booking, from) => {
            board.touch([from, booking.departure]);
            Ok(Answer { booking, paid: None, next_action_url })
        }
        Next::Told(booking, paid) => Ok(Answer { booking, paid, next_action_url }),
        Next::Pay(booking, paid) => {
            board.touch([paid.to]);
            // The same content came with the same means.
            let Some(means) = means else { return Err(BookingError::Dearer(paid.difference).into()) };
            let Paid { booking, paid, next_action_url } =
                moves::pay(db, board, payments, booking, &paid, means).await?;
            Ok(Answer { booking, paid: Some(paid), next_action_url })
        }
    }
}

async fn swap(tx: &mut PgConnection, wish: &Wish, offer: Result<&Arc<Offer>, &ApiError>) -> ApiResult<Next> {
    let id = wish.booking;
    let now = store::lock(tx, &[id]).await?;
    let mut booking = wish.caller.sees(store::load_one(tx, id).await?)?;
    let from = booking.departure;
    // Where there is something to pay, the move gets the id under which the request is remembered.
    let new = MoveId::new();
    let remembered = remember(tx, &wish.caller.scope, "RescheduleBooking", &wish.key, new.uuid(), 0).await?;
    if let Remembered::Repeat { subject, .. } = remembered {
        return Ok(match tables::moves::load(tx, MoveId::from_uuid(subject)).await? {
            // Payment knows what it answered before; once the time is up nothing new may begin, not even by a repeat
            // that Payment has never seen.
            Some(paid) if paid.stage == Stage::Failed || paid.stage == Stage::Open && paid.expires_at > now => {
                Next::Pay(booking, paid)
            }
            paid => Next::Told(booking, paid),
        });
    }
    moves::none_open(tx, &booking).await?;
    let offer = offer.map_err(ApiError::told_again)?;
    let quote = booking.quote_move(now, wish.caller.cause(&booking), offer)?;
    if wish.quoted.is_some_and(|quoted| quoted != quote.difference) {
        return Err(BookingError::OtherDifference(quote.difference).into());
    }
    let served = waiting::served_by(tx, &[from]).await?;
    let mut room = departures::lock(tx, &[&served[..], &[wish.to]].concat()).await?;
    let terms = Arc::new(convert::frozen(&offer.terms, &booking));
    let pays = booking.must_pay(&quote) && wish.means.is_some() && wish.caller.may_pay(&booking);
    // What is paid for first holds both meanwhile.
    if !pays {
        room.give_back(from, booking.seats);
    }
    room.may_give(wish.to, quote.seats, now)?;
    if pays {
        let paid = moves::begin(tx, &booking, new, now, wish.to, &terms, &quote).await?;
        return Ok(Next::Pay(booking, paid));
    }
    let moved = booking.reschedule(wish.to, terms, &quote)?;
    store::save(tx, &[&booking]).await?;
    store::save_move(tx, &booking).await?;
    departures::swap(tx, moved.from, (wish.to, quote.seats), room.is_shared()).await?;
    waiting::pass_on(tx, &served).await?;
    let refunds = refund_tasks::of_booking(tx, &booking, moved.refund, Reason::Moved(booking.version)).await?;
    refund_tasks::add(tx, &refunds).await?;
    outbox::append(tx, &[events::rescheduled(&booking, from, quote.difference, quote.refund)]).await?;
    Ok(Next::Moved(booking, from))
}
