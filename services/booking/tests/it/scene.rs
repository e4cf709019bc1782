//! One test's stage: a room, the scripted peers, one or more replicas, people, and the promises.

use prost::Message as _;
use sqlx::{PgConnection, PgPool};
use tonic::{Status, transport::Channel};
use tourmesh::{
    booking::v1::{self as pb, booking_service_client::BookingServiceClient},
    catalog::v1 as catalog,
    common::v1 as common,
    google::r#type::Money,
    payment::v1 as payment,
};
use tourmesh_kit::{events::Event, time};
use tourmesh_testkit::{Role, Room, Running, World, bearer, eventually};
use uuid::Uuid;

use crate::peers::{self, Catalog, Payments};

pub(crate) fn id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::now_v7().simple())
}

pub(crate) fn euros(cents: i64) -> Money {
    Money { currency_code: "EUR".into(), units: cents / 100, nanos: i32::try_from(cents % 100).unwrap() * 10_000_000 }
}

pub(crate) fn uuid(id: &str) -> Uuid {
    id.split_once('_').unwrap().1.parse().unwrap()
}

/// Somebody with a token.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) token: String,
}

impl Person {
    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

/// A role in its room.
pub(crate) struct Scene {
    pub(crate) world: &'static World,
    pub(crate) room: Room,
    pub(crate) catalog: Catalog,
    pub(crate) payments: Payments,
    pub(crate) pool: PgPool,
    pub(crate) running: Running,
    pub(crate) supplier: String,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let world = World::get().await;
        let (catalog, payments) = (Catalog::default(), Payments::default());
        let address = peers::serve(catalog.clone(), payments.clone()).await;
        let url = format!("http://{address}");
        let mut room =
            world.room("booking", &tourmesh_booking::SCHEMA).await.peer("catalog", &url).peer("payment", &url);
        for (name, value) in settings {
            room = room.with(name, value);
        }
        let running = room.serve(tourmesh_booking::serve).await;
        Self { world, pool: room.pool().await, room, catalog, payments, running, supplier: id("sup") }
    }

    /// Another replica on the same database and broker.
    pub(crate) async fn replica(&self) -> Running {
        self.room.serve(tourmesh_booking::serve).await
    }

    pub(crate) fn client(&self) -> BookingServiceClient<Channel> {
        BookingServiceClient::new(self.running.channel())
    }

    pub(crate) fn traveller(&self) -> Person {
        let id = id("usr");
        Person { token: self.world.token(&id, &[Role::Traveller], None), id }
    }

    pub(crate) fn staff(&self) -> Person {
        let id = id("usr");
        Person { token: self.world.token(&id, &[Role::Traveller, Role::Staff], None), id }
    }

    /// Somebody who works for a supplier.
    pub(crate) fn guide(&self, supplier: &str) -> Person {
        let id = id("usr");
        Person { token: self.world.token(&id, &[Role::Traveller, Role::Supplier], Some(supplier)), id }
    }

    /// An offer for a departure in ten days: adults 30.00 EUR, children 12.35 EUR, infants free and without a seat.
    pub(crate) fn offer(&self, capacity: i32) -> catalog::Offer {
        use common::UnitType as U;
        let starts_at = chrono::Utc::now() + chrono::TimeDelta::days(10);
        let unit = |unit: U, seats| catalog::Unit { r#type: unit.into(), seats, ..catalog::Unit::default() };
        let price = |unit: U, cents| catalog::UnitPrice { unit: unit.into(), price: Some(euros(cents)) };
        let text = |en: &str, fr: &str| Some(common::LocalizedText { en: en.into(), fr: fr.into() });
        catalog::Offer {
            departure: Some(catalog::Departure {
                id: id("dep"),
                tour_id: id("tour"),
                option_id: id("opt"),
                supplier_id: self.supplier.clone(),
                local_start: "2030-06-01T09:00".into(),
                time_zone: "Europe/Paris".into(),
                starts_at: Some(time::to_wire(starts_at)),
                duration_minutes: 90,
                capacity,
                state: catalog::DepartureState::Open.into(),
                version: 1,
            }),
            tour_state: catalog::TourState::Published.into(),
            tour_title: text("The Louvre at dawn", "Le Louvre à l'aube"),
            option_title: text("Small group", "Petit groupe"),
            units: vec![unit(U::Adult, 1), unit(U::Child, 1), unit(U::Infant, 0)],
            prices: vec![price(U::Adult, 3_000), price(U::Child, 1_235), price(U::Infant, 0)],
            currency: "EUR".into(),
            min_party: 1,
            max_party: 0,
            hold_seconds: 0,
            refund_policy: Some(common::RefundPolicy {
                tiers: vec![
                    common::RefundTier { hours_before: 24, refund_percent: 50 },
                    common::RefundTier { hours_before: 72, refund_percent: 100 },
                ],
            }),
            pay_on_arrival: false,
            taxes: vec![],
            country: "FR".into(),
            ..catalog::Offer::default()
        }
    }

    /// A departure on sale; returns its id.
    pub(crate) fn departure(&self, capacity: i32) -> String {
        self.departure_of(self.offer(capacity))
    }

    pub(crate) fn departure_of(&self, offer: catalog::Offer) -> String {
        let id = offer.departure.as_ref().unwrap().id.clone();
        self.catalog.put(offer);
        id
    }

    pub(crate) async fn book(&self, person: &Person, departure: &str, adults: i32) -> Result<pb::Booking, Status> {
        self.book_as(person, &Uuid::now_v7().to_string(), departure, adults).await
    }

    pub(crate) async fn book_as(
        &self,
        person: &Person,
        request_id: &str,
        departure: &str,
        adults: i32,
    ) -> Result<pb::Booking, Status> {
        create(self.client(), person, wish(request_id, departure, adults)).await
    }

    /// What a wish would cost.
    pub(crate) async fn price(
        &self,
        person: &Person,
        wish: &pb::CreateBookingRequest,
    ) -> Result<pb::PreviewBookingResponse, Status> {
        let pb::CreateBookingRequest { departure_id, units, promo_code, .. } = wish.clone();
        let request = pb::PreviewBookingRequest { departure_id, units, promo_code };
        Ok(self.client().preview_booking(bearer(request, &person.token)).await?.into_inner())
    }

    pub(crate) async fn confirm(
        &self,
        person: &Person,
        request_id: &str,
        booking: &str,
        method: &str,
    ) -> Result<pb::ConfirmBookingResponse, Status> {
        let request = pb::ConfirmBookingRequest {
            request_id: request_id.into(),
            booking_id: booking.into(),
            payment_method: method.into(),
            return_url: String::new(),
        };
        Ok(self.client().confirm_booking(bearer(request, &person.token)).await?.into_inner())
    }

    pub(crate) async fn get(&self, person: &Person, booking: &str) -> Result<pb::Booking, Status> {
        let request = pb::GetBookingRequest { booking_id: booking.into() };
        Ok(self.client().get_booking(bearer(request, &person.token)).await?.into_inner().booking.unwrap())
    }

    pub(crate) async fn cancel(&self, person: &Person, request_id: &str, booking: &str) -> Result<pb::Booking, Status> {
        let request = pb::CancelBookingRequest {
            request_id: request_id.into(),
            booking_id: booking.into(),
            reason: "rain".into(),
            item_ids: vec![],
        };
        Ok(self.client().cancel_booking(bearer(request, &person.token)).await?.into_inner().booking.unwrap())
    }

    /// An offer for another departure of the same tour.
    pub(crate) fn another(&self, of: &catalog::Offer, adult_cents: i64, capacity: i32) -> catalog::Offer {
        let mut offer = of.clone();
        let departure = offer.departure.as_mut().unwrap();
        (departure.id, departure.capacity) = (id("dep"), capacity);
        departure.starts_at = Some(time::to_wire(chrono::Utc::now() + chrono::TimeDelta::days(20)));
        offer.prices[0].price = Some(euros(adult_cents));
        offer
    }

    pub(crate) async fn preview_move(
        &self,
        person: &Person,
        booking: &str,
        departure: &str,
    ) -> Result<pb::PreviewRescheduleResponse, Status> {
        let request = pb::PreviewRescheduleRequest { booking_id: booking.into(), departure_id: departure.into() };
        Ok(self.client().preview_reschedule(bearer(request, &person.token)).await?.into_inner())
    }

    pub(crate) async fn reschedule(
        &self,
        person: &Person,
        request_id: &str,
        booking: &str,
        departure: &str,
        quoted: Option<Money>,
    ) -> Result<pb::Booking, Status> {
        let answer = self.pay_move(person, request_id, booking, departure, quoted, "").await?;
        assert_eq!(answer.r#move, None);
        Ok(answer.booking.unwrap())
    }

    /// Moves, and pays where it costs more.
    pub(crate) async fn pay_move(
        &self,
        person: &Person,
        request_id: &str,
        booking: &str,
        departure: &str,
        quoted: Option<Money>,
        method: &str,
    ) -> Result<pb::RescheduleBookingResponse, Status> {
        let request = pb::RescheduleBookingRequest {
            request_id: request_id.into(),
            booking_id: booking.into(),
            departure_id: departure.into(),
            price_difference: quoted,
            payment_method: method.into(),
            return_url: String::new(),
        };
        Ok(self.client().reschedule_booking(bearer(request, &person.token)).await?.into_inner())
    }

    /// Tells that a payment failed.
    pub(crate) async fn failed(&self, payment: &payment::Payment) {
        let message = payment::PaymentFailed { payment: Some(payment.clone()) };
        self.room.publish("payment", &Event::new(format!("payment.payment.failed.{}", payment.id), &message)).await;
    }

    /// The payment that was made for a move.
    pub(crate) fn payment_for(&self, paid: &pb::Move) -> payment::Payment {
        self.payments.made().into_values().find(|p| p.purpose == paid.id).unwrap()
    }

    /// The state of a move in the database.
    pub(crate) async fn stage(&self, paid: &pb::Move) -> String {
        sqlx::query_scalar("SELECT state FROM moves WHERE id = $1")
            .bind(uuid(&paid.id))
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Waits for seats.
    pub(crate) async fn wait_for(
        &self,
        person: &Person,
        request_id: &str,
        departure: &str,
        adults: i32,
    ) -> Result<pb::WaitingEntry, Status> {
        let pb::CreateBookingRequest { request_id, departure_id, units, contact, .. } =
            wish(request_id, departure, adults);
        let request = pb::JoinWaitingListRequest { request_id, departure_id, units, contact, ..Default::default() };
        Ok(self.client().join_waiting_list(bearer(request, &person.token)).await?.into_inner().entry.unwrap())
    }

    /// Waits for any departure of a tour, on dates of it.
    pub(crate) async fn wait_for_tour(
        &self,
        person: &Person,
        request_id: &str,
        tour: &str,
        adults: i32,
        dates: (&str, &str),
    ) -> Result<pb::WaitingEntry, Status> {
        let pb::CreateBookingRequest { units, contact, .. } = wish(request_id, "", adults);
        let request = pb::JoinWaitingListRequest {
            request_id: request_id.into(),
            departure_id: String::new(),
            units,
            contact,
            tour_id: tour.into(),
            from_date: dates.0.into(),
            to_date: dates.1.into(),
            promo_code: String::new(),
        };
        Ok(self.client().join_waiting_list(bearer(request, &person.token)).await?.into_inner().entry.unwrap())
    }

    /// Waits no longer.
    pub(crate) async fn give_up(
        &self,
        person: &Person,
        request_id: &str,
        entry: &str,
    ) -> Result<pb::WaitingEntry, Status> {
        let request = pb::LeaveWaitingListRequest { request_id: request_id.into(), entry_id: entry.into() };
        Ok(self.client().leave_waiting_list(bearer(request, &person.token)).await?.into_inner().entry.unwrap())
    }

    /// Those who wait for a departure, as somebody sees them; all pages.
    pub(crate) async fn waiting(&self, person: &Person, departure: &str) -> Vec<pb::WaitingEntry> {
        let mut all = Vec::new();
        let mut request =
            pb::ListWaitingEntriesRequest { departure_id: departure.into(), page_size: 2, page_token: String::new() };
        loop {
            let page = self.client().list_waiting_entries(bearer(request.clone(), &person.token)).await.unwrap();
            let page = page.into_inner();
            all.extend(page.entries);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Cancels some guests.
    pub(crate) async fn leave(
        &self,
        person: &Person,
        request_id: &str,
        booking: &str,
        items: &[&str],
    ) -> Result<pb::Booking, Status> {
        let request = pb::CancelBookingRequest {
            request_id: request_id.into(),
            booking_id: booking.into(),
            reason: String::new(),
            item_ids: items.iter().map(|i| (*i).to_owned()).collect(),
        };
        Ok(self.client().cancel_booking(bearer(request, &person.token)).await?.into_inner().booking.unwrap())
    }

    pub(crate) async fn update(
        &self,
        person: &Person,
        request: pb::UpdateBookingRequest,
    ) -> Result<pb::Booking, Status> {
        Ok(self.client().update_booking(bearer(request, &person.token)).await?.into_inner().booking.unwrap())
    }

    pub(crate) async fn preview(
        &self,
        person: &Person,
        booking: &str,
    ) -> Result<pb::PreviewCancellationResponse, Status> {
        self.preview_some(person, booking, &[]).await
    }

    pub(crate) async fn preview_some(
        &self,
        person: &Person,
        booking: &str,
        items: &[&str],
    ) -> Result<pb::PreviewCancellationResponse, Status> {
        let item_ids = items.iter().map(|i| (*i).to_owned()).collect();
        let request = pb::PreviewCancellationRequest { booking_id: booking.into(), item_ids };
        Ok(self.client().preview_cancellation(bearer(request, &person.token)).await?.into_inner())
    }

    pub(crate) async fn redeem(
        &self,
        person: &Person,
        request_id: &str,
        voucher: &str,
    ) -> Result<pb::RedeemVoucherResponse, Status> {
        let request = pb::RedeemVoucherRequest { request_id: request_id.into(), voucher_code: voucher.into() };
        Ok(self.client().redeem_voucher(bearer(request, &person.token)).await?.into_inner())
    }

    pub(crate) async fn extend(&self, person: &Person, request_id: &str, booking: &str) -> Result<pb::Booking, Status> {
        let request = pb::ExtendHoldRequest { request_id: request_id.into(), booking_id: booking.into() };
        Ok(self.client().extend_hold(bearer(request, &person.token)).await?.into_inner().booking.unwrap())
    }

    pub(crate) async fn list(
        &self,
        person: &Person,
        request: pb::ListBookingsRequest,
    ) -> Result<pb::ListBookingsResponse, Status> {
        Ok(self.client().list_bookings(bearer(request, &person.token)).await?.into_inner())
    }

    /// The seats left of a departure.
    pub(crate) async fn seats_left(&self, departure: &str) -> i32 {
        let request = pb::CheckAvailabilityRequest { departure_ids: vec![departure.into()] };
        self.client().check_availability(request).await.unwrap().into_inner().availabilities[0].seats_left
    }

    /// Tells that a payment was captured, as a new event.
    pub(crate) async fn captured(&self, payment: &payment::Payment) -> Event {
        let message = payment::PaymentCaptured { payment: Some(payment.clone()) };
        let event = Event::new(format!("payment.payment.captured.{}", payment.id), &message);
        self.room.publish("payment", &event).await;
        event
    }

    /// The payment that was made for a booking last.
    pub(crate) fn payment_of(&self, booking: &str) -> payment::Payment {
        let made = self.payments.made();
        made.into_values().filter(|p| p.booking_id == booking).max_by_key(|p| p.id.clone()).unwrap()
    }

    /// Holds, pays, and waits for the confirmation.
    pub(crate) async fn confirmed(&self, person: &Person, departure: &str, adults: i32) -> pb::Booking {
        let booking = self.book(person, departure, adults).await.unwrap();
        self.confirm(person, "pay", &booking.id, "card_ok").await.ok();
        // The same person may confirm several bookings; only the first used "pay".
        if self.payments.made().values().all(|p| p.booking_id != booking.id) {
            self.confirm(person, &Uuid::now_v7().to_string(), &booking.id, "card_ok").await.unwrap();
        }
        self.captured(&self.payment_of(&booking.id)).await;
        self.in_state(person, &booking.id, pb::BookingState::Confirmed).await
    }

    /// Waits until a booking is in a state.
    pub(crate) async fn in_state(&self, person: &Person, booking: &str, state: pb::BookingState) -> pb::Booking {
        eventually(|| async { self.get(person, booking).await.unwrap().state() == state }).await;
        self.get(person, booking).await.unwrap()
    }

    /// Somebody else is at a booking: nothing is written of it, nor of what comes with it, until this is closed.
    pub(crate) async fn stuck(&self, booking: &str) -> PgConnection {
        self.locked("SELECT 1 FROM bookings WHERE id = $1 FOR UPDATE", booking).await
    }

    /// Somebody else is at a departure.
    pub(crate) async fn stuck_departure(&self, departure: &str) -> PgConnection {
        self.locked("SELECT 1 FROM departures WHERE id = $1 FOR UPDATE", departure).await
    }

    async fn locked(&self, lock: &'static str, id: &str) -> PgConnection {
        // Not of the pool: what it has locked is free when it is closed.
        let mut other = self.pool.acquire().await.unwrap().detach();
        sqlx::query("BEGIN").execute(&mut other).await.unwrap();
        sqlx::query(lock).bind(uuid(id)).execute(&mut other).await.unwrap();
        other
    }

    /// Waits until something waits for what is stuck.
    pub(crate) async fn somebody_waits(&self) {
        self.so_many_wait(1).await;
    }

    /// Waits until so many wait for what is stuck.
    pub(crate) async fn so_many_wait(&self, how_many: i64) {
        let waits = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually(|| async { how_many <= sqlx::query_scalar(waits).fetch_one(&self.pool).await.unwrap() }).await;
    }

    /// How many events of a verb a booking has told.
    pub(crate) async fn told(&self, verb: &str, booking: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM outbox WHERE subject = $1")
            .bind(format!("booking.booking.{verb}.{booking}"))
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// The last event of a verb that a booking has told.
    pub(crate) async fn last_told<M: prost::Message + Default>(&self, verb: &str, booking: &str) -> M {
        let payload: Vec<u8> =
            sqlx::query_scalar("SELECT payload FROM outbox WHERE subject = $1 ORDER BY seq DESC LIMIT 1")
                .bind(format!("booking.booking.{verb}.{booking}"))
                .fetch_one(&self.pool)
                .await
                .unwrap();
        M::decode(payload.as_slice()).unwrap()
    }

    /// Which failed payments were told: payment, booking, move.
    pub(crate) async fn failures_told(&self) -> Vec<(String, String, String)> {
        let sql = "SELECT payload FROM outbox WHERE subject LIKE 'booking.payment.failed.%' ORDER BY seq";
        let payloads: Vec<Vec<u8>> = sqlx::query_scalar(sql).fetch_all(&self.pool).await.unwrap();
        payloads
            .iter()
            .map(|bytes| pb::BookingPaymentFailed::decode(bytes.as_slice()).unwrap())
            .map(|told| (told.payment_id, told.booking.unwrap().id, told.move_id))
            .collect()
    }
}

pub(crate) fn wish(request_id: &str, departure: &str, adults: i32) -> pb::CreateBookingRequest {
    pb::CreateBookingRequest {
        request_id: request_id.into(),
        departure_id: departure.into(),
        units: vec![common::UnitQuantity { unit: common::UnitType::Adult.into(), quantity: adults }],
        contact: Some(pb::Contact {
            full_name: "Ada Lovelace".into(),
            email: "ada@example.org".into(),
            language: String::new(),
        }),
        promo_code: String::new(),
    }
}

pub(crate) async fn create(
    mut client: BookingServiceClient<Channel>,
    person: &Person,
    request: pb::CreateBookingRequest,
) -> Result<pb::Booking, Status> {
    Ok(client.create_booking(bearer(request, &person.token)).await?.into_inner().booking.unwrap())
}
