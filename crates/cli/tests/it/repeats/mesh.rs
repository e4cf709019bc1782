//! All six roles in this process behind one gateway, and what the table's rows are made of.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sqlx::PgPool;
use tonic::{Status, transport::Channel};
use tourmesh::{
    booking::v1::{self as booking, booking_service_client::BookingServiceClient},
    catalog::v1::{self as catalog, catalog_admin_service_client::CatalogAdminServiceClient},
    common::v1::{LocalizedText, RefundPolicy, RefundTier, UnitQuantity, UnitType},
    google::r#type::{LatLng, Money},
    identity::v1::{self as identity, identity_service_client::IdentityServiceClient},
    notification::v1::{
        self as notification, notification_service_client::NotificationServiceClient,
        webhook_service_client::WebhookServiceClient,
    },
    payment::v1::{self as payment, payment_service_client::PaymentServiceClient},
};
use tourmesh_testkit::{Role, Room, Running, World, bearer, eventually, reason};
use uuid::Uuid;

use super::raw;

/// What a service keeps once for many things, or of other things that it has: words that search knows, countries with
/// taxes, terms, departures and pools that Booking has seen.
const COPIES: [&str; 7] = [
    "catalog.vocabulary",
    "catalog.tax_countries",
    "booking.terms",
    "booking.departures",
    "booking.pools",
    "booking.option_pools",
    "booking.pool_slots",
];

/// What is due, by the tables that say so: as long as it is not done, it will still add rows. What a worker has taken is due
/// again when its lease ends, hence the minutes.
const WORK: [(&str, &str); 3] = [
    (
        "notification",
        "SELECT count(*) FROM deliveries WHERE state = 'PENDING' AND due_at < now() + interval '10 minutes'",
    ),
    ("booking", "SELECT count(*) FROM refund_tasks WHERE done_at IS NULL"),
    ("payment", "SELECT count(*) FROM sandbox_events WHERE due_at < now() + interval '10 minutes'"),
];

/// How many rows each table has.
pub type Rows = BTreeMap<String, i64>;

/// What was added, or went, by table.
pub fn difference(before: &Rows, after: &Rows) -> Rows {
    let change = |table: &String| after.get(table).unwrap_or(&0) - before.get(table).unwrap_or(&0);
    after.keys().map(|table| (table.clone(), change(table))).filter(|(_, n)| *n != 0).collect()
}

/// A new id with a prefix.
pub fn id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::now_v7().simple())
}

/// A new request id.
pub fn request_id() -> String {
    Uuid::now_v7().simple().to_string()
}

/// So many whole euros.
pub fn euros(units: i64) -> Option<Money> {
    Some(Money { currency_code: "EUR".into(), units, nanos: 0 })
}

/// A text in English.
pub fn english(text: &str) -> Option<LocalizedText> {
    Some(LocalizedText { en: text.into(), fr: String::new() })
}

/// The mesh.
pub struct Mesh {
    world: &'static World,
    gateway: Channel,
    databases: Vec<(&'static str, PgPool)>,
    days: AtomicU64,
    /// Somebody who may do everything that people may do.
    pub staff: String,
    /// Another service of the mesh.
    pub service: String,
    _running: Vec<Running>,
}

impl Mesh {
    /// Starts all roles.
    pub async fn start() -> Self {
        let world = World::get().await;
        let catalog = world.room("catalog", &tourmesh_catalog::SCHEMA).await;
        let prefix = catalog.env().foreign("TOURMESH_NATS_PREFIX").unwrap().to_owned();
        let same = |room: Room| room.with("NATS_PREFIX", &prefix);
        let payment = same(world.room("payment", &tourmesh_payment::SCHEMA).await)
            .with("SANDBOX_WEBHOOK_SECRET", "0123456789abcdef0123456789abcdef")
            // What is unknown stays unknown until somebody asks.
            .with("PENDING_GRACE_MS", 3_600_000)
            .with("SANDBOX_LATE_MS", 3_600_000);
        let notification = same(world.room("notification", &tourmesh_notification::SCHEMA).await);
        let notification = notification.with("MAIL_TRANSPORT", "null");
        // Hashes that cost nothing here; a hundred sign-ups at once are more than the queue is made for.
        let identity = same(world.room("identity", &tourmesh_identity::SCHEMA).await)
            .with("PASSWORD_MEMORY_KIB", 64)
            .with("PASSWORD_PASSES", 1)
            .with("PASSWORD_QUEUE", 500)
            .with("SIGN_UP_QUEUE", 500)
            .with("SIGN_UPS_PER_WINDOW", 100_000);
        let catalog_runs = catalog.serve(tourmesh_catalog::serve).await;
        let payment_runs = payment.serve(tourmesh_payment::serve).await;
        let booking = same(world.room("booking", &tourmesh_booking::SCHEMA).await)
            .with("MAX_OPEN_HOLDS", 1_000)
            .peer("catalog", catalog_runs.url())
            .peer("payment", payment_runs.url());
        let booking_runs = booking.serve(tourmesh_booking::serve).await;
        let notification_runs = notification.serve(tourmesh_notification::serve).await;
        let identity_runs = identity.serve(tourmesh_identity::serve).await;
        let gateway = world
            .bare_room("gateway")
            .peer("catalog", catalog_runs.url())
            .peer("payment", payment_runs.url())
            .peer("booking", booking_runs.url())
            .peer("notification", notification_runs.url())
            .peer("identity", identity_runs.url());
        let gateway = gateway.serve(tourmesh_gateway::serve).await;
        let databases = vec![
            ("catalog", catalog.pool().await),
            ("booking", booking.pool().await),
            ("payment", payment.pool().await),
            ("notification", notification.pool().await),
            ("identity", identity.pool().await),
        ];
        Self {
            world,
            gateway: gateway.channel(),
            databases,
            days: AtomicU64::new(30),
            staff: world.token(&id("usr"), &[Role::Traveller, Role::Staff], None),
            service: world.service_token("booking"),
            _running: vec![catalog_runs, payment_runs, booking_runs, notification_runs, identity_runs, gateway],
        }
    }

    /// Somebody new.
    pub fn traveller(&self) -> String {
        self.world.token(&id("usr"), &[Role::Traveller], None)
    }

    /// One call, repeated while the mesh says that it has too much to do, as every client would.
    pub async fn call(&self, path: &str, token: &str, message: &[u8]) -> Result<Bytes, Status> {
        loop {
            let message = Bytes::copy_from_slice(message);
            let request = if token.is_empty() { tonic::Request::new(message) } else { bearer(message, token) };
            match raw::call(self.gateway.clone(), path, request).await {
                Err(status) if reason(&status) == "OVERLOADED" => tokio::time::sleep(Duration::from_millis(20)).await,
                answer => return answer,
            }
        }
    }

    /// All tables of all databases, but for copies.
    pub async fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        for (role, pool) in &self.databases {
            let tables: Vec<String> = sqlx::query_scalar(
                "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%migrations'",
            )
            .fetch_all(pool)
            .await
            .unwrap();
            let tables: Vec<String> =
                tables.into_iter().filter(|t| !COPIES.contains(&format!("{role}.{t}").as_str())).collect();
            let counts: Vec<String> =
                tables.iter().map(|t| format!("SELECT '{role}.{t}'::text, count(*) FROM {t}")).collect();
            let counts = sqlx::AssertSqlSafe(counts.join(" UNION ALL "));
            let counts: Vec<(String, i64)> = sqlx::query_as(counts).fetch_all(pool).await.unwrap();
            rows.extend(counts);
        }
        rows
    }

    /// The same when everything that was begun is over: no event and no work waits, and nothing changes any more.
    pub async fn settled(&self) -> Rows {
        let begun = Instant::now();
        let (mut before, mut calm) = (Rows::new(), 0);
        while calm < 3 {
            assert!(begun.elapsed() < Duration::from_secs(30), "the mesh does not come to rest");
            tokio::time::sleep(Duration::from_millis(60)).await;
            let now = self.rows().await;
            calm = if now == before && self.waiting().await == 0 { calm + 1 } else { 0 };
            before = now;
        }
        before
    }

    async fn waiting(&self) -> i64 {
        let mut waiting = 0;
        for (role, pool) in &self.databases {
            let work = WORK.iter().filter(|(of, _)| of == role).map(|(_, count)| *count);
            for count in work.chain(["SELECT count(*) FROM outbox_waiting"]) {
                waiting += sqlx::query_scalar::<_, i64>(count).fetch_one(pool).await.unwrap();
            }
        }
        waiting
    }

    /// Catalog's administration.
    pub fn admin(&self) -> CatalogAdminServiceClient<Channel> {
        CatalogAdminServiceClient::new(self.gateway.clone())
    }
    /// Bookings.
    pub fn booking(&self) -> BookingServiceClient<Channel> {
        BookingServiceClient::new(self.gateway.clone())
    }
    /// Payments.
    pub fn payment(&self) -> PaymentServiceClient<Channel> {
        PaymentServiceClient::new(self.gateway.clone())
    }
    /// Accounts.
    pub fn identity(&self) -> IdentityServiceClient<Channel> {
        IdentityServiceClient::new(self.gateway.clone())
    }
    /// Messages.
    pub fn notification(&self) -> NotificationServiceClient<Channel> {
        NotificationServiceClient::new(self.gateway.clone())
    }

    pub fn webhooks(&self) -> WebhookServiceClient<Channel> {
        WebhookServiceClient::new(self.gateway.clone())
    }

    /// A new supplier.
    pub async fn supplier(&self) -> String {
        let supplier = catalog::Supplier {
            name: "A supplier".into(),
            contact_email: "supplier@example.org".into(),
            ..Default::default()
        };
        let request = catalog::CreateSupplierRequest { request_id: request_id(), supplier: Some(supplier) };
        let made = self.admin().create_supplier(bearer(request, &self.staff)).await.unwrap();
        made.into_inner().supplier.unwrap().id
    }

    /// A tour as somebody writes it.
    pub fn a_tour(&self, supplier: &str) -> catalog::Tour {
        catalog::Tour {
            supplier_id: supplier.into(),
            title: english("A walk"),
            description: english("Along the river."),
            category: catalog::TourCategory::GuidedWalk.into(),
            location: Some(LatLng { latitude: 48.85, longitude: 2.35 }),
            country: "FR".into(),
            time_zone: "Europe/Paris".into(),
            currency: "EUR".into(),
            ..Default::default()
        }
    }

    /// An option as somebody writes it.
    pub fn an_option(&self, tour: &str) -> catalog::Option {
        let adult: i32 = UnitType::Adult.into();
        catalog::Option {
            tour_id: tour.into(),
            title: english("Small group"),
            duration_minutes: 90,
            units: vec![catalog::Unit { r#type: adult, seats: 1, ..Default::default() }],
            price_lists: vec![catalog::PriceList {
                prices: vec![catalog::UnitPrice { unit: adult, price: euros(30) }],
                ..Default::default()
            }],
            min_party: 1,
            refund_policy: Some(RefundPolicy { tiers: vec![RefundTier { hours_before: 24, refund_percent: 100 }] }),
            ..Default::default()
        }
    }

    /// A new tour that is not on sale yet, without options.
    pub async fn draft(&self) -> catalog::Tour {
        let tour = self.a_tour(&self.supplier().await);
        let request = catalog::CreateTourRequest { request_id: request_id(), tour: Some(tour) };
        self.admin().create_tour(bearer(request, &self.staff)).await.unwrap().into_inner().tour.unwrap()
    }

    /// An option of a new tour.
    pub async fn option(&self) -> catalog::Option {
        let tour = self.draft().await;
        let request = catalog::CreateOptionRequest { request_id: request_id(), option: Some(self.an_option(&tour.id)) };
        self.admin().create_option(bearer(request, &self.staff)).await.unwrap().into_inner().option.unwrap()
    }

    /// An option of a new tour that is on sale.
    pub async fn on_sale(&self) -> catalog::Option {
        let option = self.option().await;
        let request = catalog::PublishTourRequest { request_id: request_id(), tour_id: option.tour_id.clone() };
        self.admin().publish_tour(bearer(request, &self.staff)).await.unwrap();
        option
    }

    /// A day that nothing happens on yet.
    pub fn day(&self) -> chrono::NaiveDate {
        chrono::Utc::now().date_naive() + chrono::Days::new(self.days.fetch_add(1, Ordering::SeqCst))
    }

    /// A new departure of an option, known to Booking.
    pub async fn departure_of(&self, option: &str, capacity: i32) -> catalog::Departure {
        let request = catalog::CreateDepartureRequest {
            request_id: request_id(),
            option_id: option.into(),
            local_start: format!("{}T09:00", self.day()),
            capacity,
        };
        let made = self.admin().create_departure(bearer(request, &self.staff)).await.unwrap();
        let departure = made.into_inner().departure.unwrap();
        eventually(|| async {
            let request = booking::CheckAvailabilityRequest { departure_ids: vec![departure.id.clone()] };
            !self.booking().check_availability(request).await.unwrap().into_inner().availabilities.is_empty()
        })
        .await;
        departure
    }

    /// A departure of a new tour.
    pub async fn departure(&self, capacity: i32) -> catalog::Departure {
        self.departure_of(&self.on_sale().await.id, capacity).await
    }

    /// Adults.
    pub fn party(&self, quantity: i32) -> Vec<UnitQuantity> {
        vec![UnitQuantity { unit: UnitType::Adult.into(), quantity }]
    }

    /// Who is told.
    pub fn contact(&self) -> Option<booking::Contact> {
        Some(booking::Contact { full_name: "Ada".into(), email: "ada@example.org".into(), language: "en".into() })
    }

    /// Two seats that are held.
    pub async fn held(&self, token: &str, departure: &str) -> booking::Booking {
        let request = booking::CreateBookingRequest {
            promo_code: String::new(),
            request_id: request_id(),
            departure_id: departure.into(),
            units: self.party(2),
            contact: self.contact(),
        };
        self.booking().create_booking(bearer(request, token)).await.unwrap().into_inner().booking.unwrap()
    }

    /// Two seats that are paid for.
    pub async fn confirmed(&self, token: &str, departure: &str) -> booking::Booking {
        let held = self.held(token, departure).await;
        let request = booking::ConfirmBookingRequest {
            request_id: request_id(),
            booking_id: held.id.clone(),
            payment_method: "card_ok".into(),
            return_url: String::new(),
        };
        self.booking().confirm_booking(bearer(request, token)).await.unwrap();
        let get = || async {
            let request = booking::GetBookingRequest { booking_id: held.id.clone() };
            self.booking().get_booking(bearer(request, token)).await.unwrap().into_inner().booking.unwrap()
        };
        eventually(|| async { get().await.state() == booking::BookingState::Confirmed }).await;
        get().await
    }

    /// The confirmation that was sent of a booking.
    pub async fn delivery(&self, booking: &str) -> notification::Delivery {
        let request = notification::ListDeliveriesRequest { booking_id: booking.into(), ..Default::default() };
        let list = || async {
            let listed = self.notification().list_deliveries(bearer(request.clone(), &self.staff)).await;
            let is_sent = |d: &notification::Delivery| d.state() == notification::DeliveryState::Sent;
            let is_confirmation = |d: &notification::Delivery| d.kind() == notification::MessageKind::BookingConfirmed;
            listed.unwrap().into_inner().deliveries.into_iter().find(|d| is_sent(d) && is_confirmation(d))
        };
        eventually(|| async { list().await.is_some() }).await;
        list().await.unwrap()
    }

    /// A wish to be paid.
    pub fn a_payment(&self) -> payment::CreatePaymentRequest {
        payment::CreatePaymentRequest {
            request_id: request_id(),
            booking_id: id("bkg"),
            customer_id: id("usr"),
            supplier_id: id("sup"),
            amount: euros(60),
            payment_method: "card_ok".into(),
            ..Default::default()
        }
    }

    /// Ends the asking for a refund that was not answered, as time would.
    pub async fn give_up(&self, refund: &str) {
        let (_, payment) = self.databases.iter().find(|(role, _)| *role == "payment").unwrap();
        let id: Uuid = refund.split_once('_').unwrap().1.parse().unwrap();
        let given_up = "UPDATE refunds SET given_up_at = now(), check_at = NULL WHERE id = $1 AND settled_at IS NULL";
        let done = sqlx::query(given_up).bind(id).execute(payment).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "the provider has answered");
    }

    /// Somebody with an account.
    pub async fn user(&self) -> identity::User {
        let request = self.a_sign_up();
        self.identity().sign_up(request).await.unwrap().into_inner().user.unwrap()
    }

    /// Somebody who wants an account.
    pub fn a_sign_up(&self) -> identity::SignUpRequest {
        identity::SignUpRequest {
            request_id: request_id(),
            email: format!("{}@example.org", request_id()),
            password: "correct horse battery".into(),
            full_name: "Ada".into(),
            language: "en".into(),
        }
    }
}
