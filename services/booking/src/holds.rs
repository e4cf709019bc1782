//! Holding seats: the hot path. Wishes that arrive together are decided and written together, in order of arrival.
//!
//! A lane writes one batch after the other, usually in one round trip: it proposes to grant all of it, in one statement that
//! locks the departures, looks whether the proposal holds, and writes all of it or nothing. When it writes nothing it says
//! what it saw; [`domain::hold`](crate::domain::hold) decides anew on that, and the lane proposes again. Wishes with a promo
//! code have lanes of their own, where the same happens in a transaction that has the codes locked. Lanes keep
//! connections of their own, outside of the pool: nobody can drop a lane's work in the middle, so those need no cleaning
//! between batches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tourmesh::booking::v1 as pb;
use tourmesh_kit::{
    ApiError, ApiResult, ErrorReason,
    db::Db,
    events::Event,
    idempotency::RequestKey,
    lanes::{Combined, Lanes},
    money::Money,
};

use crate::{
    availability::Board,
    config::Config,
    domain::{
        BookingId, DepartureId, ItemId, PromoId, UserId,
        booking::{Booking, Contact, Item, State},
        hold::{Verdict, View, Wish, decide},
        offer::Offer,
        price::Priced,
        promo::{Promo, Uses},
    },
    error::BookingError,
    events,
    steps::Step,
    store::{
        bookings,
        holds::{self as store, Granted, Outcome},
        promos,
    },
};

/// How often a batch is proposed before its callers are told to come again.
const PROPOSALS: u32 = 16;

/// One priced wish in its lane.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) booking: BookingId,
    pub(crate) customer: UserId,
    pub(crate) key: RequestKey,
    pub(crate) offer: Arc<Offer>,
    pub(crate) priced: Priced,
    /// The promo code that it is made with.
    pub(crate) promo: Option<Arc<Promo>>,
    pub(crate) contact: Contact,
    /// Where the caller's trace goes on.
    pub(crate) span: tracing::Span,
}

/// What a wish becomes.
#[derive(Debug)]
pub(crate) enum Held {
    New(Box<pb::Booking>),
    /// The same request was granted before, as this booking.
    Before(BookingId),
}

/// Starts the lanes.
pub(crate) fn lanes(config: &Config, db: &Db, board: Board) -> Lanes<Writer> {
    let options = (*db.pool().connect_options()).clone();
    let writer = Writer {
        options,
        idle: Mutex::default(),
        db: db.clone(),
        board,
        max_open_holds: config.max_open_holds,
        clock: DbClock::default(),
    };
    Lanes::start(Arc::new(writer), config.hold_lanes, config.hold_queue)
}

/// Writes batches of holds.
pub(crate) struct Writer {
    options: PgConnectOptions,
    idle: Mutex<Vec<PgConnection>>,
    db: Db,
    board: Board,
    max_open_holds: u32,
    clock: DbClock,
}

impl Combined for Writer {
    type Item = Hold;
    type Output = Held;

    fn write<'a>(&'a self, items: &'a [Hold]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<Held>>>> {
        Box::pin(async move {
            let mut tries = 0;
            loop {
                tries += 1;
                match self.write_once(items).await {
                    Err(error) if tries < 4 && may_try_again(&error) => {
                        tracing::debug!(%error, tries, "a batch of holds is written again");
                    }
                    other => return other,
                }
            }
        })
    }
}

/// Nothing was written, and the same may succeed now: two transactions met, a repeat was written elsewhere, or an idle
/// connection had died.
fn may_try_again(error: &ApiError) -> bool {
    is_undone(error) || error.reason() == ErrorReason::DependencyUnavailable
}

/// The statement was undone, and the connection is as good as before.
fn is_undone(error: &ApiError) -> bool {
    error.is_transaction_conflict() || store::met_a_repeat(error)
}

impl Writer {
    async fn write_once(&self, items: &[Hold]) -> ApiResult<Vec<ApiResult<Held>>> {
        let mut connection = self.connection().await?;
        let outcome = self.write_on(&mut connection, items).await;
        // After a failure the connection may be dead, or lead to a server that was demoted and refuses every write: only one
        // whose statement merely met another is kept.
        if outcome.as_ref().map_or_else(is_undone, |_| true) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        } else {
            // Those that wait beside it have most likely died with it.
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        outcome
    }

    async fn connection(&self) -> ApiResult<PgConnection> {
        if let Some(connection) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(connection);
        }
        let connecting = async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            let now = bookings::now(&mut connection).await?;
            self.clock.set(now);
            ApiResult::Ok(connection)
        };
        match tokio::time::timeout(Duration::from_secs(2), connecting).await {
            Ok(connection) => connection,
            Err(elapsed) => Err(ApiError::unavailable("the database", elapsed)),
        }
    }

    async fn write_on(&self, connection: &mut PgConnection, items: &[Hold]) -> ApiResult<Vec<ApiResult<Held>>> {
        let wishes: Vec<Wish<'_>> = items.iter().map(Hold::wish).collect();
        let hopeful = View::hopeful(&wishes, self.clock.now(), self.max_open_holds);
        let settled = if wishes.iter().all(|wish| wish.promo.is_none()) {
            self.settle(connection, items, &wishes, hopeful).await?
        } else {
            let mut tx = connection.begin().await?;
            match self.settle_with_promos(&mut tx, items, &wishes, hopeful).await {
                Ok(settled) => {
                    self.db.commit(Step::HoldWithPromo, tx).await?;
                    settled
                }
                Err(error) => {
                    // What is wrong is told; that it could not be rolled back is found out when the connection is used.
                    tx.rollback().await.ok();
                    return Err(error);
                }
            }
        };
        if !settled.departures.is_empty() {
            self.db.wake();
            self.board.touch(settled.departures);
        }
        Ok(answers(settled.verdicts, settled.told))
    }

    /// Proposes until something is written, or there is nothing to write.
    async fn settle<'a>(
        &self,
        connection: &mut PgConnection,
        items: &[Hold],
        wishes: &[Wish<'a>],
        mut view: View<'a>,
    ) -> ApiResult<Settled> {
        let promos: HashMap<PromoId, Uses> = view.promos.clone();
        // What the offers say is a guess: the statement refuses a wrong one.
        let mut shared = items.iter().any(|hold| hold.offer.is_shared());
        // Only what others write in the meantime makes one more proposal necessary, so each round is somebody's success.
        for _ in 0..PROPOSALS {
            let now = view.now;
            let verdicts = decide(wishes, &mut view);
            let granted: Vec<(&Hold, Booking)> = items
                .iter()
                .zip(&verdicts)
                .filter(|(_, verdict)| **verdict == Verdict::Granted)
                .map(|(hold, _)| (hold, hold.granted(now)))
                .collect();
            let mut told: Vec<(Event, pb::Booking)> = Vec::with_capacity(granted.len());
            for (hold, booking) in &granted {
                told.push(hold.span.in_scope(|| events::held(booking)));
            }
            if !granted.is_empty() {
                let rows: Vec<Granted<'_>> = granted
                    .iter()
                    .zip(&told)
                    .map(|((hold, booking), (event, _))| Granted {
                        booking,
                        request_id: &hold.key.id,
                        request_hash: &hold.key.hash,
                        event,
                        max_of_option: hold.offer.max_open_holds,
                    })
                    .collect();
                let proposal = store::propose(connection, wishes, &rows, self.max_open_holds, now, shared);
                match self.db.single(Step::Hold, proposal).await? {
                    Outcome::Written(now) => self.clock.set(now),
                    Outcome::Seen(seen) => {
                        self.clock.set(seen.now);
                        shared |= seen.shared;
                        view = View { promos: promos.clone(), ..*seen };
                        continue;
                    }
                }
            }
            let departures = granted.iter().map(|(_, booking)| booking.departure).collect();
            return Ok(Settled { verdicts, told, departures });
        }
        Err(ApiError::overloaded(Duration::from_millis(50)))
    }

    /// The same with promo codes, in a transaction: their rows are locked first, so that their uses are known and nobody
    /// else takes one. Repeats are looked for before, because a code that is used up may be so by them.
    async fn settle_with_promos<'a>(
        &self,
        tx: &mut PgConnection,
        items: &[Hold],
        wishes: &[Wish<'a>],
        hopeful: View<'a>,
    ) -> ApiResult<Settled> {
        let wanted: Vec<_> = items.iter().filter_map(Hold::use_of_promo).collect();
        let promos = promos::lock_uses(tx, &wanted).await?;
        let earlier = store::earlier(tx, wishes).await?;
        let settled = self.settle(tx, items, wishes, View { promos, earlier, ..hopeful }).await?;
        let granted = items.iter().zip(&settled.verdicts).filter(|(_, verdict)| **verdict == Verdict::Granted);
        let uses: Vec<_> = granted.filter_map(|(hold, _)| hold.use_of_promo()).collect();
        if !uses.is_empty() && !promos::take(tx, &uses).await? {
            return Err(ApiError::internal("uses of a promo code that were locked and free could not be taken"));
        }
        Ok(settled)
    }
}

/// A batch that was written, or of which there is nothing to write.
struct Settled {
    verdicts: Vec<Verdict>,
    /// The bookings of the granted ones, in order, each with its event.
    told: Vec<(Event, pb::Booking)>,
    /// Their departures.
    departures: Vec<DepartureId>,
}

/// What each wish is told, in order; `told` has the bookings of the granted ones.
fn answers(verdicts: Vec<Verdict>, told: Vec<(Event, pb::Booking)>) -> Vec<ApiResult<Held>> {
    let mut told = told.into_iter();
    let answers = verdicts.into_iter().map(|verdict| match verdict {
        Verdict::Granted => match told.next() {
            Some((_, booking)) => Ok(Held::New(Box::new(booking))),
            None => Err(ApiError::internal("a granted hold has no booking")),
        },
        Verdict::Repeat(booking) => Ok(Held::Before(booking)),
        Verdict::Refused(error) => Err(error.into()),
    });
    answers.collect()
}

/// What the database's clock shows, without asking it each time: as it was last told, and the time that passed since. The
/// statement that writes refuses a proposal that was made by a clock that is off.
#[derive(Default)]
struct DbClock(Mutex<Option<(DateTime<Utc>, Instant)>>);

impl DbClock {
    fn set(&self, now: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Instant::now()));
    }

    fn now(&self) -> DateTime<Utc> {
        // Every connection sets it, and there is one before anything is proposed.
        let told = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = told.map_or_else(Utc::now, |(now, at)| now + at.elapsed());
        // PostgreSQL keeps microseconds; what a caller is told must be what a repeat reads.
        now.trunc_subsecs(6)
    }
}

impl Hold {
    fn wish(&self) -> Wish<'_> {
        Wish {
            customer: self.customer,
            request_id: &self.key.id,
            hash: &self.key.hash,
            booking: self.booking,
            departure: self.offer.departure.id,
            seats: self.priced.seats,
            promo: self.promo.as_ref().map(|promo| promo.id),
            option: self.offer.departure.option,
            max_of_option: self.offer.max_open_holds,
        }
    }

    /// What it uses when it is granted.
    fn use_of_promo(&self) -> Option<(PromoId, UserId)> {
        self.promo.as_ref().map(|promo| (promo.id, self.customer))
    }

    fn granted(&self, now: DateTime<Utc>) -> Booking {
        let offer = &self.offer;
        let items = self.priced.items.iter().map(|item| Item::sold(ItemId::new(), item));
        Booking {
            id: self.booking,
            customer: self.customer,
            departure: offer.departure.id,
            terms: offer.terms.clone(),
            state: State::OnHold,
            contact: self.contact.clone(),
            items: items.collect(),
            seats: self.priced.seats,
            total: self.priced.total,
            pay_on_arrival: offer.pay_on_arrival,
            promo: self.promo.clone(),
            payment: None,
            payment_attempts: 0,
            paid: Money::zero(self.priced.total.currency()),
            refund: None,
            returned: Money::zero(self.priced.total.currency()),
            refund_limit: 100,
            changes: 0,
            moves: 0,
            created_at: now,
            hold_expires_at: Some(now + TimeDelta::seconds(i64::from(offer.terms.hold_seconds))),
            confirmed_at: None,
            cancelled_at: None,
            version: 1,
        }
    }
}

/// A request that cannot be priced any more may still have been granted before: then its booking is the answer.
pub(crate) async fn made_before(db: &Db, customer: UserId, key: &RequestKey) -> ApiResult<Option<BookingId>> {
    let mut connection = db.pool().acquire().await?;
    match bookings::of_request(&mut connection, customer, &key.id).await? {
        None => Ok(None),
        Some((booking, hash)) if hash == key.hash => Ok(Some(booking)),
        Some(_) => Err(BookingError::RequestIdReused.into()),
    }
}
