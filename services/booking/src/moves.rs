//! Moves that cost more: seats are held at the new departure, Payment is asked for the difference, and once it is captured
//! the seats are swapped.
//!
//! As with holds, no transaction is open across the remote call: [`begin`] writes the move, [`pay`] asks Payment under a
//! request id made of the move's id, so that a repeat after a crash is the same request, and makes the move when the
//! payment is captured by then. The event of the capture says the same, and [`Settling`] makes the move that is not made
//! yet. Until then the booking keeps its seats and the move holds its own; whatever ends a move gives the seats back, and
//! money that is captured for it afterwards goes back, too, when its event is heard.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tourmesh::payment::v1::{CreatePaymentRequest, PaymentState, payment_service_client::PaymentServiceClient};
use tourmesh_kit::{
    ApiError, ApiResult, ErrorReason,
    client::MeshChannel,
    db::Db,
    events::{Event, outbox},
    money::Money,
    shutdown::Shutdown,
};
use uuid::Uuid;

use crate::{
    availability::Board,
    checkout::{declined, payment_error},
    convert,
    domain::{
        BookingId, DepartureId, MoveId, PaymentId,
        booking::{Booking, OnCapture},
        moves::{Move, Stage},
        offer::Terms,
        reschedule::Quote,
    },
    error::BookingError,
    events,
    steps::Step,
    store::{bookings, departures, moves as store, terms as frozen},
    waiting,
};

/// How many moves one transaction ends.
const BATCH: i64 = 200;

/// How the traveller pays.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    pub(crate) payment_method: String,
    pub(crate) return_url: String,
}

/// Holds the seats of a move. The booking and both departures are locked, and the new one has the seats.
pub(crate) async fn begin(
    tx: &mut PgConnection,
    booking: &Booking,
    id: MoveId,
    now: DateTime<Utc>,
    to: DepartureId,
    terms: &Terms,
    quote: &Quote,
) -> ApiResult<Move> {
    let new = booking.begin_move(id, now, to, terms, quote);
    frozen::keep(tx, terms).await?;
    departures::take(tx, to, new.seats).await?;
    store::begin(tx, &new).await?;
    outbox::append(tx, &[events::move_begun(&new)]).await?;
    Ok(new)
}

/// Refuses what would go another way than an open move of the same booking.
pub(crate) async fn none_open(tx: &mut PgConnection, booking: &Booking) -> ApiResult<()> {
    match store::lock_open(tx, &[booking.id]).await?.is_empty() {
        true => Ok(()),
        false => Err(BookingError::MoveOpen(booking.state).into()),
    }
}

/// A booking and its move, as they stand after Payment has answered.
#[derive(Debug)]
pub(crate) struct Paid {
    pub(crate) booking: Booking,
    pub(crate) paid: Move,
    /// Where the customer has to go; empty: nowhere.
    pub(crate) next_action_url: String,
}

/// Asks Payment for the difference, and makes the move when it is captured.
pub(crate) async fn pay(
    db: &Db,
    board: &Board,
    payments: &PaymentServiceClient<MeshChannel>,
    booking: Booking,
    paid: &Move,
    means: Means,
) -> ApiResult<Paid> {
    let request = CreatePaymentRequest {
        request_id: paid.id.to_string(),
        booking_id: booking.id.to_string(),
        customer_id: booking.customer.to_string(),
        supplier_id: booking.terms.supplier.to_string(),
        amount: Some(paid.difference.to_wire()),
        tax: Some(paid.tax(&booking)?.to_wire()),
        payment_method: means.payment_method,
        return_url: means.return_url,
        purpose: paid.id.to_string(),
        ..CreatePaymentRequest::default()
    };
    let answer = payments.clone().create_payment(request).await.map_err(|status| payment_error(&status));
    let payment = match answer {
        Ok(answer) => answer.into_inner().payment.ok_or_else(|| ApiError::internal("CreatePayment gave no payment"))?,
        Err(error) => {
            if is_final(error.reason()) {
                give_up(db, board, paid).await?;
            }
            return Err(error);
        }
    };
    let opened: PaymentId = convert::foreign(&payment.id)?;
    match payment.state() {
        PaymentState::Failed | PaymentState::Cancelled => {
            give_up(db, board, paid).await?;
            Err(declined(&payment.decline_code))
        }
        PaymentState::Captured => {
            let captured =
                payment.captured.as_ref().ok_or_else(|| ApiError::internal("a captured payment has no amount"))?;
            let amount = Money::of_wire(captured).map_err(ApiError::internal)?;
            match make(db, board, paid, opened, amount).await {
                Ok((booking, paid)) => Ok(Paid { booking, paid, next_action_url: String::new() }),
                // The money is there, so this is no failure of the call: the event makes the move.
                Err(error) => {
                    tracing::warn!(booking = %booking.id, payment = %opened, %error, "a captured payment waits for its event to make its move");
                    Ok(Paid { booking, paid: paid.clone(), next_action_url: String::new() })
                }
            }
        }
        PaymentState::RequiresAction | PaymentState::Unspecified | PaymentState::Pending | PaymentState::Authorized => {
            let paid = note(db, paid.id, opened).await?;
            Ok(Paid { booking, paid, next_action_url: payment.next_action_url })
        }
    }
}

/// Nothing was taken and nothing will be: asking again would be answered the same.
fn is_final(reason: ErrorReason) -> bool {
    matches!(
        reason,
        ErrorReason::PaymentDeclined
            | ErrorReason::FieldInvalid
            | ErrorReason::CardNumberRefused
            | ErrorReason::ProviderUnknown
            | ErrorReason::CurrencyMismatch
    )
}

async fn note(db: &Db, id: MoveId, payment: PaymentId) -> ApiResult<Move> {
    db.step(Step::NoteMove, move |tx| {
        Box::pin(async move {
            let mut noted = known(store::lock(tx, &[id]).await?.remove(&id))?;
            if noted.note_payment(payment) {
                store::save(tx, &[&noted]).await?;
            }
            Ok(noted)
        })
    })
    .await
}

/// Makes a move by what was captured for it, as the event of the capture would; the booking and the move as they are then.
async fn make(db: &Db, board: &Board, paid: &Move, payment: PaymentId, amount: Money) -> ApiResult<(Booking, Move)> {
    let (id, of) = (paid.id, paid.booking);
    let made = db.step(Step::MakeMove, move |tx| {
        Box::pin(async move {
            bookings::lock(tx, &[of]).await?;
            let mut all = bookings::load(tx, &[of]).await?;
            let mut moves = Settling::read(tx, &[id]).await?;
            let booking = all.get_mut(&of).ok_or_else(|| ApiError::internal("the booking of a move is gone"))?;
            let from = booking.departure;
            // What finds no open move goes back when the event of the capture is heard.
            let (_, told) = moves.captured(id, booking, payment, amount)?;
            let booking = booking.clone();
            let paid = known(moves.moves.get(&id).cloned())?;
            if let Some(event) = told {
                bookings::save(tx, &[&booking]).await?;
                moves.write(tx, &all).await?;
                outbox::append(tx, &[event]).await?;
            }
            Ok((booking, paid, from))
        })
    });
    let (booking, paid, from) = made.await?;
    board.touch([from, paid.to]);
    Ok((booking, paid))
}

async fn give_up(db: &Db, board: &Board, failed: &Move) -> ApiResult<()> {
    let (id, booking) = (failed.id, failed.booking);
    let freed = db.step(Step::FailMove, move |tx| {
        Box::pin(async move {
            bookings::lock(tx, &[booking]).await?;
            let mut failed = vec![known(store::lock(tx, &[id]).await?.remove(&id))?];
            let freed = end(tx, &mut failed, Stage::Failed).await?;
            waiting::release(tx, freed.iter().copied()).await?;
            Ok(freed)
        })
    });
    board.touch(freed.await?.into_iter().map(|(departure, _)| departure));
    Ok(())
}

fn known(found: Option<Move>) -> ApiResult<Move> {
    found.ok_or_else(|| ApiError::internal("a move is gone"))
}

/// Ends those that are still open and says which seats are free now: the caller gives them back, with all that it frees.
async fn end(tx: &mut PgConnection, moves: &mut [Move], stage: Stage) -> ApiResult<Vec<(DepartureId, u32)>> {
    let ended: Vec<&Move> = moves.iter_mut().filter_map(|m| m.end(stage).then_some(&*m)).collect();
    store::save(tx, &ended).await?;
    let told: Vec<Event> = ended.iter().map(|m| events::move_ended(m)).collect();
    outbox::append(tx, &told).await?;
    Ok(ended.iter().map(|m| (m.to, m.seats)).collect())
}

/// Ends the open moves of bookings that are cancelled, in whole or in part, and are locked; says which seats are free.
pub(crate) async fn end_of_bookings(tx: &mut PgConnection, ids: &[BookingId]) -> ApiResult<Vec<(DepartureId, u32)>> {
    let mut open = store::lock_open(tx, ids).await?;
    end(tx, &mut open, Stage::Cancelled).await
}

/// Ends a batch of the open moves to a departure that was called off; says how many.
pub(crate) async fn call_off(tx: &mut PgConnection, departure: DepartureId) -> ApiResult<usize> {
    let mut open = store::lock_to(tx, departure, BATCH).await?;
    let freed = end(tx, &mut open, Stage::Cancelled).await?;
    let ended = freed.len();
    waiting::release(tx, freed).await?;
    Ok(ended)
}

/// Ends moves that have run out, until shutdown, as holds are.
pub(crate) async fn run(db: Db, board: Board, every: std::time::Duration, shutdown: Shutdown) {
    loop {
        match expire_due(&db).await {
            Ok(freed) => board.touch(freed.into_iter().map(|(departure, _)| departure)),
            Err(error) => tracing::warn!(%error, "moves that have run out could not be ended yet"),
        }
        if !shutdown.sleep(every).await {
            return;
        }
    }
}

async fn expire_due(db: &Db) -> ApiResult<Vec<(DepartureId, u32)>> {
    // Looking is no write: it wakes nobody.
    if !store::any_due(&mut *db.pool().acquire().await?).await? {
        return Ok(Vec::new());
    }
    db.step(Step::ExpireMoves, |tx| {
        Box::pin(async move {
            let mut due = store::lock_due(tx, BATCH).await?;
            let freed = end(tx, &mut due, Stage::Expired).await?;
            waiting::release(tx, freed.iter().copied()).await?;
            Ok(freed)
        })
    })
    .await
}

/// What Payment told of moves, in a batch whose bookings are locked.
pub(crate) struct Settling {
    moves: HashMap<MoveId, Move>,
    terms: HashMap<Uuid, Arc<Terms>>,
    changed: BTreeSet<MoveId>,
    moved: Vec<BookingId>,
    freed: Vec<(DepartureId, u32)>,
}

impl Settling {
    pub(crate) async fn read(tx: &mut PgConnection, ids: &[MoveId]) -> ApiResult<Self> {
        let moves = if ids.is_empty() { HashMap::new() } else { store::lock(tx, ids).await? };
        let terms: Vec<Uuid> = moves.values().map(|m| m.terms).collect();
        let terms = if terms.is_empty() { HashMap::new() } else { frozen::load(tx, &terms).await? };
        Ok(Self { moves, terms, changed: BTreeSet::new(), moved: Vec::new(), freed: Vec::new() })
    }

    /// A payment was captured for a move: it makes the move, with the event that tells so, or goes back.
    pub(crate) fn captured(
        &mut self,
        id: MoveId,
        booking: &mut Booking,
        payment: PaymentId,
        amount: Money,
    ) -> ApiResult<(OnCapture, Option<Event>)> {
        let Some(paid) = self.moves.get_mut(&id) else { return Ok((OnCapture::GoesBack, None)) };
        let meaning = paid.on_capture(booking, payment, amount);
        if meaning != OnCapture::Confirms {
            return Ok((meaning, None));
        }
        let terms = self.terms.get(&paid.terms).ok_or_else(|| ApiError::internal("the terms of a move are gone"))?;
        // As it was told to Payment: by what the guests have paid so far.
        let tax = paid.tax(booking)?;
        let from = booking.complete_move(paid, payment, amount, terms.clone())?;
        self.freed.push(from);
        self.changed.insert(id);
        self.moved.push(booking.id);
        Ok((meaning, Some(events::move_paid(booking, from.0, paid, payment, tax))))
    }

    /// The payment of a move has failed.
    pub(crate) fn failed(&mut self, id: MoveId) -> Option<Event> {
        let failed = self.moves.get_mut(&id)?;
        if !failed.end(Stage::Failed) {
            return None;
        }
        self.freed.push((failed.to, failed.seats));
        self.changed.insert(id);
        Some(events::move_ended(failed))
    }

    /// The bookings that were moved.
    pub(crate) fn moved(&self) -> &[BookingId] {
        &self.moved
    }

    /// Writes what changed of moves, and of the bookings beyond what every change of a booking writes.
    pub(crate) async fn write(self, tx: &mut PgConnection, all: &HashMap<BookingId, Booking>) -> ApiResult<()> {
        for booking in self.moved.iter().filter_map(|id| all.get(id)) {
            bookings::save_move(tx, booking).await?;
        }
        let changed: Vec<&Move> = self.changed.iter().filter_map(|id| self.moves.get(id)).collect();
        store::save(tx, &changed).await?;
        waiting::release(tx, self.freed).await
    }
}
