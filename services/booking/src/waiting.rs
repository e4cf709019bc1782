//! Waiting lists: seats that come free are offered to who waits in the transaction that frees them, so that nobody else
//! can take them in between and none is lost on the way. Whoever gives seats back does it by [`release`].
//!
//! Seats also come without being given back, when the catalog raises a capacity or opens or schedules a departure: [`run`]
//! looks for those. It also finds out what an offer of each departure would be for those who wait for a tour, because no
//! one can be asked where seats come free.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
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
        BookingId, DepartureId, ItemId, PromoId, SupplierId, TourId, Unit, UserId, WaitingId,
        booking::{Booking, Contact},
        hold,
        offer::{Offer, Terms},
        price,
        promo::{Promo, PromoCode, Uses},
        waiting::{Chance, Dates, Entry, Possible, Refusal, Standing, Wanted, hand_out},
    },
    error::BookingError,
    events,
    offers::Offers,
    promos::Codes,
    steps::Step,
    store::{
        bookings, departures,
        holds::{self, Granted, Outcome},
        promos,
        requests::{Remembered, remember},
        terms, waiting as store,
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
    let mut ids: Vec<DepartureId> = freed.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(());
    }
    let served = served_by(tx, &ids).await?;
    if served.len() > ids.len() {
        departures::lock(tx, &served).await?;
    }
    departures::release(tx, freed).await?;
    pass_on(tx, &served).await?;
    Ok(())
}

/// The departures that may be offered when seats of these come free: they, and those that share their pools. Their promo
/// codes are locked here, which comes before the departures, as with holds.
pub(crate) async fn served_by(tx: &mut PgConnection, ids: &[DepartureId]) -> ApiResult<Vec<DepartureId>> {
    let (mut served, waited_with) = store::served_by(tx, ids).await?;
    promos::lock_all(tx, &waited_with).await?;
    served.extend(ids);
    served.sort_unstable();
    Ok(served)
}

/// What can be had of the promo codes that offers are to be made with.
struct Usable {
    codes: HashMap<PromoId, PromoCode>,
    uses: HashMap<PromoId, Uses>,
    taken: Vec<(PromoId, UserId)>,
}

impl Usable {
    async fn lock<'a>(tx: &mut PgConnection, entries: impl Iterator<Item = &'a Entry>) -> ApiResult<Self> {
        let wanted: Vec<_> = entries.filter_map(|entry| Some((entry.promo.as_ref()?.id, entry.customer))).collect();
        let codes = promos::lock_all(tx, &wanted.iter().map(|(id, _)| *id).collect::<Vec<_>>()).await?;
        let uses = if wanted.is_empty() { HashMap::new() } else { promos::uses(tx, &wanted).await? };
        Ok(Self { codes, uses, taken: Vec::new() })
    }

    /// The code of an entry, if it can be used now for a departure of these terms; else the entry says why not.
    fn of(&self, entry: &mut Entry, terms: &Terms, now: DateTime<Utc>) -> Option<Arc<Promo>> {
        let customer = entry.customer;
        let wanted = entry.promo.as_mut()?;
        let code = self.codes.get(&wanted.id).ok_or(BookingError::PromoUnknown);
        let found = code.and_then(|code| {
            code.is_for(terms)?;
            self.uses.get(&wanted.id).ok_or(BookingError::PromoUnknown)?.may_take(customer, now)?;
            Ok(Arc::new(code.promo.clone()))
        });
        found.map_err(|error| wanted.refused = Some(Refusal::of(&error))).ok()
    }

    fn take(&mut self, (promo, customer): (PromoId, UserId)) {
        if let Some(uses) = self.uses.get_mut(&promo) {
            uses.take(customer);
        }
        self.taken.push((promo, customer));
    }
}

/// Offers whatever seats there are to who waits; says how many offers it made. The departures are locked, in order, or
/// become so here.
pub(crate) async fn pass_on(tx: &mut PgConnection, ids: &[DepartureId]) -> ApiResult<usize> {
    let waiting = store::lines(tx, ids, BATCH).await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let room = departures::lock(tx, ids).await?;
    let now = bookings::now(tx).await?;
    let line: Vec<(Possible, Entry)> = waiting
        .into_iter()
        .filter_map(|entry| {
            let chance = entry.chance.as_ref()?;
            Some((Possible { entry: entry.id, departure: chance.departure, seats: chance.seats }, entry))
        })
        .collect();
    let possible: Vec<Possible> = line.iter().map(|(possible, _)| *possible).collect();
    let chosen = hand_out(&possible, &room, now);
    let mut next: Vec<(Chance, Entry)> = line
        .into_iter()
        .enumerate()
        .filter(|(at, _)| chosen.binary_search(at).is_ok())
        .filter_map(|(_, (_, entry))| Some((entry.chance.clone()?, entry)))
        .collect();
    if next.is_empty() {
        return Ok(0);
    }
    let terms = terms::load(tx, &next.iter().map(|(chance, _)| chance.terms).collect::<Vec<_>>()).await?;
    let mut offers: Vec<(Booking, Event, String)> = Vec::with_capacity(next.len());
    let mut told: Vec<Event> = Vec::with_capacity(next.len());
    let mut usable = Usable::lock(tx, next.iter().map(|(_, entry)| entry)).await?;
    for (chance, entry) in &mut next {
        let terms = terms.get(&chance.terms).ok_or_else(|| ApiError::internal("terms of a waiting list are gone"))?;
        let items = chance.items.iter().map(|_| ItemId::new()).collect();
        let promo = usable.of(entry, terms, now);
        let Some(booking) = entry.offer(BookingId::new(), items, terms.clone(), promo, now) else { continue };
        booking.use_of_promo().into_iter().for_each(|used| usable.take(used));
        told.push(events::offered(entry, &booking));
        let (held, _) = events::held(&booking);
        // No caller can choose this request id: it has a character that theirs cannot have.
        offers.push((booking, held, format!("waiting/{}", entry.id)));
    }
    let granted: Vec<Granted<'_>> = offers
        .iter()
        .map(|(booking, event, request_id)| Granted {
            booking,
            request_id,
            request_hash: &[0; 32],
            event,
            max_of_option: 0,
        })
        .collect();
    let wishes: Vec<hold::Wish<'_>> = granted.iter().map(Granted::wish).collect();
    // How many holds a customer has open does not matter: they do not choose when it is their turn.
    if let Outcome::Seen(_) = holds::propose(tx, &wishes, &granted, u32::MAX, now, room.is_shared()).await? {
        return Err(ApiError::internal("seats that were locked and free could not be offered"));
    }
    if !usable.taken.is_empty() && !promos::take(tx, &usable.taken).await? {
        return Err(ApiError::internal("uses of a promo code that were locked and free could not be taken"));
    }
    let next: Vec<Entry> = next.into_iter().map(|(_, entry)| entry).collect();
    store::offered(tx, &next).await?;
    outbox::append(tx, &told).await?;
    Ok(next.len())
}

/// Looks for seats that nobody gave back, until shutdown.
pub(crate) async fn run(db: Db, offers: Offers, board: Board, shutdown: Shutdown) {
    loop {
        if let Err(error) = find_chances(&db, &offers).await {
            tracing::warn!(%error, "departures could not be priced yet for those who wait for their tour");
        }
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
        let offer = db.step(Step::PassOn, move |tx| {
            Box::pin(async move {
                let served = served_by(tx, &[departure]).await?;
                departures::lock(tx, &served).await?;
                pass_on(tx, &served).await
            })
        });
        if offer.await? > 0 {
            board.touch([departure]);
        }
    }
    Ok(())
}

/// How many departures one look prices for those who wait for their tours.
const CHANCES: i64 = 200;
/// How many departures are priced when somebody joins the line of a tour; the others follow by [`find_chances`].
const AT_ONCE: i64 = 50;

/// Prices departures for those who wait for their tour.
async fn find_chances(db: &Db, offers: &Offers) -> ApiResult<()> {
    // Looking is no write: it wakes nobody.
    let unknown = store::unknown_chances(&mut *db.pool().acquire().await?, CHANCES).await?;
    let mut trouble = Ok(());
    for (id, departure) in unknown {
        let offer = match offers.get(departure).await {
            Ok(offer) => offer,
            Err(error) => {
                // The others need not wait for this one.
                trouble = Err(error);
                continue;
            }
        };
        let entry = known(store::load(&mut *db.pool().acquire().await?, id).await?)?;
        let party = party_of(&entry.units);
        let dates = entry.tour_wide.unwrap_or_default();
        let chance = match offer.map(|offer| chance(&offer, &party, dates)) {
            Some(Ok(chance)) => Some(chance),
            // What is not sold at the moment may be sold again.
            Some(Err(BookingError::TourNotPublished | BookingError::DepartureClosed)) => continue,
            Some(Err(_)) | None => None,
        };
        db.step(Step::KeepChance, move |tx| {
            let chance = chance.clone();
            Box::pin(async move { store::keep_chance(tx, id, departure, chance.as_ref()).await })
        })
        .await?;
    }
    trouble
}

/// What an offer of a departure would be.
fn chance(offer: &Offer, party: &[(Unit, u32)], dates: Dates) -> Result<Chance, BookingError> {
    if !dates.has(&offer.terms) {
        return Err(BookingError::DepartureNotFound);
    }
    let priced = price::price(offer, party, None)?;
    Ok(Chance {
        departure: offer.departure.id,
        terms: offer.terms.id,
        items: priced.items,
        seats: priced.seats,
        total: priced.total,
        pay_on_arrival: offer.pay_on_arrival,
    })
}

/// The guests one by one as quantities, in their order.
fn party_of(units: &[Unit]) -> Vec<(Unit, u32)> {
    let mut party: Vec<(Unit, u32)> = Vec::new();
    for &unit in units {
        match party.last_mut() {
            Some((last, quantity)) if *last == unit => *quantity += 1,
            _ => party.push((unit, 1)),
        }
    }
    party
}

/// What a party waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    Departure(DepartureId),
    /// Whatever departure of the tour has seats first.
    Tour(TourId, Dates),
}

/// A party that wants to wait.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) scope: String,
    pub(crate) customer: UserId,
    pub(crate) key: RequestKey,
    pub(crate) target: Target,
    pub(crate) party: Vec<(Unit, u32)>,
    pub(crate) contact: Contact,
    pub(crate) offer_seconds: i32,
    /// As it was typed; empty: none.
    pub(crate) promo_code: String,
}

/// Joins the line of a departure, or of all departures of a tour.
pub(crate) async fn join(db: &Db, offers: &Offers, codes: &Codes, wish: Wish) -> ApiResult<Entry> {
    // A repeat is answered also when nothing is offered any more, so this is no error yet.
    let offered = match wish.target {
        Target::Departure(departure) => match offers.get(departure).await {
            Ok(Some(offer)) => match chance(&offer, &wish.party, Dates::default()) {
                Ok(chance) => codes.of_text(db, &wish.promo_code, &offer).await.map(|promo| Offered {
                    supplier: offer.departure.supplier,
                    tour: offer.departure.tour,
                    chances: vec![chance],
                    promo,
                }),
                Err(error) => Err(error.into()),
            },
            Ok(None) => Err(BookingError::DepartureNotFound.into()),
            Err(error) => Err(error),
        },
        Target::Tour(tour, dates) => match chances_of_tour(db, offers, tour, dates, &wish.party).await {
            Ok(offered) => with_promo(db, codes, &wish.promo_code, offered).await,
            Err(error) => Err(error),
        },
    };
    let offered = Arc::new(offered);
    db.step(Step::Join, move |tx| {
        let (wish, offered) = (wish.clone(), offered.clone());
        Box::pin(async move { join_line(tx, wish, offered.as_ref().as_ref()).await })
    })
    .await
}

/// What the departures that a party wants to wait for would be offered for.
struct Offered {
    supplier: SupplierId,
    tour: TourId,
    chances: Vec<Chance>,
    promo: Option<PromoCode>,
}

/// Of the dates of a tour some may be without the promo code: that is seen when one is offered.
async fn with_promo(db: &Db, codes: &Codes, text: &str, offered: Offered) -> ApiResult<Offered> {
    let promo = codes.find(db, text, offered.supplier).await?;
    if let Some(promo) = &promo {
        promo.is_for_tour(offered.supplier, offered.tour)?;
    }
    Ok(Offered { promo, ..offered })
}

async fn chances_of_tour(
    db: &Db,
    offers: &Offers,
    tour: TourId,
    dates: Dates,
    party: &[(Unit, u32)],
) -> ApiResult<Offered> {
    let mut connection = db.pool().acquire().await?;
    let supplier = store::supplier_of(&mut connection, tour).await?.ok_or(BookingError::TourNotFound)?;
    let departures = store::departures_of(&mut connection, tour, dates, AT_ONCE).await?;
    drop(connection);
    let (mut chances, mut refused) = (Vec::new(), None);
    for departure in departures {
        let Some(offer) = offers.get(departure).await? else { continue };
        match chance(&offer, party, dates) {
            Ok(chance) => chances.push(chance),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        // Of all that there are none is for this party, and it is not the dates.
        Some(error) if chances.is_empty() && error != BookingError::DepartureNotFound => Err(error.into()),
        _ => Ok(Offered { supplier, tour, chances, promo: None }),
    }
}

async fn join_line(tx: &mut PgConnection, wish: Wish, offered: Result<&Offered, &ApiError>) -> ApiResult<Entry> {
    let id = WaitingId::new();
    if let Remembered::Repeat { subject, .. } =
        remember(tx, &wish.scope, "JoinWaitingList", &wish.key, id.uuid(), 0).await?
    {
        return known(store::load(tx, WaitingId::from_uuid(subject)).await?);
    }
    let Offered { supplier, tour, chances, promo } = offered.map_err(ApiError::told_again)?;
    let ids: Vec<DepartureId> = chances.iter().map(|c| c.departure).collect();
    let room = departures::lock(tx, &ids).await?;
    let now = bookings::now(tx).await?;
    if promo.as_ref().is_some_and(|code| code.limits.ended_by(now)) {
        return Err(BookingError::PromoEnded.into());
    }
    for chance in chances.iter().filter(|chance| room.departures.contains_key(&chance.departure)) {
        let most = room.most(chance.departure);
        match (room.may_give(chance.departure, chance.seats, now), wish.target) {
            (Ok(()), _) => {
                return Err(BookingError::SeatsLeft { seats_left: room.seats_left(chance.departure) }.into());
            }
            // Others of the tour may come, or become larger.
            (Err(_), Target::Tour(..)) => {}
            // Whoever asks for more than there ever are would wait in vain.
            (Err(BookingError::SoldOut { .. }), Target::Departure(_)) if chance.seats > most => {
                return Err(BookingError::PartySize { seats: chance.seats, least: 1, most }.into());
            }
            (Err(BookingError::SoldOut { .. }), Target::Departure(_)) => {}
            (Err(other), Target::Departure(_)) => return Err(other.into()),
        }
    }
    let (tour_wide, own) = match wish.target {
        Target::Tour(_, dates) => (Some(dates), None),
        Target::Departure(id) if !room.departures.contains_key(&id) => {
            return Err(BookingError::DepartureNotFound.into());
        }
        Target::Departure(_) => (None, chances.first().cloned()),
    };
    let entry = Entry {
        id,
        customer: wish.customer,
        supplier: *supplier,
        tour: *tour,
        tour_wide,
        standing: Standing::Waiting,
        units: wish.party.iter().flat_map(|(unit, n)| (0..*n).map(|_| *unit)).collect(),
        chance: own,
        contact: wish.contact,
        offer_seconds: wish.offer_seconds,
        promo: promo.as_ref().map(|code| Wanted { id: code.promo.id, code: code.promo.code.clone(), refused: None }),
        booking: None,
        created_at: now,
        offered_at: None,
    };
    if !store::join(tx, &entry).await? {
        return Err(BookingError::AlreadyWaiting.into());
    }
    for chance in chances.iter().filter(|_| tour_wide.is_some()) {
        store::keep_chance(tx, id, chance.departure, Some(chance)).await?;
    }
    outbox::append(tx, &[events::joined(&entry)]).await?;
    Ok(entry)
}

/// Leaves the line.
pub(crate) async fn leave(db: &Db, caller: Caller, key: RequestKey, id: WaitingId) -> ApiResult<Entry> {
    db.step(Step::Leave, move |tx| {
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
