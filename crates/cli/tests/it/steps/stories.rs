//! What happens between people and the mesh, each call made twice. Every story can be told again on the same stage, and
//! ends in a state of its own that it checks.

use tonic::Status;
use tourmesh::{
    booking::v1::{
        self as pb, BookingState, MoveState, WaitingState, booking_service_client::BookingServiceClient as Booking,
    },
    catalog::v1 as catalog,
    common::v1 as common,
    google::r#type::Money,
    notification::v1::{self as letters, notification_service_client::NotificationServiceClient as Notification},
    payment::v1::{
        self as payment, payment_service_client::PaymentServiceClient as Payment,
        sandbox_service_client::SandboxServiceClient as Sandbox,
    },
};
use tourmesh_kit::{events::Event, time};
use tourmesh_testkit::{Role, reason};
use uuid::Uuid;

use super::stage::{Part, Stage, insist, soon, twice};

fn id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::now_v7().simple())
}

fn new() -> String {
    Uuid::now_v7().simple().to_string()
}

fn euros(units: i64) -> Money {
    Money { currency_code: "EUR".into(), units, nanos: 0 }
}

/// A tour of this telling, a traveller and somebody of the staff.
pub struct Teller<'a> {
    stage: &'a Stage,
    tour: String,
    supplier: String,
    ada: String,
    ada_id: String,
    staff: String,
}

impl<'a> Teller<'a> {
    pub fn new(stage: &'a Stage) -> Self {
        let (ada_id, staff_id) = (id("usr"), id("usr"));
        Self {
            stage,
            tour: id("tour"),
            supplier: id("sup"),
            ada: stage.world.token(&ada_id, &[Role::Traveller], None),
            ada_id,
            staff: stage.world.token(&staff_id, &[Role::Traveller, Role::Staff], None),
        }
    }

    fn offer(&self, price: i64, capacity: i32, hold_seconds: i32) -> catalog::Offer {
        let text = |text: &str| Some(common::LocalizedText { en: text.into(), fr: text.into() });
        let adult = common::UnitType::Adult.into();
        catalog::Offer {
            departure: Some(catalog::Departure {
                id: id("dep"),
                tour_id: self.tour.clone(),
                option_id: id("opt"),
                supplier_id: self.supplier.clone(),
                local_start: "2030-06-01T09:00".into(),
                time_zone: "Europe/Paris".into(),
                starts_at: Some(time::to_wire(chrono::Utc::now() + chrono::TimeDelta::days(30))),
                duration_minutes: 90,
                capacity,
                state: catalog::DepartureState::Open.into(),
                version: 1,
            }),
            tour_state: catalog::TourState::Published.into(),
            tour_title: text("The Louvre at dawn"),
            option_title: text("Small group"),
            units: vec![catalog::Unit { r#type: adult, seats: 1, ..Default::default() }],
            prices: vec![catalog::UnitPrice { unit: adult, price: Some(euros(price)) }],
            currency: "EUR".into(),
            min_party: 1,
            hold_seconds,
            refund_policy: Some(common::RefundPolicy {
                tiers: vec![common::RefundTier { hours_before: 24, refund_percent: 50 }],
            }),
            ..Default::default()
        }
    }

    fn departure(&self, price: i64, capacity: i32, hold_seconds: i32) -> String {
        let offer = self.offer(price, capacity, hold_seconds);
        let id = offer.departure.as_ref().unwrap().id.clone();
        self.stage.catalog.put(offer);
        id
    }

    fn booking(&self) -> Booking<tonic::transport::Channel> {
        Booking::new(self.stage.channel(Part::Booking))
    }

    async fn hold(&self, departure: &str, adults: i32) -> pb::Booking {
        self.hold_with(departure, adults, "").await
    }

    async fn hold_with(&self, departure: &str, adults: i32, promo_code: &str) -> pb::Booking {
        let request = pb::CreateBookingRequest {
            request_id: new(),
            departure_id: departure.into(),
            units: vec![common::UnitQuantity { unit: common::UnitType::Adult.into(), quantity: adults }],
            contact: Some(self.contact()),
            promo_code: promo_code.into(),
        };
        let made = twice(&self.ada, request, |r| async move { self.booking().create_booking(r).await }).await;
        made.unwrap().booking.unwrap()
    }

    fn contact(&self) -> pb::Contact {
        pb::Contact { full_name: "Ada Lovelace".into(), email: "ada@example.org".into(), language: "en".into() }
    }

    async fn pay(&self, booking: &pb::Booking, method: &str) -> Result<pb::ConfirmBookingResponse, Status> {
        let request = pb::ConfirmBookingRequest {
            request_id: new(),
            booking_id: booking.id.clone(),
            payment_method: method.into(),
            return_url: String::new(),
        };
        twice(&self.ada, request, |r| async move { self.booking().confirm_booking(r).await }).await
    }

    async fn get(&self, booking: &pb::Booking) -> pb::Booking {
        let request = pb::GetBookingRequest { booking_id: booking.id.clone() };
        let found = insist(&self.ada, request, |r| async move { self.booking().get_booking(r).await }).await;
        found.unwrap().booking.unwrap()
    }

    async fn in_state(&self, booking: &pb::Booking, state: BookingState) -> pb::Booking {
        soon(state.as_str_name(), || async { self.get(booking).await.state() == state }).await;
        self.get(booking).await
    }

    async fn sold(&self, departure: &str, adults: i32, method: &str) -> pb::Booking {
        let held = self.hold(departure, adults).await;
        self.pay(&held, method).await.unwrap();
        self.in_state(&held, BookingState::Confirmed).await
    }

    async fn cancel(&self, booking: &pb::Booking, guests: &[&str]) -> pb::Booking {
        let request = pb::CancelBookingRequest {
            request_id: new(),
            booking_id: booking.id.clone(),
            reason: String::new(),
            item_ids: guests.iter().map(|g| (*g).to_owned()).collect(),
        };
        let gone = twice(&self.ada, request, |r| async move { self.booking().cancel_booking(r).await }).await;
        gone.unwrap().booking.unwrap()
    }

    async fn go(&self, booking: &pb::Booking, to: &str, method: &str) -> Result<pb::RescheduleBookingResponse, Status> {
        let request = pb::RescheduleBookingRequest {
            request_id: new(),
            booking_id: booking.id.clone(),
            departure_id: to.into(),
            price_difference: None,
            payment_method: method.into(),
            return_url: String::new(),
        };
        twice(&self.ada, request, |r| async move { self.booking().reschedule_booking(r).await }).await
    }

    /// Hold, extend, change, pay, confirmed, checked in. That it is notified is a promise.
    pub async fn sale(&self) {
        let departure = self.departure(30, 5, 0);
        let held = self.hold(&departure, 2).await;
        let request = pb::ExtendHoldRequest { request_id: new(), booking_id: held.id.clone() };
        twice(&self.ada, request, |r| async move { self.booking().extend_hold(r).await }).await.unwrap();
        let request = pb::UpdateBookingRequest {
            request_id: new(),
            booking_id: held.id.clone(),
            contact: Some(pb::Contact { full_name: "Ada King".into(), ..self.contact() }),
            guests: vec![],
            update_mask: Some(prost_types::FieldMask { paths: vec!["contact".into()] }),
        };
        twice(&self.ada, request, |r| async move { self.booking().update_booking(r).await }).await.unwrap();
        self.pay(&held, "card_ok").await.unwrap();
        let sold = self.in_state(&held, BookingState::Confirmed).await;
        // A wish to pay again, under another id, finds nothing to pay.
        assert_eq!(reason(&self.pay(&sold, "card_ok").await.unwrap_err()), "BOOKING_STATE");
        for item in &sold.items {
            let request = pb::RedeemVoucherRequest { request_id: new(), voucher_code: item.voucher_code.clone() };
            twice(&self.staff, request, |r| async move { self.booking().redeem_voucher(r).await }).await.unwrap();
        }
        assert_eq!(self.get(&sold).await.state(), BookingState::Redeemed);
    }

    /// Paid in two steps, asked for twice; and once reserved first and captured then.
    pub async fn two_steps(&self) {
        let departure = self.departure(30, 5, 0);
        let held = self.hold(&departure, 1).await;
        let url = self.pay(&held, "card_action").await.unwrap().next_action_url;
        assert_eq!(self.pay(&held, "card_action").await.unwrap().next_action_url, url);
        let challenge = url.rsplit('/').next().unwrap().to_owned();
        let request = payment::CompleteChallengeRequest { challenge, approve: true };
        let answer = |r| async move { Sandbox::new(self.stage.channel(Part::Payment)).complete_challenge(r).await };
        insist(&self.ada, request, answer).await.unwrap();
        self.in_state(&held, BookingState::Confirmed).await;

        let held = self.hold(&departure, 1).await;
        let service = self.stage.world.service_token("booking");
        let request = payment::CreatePaymentRequest {
            request_id: new(),
            booking_id: held.id.clone(),
            customer_id: self.ada_id.clone(),
            supplier_id: self.supplier.clone(),
            amount: held.total.clone(),
            payment_method: "card_ok".into(),
            manual_capture: true,
            ..Default::default()
        };
        let payments = || Payment::new(self.stage.channel(Part::Payment));
        let made = twice(&service, request, |r| async move { payments().create_payment(r).await }).await;
        let made = made.unwrap().payment.unwrap();
        soon("reserved", || async {
            let request = payment::GetPaymentRequest { payment_id: made.id.clone() };
            let now = insist(&service, request, |r| async move { payments().get_payment(r).await }).await;
            now.unwrap().payment.unwrap().state() == payment::PaymentState::Authorized
        })
        .await;
        let request = payment::CapturePaymentRequest { request_id: new(), payment_id: made.id.clone() };
        twice(&service, request, |r| async move { payments().capture_payment(r).await }).await.unwrap();
        self.in_state(&held, BookingState::Confirmed).await;
    }

    /// The provider gives no answer, neither to the charge nor to the refunds; guests leave, then all of them.
    pub async fn cancellation(&self) {
        let departure = self.departure(30, 5, 0);
        let late = self.hold(&departure, 1).await;
        self.pay(&late, "card_timeout").await.unwrap();
        self.in_state(&late, BookingState::Confirmed).await;
        let sold = self.sold(&departure, 3, "card_refund_timeout").await;
        let some = self.cancel(&sold, &[&sold.items[0].id]).await;
        assert_eq!((some.state(), some.refund), (BookingState::Confirmed, Some(euros(15))));
        let gone = self.cancel(&sold, &[]).await;
        assert_eq!((gone.state(), gone.refund), (BookingState::Cancelled, Some(euros(45))));
        self.cancel(&late, &[]).await;
    }

    /// A refund that has no answer is given up; staff has it tried again.
    pub async fn given_up(&self) {
        let departure = self.departure(30, 5, 0);
        let sold = self.sold(&departure, 1, "card_refund_timeout").await;
        self.cancel(&sold, &[]).await;
        let payments = || Payment::new(self.stage.channel(Part::Payment));
        let failed = || async {
            let request = payment::ListFailedRefundsRequest { page_size: 100, ..Default::default() };
            let list = insist(&self.staff, request, |r| async move { payments().list_failed_refunds(r).await }).await;
            let failed = list.unwrap().refunds.into_iter().filter(|f| f.booking_id == sold.id);
            failed.filter_map(|f| f.refund).collect::<Vec<_>>()
        };
        soon("given up", || async { !failed().await.is_empty() }).await;
        for refund in failed().await {
            let request = payment::RetryRefundRequest { request_id: new(), refund_id: refund.id };
            let again = twice(&self.staff, request, |r| async move { payments().retry_refund(r).await }).await;
            // The provider's own word may have come first.
            assert!(again.as_ref().err().is_none_or(|e| reason(e) == "REFUND_STATE"), "{again:?}");
        }
        soon("given back", || async {
            if let Some(again) = failed().await.pop() {
                let request = payment::RetryRefundRequest { request_id: new(), refund_id: again.id };
                // Its process may have died between the note and the call.
                let _ = insist(&self.staff, request, |r| async move { payments().retry_refund(r).await }).await;
            }
            failed().await.is_empty()
        })
        .await;
    }

    /// A code that is made, used once, and ended.
    pub async fn promo(&self) {
        let departure = self.departure(30, 5, 0);
        let code = pb::PromoCode {
            supplier_id: self.supplier.clone(),
            code: new().to_uppercase(),
            max_uses: 1,
            discount: Some(pb::promo_code::Discount::Percent("10".into())),
            ..Default::default()
        };
        let request = pb::CreatePromoCodeRequest { request_id: new(), promo_code: Some(code.clone()) };
        let made = twice(&self.staff, request, |r| async move { self.booking().create_promo_code(r).await }).await;
        let made = made.unwrap().promo_code.unwrap();
        let held = self.hold_with(&departure, 2, &code.code).await;
        assert_eq!(held.total, Some(euros(54)));
        let request = pb::EndPromoCodeRequest { request_id: new(), promo_code_id: made.id };
        let ended = twice(&self.staff, request, |r| async move { self.booking().end_promo_code(r).await }).await;
        assert_eq!(ended.unwrap().promo_code.unwrap().uses, 1);
        self.pay(&held, "card_ok").await.unwrap();
        self.in_state(&held, BookingState::Confirmed).await;
    }

    /// To a departure that costs less, to a dearer one with a card that is declined, then with one that is not.
    pub async fn moving(&self) {
        let (from, less, more) = (self.departure(30, 2, 0), self.departure(20, 2, 0), self.departure(45, 2, 0));
        let sold = self.sold(&from, 2, "card_ok").await;
        let moved = self.go(&sold, &less, "").await.unwrap().booking.unwrap();
        assert_eq!(
            (moved.departure_id.as_str(), moved.total.clone(), moved.refund.clone()),
            (less.as_str(), Some(euros(40)), Some(euros(10)))
        );
        assert_eq!(reason(&self.go(&sold, &more, "card_declined").await.unwrap_err()), "PAYMENT_DECLINED");
        assert_eq!(self.get(&sold).await, moved);
        let paid = self.go(&sold, &more, "card_ok").await.unwrap().r#move.unwrap();
        assert_eq!(paid.price_difference, Some(euros(50)));
        // Made in the answer, or by the event where that write was made to fail.
        soon("moved", || async { self.get(&sold).await.departure_id == more }).await;
        let there = self.get(&sold).await;
        assert_eq!((there.total, there.paid), (Some(euros(90)), Some(euros(110))));
        let gone = self.cancel(&sold, &[]).await;
        // 10 went back with the first move, and half of the 90 that it costs now.
        assert_eq!(gone.refund, Some(euros(55)));
    }

    /// A hold that nobody pays for, and a move whose second step nobody takes in time.
    pub async fn running_out(&self) {
        let (from, to) = (self.departure(30, 2, 1), self.departure(40, 2, 2));
        let held = self.hold(&from, 2).await;
        self.in_state(&held, BookingState::Expired).await;
        let sold = self.sold(&self.departure(30, 2, 0), 2, "card_ok").await;
        let open = self.go(&sold, &to, "card_action").await.unwrap().r#move.unwrap();
        assert!(matches!(open.state(), MoveState::Open | MoveState::Expired));
        soon("seats are free again", || async {
            let request = pb::CheckAvailabilityRequest { departure_ids: vec![to.clone(), from.clone()] };
            let seats = insist(&self.ada, request, |r| async move { self.booking().check_availability(r).await }).await;
            seats.unwrap().availabilities.iter().all(|a| a.seats_left == 2)
        })
        .await;
        assert_eq!(self.get(&sold).await.departure_id, sold.departure_id);
    }

    async fn publish(&self, verb: &str, departure: &catalog::Departure, event: impl Fn(catalog::Departure) -> Event) {
        let _ = verb;
        self.stage.booking.publish("catalog", &event(departure.clone())).await;
    }

    /// Who waits for a departure and for a tour: leaves, and is offered what the catalog adds.
    pub async fn waiting(&self) {
        let mut offer = self.offer(30, 1, 0);
        let departure = offer.departure.clone().unwrap().id;
        self.stage.catalog.put(offer.clone());
        self.hold(&departure, 1).await;
        let join = |departure: &str, tour: &str| pb::JoinWaitingListRequest {
            request_id: new(),
            departure_id: departure.into(),
            units: vec![common::UnitQuantity { unit: common::UnitType::Adult.into(), quantity: 1 }],
            contact: Some(self.contact()),
            tour_id: tour.into(),
            ..Default::default()
        };
        let joined = |request| async move {
            let made = twice(&self.ada, request, |r| async move { self.booking().join_waiting_list(r).await }).await;
            made.unwrap().entry.unwrap()
        };
        let first = joined(join(&departure, "")).await;
        let request = pb::LeaveWaitingListRequest { request_id: new(), entry_id: first.id.clone() };
        let left = twice(&self.ada, request, |r| async move { self.booking().leave_waiting_list(r).await }).await;
        assert_eq!(left.unwrap().entry.unwrap().state(), WaitingState::Left);
        let one = joined(join(&departure, "")).await;
        let any = joined(join("", &self.tour)).await;
        // Room for one more, and one more departure.
        let changed = offer.departure.as_mut().unwrap();
        (changed.capacity, changed.version) = (2, 2);
        self.stage.catalog.put(offer.clone());
        self.publish("changed", &offer.departure.unwrap(), |d| {
            let subject = format!("catalog.departure.changed.{}", d.id);
            Event::new(subject, &catalog::DepartureChanged { departure: Some(d) })
        })
        .await;
        self.offered(&one).await;
        let another = self.offer(35, 1, 0);
        self.stage.catalog.put(another.clone());
        self.publish("scheduled", &another.departure.unwrap(), |d| {
            let subject = format!("catalog.departure.scheduled.{}", d.tour_id);
            Event::new(subject, &catalog::DeparturesScheduled { tour_id: d.tour_id.clone(), departures: vec![d] })
        })
        .await;
        self.offered(&any).await;
    }

    async fn offered(&self, entry: &pb::WaitingEntry) {
        soon("offered", || async {
            let request = pb::ListWaitingEntriesRequest { page_size: 100, ..Default::default() };
            let list =
                insist(&self.ada, request, |r| async move { self.booking().list_waiting_entries(r).await }).await;
            let entries = list.unwrap().entries;
            entries.iter().any(|e| e.id == entry.id && e.state() == WaitingState::Offered)
        })
        .await;
    }

    /// The supplier cannot run a departure.
    pub async fn calling_off(&self) {
        let mut offer = self.offer(30, 2, 0);
        self.stage.catalog.put(offer.clone());
        let mut departure = offer.departure.clone().unwrap();
        let sold = self.sold(&departure.id, 2, "card_ok").await;
        departure.state = catalog::DepartureState::Cancelled.into();
        departure.version = 2;
        offer.departure = Some(departure.clone());
        self.stage.catalog.put(offer);
        self.publish("cancelled", &departure, |d| {
            let subject = format!("catalog.departure.cancelled.{}", d.id);
            Event::new(subject, &catalog::DepartureCancelled { departure: Some(d) })
        })
        .await;
        let gone = self.in_state(&sold, BookingState::Cancelled).await;
        assert_eq!(gone.refund, Some(euros(60)));
    }

    /// A declined card is told, preferences change, and a message is asked for again.
    pub async fn letters(&self) {
        let departure = self.departure(30, 2, 0);
        let letters = || Notification::new(self.stage.channel(Part::Notification));
        let request = letters::SetPreferencesRequest {
            request_id: new(),
            preferences: Some(letters::Preferences { language: "fr".into(), ..letters::Preferences::default() }),
        };
        twice(&self.ada, request, |r| async move { letters().set_preferences(r).await }).await.unwrap();
        let held = self.hold(&departure, 1).await;
        assert_eq!(reason(&self.pay(&held, "card_declined").await.unwrap_err()), "PAYMENT_DECLINED");
        self.pay(&held, "card_ok").await.unwrap();
        self.in_state(&held, BookingState::Confirmed).await;
        let sent = || async {
            let request = letters::ListDeliveriesRequest { booking_id: held.id.clone(), ..Default::default() };
            let list = insist(&self.ada, request, |r| async move { letters().list_deliveries(r).await }).await;
            let sent = list.unwrap().deliveries.into_iter();
            sent.filter(|d| d.state() == letters::DeliveryState::Sent).collect::<Vec<_>>()
        };
        soon("both are told: declined, and confirmed with its receipt", || async { sent().await.len() == 2 }).await;
        let request = letters::ResendDeliveryRequest { request_id: new(), delivery_id: sent().await[0].id.clone() };
        twice(&self.staff, request, |r| async move { letters().resend_delivery(r).await }).await.unwrap();
        soon("told again, once", || async { sent().await.len() == 3 }).await;
    }
}
