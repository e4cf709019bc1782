//! A catalog in a room of its own, and short ways to fill it.

// The API has an Option too; ours is the other one.
use std::option::Option;

use sqlx::PgPool;
use tonic::{Response, Status, transport::Channel};
use tourmesh::{
    catalog::v1::{
        Option as WireOption, catalog_admin_service_client::CatalogAdminServiceClient,
        catalog_service_client::CatalogServiceClient, *,
    },
    common::v1::{LocalizedText, RefundPolicy, RefundTier, UnitType},
    google::r#type::{LatLng, Money},
};
use tourmesh_testkit::{Role, Room, Running, World, bearer};

/// A running catalog.
pub(crate) struct House {
    pub world: &'static World,
    pub room: Room,
    pub pool: PgPool,
    pub running: Running,
    pub staff: String,
    count: std::sync::atomic::AtomicU64,
}

pub(crate) fn text(en: &str, fr: &str) -> Option<LocalizedText> {
    Some(LocalizedText { en: en.into(), fr: fr.into() })
}

pub(crate) fn money(units: i64, nanos: i32, currency: &str) -> Option<Money> {
    Some(Money { currency_code: currency.into(), units, nanos })
}

/// A complete tour: only what matters to a test is changed.
pub(crate) fn a_tour(en: &str, fr: &str) -> Tour {
    Tour {
        title: text(en, fr),
        description: text("A tour for a test.", "Une visite pour un test."),
        category: TourCategory::GuidedWalk.into(),
        location: Some(LatLng { latitude: 48.8584, longitude: 2.2945 }),
        country: "FR".into(),
        time_zone: "Europe/Paris".into(),
        currency: "EUR".into(),
        ..Default::default()
    }
}

/// A list of prices without dates.
pub(crate) fn prices(prices: &[(UnitType, i64)]) -> PriceList {
    let price = |(unit, units): &(UnitType, i64)| UnitPrice { unit: (*unit).into(), price: money(*units, 0, "EUR") };
    PriceList { prices: prices.iter().map(price).collect(), ..Default::default() }
}

/// An option that sells adults for so many euros, children for half and infants for nothing.
pub(crate) fn an_option(tour_id: &str, adult: i64) -> WireOption {
    let unit = |unit: UnitType, seats| Unit { r#type: unit.into(), seats, ..Default::default() };
    WireOption {
        tour_id: tour_id.into(),
        title: text("Morning", "Matin"),
        duration_minutes: 120,
        units: vec![unit(UnitType::Adult, 1), unit(UnitType::Child, 1), unit(UnitType::Infant, 0)],
        price_lists: vec![prices(&[(UnitType::Adult, adult), (UnitType::Child, adult / 2), (UnitType::Infant, 0)])],
        refund_policy: Some(RefundPolicy { tiers: vec![RefundTier { hours_before: 24, refund_percent: 100 }] }),
        ..Default::default()
    }
}

impl House {
    pub(crate) async fn new() -> Self {
        let world = World::get().await;
        let room = world.room(tourmesh_catalog::ROLE, &tourmesh_catalog::SCHEMA).await;
        let running = room.serve(tourmesh_catalog::serve).await;
        let staff = world.token("usr_00000000000000000000000000000001", &[Role::Staff], None);
        Self { world, pool: room.pool().await, room, running, staff, count: Default::default() }
    }

    pub(crate) fn read(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.running.channel())
    }

    pub(crate) fn admin(&self) -> CatalogAdminServiceClient<Channel> {
        CatalogAdminServiceClient::new(self.running.channel())
    }

    /// A request id that no other request has.
    pub(crate) fn id(&self) -> String {
        format!("test-{}", self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    pub(crate) fn supplier_token(&self, supplier_id: &str) -> String {
        self.world.token("usr_00000000000000000000000000000002", &[Role::Supplier], Some(supplier_id))
    }

    pub(crate) async fn supplier(&self, name: &str) -> Supplier {
        let supplier = Some(Supplier {
            name: name.into(),
            contact_email: "tours@example.com".into(),
            country: "FR".into(),
            ..Default::default()
        });
        let request = CreateSupplierRequest { request_id: self.id(), supplier };
        self.admin().create_supplier(bearer(request, &self.staff)).await.unwrap().into_inner().supplier.unwrap()
    }

    /// The staff adds this tour as a draft.
    pub(crate) async fn draft(&self, supplier_id: &str, tour: Tour) -> Tour {
        let tour = Some(Tour { supplier_id: supplier_id.into(), ..tour });
        let request = CreateTourRequest { request_id: self.id(), tour };
        self.admin().create_tour(bearer(request, &self.staff)).await.unwrap().into_inner().tour.unwrap()
    }

    pub(crate) async fn option(&self, option: WireOption) -> WireOption {
        let request = CreateOptionRequest { request_id: self.id(), option: Some(option) };
        self.admin().create_option(bearer(request, &self.staff)).await.unwrap().into_inner().option.unwrap()
    }

    pub(crate) async fn try_publish(&self, tour_id: &str) -> Result<Response<PublishTourResponse>, Status> {
        let request = PublishTourRequest { request_id: self.id(), tour_id: tour_id.into() };
        self.admin().publish_tour(bearer(request, &self.staff)).await
    }

    pub(crate) async fn departure(&self, option_id: &str, local_start: &str, capacity: i32) -> Departure {
        let request = CreateDepartureRequest {
            request_id: self.id(),
            option_id: option_id.into(),
            local_start: local_start.into(),
            capacity,
        };
        self.admin().create_departure(bearer(request, &self.staff)).await.unwrap().into_inner().departure.unwrap()
    }

    /// A tour on sale with one option for so many euros.
    pub(crate) async fn on_sale(&self, supplier_id: &str, tour: Tour, adult: i64) -> (Tour, WireOption) {
        let tour = self.draft(supplier_id, tour).await;
        let option = self.option(an_option(&tour.id, adult)).await;
        let tour = self.try_publish(&tour.id).await.unwrap().into_inner().tour.unwrap();
        (tour, option)
    }

    pub(crate) async fn search(&self, request: SearchToursRequest) -> SearchToursResponse {
        self.read().search_tours(request).await.unwrap().into_inner()
    }

    /// The events of a subject's beginning, oldest first.
    pub(crate) async fn events(&self, subject: &str) -> Vec<String> {
        sqlx::query_scalar("SELECT subject FROM outbox WHERE starts_with(subject, $1) ORDER BY seq")
            .bind(subject)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }
}

/// A local date so many days from now (UTC).
pub(crate) fn day(days: u64) -> String {
    (chrono::Utc::now().date_naive() + chrono::Days::new(days)).to_string()
}
