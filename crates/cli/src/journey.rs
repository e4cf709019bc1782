//! One traveller's way from search to confirmed booking, step by step.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use tonic::Status;
use tourmesh::{
    booking::v1::{
        Booking, BookingState, CheckAvailabilityRequest, ConfirmBookingRequest, Contact, CreateBookingRequest,
        GetBookingRequest, RedeemVoucherRequest,
    },
    catalog::v1::{Departure, ListDeparturesRequest, QuoteRequest, QuoteResponse, SearchToursRequest, TourHit},
    common::v1::{UnitQuantity, UnitType},
    identity::v1::{SignInRequest, SignUpRequest},
    notification::v1::{Delivery, DeliveryState, ListDeliveriesRequest, MessageKind},
    payment::v1::CompleteChallengeRequest,
};
use uuid::Uuid;

use crate::visitor::{Visitor, call};

/// Everybody who signs up here has it; these accounts are thrown away.
const PASSWORD: &str = "correct horse battery";

/// A new request id.
pub fn request_id() -> String {
    Uuid::now_v7().simple().to_string()
}

/// What is asked of a refusal: which step, and what it said.
fn told(step: &str, status: &Status) -> anyhow::Error {
    anyhow!("{step}: {:?}: {}", status.code(), status.message())
}

/// Signs a new traveller up; the e-mail address.
pub async fn sign_up(visitor: &Visitor) -> anyhow::Result<String> {
    let email = format!("demo-{}@tourmesh.example", request_id());
    let request = SignUpRequest {
        request_id: request_id(),
        email: email.clone(),
        password: PASSWORD.to_owned(),
        full_name: "Demo Traveller".to_owned(),
        language: "en".to_owned(),
    };
    let sent = call!(visitor, identity.sign_up, &request);
    sent.await.map_err(|s| told("sign up", &s))?;
    Ok(email)
}

/// Signs in; the visitor with its token. Without a password that of [`sign_up`].
pub async fn sign_in(visitor: &Visitor, email: &str, password: Option<&str>) -> anyhow::Result<Visitor> {
    Ok(visitor.with_token(token(visitor, email, password).await?))
}

/// Signs in; the access token.
pub async fn token(visitor: &Visitor, email: &str, password: Option<&str>) -> anyhow::Result<String> {
    let request = SignInRequest { email: email.to_owned(), password: password.unwrap_or(PASSWORD).to_owned() };
    let answer = call!(visitor, identity.sign_in, &request);
    let tokens = answer.await.map_err(|s| told("sign in", &s))?.tokens.context("sign in: no tokens came")?;
    Ok(tokens.access_token)
}

/// Finds tours.
pub async fn search(visitor: &Visitor, query: &str) -> anyhow::Result<Vec<TourHit>> {
    let request =
        SearchToursRequest { query: query.to_owned(), page_size: 20, with_facets: true, ..Default::default() };
    let answer = call!(visitor, catalog.search_tours, &request);
    Ok(answer.await.map_err(|s| told("search", &s))?.hits)
}

/// The departures of a tour that have room for two, from two days on.
pub async fn departures(visitor: &Visitor, tour_id: &str) -> anyhow::Result<Vec<Departure>> {
    let from = chrono::Utc::now().date_naive() + chrono::Days::new(2);
    let request = ListDeparturesRequest {
        tour_id: tour_id.to_owned(),
        date_from: from.to_string(),
        page_size: 50,
        ..Default::default()
    };
    let answer = call!(visitor, catalog.list_departures, &request);
    let departures = answer.await.map_err(|s| told("departures", &s))?.departures;
    let request = CheckAvailabilityRequest { departure_ids: departures.iter().map(|d| d.id.clone()).collect() };
    let answer = call!(visitor, booking.check_availability, &request);
    let availabilities = answer.await.map_err(|s| told("availability", &s))?.availabilities;
    let room = |d: &Departure| availabilities.iter().any(|a| a.departure_id == d.id && a.bookable && a.seats_left >= 2);
    Ok(departures.into_iter().filter(room).collect())
}

fn two_adults() -> Vec<UnitQuantity> {
    vec![UnitQuantity { unit: UnitType::Adult.into(), quantity: 2 }]
}

/// What two adults pay.
pub async fn quote(visitor: &Visitor, departure_id: &str) -> anyhow::Result<QuoteResponse> {
    let request = QuoteRequest { departure_id: departure_id.to_owned(), units: two_adults() };
    let answer = call!(visitor, catalog.quote, &request);
    answer.await.map_err(|s| told("quote", &s))
}

/// Holds seats for two adults.
pub async fn hold(visitor: &Visitor, departure_id: &str, email: &str) -> Result<Booking, Status> {
    let request = CreateBookingRequest {
        request_id: request_id(),
        departure_id: departure_id.to_owned(),
        units: two_adults(),
        contact: Some(Contact {
            full_name: "Demo Traveller".to_owned(),
            email: email.to_owned(),
            language: "en".to_owned(),
        }),
        ..CreateBookingRequest::default()
    };
    let answer = call!(visitor, booking.create_booking, &request).await?;
    answer.booking.ok_or_else(|| Status::internal("no booking came"))
}

/// Pays with a card of the sandbox, and approves its second step when it asks for one.
pub async fn pay(visitor: &Visitor, booking_id: &str, card: &str) -> Result<(), Status> {
    let request = ConfirmBookingRequest {
        request_id: request_id(),
        booking_id: booking_id.to_owned(),
        payment_method: card.to_owned(),
        return_url: String::new(),
    };
    let answer = call!(visitor, booking.confirm_booking, &request).await?;
    if let Some((_, challenge)) = answer.next_action_url.rsplit_once('/') {
        let approval = CompleteChallengeRequest { challenge: challenge.to_owned(), approve: true };
        call!(visitor, sandbox.complete_challenge, &approval).await?;
    }
    Ok(())
}

/// Waits until the booking has left ON_HOLD.
pub async fn settled(visitor: &Visitor, booking_id: &str, most: Duration) -> anyhow::Result<Booking> {
    let request = GetBookingRequest { booking_id: booking_id.to_owned() };
    let begun = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(3);
    loop {
        let answer = call!(visitor, booking.get_booking, &request);
        let booking = answer.await.map_err(|s| told("get booking", &s))?.booking.context("no booking came")?;
        if booking.state() != BookingState::OnHold {
            return Ok(booking);
        }
        if begun.elapsed() > most {
            bail!("booking {booking_id} is still on hold after {most:?}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Waits until the confirmation was handed over.
pub async fn notified(visitor: &Visitor, booking_id: &str, most: Duration) -> anyhow::Result<Delivery> {
    let request = ListDeliveriesRequest { booking_id: booking_id.to_owned(), ..Default::default() };
    let begun = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(3);
    loop {
        let answer = call!(visitor, notification.list_deliveries, &request);
        let deliveries = answer.await.map_err(|s| told("list deliveries", &s))?.deliveries;
        if let Some(sent) = deliveries.into_iter().find(is_sent_confirmation) {
            return Ok(sent);
        }
        if begun.elapsed() > most {
            bail!("no e-mail for {booking_id} after {most:?}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Other things are told about a booking, too: a payment that failed, a move.
fn is_sent_confirmation(delivery: &Delivery) -> bool {
    delivery.state() == DeliveryState::Sent && delivery.kind() == MessageKind::BookingConfirmed
}

/// Checks every guest of a booking in.
pub async fn check_in(staff: &Visitor, booking: &Booking) -> anyhow::Result<Booking> {
    let mut last = None;
    for item in &booking.items {
        let request = RedeemVoucherRequest { request_id: request_id(), voucher_code: item.voucher_code.clone() };
        let answer = call!(staff, booking.redeem_voucher, &request);
        last = answer.await.map_err(|s| told("check in", &s))?.booking;
    }
    last.context("the booking has no guests")
}

/// From the answer to CreateBooking to the moment at which the e-mail was handed over, by the clock of this machine.
pub fn until_sent(held_at: SystemTime, delivery: &Delivery) -> Duration {
    let sent = delivery.sent_at.and_then(|t| SystemTime::try_from(t).ok());
    sent.and_then(|t| t.duration_since(held_at).ok()).unwrap_or_default()
}
