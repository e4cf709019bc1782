//! Holding seats: CreateBooking for one adult, spread over many departures or all on one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;
use tourmesh::{
    booking::v1::{Booking, Contact, CreateBookingRequest, booking_service_client::BookingServiceClient},
    common::v1::{UnitQuantity, UnitType},
};

use super::{
    Bench,
    drive::{Done, Missed, Work},
    ground::{Ground, Token, signed},
    stock::{self, Ids, scattered},
};
use crate::journey::request_id;

/// Holds seats.
pub struct Holds {
    booking: Vec<BookingServiceClient<Channel>>,
    customers: Vec<Token>,
    departures: Ids,
    /// With one hot departure: which one, until it is sold out.
    hot: Option<AtomicUsize>,
}

impl Holds {
    /// Makes room, and asks Booking for one hold of each departure: their offers are known then, as in a running system.
    pub async fn prepare(bench: &Bench, ground: &Ground, bar: &ProgressBar) -> anyhow::Result<Arc<Self>> {
        let seconds = bench.seconds + bench.warmup;
        let departures = if bench.hot {
            stock::hot(ground, seconds, bar).await?
        } else {
            let chosen = stock::departures(ground, bench.departures, bar).await?;
            stock::with_room(ground, chosen, seconds, bar).await?
        };
        let holds = Self::on(ground, departures, bench.hot)?;
        bar.set_message("holding one seat of each departure");
        let first = stream::iter(0..holds.departures.len()).map(|n| {
            let holds = &holds;
            async move { holds.hold(n, n, n).await.map(drop) }
        });
        first.buffer_unordered(64).try_collect::<Vec<()>>().await.context("a departure cannot be held")?;
        Ok(Arc::new(holds))
    }

    /// On these departures.
    pub fn on(ground: &Ground, departures: Vec<String>, hot: bool) -> anyhow::Result<Self> {
        Ok(Self {
            booking: ground.each(Ground::booking)?,
            customers: ground.customers.clone(),
            departures: departures.into(),
            hot: hot.then(AtomicUsize::default),
        })
    }

    /// What is booked.
    pub fn departures(&self) -> &[String] {
        &self.departures
    }

    /// One hold, as the services store and tell it.
    pub async fn sample(&self) -> anyhow::Result<Booking> {
        let last = self.departures.len() - 1;
        Ok(self.hold(0, 0, last).await?)
    }

    /// Holds a seat of one of the departures.
    pub async fn hold(&self, client: usize, customer: usize, departure: usize) -> Result<Booking, Status> {
        let request = CreateBookingRequest {
            request_id: request_id(),
            departure_id: self.departures[departure].clone(),
            units: vec![UnitQuantity { unit: UnitType::Adult.into(), quantity: 1 }],
            contact: Some(Contact {
                full_name: "Bench Traveller".to_owned(),
                email: "bench@tourmesh.example".to_owned(),
                language: "en".to_owned(),
            }),
            ..CreateBookingRequest::default()
        };
        let mut booking = self.booking[client % self.booking.len()].clone();
        let answer = booking.create_booking(signed(&self.customers[customer % self.customers.len()], request)).await;
        answer?.into_inner().booking.context("no booking came").map_err(|e| Status::internal(e.to_string()))
    }

    /// The customer and the departure of a turn.
    pub fn choice(&self, turn: u64) -> (usize, usize) {
        let departure = match &self.hot {
            Some(hot) => hot.load(Ordering::Relaxed),
            None => scattered(turn, self.departures.len()),
        };
        (scattered(turn, self.customers.len()), departure)
    }
}

impl Work for Holds {
    async fn once(&self, client: usize, turn: u64) -> Result<Done, Missed> {
        loop {
            let (customer, departure) = self.choice(turn);
            match self.hold(client, customer, departure).await {
                Ok(_) => return Ok(Done::now()),
                Err(status) => {
                    let sold_out = status.get_details_error_info().is_some_and(|i| i.reason == "DEPARTURE_SOLD_OUT");
                    match &self.hot {
                        Some(hot) if sold_out && departure + 1 < self.departures.len() => {
                            let _ =
                                hot.compare_exchange(departure, departure + 1, Ordering::Relaxed, Ordering::Relaxed);
                        }
                        _ => return Err(status.into()),
                    }
                }
            }
        }
    }

    fn told(&self) -> String {
        let where_ = match &self.hot {
            Some(_) => "all on one departure (the next one when its 100,000 seats are gone)".to_owned(),
            None => format!("spread over {} departures", self.departures.len()),
        };
        format!("CreateBooking for one adult by {} customers, {where_}", self.customers.len())
    }
}
