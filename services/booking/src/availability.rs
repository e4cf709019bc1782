//! The seats left: asked for, and watched.
//!
//! The [`Board`] holds one entry per watched departure, however many watch it. Whatever may have changed its seats, a
//! commit of this process or an event of another one, touches the entry; what was touched meanwhile is read with one
//! query and told to all watchers. Nobody watches: nothing is read.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::Utc;
use futures_util::{Stream, StreamExt as _, future::try_join_all};
use prost::Message;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_stream::wrappers::WatchStream;
use tonic::Status;
use tourmesh::{booking::v1 as pb, catalog::v1::DepartureChanged};
use tourmesh_kit::{ApiError, ApiResult, db::Db, events::Broker, shutdown::Shutdown};

use crate::{
    convert::wire_int,
    domain::{DepartureId, pool::Room},
    error::BookingError,
    offers::Offers,
    store,
};

/// Changes within this time are told as one.
const COALESCE: Duration = Duration::from_millis(20);
/// How often all watched departures are read anyway: an event may be lost, and a start may pass.
const REFRESH: Duration = Duration::from_secs(5);
/// The same for those that share pools.
const REFRESH_SHARED: Duration = Duration::from_millis(500);

/// How many departures the catalog is asked for at once on behalf of all who only look. Holds do not queue here.
const LOOKUPS_AT_ONCE: usize = 16;
static LOOKUPS: Semaphore = Semaphore::const_new(LOOKUPS_AT_ONCE);

/// The seats of departures, in the order asked; unknown ones are left out.
pub(crate) async fn check(db: &Db, offers: &Offers, ids: &[DepartureId]) -> ApiResult<Vec<pb::Availability>> {
    let mut room = read(db, ids).await?;
    let missing: BTreeSet<DepartureId> = ids.iter().copied().filter(|id| !room.departures.contains_key(id)).collect();
    if !missing.is_empty() {
        // The catalog knows more departures than were ever asked for here; asking makes their rows.
        let missing: Vec<DepartureId> = missing.into_iter().collect();
        for chunk in missing.chunks(LOOKUPS_AT_ONCE) {
            // Anybody may ask for a hundred unknown departures: together they never take more of the catalog than this.
            let places = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let _places = tokio::time::timeout(Duration::from_secs(1), LOOKUPS.acquire_many(places))
                .await
                .map_err(|_| ApiError::overloaded(Duration::from_secs(1)))?;
            try_join_all(chunk.iter().map(|id| offers.get(*id))).await?;
        }
        room = read(db, ids).await?;
    }
    Ok(ids.iter().filter_map(|id| availability(*id, &room)).collect())
}

async fn read(db: &Db, ids: &[DepartureId]) -> ApiResult<Room> {
    let mut connection = db.pool().acquire().await?;
    store::departures::room(&mut connection, ids).await
}

fn availability(id: DepartureId, room: &Room) -> Option<pb::Availability> {
    let seats = room.departures.get(&id)?;
    Some(pb::Availability {
        departure_id: id.to_string(),
        capacity: wire_int(seats.capacity),
        seats_left: wire_int(room.seats_left(id)),
        bookable: room.may_give(id, 1, Utc::now()).is_ok(),
    })
}

/// Who watches what. Clones share it.
#[derive(Clone)]
pub(crate) struct Board(Arc<Inner>);

struct Inner {
    watched: Mutex<HashMap<DepartureId, Watched>>,
    touched: Mutex<BTreeSet<DepartureId>>,
    news: Notify,
    watchers: AtomicUsize,
    most: usize,
}

struct Watched {
    told: watch::Sender<Option<pb::Availability>>,
    watchers: usize,
    /// It shares pools with others: what those take of them touches it, and nobody says so.
    shared: bool,
}

impl Board {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            watched: Mutex::default(),
            touched: Mutex::default(),
            news: Notify::new(),
            watchers: AtomicUsize::new(0),
            most,
        }))
    }

    /// The seats of these departures may have changed.
    pub(crate) fn touch(&self, departures: impl IntoIterator<Item = DepartureId>) {
        if self.0.watchers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut new = false;
        {
            let watched = self.0.watched.lock().unwrap_or_else(PoisonError::into_inner);
            let mut touched = self.0.touched.lock().unwrap_or_else(PoisonError::into_inner);
            for departure in departures {
                new |= watched.contains_key(&departure) && touched.insert(departure);
            }
        }
        if new {
            self.0.news.notify_one();
        }
    }

    /// Watches one departure until the stream is dropped or shutdown.
    pub(crate) async fn watch(
        &self,
        db: &Db,
        offers: &Offers,
        departure: DepartureId,
        shutdown: Shutdown,
    ) -> ApiResult<impl Stream<Item = Result<pb::WatchDepartureResponse, Status>> + Send + 'static> {
        // Registered before the look, so that no change falls between look and watch.
        let (place, receiver) = Place::take(self, departure)?;
        let now = check(db, offers, &[departure]).await?.pop().ok_or(BookingError::DepartureNotFound)?;
        self.tell(departure, now, true);
        // Another watcher's news may be on the way while this was read: one more look sorts it out.
        self.touch([departure]);
        let changes = WatchStream::new(receiver).filter_map(|availability| async move {
            availability.map(|a| Ok(pb::WatchDepartureResponse { availability: Some(a) }))
        });
        let changes = changes.map(move |change| {
            // The place belongs to the stream.
            let _ = &place;
            change
        });
        Ok(changes.take_until(async move { shutdown.triggered().await }))
    }

    /// Tells the watchers what is new; `first`: only those that have been told nothing yet.
    fn tell(&self, departure: DepartureId, now: pb::Availability, first: bool) {
        let watched = self.0.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = watched.get(&departure) {
            entry.told.send_if_modified(|before| {
                let news = before.as_ref().is_none_or(|before| !first && *before != now);
                if news {
                    *before = Some(now);
                }
                news
            });
        }
    }

    fn note_sharing(&self, departure: DepartureId, room: &Room) {
        let mut watched = self.0.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = watched.get_mut(&departure) {
            entry.shared = !room.shares_of(departure).is_empty();
        }
    }

    /// Reads what was touched and tells it, until shutdown.
    pub(crate) async fn run(self, db: Db, shutdown: Shutdown) {
        let (mut all_read, mut shared_read) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                () = self.0.news.notified() => {}
                () = tokio::time::sleep(REFRESH_SHARED) => {}
                () = shutdown.triggered() => return,
            }
            if !shutdown.sleep(COALESCE).await {
                return;
            }
            let mut due = std::mem::take(&mut *self.0.touched.lock().unwrap_or_else(PoisonError::into_inner));
            let all = all_read.elapsed() >= REFRESH;
            let shared = all || shared_read.elapsed() >= REFRESH_SHARED;
            if shared {
                let watched = self.0.watched.lock().unwrap_or_else(PoisonError::into_inner);
                due.extend(watched.iter().filter(|(_, entry)| all || entry.shared).map(|(id, _)| id));
                shared_read = Instant::now();
            }
            if all {
                all_read = Instant::now();
            }
            if due.is_empty() {
                continue;
            }
            let due: Vec<DepartureId> = due.into_iter().collect();
            for chunk in due.chunks(1_000) {
                match read(&db, chunk).await {
                    Ok(room) => {
                        for departure in room.departures.keys() {
                            self.note_sharing(*departure, &room);
                            if let Some(now) = availability(*departure, &room) {
                                self.tell(*departure, now, false);
                            }
                        }
                    }
                    Err(error) => tracing::debug!(%error, "watched departures could not be read; they are read again"),
                }
            }
        }
    }

    /// Hears what other replicas and the catalog say, while somebody watches, until shutdown.
    pub(crate) async fn listen(self, broker: Broker, shutdown: Shutdown) {
        while shutdown.sleep(Duration::from_millis(100)).await {
            if self.0.watchers.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let bookings = broker.client().subscribe(broker.subject("booking.>")).await;
            let departures = broker.client().subscribe(broker.subject("catalog.departure.>")).await;
            let (Ok(bookings), Ok(departures)) = (bookings, departures) else { continue };
            let mut events = futures_util::stream::select(bookings, departures);
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = tokio::time::sleep(REFRESH) => {
                        if self.0.watchers.load(Ordering::Relaxed) == 0 { break } else { continue }
                    }
                    () = shutdown.triggered() => return,
                };
                let Some(event) = event else { break };
                self.touch(departure_of(broker.bare(&event.subject), event.payload));
            }
        }
    }
}

/// All that matters of an event of a booking: every one of them has the booking as its first field.
#[derive(Clone, PartialEq, Message)]
struct AnyBookingEvent {
    #[prost(message, optional, tag = "1")]
    booking: Option<JustDeparture>,
}

#[derive(Clone, PartialEq, Message)]
struct JustDeparture {
    #[prost(string, tag = "6")]
    departure_id: String,
}

fn departure_of(subject: &str, payload: prost::bytes::Bytes) -> Option<DepartureId> {
    if subject.starts_with("booking.") {
        return AnyBookingEvent::decode(payload).ok()?.booking?.departure_id.parse().ok();
    }
    DepartureChanged::decode(payload).ok()?.departure?.id.parse().ok()
}

/// A watcher's place on the board; free again when it is dropped.
struct Place {
    board: Board,
    departure: DepartureId,
}

impl Place {
    fn take(board: &Board, departure: DepartureId) -> ApiResult<(Self, watch::Receiver<Option<pb::Availability>>)> {
        let inner = &board.0;
        let mut watched = inner.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.watchers.load(Ordering::Relaxed) >= inner.most {
            return Err(ApiError::overloaded(Duration::from_secs(5)));
        }
        inner.watchers.fetch_add(1, Ordering::Relaxed);
        let entry = watched.entry(departure).or_insert_with(|| Watched {
            told: watch::Sender::new(None),
            watchers: 0,
            shared: false,
        });
        entry.watchers += 1;
        let receiver = entry.told.subscribe();
        Ok((Self { board: board.clone(), departure }, receiver))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let inner = &self.board.0;
        let mut watched = inner.watched.lock().unwrap_or_else(PoisonError::into_inner);
        inner.watchers.fetch_sub(1, Ordering::Relaxed);
        if let Some(entry) = watched.get_mut(&self.departure) {
            entry.watchers -= 1;
            if entry.watchers == 0 {
                watched.remove(&self.departure);
            }
        }
    }
}
