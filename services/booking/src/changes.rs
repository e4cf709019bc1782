//! What callers change of bookings that are there, written for many at once: their holds' time, their payments, names,
//! guests who come and guests who do not.
//!
//! A batch is one transaction: it locks its bookings in id order, finds out which requests were carried out before,
//! changes the bookings one wish after the other in order of arrival, and writes what came of it. A wish that is refused
//! changes nothing and fails alone; a repeat is answered with the booking as it is. Each kind has a lane of its own, so
//! that a batch is one of the service's listed writes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use tourmesh_kit::{
    ApiError, ApiResult,
    db::Db,
    events::{Event, outbox},
    idempotency::RequestKey,
    lanes::{Combined, Lanes},
    money::Money,
};

use crate::{
    access::Caller,
    availability::Board,
    cancel::{Freed, who},
    checkout,
    domain::{
        BookingId, DepartureId, ItemId, PaymentId,
        booking::{Booking, Contact},
    },
    error::BookingError,
    events,
    notes::{Answered, Notes},
    steps::Step,
    store::{
        bookings as store,
        requests::{self, Request},
    },
};

/// How often a batch is tried that met another replica's work on the same rows.
const TRIES: u32 = 3;

/// What is to become of a booking.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    /// The hold's time starts anew, up to this long after the booking was made.
    Extend(TimeDelta),
    /// A payment begins; or the booking is confirmed, if it needs none. Whether the caller named means to pay with.
    Begin { has_method: bool },
    /// Other names, another contact; guests who are not named keep theirs.
    Update { contact: Option<Contact>, names: Vec<(ItemId, String)> },
    /// The guest with this voucher is in.
    Redeem(String),
    /// These guests leave. Nobody named: all.
    Cancel(BTreeSet<ItemId>),
}

impl Wish {
    /// The method that asks for it, which its request is remembered by.
    fn method(&self) -> &'static str {
        match self {
            Self::Extend(_) => "ExtendHold",
            Self::Begin { .. } => "ConfirmBooking",
            Self::Update { .. } => "UpdateBooking",
            Self::Redeem(_) => "RedeemVoucher",
            Self::Cancel(_) => "CancelBooking",
        }
    }
}

/// A wish about one booking, by its caller.
#[derive(Debug)]
pub(crate) struct Asked {
    caller: Caller,
    key: RequestKey,
    /// `None`: the voucher says which.
    booking: Option<BookingId>,
    wish: Wish,
    /// Where the caller's trace goes on.
    span: tracing::Span,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    /// As it is now.
    pub(crate) booking: Booking,
    /// The number of the attempt to pay, the position of the guest who came in; else zero.
    pub(crate) detail: i32,
    /// The same request was carried out before, and nothing was changed now.
    pub(crate) repeat: bool,
    /// The database's time at which that was found.
    pub(crate) at: DateTime<Utc>,
}

/// The lanes.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    extend: Lanes<Writer>,
    pay: Lanes<Writer>,
    update: Lanes<Writer>,
    redeem: Lanes<Writer>,
    cancel: Lanes<Writer>,
    note: Lanes<Notes>,
    confirm: Lanes<Notes>,
}

impl Changes {
    /// Starts the lanes, each with room for so many that wait. One for each kind: two would write the same in twice as
    /// many batches, and wait for each other's departures.
    pub(crate) fn start(db: &Db, board: &Board, room: usize) -> Self {
        let lane = |step| Lanes::start(Arc::new(Writer { db: db.clone(), board: board.clone(), step }), 1, room);
        let notes = |step| Lanes::start(Arc::new(Notes { db: db.clone(), step }), 1, room);
        Self {
            extend: lane(Step::Extend),
            pay: lane(Step::Pay),
            update: lane(Step::Update),
            redeem: lane(Step::Redeem),
            cancel: lane(Step::Cancel),
            note: notes(Step::NotePayment),
            confirm: notes(Step::Confirm),
        }
    }

    /// Has a wish carried out.
    ///
    /// # Errors
    /// Why it is refused, REQUEST_ID_REUSED, OVERLOADED, or what the database says.
    pub(crate) async fn ask(
        &self,
        caller: Caller,
        key: RequestKey,
        booking: Option<BookingId>,
        wish: Wish,
    ) -> ApiResult<Done> {
        let lane = match wish {
            Wish::Extend(_) => &self.extend,
            Wish::Begin { .. } => &self.pay,
            Wish::Update { .. } => &self.update,
            Wish::Redeem(_) => &self.redeem,
            Wish::Cancel(_) => &self.cancel,
        };
        lane.submit((), Asked { caller, key, booking, wish, span: tracing::Span::current() }).await
    }

    /// Notes the payment that was opened for a booking, where there is something to note, or confirms the booking by what
    /// was captured; the booking as it is then.
    ///
    /// # Errors
    /// OVERLOADED, or what the database says.
    pub(crate) async fn note(
        &self,
        booking: BookingId,
        payment: PaymentId,
        captured: Option<Money>,
    ) -> ApiResult<Booking> {
        let lane = if captured.is_some() { &self.confirm } else { &self.note };
        lane.submit((), Answered { booking, payment, captured, span: tracing::Span::current() }).await
    }
}

/// Writes batches of wishes of one kind.
pub(crate) struct Writer {
    db: Db,
    board: Board,
    step: Step,
}

impl Combined for Writer {
    type Item = Asked;
    type Output = Done;

    fn write<'a>(&'a self, asked: &'a [Asked]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<Done>>>> {
        Box::pin(async move {
            for _ in 0..TRIES {
                match self.carry_out(asked).await {
                    Ok(Some(answers)) => return Ok(answers),
                    Ok(None) => {}
                    Err(error) if error.is_transaction_conflict() => {}
                    Err(error) => return Err(error),
                }
            }
            Err(ApiError::overloaded(Duration::from_millis(100)))
        })
    }
}

impl Writer {
    /// One transaction; `None`: another replica has just carried out one of the requests, so all has to be seen anew.
    async fn carry_out(&self, asked: &[Asked]) -> ApiResult<Option<Vec<ApiResult<Done>>>> {
        let mut tx = self.db.begin().await?;
        match Batch::work(&mut tx, asked).await {
            Ok((answers, Written::All(freed))) => {
                self.db.commit(self.step, tx).await?;
                self.board.touch(freed);
                Ok(Some(answers))
            }
            Ok((answers, Written::Nothing)) => {
                tx.rollback().await;
                Ok(Some(answers))
            }
            Ok((_, Written::Overtaken)) => {
                tx.rollback().await;
                Ok(None)
            }
            Err(error) => {
                tx.undo(&error).await;
                Err(error)
            }
        }
    }
}

/// What a batch came to, before its commit.
enum Written {
    /// There was nothing to write.
    Nothing,
    /// Everything; seats of these departures came free.
    All(Vec<DepartureId>),
    /// A request was carried out by somebody else meanwhile.
    Overtaken,
}

/// What a batch changes.
#[derive(Default)]
struct Batch<'a> {
    /// With the version that each had when it was locked.
    bookings: HashMap<BookingId, (Booking, i64)>,
    /// By caller and request id: the hash and the detail of those that were carried out, before or in this batch.
    known: HashMap<(&'a str, &'a str), (Vec<u8>, i32)>,
    guests: BTreeSet<BookingId>,
    contacts: BTreeSet<BookingId>,
    freed: Freed,
    told: Vec<Event>,
    remembered: Vec<Request<'a>>,
}

impl<'a> Batch<'a> {
    /// Locks, reads, decides and writes.
    async fn work(tx: &mut PgConnection, asked: &'a [Asked]) -> ApiResult<(Vec<ApiResult<Done>>, Written)> {
        let vouchers: Vec<&str> = asked.iter().filter_map(Asked::voucher).collect();
        let places = store::of_vouchers(tx, &vouchers).await?;
        let subject = |asked: &Asked| match &asked.wish {
            Wish::Redeem(code) => places.get(code.as_str()).map(|(booking, position)| (*booking, i32::from(*position))),
            _ => asked.booking.map(|booking| (booking, 0)),
        };
        let ids: BTreeSet<BookingId> = asked.iter().filter_map(|a| subject(a).map(|(id, _)| id)).collect();
        let ids: Vec<BookingId> = ids.into_iter().collect();
        let now = store::lock(tx, &ids).await?;
        let bookings = store::load(tx, &ids).await?;
        let with_version = |(id, booking): (BookingId, Booking)| {
            let before = booking.version;
            (id, (booking, before))
        };
        let bookings = bookings.into_iter().map(with_version).collect();
        let requests: Vec<_> = asked.iter().map(Asked::request).collect();
        let known = requests::known(tx, &requests).await?;
        let mut batch = Self { bookings, known, ..Self::default() };
        let answers = asked.iter().map(|one| one.span.in_scope(|| batch.take(one, subject(one), now))).collect();
        Ok((answers, batch.write(tx).await?))
    }

    /// Carries out one wish, or refuses it and leaves everything as it is.
    fn take(&mut self, asked: &'a Asked, subject: Option<(BookingId, i32)>, now: DateTime<Utc>) -> ApiResult<Done> {
        let found = subject.and_then(|(id, _)| Some(self.bookings.get(&id)?.0.clone()));
        let mut booking = match &asked.wish {
            Wish::Extend(_) | Wish::Begin { .. } | Wish::Update { .. } => asked.caller.buys(found),
            Wish::Redeem(_) => asked.caller.checks_in(found),
            Wish::Cancel(_) => asked.caller.sees(found),
        }?;
        let name = (asked.caller.scope.as_str(), asked.key.id.as_str());
        let place = subject.map_or(0, |(_, place)| place);
        if let Some((hash, detail)) = self.known.get(&name) {
            asked.key.check(hash)?;
            return Ok(Done { booking, detail: *detail, repeat: true, at: now });
        }
        let detail = self.apply(asked, &mut booking, place, now)?;
        self.known.insert(name, (asked.key.hash.to_vec(), detail));
        self.remembered.push(Request { detail, subject: booking.id.uuid(), ..asked.request() });
        if let Some((kept, _)) = self.bookings.get_mut(&booking.id) {
            kept.clone_from(&booking);
        }
        Ok(Done { booking, detail, repeat: false, at: now })
    }

    /// Changes the booking and notes what goes with it; what is to be remembered beside.
    fn apply(&mut self, asked: &Asked, booking: &mut Booking, place: i32, now: DateTime<Utc>) -> ApiResult<i32> {
        match &asked.wish {
            Wish::Extend(most) => booking.extend(now, *most)?,
            Wish::Begin { has_method } => {
                let begun = checkout::begin(booking, *has_method, now)?;
                if begun == 0 {
                    self.guests.insert(booking.id);
                    self.told.push(events::confirmed(booking));
                }
                return Ok(begun);
            }
            Wish::Update { contact, names } => {
                if booking.update(now, contact.clone(), names)? {
                    self.guests.insert(booking.id);
                    self.contacts.insert(booking.id);
                    self.told.push(events::changed(booking));
                }
            }
            Wish::Redeem(_) => {
                let index = usize::try_from(place).map_err(ApiError::internal)?;
                booking.redeem(index, now)?;
                let item = booking.items.get(index).map(|i| i.id).ok_or(BookingError::VoucherNotFound)?;
                self.guests.insert(booking.id);
                self.told.push(events::redeemed(booking, item));
            }
            Wish::Cancel(guests) => {
                let cause = asked.caller.cause(booking);
                self.told.push(self.freed.cancel(booking, now, cause, who(guests))?);
                self.guests.insert(booking.id);
            }
        }
        Ok(place)
    }

    async fn write(self, tx: &mut PgConnection) -> ApiResult<Written> {
        if self.remembered.is_empty() {
            return Ok(Written::Nothing);
        }
        if !requests::remember_all(tx, &self.remembered).await? {
            return Ok(Written::Overtaken);
        }
        let changed = self.bookings.values().filter(|(booking, before)| booking.version != *before);
        store::save_since(tx, &changed.map(|(booking, before)| (booking, *before)).collect::<Vec<_>>()).await?;
        let of = |ids: &BTreeSet<BookingId>| -> Vec<&Booking> {
            ids.iter().filter_map(|id| self.bookings.get(id).map(|(booking, _)| booking)).collect()
        };
        store::save_items(tx, &of(&self.guests)).await?;
        for booking in of(&self.contacts) {
            store::save_contact(tx, booking).await?;
        }
        let departures = self.freed.write(tx).await?;
        outbox::append(tx, &self.told).await?;
        Ok(Written::All(departures))
    }
}

impl Asked {
    fn voucher(&self) -> Option<&str> {
        if let Wish::Redeem(code) = &self.wish { Some(code) } else { None }
    }

    fn request(&self) -> Request<'_> {
        let method = self.wish.method();
        Request { caller: &self.caller.scope, method, key: &self.key, subject: uuid::Uuid::nil(), detail: 0 }
    }
}
