//! Resource pools from end to end: what a supplier tells the catalog counts where seats are held.

use tonic::{Status, transport::Channel};
use tourmesh::{
    booking::v1::{
        Booking, CheckAvailabilityRequest, Contact, CreateBookingRequest, booking_service_client::BookingServiceClient,
    },
    catalog::v1::{
        CreateDepartureRequest, CreateOptionRequest, CreateResourcePoolRequest, CreateSupplierRequest,
        CreateTourRequest, Option as TourOption, PoolUse, PriceList, PublishTourRequest, ResourceKind, ResourcePool,
        Supplier, Tour, TourCategory, Unit, UnitPrice, UpdateOptionRequest, UpdateResourcePoolRequest,
        catalog_admin_service_client::CatalogAdminServiceClient,
    },
    common::v1::{LocalizedText, UnitQuantity, UnitType},
    google::r#type::{LatLng, Money},
};
use tourmesh_testkit::{Role, World, bearer, eventually, reason};
use uuid::Uuid;

fn id() -> String {
    Uuid::now_v7().simple().to_string()
}

fn mask(path: &str) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: vec![path.into()] })
}

/// Whoever runs the tours, and how to reach the catalog.
struct Desk {
    admin: CatalogAdminServiceClient<Channel>,
    staff: String,
    supplier: String,
}

impl Desk {
    fn admin(&self) -> CatalogAdminServiceClient<Channel> {
        self.admin.clone()
    }

    /// A tour on sale whose departures use one unit of the pool for each seat; its option and one departure.
    async fn tour(&self, pool: &ResourcePool, start: &str) -> (TourOption, String) {
        let text = |en: &str| Some(LocalizedText { en: en.into(), fr: en.into() });
        let tour = Tour {
            supplier_id: self.supplier.clone(),
            title: text("By bicycle"),
            description: text("Along the river."),
            category: TourCategory::Activity.into(),
            location: Some(LatLng { latitude: 48.8, longitude: 2.3 }),
            country: "FR".into(),
            time_zone: "Europe/Paris".into(),
            currency: "EUR".into(),
            ..Default::default()
        };
        let request = CreateTourRequest { request_id: id(), tour: Some(tour) };
        let tour = self.admin().create_tour(bearer(request, &self.staff)).await.unwrap().into_inner().tour.unwrap();
        let price = Some(Money { currency_code: "EUR".into(), units: 20, nanos: 0 });
        let option = TourOption {
            tour_id: tour.id.clone(),
            title: text("Small group"),
            duration_minutes: 120,
            units: vec![Unit { r#type: UnitType::Adult.into(), seats: 1, ..Default::default() }],
            price_lists: vec![PriceList {
                prices: vec![UnitPrice { unit: UnitType::Adult.into(), price }],
                ..Default::default()
            }],
            pools: vec![PoolUse { pool_id: pool.id.clone(), units: 1, seats: 1 }],
            ..Default::default()
        };
        let request = CreateOptionRequest { request_id: id(), option: Some(option) };
        let made = self.admin().create_option(bearer(request, &self.staff)).await.unwrap().into_inner();
        let option = made.option.unwrap();
        let request = PublishTourRequest { request_id: id(), tour_id: tour.id };
        self.admin().publish_tour(bearer(request, &self.staff)).await.unwrap();
        let day = chrono::Utc::now().date_naive() + chrono::Days::new(9);
        let request = CreateDepartureRequest {
            request_id: id(),
            option_id: option.id.clone(),
            local_start: format!("{day}T{start}"),
            capacity: 10,
        };
        let made = self.admin().create_departure(bearer(request, &self.staff)).await.unwrap().into_inner();
        (option, made.departure.unwrap().id)
    }
}

async fn book(
    mut client: BookingServiceClient<Channel>,
    person: &str,
    departure: &str,
    quantity: i32,
) -> Result<Booking, Status> {
    let request = CreateBookingRequest {
        request_id: id(),
        departure_id: departure.into(),
        units: vec![UnitQuantity { unit: UnitType::Adult.into(), quantity }],
        contact: Some(Contact { full_name: "Ada".into(), email: "ada@example.org".into(), language: "en".into() }),
        ..Default::default()
    };
    Ok(client.create_booking(bearer(request, person)).await?.into_inner().booking.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tours_share_what_their_supplier_says_they_share_and_follow_its_changes() {
    let world = World::get().await;
    let catalog = world.room("catalog", &tourmesh_catalog::SCHEMA).await;
    let prefix = catalog.env().foreign("TOURMESH_NATS_PREFIX").unwrap().to_owned();
    let catalog = catalog.serve(tourmesh_catalog::serve).await;
    let booking = world.room("booking", &tourmesh_booking::SCHEMA).await.with("NATS_PREFIX", &prefix);
    // Nobody pays here.
    let booking = booking.peer("catalog", catalog.url()).peer("payment", catalog.url());
    let booking = booking.serve(tourmesh_booking::serve).await;
    let staff = world.token("usr_00000000000000000000000000000001", &[Role::Staff], None);
    let traveller = world.token("usr_00000000000000000000000000000002", &[Role::Traveller], None);
    let admin = CatalogAdminServiceClient::new(catalog.channel());
    let supplier = Supplier { name: "Wheels".into(), contact_email: "w@example.org".into(), ..Default::default() };
    let request = CreateSupplierRequest { request_id: id(), supplier: Some(supplier) };
    let made = admin.clone().create_supplier(bearer(request, &staff)).await.unwrap().into_inner();
    let desk = Desk { admin, staff, supplier: made.supplier.unwrap().id };

    let bicycles = ResourcePool {
        supplier_id: desk.supplier.clone(),
        name: "Bicycles".into(),
        kind: ResourceKind::Equipment.into(),
        capacity: 5,
        ..Default::default()
    };
    let request = CreateResourcePoolRequest { request_id: id(), pool: Some(bicycles) };
    let made = desk.admin().create_resource_pool(bearer(request, &desk.staff)).await.unwrap().into_inner();
    let bicycles = made.pool.unwrap();
    let (_, morning) = desk.tour(&bicycles, "09:00").await;
    let (option, late) = desk.tour(&bicycles, "10:30").await;
    let (_, noon) = desk.tour(&bicycles, "12:30").await;

    let client = BookingServiceClient::new(booking.channel());
    let left = async |departure: &str| {
        let request = CheckAvailabilityRequest { departure_ids: vec![departure.to_owned()] };
        client.clone().check_availability(request).await.unwrap().into_inner().availabilities[0].seats_left
    };
    book(client.clone(), &traveller, &morning, 3).await.unwrap();
    assert_eq!((left(&morning).await, left(&late).await, left(&noon).await), (2, 2, 5));
    let refused = book(client.clone(), &traveller, &late, 3).await.unwrap_err();
    assert_eq!(reason(&refused), "DEPARTURE_SOLD_OUT");
    let request = UpdateResourcePoolRequest {
        request_id: id(),
        pool_id: bicycles.id.clone(),
        pool: Some(ResourcePool { capacity: 6, ..Default::default() }),
        update_mask: mask("capacity"),
    };
    desk.admin().update_resource_pool(bearer(request, &desk.staff)).await.unwrap();
    eventually(|| async { left(&late).await == 3 }).await;
    book(client.clone(), &traveller, &late, 3).await.unwrap();
    // The late one is in the way of both.
    assert_eq!((left(&morning).await, left(&late).await, left(&noon).await), (0, 0, 6));
    let request = UpdateOptionRequest {
        request_id: id(),
        option_id: option.id,
        option: Some(TourOption::default()),
        update_mask: mask("pools"),
    };
    desk.admin().update_option(bearer(request, &desk.staff)).await.unwrap();
    eventually(|| async { left(&late).await == 7 }).await;
    assert_eq!((left(&morning).await, left(&noon).await), (3, 6));
}
