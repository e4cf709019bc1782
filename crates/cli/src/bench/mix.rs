//! What a day looks like: mostly looking, some holding, a little booking and cancelling.

use std::sync::Arc;

use indicatif::ProgressBar;
use tonic::{Status, transport::Channel};
use tourmesh::booking::v1::{
    CancelBookingRequest, CheckAvailabilityRequest, booking_service_client::BookingServiceClient,
};

use super::{
    Bench,
    book::Bookings,
    drive::{Done, Missed, Work},
    ground::{Ground, signed},
    search::Searches,
    stock::scattered,
};
use crate::journey::request_id;

/// How many departures one look at a calendar asks for.
const LOOK: usize = 30;

/// The mixture.
pub struct Mix {
    searches: Arc<Searches>,
    bookings: Arc<Bookings>,
    booking: Vec<BookingServiceClient<Channel>>,
}

impl Mix {
    /// Prepares each part.
    pub async fn prepare(bench: &Bench, ground: &Ground, bar: &ProgressBar) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            searches: Searches::prepare(bench, ground, bar).await?,
            bookings: Bookings::prepare(bench, ground, bar).await?,
            booking: ground.each(Ground::booking)?,
        }))
    }

    async fn look(&self, client: usize, turn: u64) -> Result<(), Status> {
        let departures = self.bookings.departures();
        let first = scattered(turn, departures.len());
        let departure_ids = departures.iter().cycle().skip(first).take(LOOK.min(departures.len())).cloned().collect();
        let mut booking = self.booking[client % self.booking.len()].clone();
        booking.check_availability(CheckAvailabilityRequest { departure_ids }).await.map(drop)
    }

    async fn book_and_cancel(&self, client: usize, turn: u64) -> Result<(), Missed> {
        let (booking_id, _) = self.bookings.book(client, turn).await?;
        let request = CancelBookingRequest {
            request_id: request_id(),
            booking_id,
            reason: "bench".to_owned(),
            ..Default::default()
        };
        let mut booking = self.booking[client % self.booking.len()].clone();
        booking.cancel_booking(signed(self.bookings.token(turn), request)).await?;
        Ok(())
    }
}

impl Work for Mix {
    async fn once(&self, client: usize, turn: u64) -> Result<Done, Missed> {
        // Scattered, or each client would always do the same.
        match scattered(turn, 100) {
            0..60 => self.searches.search(client, turn).await.map(|_| Done::of("search")).map_err(Missed::from),
            60..90 => self.look(client, turn).await.map(|()| Done::of("availability")).map_err(Missed::from),
            90..98 => Ok(self.bookings.hold(client, turn).await.map(|()| Done::of("hold"))?),
            _ => self.book_and_cancel(client, turn).await.map(|()| Done::of("book and cancel")),
        }
    }

    fn told(&self) -> String {
        "60 % search, 30 % availability, 8 % holds, 2 % complete bookings with cancellations".to_owned()
    }
}
