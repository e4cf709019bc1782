//! Holding seats: the hot path. Wishes that arrive together are decided and written together, in order of arrival.
//!
//! A lane writes one batch after the other: lock the departures and read (two statements), decide in
//! [`domain::hold`](crate::domain::hold), write everything in one statement, commit. Lanes keep connections of their own,
//! outside of the pool: nobody can drop a lane's work in the middle, so those need no cleaning between batches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use futures_util::future::BoxFuture;
use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};
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
        BookingId, ItemId, PromoId, UserId,
        booking::{Booking, Contact, Item, State},
        hold::{Verdict, Wish, decide},
        offer::Offer,
        price::Priced,
        promo::Promo,
    },
    error::BookingError,
    events,
    store::{
        holds::{self as store, Granted},
        promos,
    },
};

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
    let writer =
        Writer { options, idle: Mutex::default(), db: db.clone(), board, max_open_holds: config.max_open_holds };
    Lanes::start(Arc::new(writer), config.hold_lanes, config.hold_queue)
}

/// Writes batches of holds.
pub(crate) struct Writer {
    options: PgConnectOptions,
    idle: Mutex<Vec<PgConnection>>,
    db: Db,
    board: Board,
    max_open_holds: u32,
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
                    Err(error) if error.reason() == ErrorReason::ChangedMeanwhile => {
                        return Err(ApiError::overloaded(Duration::from_millis(50)).caused_by(error));
                    }
                    other => return other,
                }
            }
        })
    }
}

/// Nothing was written, and the same may succeed now: another replica was faster, two transactions met, or an idle
/// connection had died.
fn may_try_again(error: &ApiError) -> bool {
    error.is_transaction_conflict()
        || matches!(error.reason(), ErrorReason::ChangedMeanwhile | ErrorReason::DependencyUnavailable)
}

impl Writer {
    async fn write_once(&self, items: &[Hold]) -> ApiResult<Vec<ApiResult<Held>>> {
        let mut connection = self.connection().await?;
        let outcome = self.write_on(&mut connection, items).await;
        // After a failure the connection may be inside the transaction still, or dead, or lead to a server that was demoted
        // and refuses every write: only one whose transaction merely met another is kept.
        let met_another = outcome.as_ref().is_err_and(ApiError::is_transaction_conflict);
        if outcome.is_ok() || (met_another && connection.execute("ROLLBACK").await.is_ok()) {
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
        let connecting = PgConnection::connect_with(&self.options);
        match tokio::time::timeout(Duration::from_secs(2), connecting).await {
            Ok(connection) => Ok(connection?),
            Err(elapsed) => Err(ApiError::unavailable("the database", elapsed)),
        }
    }

    async fn write_on(&self, connection: &mut PgConnection, items: &[Hold]) -> ApiResult<Vec<ApiResult<Held>>> {
        let wishes: Vec<Wish<'_>> = items.iter().map(Hold::wish).collect();
        let promos: Vec<(PromoId, UserId)> = items.iter().filter_map(Hold::use_of_promo).collect();
        let mut tx = connection.begin().await?;
        let uses = if promos.is_empty() { HashMap::new() } else { promos::lock_uses(&mut tx, &promos).await? };
        let mut view = store::read(&mut tx, &wishes, self.max_open_holds).await?;
        view.promos = uses;
        let now = view.now;
        let verdicts = decide(&wishes, &mut view);
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
        if granted.is_empty() {
            tx.rollback().await?;
        } else {
            let rows: Vec<Granted<'_>> = granted
                .iter()
                .zip(&told)
                .map(|((hold, booking), (event, _))| Granted {
                    booking,
                    request_id: &hold.key.id,
                    request_hash: &hold.key.hash,
                    event,
                })
                .collect();
            let uses: Vec<_> = granted.iter().filter_map(|(hold, _)| hold.use_of_promo()).collect();
            let used = uses.is_empty() || promos::take(&mut tx, &uses).await?;
            if !used || !store::write(&mut tx, &rows).await? {
                tx.rollback().await?;
                return Err(ApiError::new(ErrorReason::ChangedMeanwhile, "another replica was faster"));
            }
            tx.commit().await?;
            self.db.wake();
            self.board.touch(granted.iter().map(|(_, booking)| booking.departure));
        }
        let mut told = told.into_iter();
        let answers = verdicts.into_iter().map(|verdict| match verdict {
            Verdict::Granted => match told.next() {
                Some((_, booking)) => Ok(Held::New(Box::new(booking))),
                None => Err(ApiError::internal("a granted hold has no booking")),
            },
            Verdict::Repeat(booking) => Ok(Held::Before(booking)),
            Verdict::Refused(error) => Err(error.into()),
        });
        Ok(answers.collect())
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
        }
    }

    /// What it uses when it is granted.
    fn use_of_promo(&self) -> Option<(PromoId, UserId)> {
        self.promo.as_ref().map(|promo| (promo.id, self.customer))
    }

    fn granted(&self, now: chrono::DateTime<chrono::Utc>) -> Booking {
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
    match crate::store::bookings::of_request(&mut connection, customer, &key.id).await? {
        None => Ok(None),
        Some((booking, hash)) if hash == key.hash => Ok(Some(booking)),
        Some(_) => Err(BookingError::RequestIdReused.into()),
    }
}
