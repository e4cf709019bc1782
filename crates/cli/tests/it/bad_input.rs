//! Nonsense at the front door: each kind gets its status code and its stable reason, nothing is written, nothing panics.

use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use prost::Message;
use sqlx::PgPool;
use tonic::{Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;
use tourmesh::{
    booking::v1::{
        ConfirmBookingRequest, Contact, CreateBookingRequest, GetBookingRequest, ListBookingsRequest,
        RedeemVoucherRequest, booking_service_client::BookingServiceClient,
    },
    catalog::v1::{
        ArchiveTourRequest, CreateResourcePoolRequest, CreateTourRequest, GetTourRequest, ListDeparturesRequest,
        PoolUse, QuoteRequest, ResourcePool, SearchToursRequest, Tour, UpdateDepartureRequest, UpdateOptionRequest,
        UpdateResourcePoolRequest, catalog_admin_service_client::CatalogAdminServiceClient,
        catalog_service_client::CatalogServiceClient,
    },
    common::v1::{LocalizedText, UnitQuantity, UnitType},
    google::r#type::Money,
    payment::v1::{CreatePaymentRequest, payment_service_client::PaymentServiceClient},
};
use tourmesh_catalog::seed::{Wish, seed};
use tourmesh_kit::db::Db;
use tourmesh_testkit::{Role, Room, World, bearer, reason};
use uuid::Uuid;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A catalog with tours, and bookings and payments behind a gateway, in this process.
struct Mesh {
    gateway: Channel,
    url: String,
    traveller: String,
    expired: String,
    staff: String,
    databases: Vec<(PgPool, &'static str)>,
    _running: Vec<tourmesh_testkit::Running>,
}

async fn mesh() -> Mesh {
    let world = World::get().await;
    let catalog = world.room("catalog", &tourmesh_catalog::SCHEMA).await;
    let prefix = catalog.env().foreign("TOURMESH_NATS_PREFIX").unwrap().to_owned();
    let same_streams = |room: Room| room.with("NATS_PREFIX", &prefix);
    let booking = same_streams(world.room("booking", &tourmesh_booking::SCHEMA).await);
    let payment = same_streams(world.room("payment", &tourmesh_payment::SCHEMA).await)
        .with("SANDBOX_WEBHOOK_SECRET", "0123456789abcdef0123456789abcdef");
    seed(&Db::of_env(&catalog.env()).unwrap(), Wish { sites: Some(3), ..Wish::at(chrono::Utc::now()) }, |_, _| {})
        .await
        .unwrap();

    let catalog_runs = catalog.serve(tourmesh_catalog::serve).await;
    let payment_runs = payment.serve(tourmesh_payment::serve).await;
    let peers = booking.peer("catalog", catalog_runs.url()).peer("payment", payment_runs.url());
    let booking_runs = peers.serve(tourmesh_booking::serve).await;
    let gateway = world
        .bare_room("gateway")
        .peer("catalog", catalog_runs.url())
        .peer("payment", payment_runs.url())
        .peer("booking", booking_runs.url());
    // Identity and notification are not there, so the gateway as a whole is not ready; it passes calls on all the same.
    let gateway = gateway.start(tourmesh_gateway::serve).await;
    let user = "usr_0123456789abcdef0123456789abcdef";
    Mesh {
        gateway: gateway.channel(),
        url: gateway.url(),
        traveller: world.token(user, &[Role::Traveller], None),
        expired: world.expired_token(user, &[Role::Traveller]),
        staff: world.token("usr_ffffffffffffffffffffffffffffffff", &[Role::Staff], None),
        databases: vec![
            (catalog.pool().await, "catalog"),
            (booking.pool().await, "booking"),
            (payment.pool().await, "payment"),
        ],
        _running: vec![catalog_runs, payment_runs, booking_runs, gateway],
    }
}

impl Mesh {
    fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.gateway.clone())
    }
    fn admin(&self) -> CatalogAdminServiceClient<Channel> {
        CatalogAdminServiceClient::new(self.gateway.clone())
    }
    fn booking(&self) -> BookingServiceClient<Channel> {
        BookingServiceClient::new(self.gateway.clone())
    }

    /// Rows of everything that a caller can make grow. Booking's copy of the inventory is a cache and not counted.
    async fn rows(&self) -> Vec<(String, i64)> {
        let mut rows = Vec::new();
        for (pool, role) in &self.databases {
            let tables: Vec<String> =
                sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
                    .fetch_all(pool)
                    .await
                    .unwrap();
            for table in tables {
                let inventory = ["departures", "terms", "pools", "option_pools", "pool_slots"];
                let copies = *role == "booking" && inventory.contains(&table.as_str());
                if copies || matches!(table.as_str(), "inbox" | "_sqlx_migrations") {
                    continue;
                }
                let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
                rows.push((format!("{role}.{table}"), sqlx::query_scalar(count).fetch_one(pool).await.unwrap()));
            }
        }
        rows
    }

    /// Any message to any path, well-formed or not.
    async fn raw(&self, path: &'static str, message: impl Message + 'static) -> Result<(), Status> {
        let mut grpc = Grpc::new(self.gateway.clone());
        grpc.ready().await.map_err(|e| Status::unknown(e.to_string()))?;
        let codec: ProstCodec<_, ()> = ProstCodec::default();
        grpc.unary(Request::new(message), PathAndQuery::from_static(path), codec).await.map(drop)
    }
}

/// A text field whose bytes are anything.
#[derive(Clone, PartialEq, Message)]
struct AnyBytes {
    #[prost(bytes = "vec", tag = "1")]
    first: Vec<u8>,
}

fn id() -> String {
    Uuid::now_v7().simple().to_string()
}

fn wish(departure: &str, quantity: i32) -> CreateBookingRequest {
    CreateBookingRequest {
        request_id: id(),
        departure_id: departure.to_owned(),
        units: vec![UnitQuantity { unit: UnitType::Adult.into(), quantity }],
        contact: Some(Contact { full_name: "Ada".into(), email: "ada@example.org".into(), language: "en".into() }),
        ..CreateBookingRequest::default()
    }
}

fn refused<T>(result: Result<T, Status>) -> Option<Status> {
    result.err()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_input_gets_its_code_and_reason_and_changes_nothing() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(info);
    }));
    let mesh = mesh().await;
    let (traveller, staff) = (mesh.traveller.as_str(), mesh.staff.as_str());

    // Departures of three tours: one stays as it is, one gets small, one is in the past, one tour is archived.
    let found = mesh.catalog().search_tours(SearchToursRequest::default()).await.unwrap().into_inner();
    let tours: Vec<String> = found.hits.into_iter().map(|h| h.tour.unwrap().id).collect();
    let mut departures = Vec::new();
    for tour in &tours {
        let from = (chrono::Utc::now().date_naive() + chrono::Days::new(3)).to_string();
        let request = ListDeparturesRequest { tour_id: tour.clone(), date_from: from, ..Default::default() };
        departures.push(mesh.catalog().list_departures(request).await.unwrap().into_inner().departures);
    }
    let good = departures[0][0].id.clone();
    let small = departures[0][1].id.clone();
    let past = departures[0][2].id.clone();
    let archived = departures[1][0].id.clone();
    let unseen = departures[2][0].id.clone();
    let change = UpdateDepartureRequest {
        request_id: id(),
        departure_id: small.clone(),
        capacity: 1,
        update_mask: Some(prost_types::FieldMask { paths: vec!["capacity".into()] }),
        ..Default::default()
    };
    mesh.admin().update_departure(bearer(change, staff)).await.unwrap();
    let archive = ArchiveTourRequest { request_id: id(), tour_id: tours[1].clone() };
    mesh.admin().archive_tour(bearer(archive, staff)).await.unwrap();
    let back = "UPDATE departures SET local_start = local_start - interval '30 days', starts_at = starts_at - interval '30 days'
                WHERE id = $1";
    let uuid: Uuid = past.trim_start_matches("dep_").parse().unwrap();
    sqlx::query(back).bind(uuid).execute(&mesh.databases[0].0).await.unwrap();
    // Booking has its own copy, from an event that it may not have heard yet.
    let known = "UPDATE departures SET starts_at = starts_at - interval '30 days' WHERE id = $1";
    tourmesh_testkit::eventually(|| async {
        sqlx::query(known).bind(uuid).execute(&mesh.databases[1].0).await.unwrap().rows_affected() == 1
    })
    .await;
    let mine =
        mesh.booking().create_booking(bearer(wish(&good, 2), traveller)).await.unwrap().into_inner().booking.unwrap();
    let other = World::get().await.token("usr_11111111111111111111111111111111", &[Role::Traveller], None);

    // The relays may still publish, but no table may grow from here on.
    let rows = mesh.rows().await;
    let hex = "0123456789abcdef0123456789abcdef";
    let (catalog, booking) = (mesh.catalog(), mesh.booking());
    let tour = |tour_id: String| GetTourRequest { tour_id };
    let quote = |departure: &str, quantity| QuoteRequest {
        departure_id: departure.to_owned(),
        units: vec![UnitQuantity { unit: UnitType::Adult.into(), quantity }],
    };
    let price = |currency: &str| SearchToursRequest {
        min_price: Some(Money { currency_code: currency.into(), units: 1, nanos: 0 }),
        ..Default::default()
    };
    let confirm = |method: &str| ConfirmBookingRequest {
        request_id: id(),
        booking_id: mine.id.clone(),
        payment_method: method.to_owned(),
        return_url: String::new(),
    };
    // tonic's own channel would give up by itself before the server can say anything.
    let plain = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<tonic::body::Body>();
    let mut impatient = BookingServiceClient::with_origin(plain, mesh.url.parse().unwrap());
    let mut hurried = bearer(wish(&unseen, 1), traveller);
    hurried.metadata_mut().insert("grpc-timeout", "1u".parse().unwrap());
    let draft = CreateTourRequest {
        request_id: id(),
        tour: Some(Tour {
            supplier_id: format!("sup_{hex}"),
            title: Some(LocalizedText { en: "A walk".into(), fr: String::new() }),
            time_zone: "Europe/Paris".into(),
            currency: "EURO".into(),
            ..Default::default()
        }),
    };
    let payment = CreatePaymentRequest {
        request_id: id(),
        booking_id: mine.id.clone(),
        customer_id: format!("usr_{hex}"),
        supplier_id: format!("sup_{hex}"),
        amount: Some(Money { currency_code: "EUR".into(), units: 1, nanos: 0 }),
        payment_method: "card_ok".into(),
        ..Default::default()
    };
    let voucher = RedeemVoucherRequest { request_id: id(), voucher_code: "X".into() };
    let page = ListBookingsRequest { page_token: "made up".into(), ..Default::default() };
    let no_mail = CreateBookingRequest {
        contact: Some(Contact { full_name: "Ada".into(), email: "ada".into(), language: "en".into() }),
        ..wish(&good, 1)
    };

    let pool = |kind, slot_minutes| CreateResourcePoolRequest {
        request_id: id(),
        pool: Some(ResourcePool {
            supplier_id: format!("sup_{hex}"),
            name: "Bus".into(),
            kind,
            capacity: 50,
            slot_minutes,
            ..Default::default()
        }),
    };
    let larger = UpdateResourcePoolRequest {
        request_id: id(),
        pool_id: format!("pool_{hex}"),
        pool: Some(ResourcePool { capacity: 60, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["capacity".into()] }),
    };
    let shared = PoolUse { pool_id: format!("pool_{hex}"), units: 1, seats: 1 };
    let foreign_pool = UpdateOptionRequest {
        request_id: id(),
        option_id: departures[0][0].option_id.clone(),
        option: Some(tourmesh::catalog::v1::Option { pools: vec![shared], ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["pools".into()] }),
    };

    let table: Vec<(&str, Option<Status>, Code, &str)> = vec![
        (
            "a malformed id",
            refused(catalog.clone().get_tour(tour("nonsense".into())).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "an id in upper case",
            refused(catalog.clone().get_tour(tour(format!("tour_{}", hex.to_uppercase()))).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "a wrong prefix",
            refused(catalog.clone().get_tour(tour(format!("dep_{hex}"))).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "an unknown tour",
            refused(catalog.clone().get_tour(tour(format!("tour_{hex}"))).await),
            Code::NotFound,
            "TOUR_NOT_FOUND",
        ),
        (
            "invalid UTF-8",
            refused(
                mesh.raw("/tourmesh.catalog.v1.CatalogService/GetTour", AnyBytes { first: vec![0xff, 0xfe] }).await,
            ),
            Code::InvalidArgument,
            "MALFORMED_REQUEST",
        ),
        (
            "a message of 1 MiB",
            refused(
                mesh.raw("/tourmesh.catalog.v1.CatalogService/GetTour", AnyBytes { first: vec![b'a'; 1 << 20] }).await,
            ),
            Code::ResourceExhausted,
            "MESSAGE_TOO_LARGE",
        ),
        (
            "an unknown method",
            refused(mesh.raw("/tourmesh.catalog.v1.CatalogService/Nonsense", AnyBytes::default()).await),
            Code::Unimplemented,
            "METHOD_UNKNOWN",
        ),
        (
            "an unknown service",
            refused(mesh.raw("/tourmesh.nonsense.v1.NonsenseService/Get", AnyBytes::default()).await),
            Code::Unimplemented,
            "METHOD_UNKNOWN",
        ),
        (
            "an unknown currency in a search",
            refused(catalog.clone().search_tours(price("XXX")).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "an unknown currency of a tour",
            refused(mesh.admin().create_tour(bearer(draft, staff)).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "a resource pool without a kind",
            refused(mesh.admin().create_resource_pool(bearer(pool(0, 15), staff)).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "a resource pool with slots that make no day",
            refused(mesh.admin().create_resource_pool(bearer(pool(1, 7), staff)).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "a resource pool of an unknown supplier",
            refused(mesh.admin().create_resource_pool(bearer(pool(1, 15), staff)).await),
            Code::NotFound,
            "SUPPLIER_NOT_FOUND",
        ),
        (
            "an unknown resource pool",
            refused(mesh.admin().update_resource_pool(bearer(larger, staff)).await),
            Code::NotFound,
            "POOL_NOT_FOUND",
        ),
        (
            "an option with a foreign resource pool",
            refused(mesh.admin().update_option(bearer(foreign_pool, staff)).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "a negative quantity",
            refused(catalog.clone().quote(quote(&good, -1)).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "a quantity of zero",
            refused(catalog.clone().quote(quote(&good, 0)).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "a huge quantity",
            refused(booking.clone().create_booking(bearer(wish(&good, i32::MAX), traveller)).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "no units",
            refused(catalog.clone().quote(QuoteRequest { departure_id: good.clone(), units: vec![] }).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "more seats than the departure has",
            refused(booking.clone().create_booking(bearer(wish(&small, 2), traveller)).await),
            Code::ResourceExhausted,
            "DEPARTURE_SOLD_OUT",
        ),
        (
            "a departure in the past, quoted",
            refused(catalog.clone().quote(quote(&past, 1)).await),
            Code::FailedPrecondition,
            "DEPARTURE_IN_PAST",
        ),
        (
            "a departure in the past, booked",
            refused(booking.clone().create_booking(bearer(wish(&past, 1), traveller)).await),
            Code::FailedPrecondition,
            "DEPARTURE_IN_PAST",
        ),
        (
            "a tour that is not sold",
            refused(booking.clone().create_booking(bearer(wish(&archived, 1), traveller)).await),
            Code::FailedPrecondition,
            "TOUR_NOT_PUBLISHED",
        ),
        (
            "an unknown departure",
            refused(booking.clone().create_booking(bearer(wish(&format!("dep_{hex}"), 1), traveller)).await),
            Code::NotFound,
            "DEPARTURE_NOT_FOUND",
        ),
        (
            "a foreign booking",
            refused(
                booking.clone().get_booking(bearer(GetBookingRequest { booking_id: mine.id.clone() }, &other)).await,
            ),
            Code::NotFound,
            "BOOKING_NOT_FOUND",
        ),
        (
            "no request_id",
            refused(
                booking
                    .clone()
                    .create_booking(bearer(
                        CreateBookingRequest { request_id: String::new(), ..wish(&good, 1) },
                        traveller,
                    ))
                    .await,
            ),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "no e-mail address",
            refused(booking.clone().create_booking(bearer(no_mail, traveller)).await),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "no token",
            refused(booking.clone().create_booking(wish(&good, 1)).await),
            Code::Unauthenticated,
            "TOKEN_MISSING",
        ),
        (
            "an expired token",
            refused(booking.clone().create_booking(bearer(wish(&good, 1), &mesh.expired)).await),
            Code::Unauthenticated,
            "TOKEN_EXPIRED",
        ),
        (
            "a made-up token",
            refused(booking.clone().create_booking(bearer(wish(&good, 1), "made.up.token")).await),
            Code::Unauthenticated,
            "TOKEN_INVALID",
        ),
        (
            "a bad token at a public method",
            refused(catalog.clone().get_tour(bearer(tour(tours[0].clone()), "made.up.token")).await),
            Code::Unauthenticated,
            "TOKEN_INVALID",
        ),
        (
            "a role that is not enough",
            refused(booking.clone().redeem_voucher(bearer(voucher, traveller)).await),
            Code::PermissionDenied,
            "ROLE_MISSING",
        ),
        (
            "a method for services only",
            refused(PaymentServiceClient::new(mesh.gateway.clone()).create_payment(bearer(payment, staff)).await),
            Code::PermissionDenied,
            "ROLE_MISSING",
        ),
        (
            "a made-up page token",
            refused(booking.clone().list_bookings(bearer(page, traveller)).await),
            Code::InvalidArgument,
            "PAGE_TOKEN_INVALID",
        ),
        (
            "a card number",
            refused(booking.clone().confirm_booking(bearer(confirm("4242 4242 4242 4242"), traveller)).await),
            Code::InvalidArgument,
            "CARD_NUMBER_REFUSED",
        ),
        (
            "a deadline that has passed",
            refused(impatient.create_booking(hurried).await),
            Code::DeadlineExceeded,
            "DEADLINE_EXCEEDED",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, status, code, why) in &table {
        match status {
            None => wrong.push(format!("{what}: was accepted")),
            Some(s) if s.code() != *code || reason(s) != *why => {
                wrong.push(format!(
                    "{what}: {:?} {:?} ({}), should be {code:?} {why}",
                    s.code(),
                    reason(s),
                    s.message()
                ));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(mesh.rows().await, rows, "nothing is written");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "nothing panics");
}
