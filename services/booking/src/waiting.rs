//! Waiting lists: seats that come free are offered to who waits in the transaction that frees them, so that nobody else
//! can take them in between and none is lost on the way. Whoever gives seats back does it by [`release`].
//!
//! Seats also come without being given back, when the catalog raises a capacity or opens a departure: [`run`] looks for
//! those.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sqlx::PgConnection;
use tourmesh_kit::{
    ApiError, ApiResult,
    db::Db,
    events::{Event, outbox},
    idempotency::RequestKey,
    shutdown::Shutdown,
};

use crate::{
    access::Caller,
    availability::Board,
    domain::{
        BookingId, DepartureId, ItemId, Unit, UserId, WaitingId,
        booking::{Booking, Contact},
        hold,
        offer::Offer,
        price,
        waiting::{Entry, Standing, next_in_line},
    },
    error::BookingError,
    events,
    offers::Offers,
    store::{
        bookings, departures,
        holds::{self, Granted, Outcome},
        requests::{Remembered, remember},
        waiting as store,
    },
};

/// How many entries are looked at in one transaction.
const BATCH: i64 = 1_000;
/// How often seats are looked for that nobody gave back.
const EVERY: Duration = Duration::from_millis(500);

/// Gives seats back and offers them to who waits.
pub(crate) async fn release(
    tx: &mut PgConnection,
    freed: impl IntoIterator<Item = (DepartureId, u32)>,
) -> ApiResult<()> {
    let freed: Vec<(DepartureId, u32)> = freed.into_iter().collect();
    departures::release(tx, freed.iter().copied()).await?;
    let mut ids: Vec<DepartureId> = freed.into_iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    pass_on(tx, &ids).await?;
    Ok(())
}

/// Offers whatever seats there are to who waits; says how many offers it made. The departures are locked, in order, or
/// become so here.
async fn pass_on(tx: &mut PgConnection, ids: &[DepartureId]) -> ApiResult<usize> {
    let waiting = store::lines(tx, ids, BATCH).await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let seats = departures::lock(tx, ids).await?;
    let now = bookings::now(tx).await?;
    let mut lines: BTreeMap<DepartureId, Vec<Entry>> = BTreeMap::new();
    for entry in waiting {
        lines.entry(entry.departure).or_default().push(entry);
    }
    let mut next: Vec<Entry> = Vec::new();
    for (departure, line) in lines {
        let Some(seats) = seats.get(&departure) else { continue };
        let wanted: Vec<u32> = line.iter().map(|e| e.seats).collect();
        let chosen = next_in_line(&wanted, seats, now);
        next.extend(line.into_iter().enumerate().filter(|(at, _)| chosen.contains(at)).map(|(_, entry)| entry));
    }
    if next.is_empty() {
        return Ok(0);
    }
    let terms = bookings::load_terms(tx, &next.iter().map(|e| e.terms).collect::<Vec<_>>()).await?;
    let mut offers: Vec<(Booking, Event, String)> = Vec::with_capacity(next.len());
    let mut told: Vec<Event> = Vec::with_capacity(next.len());
    for entry in &mut next {
        let terms = terms.get(&entry.terms).ok_or_else(|| ApiError::internal("terms of a waiting list are gone"))?;
        let items = entry.items.iter().map(|_| ItemId::new()).collect();
        let booking = entry.offer(BookingId::new(), items, terms.clone(), now);
        told.push(events::offered(entry, &booking));
        let (held, _) = events::held(&booking);
        // No caller can choose this request id: it has a character that theirs cannot have.
        offers.push((booking, held, format!("waiting/{}", entry.id)));
    }
    let granted: Vec<Granted<'_>> = offers
        .iter()
        .map(|(booking, event, request_id)| Granted { booking, request_id, request_hash: &[0; 32], event })
        .collect();
    let wishes: Vec<hold::Wish<'_>> = granted.iter().map(Granted::wish).collect();
    // How many holds a customer has open does not matter: they do not choose when it is their turn.
    if let Outcome::Seen(_) = holds::propose(tx, &wishes, &granted, u32::MAX, now).await? {
        return Err(ApiError::internal("seats that were locked and free could not be offered"));
    }
    store::offered(tx, &next).await?;
    outbox::append(tx, &told).await?;
    Ok(next.len())
}

/// Looks for seats that nobody gave back, until shutdown.
pub(crate) async fn run(db: Db, board: Board, shutdown: Shutdown) {
    loop {
        if let Err(error) = look(&db, &board).await {
            tracing::warn!(%error, "free seats could not be offered to who waits yet");
        }
        if !shutdown.sleep(EVERY).await {
            return;
        }
    }
}

async fn look(db: &Db, board: &Board) -> ApiResult<()> {
    // Looking is no write: it wakes nobody.
    let ready = store::ready(&mut *db.pool().acquire().await?, 100).await?;
    for departure in ready {
        let offer = db.write(move |tx| {
            Box::pin(async move {
                departures::lock(tx, &[departure]).await?;
                pass_on(tx, &[departure]).await
            })
        });
        if offer.await? > 0 {
            board.touch([departure]);
        }
    }
    Ok(())
}

/// A party that wants to wait.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) scope: String,
    pub(crate) customer: UserId,
    pub(crate) key: RequestKey,
    pub(crate) departure: DepartureId,
    pub(crate) party: Vec<(Unit, u32)>,
    pub(crate) contact: Contact,
    pub(crate) offer_seconds: i32,
}

/// Joins the line of a departure.
pub(crate) async fn join(db: &Db, offers: &Offers, wish: Wish) -> ApiResult<Entry> {
    // A repeat is answered also when the departure is no longer offered, so this is no error yet.
    let offer = match offers.get(wish.departure).await {
        Ok(offer) => offer.ok_or_else(|| BookingError::DepartureNotFound.into()),
        Err(error) => Err(error),
    };
    let offer: Arc<ApiResult<Arc<Offer>>> = Arc::new(offer);
    db.write(move |tx| {
        let (wish, offer) = (wish.clone(), offer.clone());
        Box::pin(async move { join_line(tx, wish, offer.as_ref().as_ref()).await })
    })
    .await
}

async fn join_line(tx: &mut PgConnection, wish: Wish, offer: Result<&Arc<Offer>, &ApiError>) -> ApiResult<Entry> {
    let id = WaitingId::new();
    if let Remembered::Repeat { subject, .. } =
        remember(tx, &wish.scope, "JoinWaitingList", &wish.key, id.uuid(), 0).await?
    {
        return known(store::load(tx, WaitingId::from_uuid(subject)).await?);
    }
    let offer = offer.map_err(ApiError::told_again)?;
    let priced = price::price(offer, &wish.party, None)?;
    let seats = departures::lock(tx, &[wish.departure]).await?;
    let seats = seats.get(&wish.departure).ok_or(BookingError::DepartureNotFound)?;
    let now = bookings::now(tx).await?;
    match seats.may_give(priced.seats, now) {
        Ok(()) => {
            return Err(BookingError::SeatsLeft { seats_left: seats.capacity.saturating_sub(seats.held) }.into());
        }
        // Whoever asks for more than there ever are would wait in vain.
        Err(BookingError::SoldOut { .. }) if priced.seats > seats.capacity => {
            return Err(BookingError::PartySize { seats: priced.seats, least: 1, most: seats.capacity }.into());
        }
        Err(BookingError::SoldOut { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    let entry = Entry {
        id,
        customer: wish.customer,
        supplier: offer.departure.supplier,
        tour: offer.departure.tour,
        departure: wish.departure,
        terms: offer.terms.id,
        standing: Standing::Waiting,
        items: priced.items,
        seats: priced.seats,
        total: priced.total,
        pay_on_arrival: offer.pay_on_arrival,
        contact: wish.contact,
        offer_seconds: wish.offer_seconds,
        booking: None,
        created_at: now,
        offered_at: None,
    };
    if !store::join(tx, &entry).await? {
        return Err(BookingError::AlreadyWaiting.into());
    }
    outbox::append(tx, &[events::joined(&entry)]).await?;
    Ok(entry)
}

/// Leaves the line.
pub(crate) async fn leave(db: &Db, caller: Caller, key: RequestKey, id: WaitingId) -> ApiResult<Entry> {
    db.write(move |tx| {
        let (caller, key) = (caller.clone(), key.clone());
        Box::pin(async move {
            let mut entry = caller.waits(store::load(tx, id).await?)?;
            if remember(tx, &caller.scope, "LeaveWaitingList", &key, id.uuid(), 0).await? != Remembered::New {
                return known(store::load(tx, id).await?);
            }
            if !store::leave(tx, id).await? {
                let now = known(store::load(tx, id).await?)?;
                return Err(BookingError::Waiting(now.standing).into());
            }
            entry.standing = Standing::Left;
            outbox::append(tx, &[events::left(&entry)]).await?;
            Ok(entry)
        })
    })
    .await
}

fn known(entry: Option<Entry>) -> ApiResult<Entry> {
    entry.ok_or_else(|| ApiError::internal("an entry of a waiting list is gone"))
}
