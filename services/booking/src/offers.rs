//! What the catalog offers, kept in memory so that a hold costs no remote call.
//!
//! An offer is believed until a catalog event says that its tour, departure or taxes changed, and never longer than
//! OFFER_SECONDS. Every replica listens for itself, outside of any durable consumer: all of them have to forget. An
//! answer that was under way when the event came is not believed either: what counts is when it was asked for.
//! Whatever is fetched also lands in the database first: the seat inventory's row and the terms that bookings point to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use prost::Message as _;
use quick_cache::sync::Cache;
use tourmesh::catalog::v1::{
    DepartureChanged, DeparturesScheduled, GetOfferRequest, TaxesChanged, TourChanged,
    catalog_service_client::CatalogServiceClient,
};
use tourmesh_kit::{ApiError, ApiResult, ErrorReason, client::MeshChannel, db::Db, events::Broker, shutdown::Shutdown};
use uuid::Uuid;

use crate::{
    config::Config,
    convert,
    domain::{DepartureId, offer::Offer},
    steps::Step,
    store,
};

/// Departures that the catalog does not know are asked for again after this time.
const UNKNOWN_AGE: Duration = Duration::from_secs(3);

/// The offers. Clones share them.
#[derive(Clone)]
pub(crate) struct Offers(Arc<Inner>);

struct Inner {
    catalog: CatalogServiceClient<MeshChannel>,
    db: Db,
    hold_seconds: i32,
    age: Duration,
    slots: Cache<DepartureId, Arc<Slot>>,
    changed: RwLock<Changed>,
}

/// When something was last said to have changed; entries older than `age` have no effect and go.
#[derive(Default)]
struct Changed {
    /// Tours and departures.
    ids: HashMap<Uuid, Instant>,
    /// How many there may be before those that are too old are looked for again.
    room: usize,
    /// The taxes of countries: there are few, so those stay.
    taxes: HashMap<String, Instant>,
}

#[derive(Default)]
struct Slot {
    entry: Mutex<Option<Entry>>,
    /// One caller asks, the others wait for its answer.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Entry {
    asked_at: Instant,
    /// None: the catalog does not know the departure.
    offer: Option<Arc<Offer>>,
}

impl Offers {
    pub(crate) fn new(config: &Config, catalog: CatalogServiceClient<MeshChannel>, db: Db) -> Self {
        Self(Arc::new(Inner {
            catalog,
            db,
            hold_seconds: config.hold_seconds,
            age: config.offer_age,
            slots: Cache::new(config.offer_cache),
            changed: RwLock::default(),
        }))
    }

    /// The offer of a departure; None: there is no such departure.
    pub(crate) async fn get(&self, departure: DepartureId) -> ApiResult<Option<Arc<Offer>>> {
        let slot = match self.0.slots.get(&departure) {
            Some(slot) => slot,
            None => self.0.slots.get_or_insert_with(&departure, || Ok::<_, ApiError>(Arc::default()))?,
        };
        if let Some(entry) = self.believed(departure, &slot) {
            return Ok(entry.offer);
        }
        let _asking = slot.asking.lock().await;
        if let Some(entry) = self.believed(departure, &slot) {
            return Ok(entry.offer);
        }
        // Boxed: a hold whose offer is known is to carry no room for it.
        let entry = Box::pin(self.ask(departure, &slot)).await?;
        *slot.entry.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry.clone());
        Ok(entry.offer)
    }

    /// The next caller asks the catalog again.
    pub(crate) fn forget(&self, departure: DepartureId) {
        self.0.slots.remove(&departure);
    }

    fn believed(&self, departure: DepartureId, slot: &Slot) -> Option<Entry> {
        let entry = slot.entry.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let age = if entry.offer.is_some() { self.0.age } else { UNKNOWN_AGE };
        if entry.asked_at.elapsed() >= age {
            return None;
        }
        let changed = self.0.changed.read().unwrap_or_else(PoisonError::into_inner);
        let tour = entry.offer.as_ref().map(|o| o.departure.tour.uuid());
        let news = [Some(departure.uuid()), tour].into_iter().flatten().filter_map(|id| changed.ids.get(&id));
        let taxes = entry.offer.as_ref().and_then(|o| changed.taxes.get(&o.country));
        news.chain(taxes).max().is_none_or(|at| *at < entry.asked_at).then_some(entry)
    }

    async fn ask(&self, departure: DepartureId, slot: &Slot) -> ApiResult<Entry> {
        let asked_at = Instant::now();
        let request = GetOfferRequest { departure_id: departure.to_string() };
        let answer = self.0.catalog.clone().get_offer(request).await;
        let wire = match answer.map_err(|status| ApiError::of_status(&status)) {
            Ok(response) => response.into_inner().offer.ok_or_else(|| ApiError::internal("GetOffer gave no offer"))?,
            Err(error) if error.reason() == ErrorReason::DepartureNotFound => {
                return Ok(Entry { asked_at, offer: None });
            }
            Err(error) => return Err(peer_error("the catalog", error)),
        };
        let offer = Arc::new(convert::offer(&wire, self.0.hold_seconds)?);
        if offer.departure.id != departure {
            return Err(ApiError::internal("GetOffer gave another departure"));
        }
        let before = slot.entry.lock().unwrap_or_else(PoisonError::into_inner).clone().and_then(|e| e.offer);
        let stored = before.is_some_and(|b| {
            b.terms.id == offer.terms.id
                && b.departure.version == offer.departure.version
                && b.uses.version == offer.uses.version
        });
        if !stored {
            let kept = offer.clone();
            let write = self.0.db.step(Step::KeepOffer, move |tx| {
                let offer = kept.clone();
                Box::pin(async move {
                    if offer.is_shared() {
                        store::pools::know(tx, &offer.pools).await?;
                        store::pools::assign(tx, std::slice::from_ref(&offer.uses)).await?;
                    }
                    store::departures::upsert(tx, std::slice::from_ref(&offer.departure)).await?;
                    store::terms::keep(tx, &offer.terms).await
                })
            });
            write.await?;
        }
        Ok(Entry { asked_at, offer: Some(offer) })
    }

    /// Something about these ids changed.
    fn changed(&self, ids: impl IntoIterator<Item = Uuid>) {
        let now = Instant::now();
        let mut changed = self.0.changed.write().unwrap_or_else(PoisonError::into_inner);
        let age = self.0.age.max(UNKNOWN_AGE) + Duration::from_secs(10);
        // Not at every change: while a catalog is imported there are hundreds of thousands, and none of them is old.
        if changed.ids.len() > changed.room.max(10_000) {
            changed.ids.retain(|_, at| now.duration_since(*at) < age);
            changed.room = changed.ids.len() * 2;
        }
        changed.ids.extend(ids.into_iter().map(|id| (id, now)));
    }

    /// Listens to what the catalog says until shutdown.
    pub(crate) async fn listen(self, broker: Broker, shutdown: Shutdown) {
        while !shutdown.is_triggered() {
            match broker.client().subscribe(broker.subject("catalog.>")).await {
                Ok(mut messages) => {
                    // What was said before the subscription stood is not known.
                    self.0.slots.clear();
                    while let Some(Some(message)) = shutdown.unless(messages.next()).await {
                        self.heard(broker.bare(&message.subject), message.payload);
                    }
                }
                Err(error) => tracing::debug!(%error, "the offers cannot listen to the catalog"),
            }
            shutdown.sleep(Duration::from_millis(200)).await;
        }
    }

    fn heard(&self, subject: &str, payload: prost::bytes::Bytes) {
        let id_of = |text: &str| text.split_once('_').and_then(|(_, hex)| Uuid::try_parse(hex).ok());
        let mut parts = subject.split('.').skip(1);
        match (parts.next(), parts.next()) {
            (Some("tour"), _) => {
                let tour = TourChanged::decode(payload).ok().and_then(|m| m.tour);
                self.changed(tour.and_then(|t| id_of(&t.id)));
            }
            (Some("taxes"), _) => {
                if let Ok(message) = TaxesChanged::decode(payload) {
                    let mut changed = self.0.changed.write().unwrap_or_else(PoisonError::into_inner);
                    changed.taxes.insert(message.country, Instant::now());
                }
            }
            (Some("departure"), Some("scheduled")) => {
                if let Ok(message) = DeparturesScheduled::decode(payload) {
                    self.changed(message.departures.iter().filter_map(|d| id_of(&d.id)));
                }
            }
            (Some("departure"), _) => {
                let departure = DepartureChanged::decode(payload).ok().and_then(|m| m.departure);
                self.changed(departure.and_then(|d| id_of(&d.id)));
            }
            _ => {}
        }
    }
}

/// What another service answered, as our caller may be told: its troubles with us are not the caller's.
pub(crate) fn peer_error(what: &str, error: ApiError) -> ApiError {
    use ErrorReason as R;
    match error.reason() {
        R::DependencyUnavailable => ApiError::unavailable(what, error),
        R::TokenMissing | R::TokenInvalid | R::TokenExpired | R::RoleMissing | R::MethodUnknown => {
            tracing::error!(%error, "{what} refuses this role");
            ApiError::unavailable(what, error)
        }
        _ => error,
    }
}
