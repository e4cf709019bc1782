//! The complete flow: quote, hold, pay, confirmed, notified. Only a booking that got to its end counts.

use std::{sync::Arc, time::Instant};

use anyhow::Context as _;
use indicatif::ProgressBar;
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;
use tourmesh::{
    booking::v1::{
        Booking, BookingState, ConfirmBookingRequest, PreviewBookingRequest,
        booking_service_client::BookingServiceClient,
    },
    common::v1::{UnitQuantity, UnitType},
};

use super::{
    Bench,
    drive::{Done, Missed, Work},
    ground::{Ground, Token, signed},
    hold::Holds,
    news::{Kind, News},
    sink::Sink,
};
use crate::journey::request_id;

/// Books.
pub struct Bookings {
    holds: Arc<Holds>,
    booking: Vec<BookingServiceClient<Channel>>,
    customers: Vec<Token>,
    departures: Vec<String>,
    news: News,
    sink: Option<Arc<Sink>>,
}

impl Bookings {
    /// Makes room and listens.
    pub async fn prepare(bench: &Bench, ground: &Ground, bar: &ProgressBar) -> anyhow::Result<Arc<Self>> {
        let env = ground.env.as_ref().context(
            "complete bookings are counted by their events: use --standalone, or --data-dir of a running `tourmesh up`",
        )?;
        let holds = Holds::prepare(bench, ground, bar).await?;
        Ok(Arc::new(Self {
            departures: holds.departures().to_vec(),
            holds,
            booking: ground.each(Ground::booking)?,
            customers: ground.customers.clone(),
            news: News::of(env).await?,
            sink: ground.sink.clone(),
        }))
    }

    /// What is booked.
    pub fn departures(&self) -> &[String] {
        &self.departures
    }

    /// Who books in this turn.
    pub fn token(&self, turn: u64) -> &Token {
        &self.customers[self.holds.choice(turn).0]
    }

    /// Only holds.
    pub async fn hold(&self, client: usize, turn: u64) -> Result<(), Status> {
        let (customer, departure) = self.holds.choice(turn);
        self.holds.hold(client, customer, departure).await.map(drop)
    }

    /// Books once; the id of the booking.
    pub async fn book(&self, client: usize, turn: u64) -> Result<(String, Done), Missed> {
        self.preview(client, turn).await?;
        let (customer, departure) = self.holds.choice(turn);
        let held = self.holds.hold(client, customer, departure).await?;
        let done = self.pay(client, turn, &held.id, 1).await?;
        Ok((held.id, done))
    }

    /// Asks Booking, which prices with taxes and codes, what a booking would cost.
    pub async fn preview(&self, client: usize, turn: u64) -> Result<(), Status> {
        let (customer, departure) = self.holds.choice(turn);
        let request = PreviewBookingRequest {
            departure_id: self.departures[departure].clone(),
            units: vec![UnitQuantity { unit: UnitType::Adult.into(), quantity: 1 }],
            promo_code: String::new(),
        };
        let mut booking = self.booking[client % self.booking.len()].clone();
        booking.preview_booking(signed(&self.customers[customer], request)).await.map(drop)
    }

    /// Only a hold; its id.
    pub async fn held(&self, client: usize, turn: u64) -> Result<String, Status> {
        let (customer, departure) = self.holds.choice(turn);
        Ok(self.holds.hold(client, customer, departure).await?.id)
    }

    /// Pays for a hold and waits until its customer is told. Who is told to come back does, with the same request, so
    /// many times in all.
    pub async fn pay(&self, client: usize, turn: u64, held: &str, tries: u32) -> Result<Done, Missed> {
        let confirmed = self.news.expect(Kind::Confirmed, held);
        let notified = self.news.expect(Kind::Notified, held);
        let accepted = self.sink.as_ref().map(|sink| sink.expect(held));
        let request = ConfirmBookingRequest {
            request_id: request_id(),
            booking_id: held.to_owned(),
            payment_method: "card_ok".to_owned(),
            return_url: String::new(),
        };
        let mut tried = 0;
        // Known by the answer, if that says so, else by the event.
        let answered = loop {
            tried += 1;
            let mut booking = self.booking[client % self.booking.len()].clone();
            let status = match booking.confirm_booking(signed(self.token(turn), request.clone())).await {
                Ok(answer) => {
                    let state = answer.get_ref().booking.as_ref().map(Booking::state);
                    break (state == Some(BookingState::Confirmed)).then(Instant::now);
                }
                Err(status) => status,
            };
            let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
            match wait {
                Some(wait) if tried < tries => tokio::time::sleep(wait).await,
                _ => {
                    self.news.forget(held);
                    return Err(status.into());
                }
            }
        };
        let silent = |_| Missed("the event never came".to_owned());
        let confirmed = confirmed.await.map_err(silent)?;
        let notified = notified.await.map_err(silent)?;
        let took = match (accepted, confirmed.confirmed_at) {
            (Some(accepted), Some(confirmed_at)) => {
                let accepted = accepted.await.map_err(|_| Missed("the e-mail never came".to_owned()))?;
                Some(("e-mail", accepted.duration_since(confirmed_at).unwrap_or_default()))
            }
            _ => None,
        };
        let marks = [Some(("confirmed", answered.unwrap_or(confirmed.at))), Some(("notified", notified.at))];
        Ok(Done { marks, took, kind: None })
    }
}

impl Work for Bookings {
    async fn once(&self, client: usize, turn: u64) -> Result<Done, Missed> {
        self.book(client, turn).await.map(|(_, done)| done)
    }

    fn told(&self) -> String {
        let mail = match self.sink {
            Some(_) => {
                "; e-mail: from CONFIRMED, as it is written in the booking, to the acceptance of the e-mail over SMTP"
            }
            None => "",
        };
        format!(
            "complete bookings (quote, hold, pay, confirmed, notified), latency from the first request to CONFIRMED, by {} customers on {} departures{mail}",
            self.customers.len(),
            self.departures.len()
        )
    }
}
