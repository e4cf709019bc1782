//! What the mesh has in the end, counted from its own records, beside what the file has.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono::NaiveDate;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tourmesh::{
    booking::v1::{Booking, BookingState, CheckAvailabilityRequest},
    common::v1::UnitType,
};

use super::{
    caller::patient,
    demand::{Demand, Ending},
    play::Play,
    stage::Shift,
};
use crate::bench::ground::{Ground, signed};

/// The name on bookings that only held the seats for which somebody of the file waited.
pub const BLOCK: &str = "Allotment";
/// How many pages are read at once.
const AT_ONCE: usize = 16;

/// Bookings, people, and how the bookings of each arrival day ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// All.
    pub bookings: u64,
    /// Their guests.
    pub guests: i64,
    /// By arrival day and ending.
    pub days: BTreeMap<(NaiveDate, Ending), u64>,
    /// Bookings in a state that no booking of the file ends in.
    pub other: Vec<String>,
}

impl Totals {
    /// Those of the file.
    pub fn of_file(rows: &[Demand]) -> Self {
        let mut totals = Self::default();
        for row in rows {
            totals.add(row.arrival, row.ending, i64::from(row.guests()));
        }
        totals
    }

    fn add(&mut self, arrival: NaiveDate, ending: Ending, guests: i64) {
        self.bookings += 1;
        self.guests += guests;
        *self.days.entry((arrival, ending)).or_default() += 1;
    }

    fn record(&mut self, booking: &Booking, shift: Shift) {
        let ending = match booking.state() {
            BookingState::Redeemed => Some(Ending::CheckOut),
            BookingState::Cancelled => Some(Ending::Cancelled),
            BookingState::Confirmed if booking.items.iter().all(|i| i.redeemed_at.is_none()) => Some(Ending::NoShow),
            _ => None,
        };
        let guests = booking.items.iter().filter(|i| i.unit() != UnitType::Other).count();
        match (shift.back(&booking.local_start), ending) {
            (Some(arrival), Some(ending)) => self.add(arrival, ending, i64::try_from(guests).unwrap_or(i64::MAX)),
            _ => self.other.push(format!("{} is {}", booking.id, booking.state().as_str_name())),
        }
    }

    /// How many ended so.
    pub fn ended(&self, ending: Ending) -> u64 {
        self.days.iter().filter(|((_, e), _)| *e == ending).map(|(_, n)| n).sum()
    }

    /// The arrival days on which the two are not the same.
    pub fn differing_days(&self, other: &Self) -> Vec<NaiveDate> {
        let keys = self.days.keys().chain(other.days.keys());
        let mut days: Vec<NaiveDate> =
            keys.filter(|key| self.days.get(key) != other.days.get(key)).map(|(day, _)| *day).collect();
        days.sort_unstable();
        days.dedup();
        days
    }
}

/// What the mesh says.
#[derive(Debug, Default)]
pub struct Records {
    /// Of the bookings of the file.
    pub totals: Totals,
    /// Bookings that only held seats for somebody who waited.
    pub blocks: u64,
    /// Departures that sold more than they have, or whose seats are not those of their bookings.
    pub broken: Vec<String>,
    /// Departures without a free seat.
    pub full: u64,
}

impl Records {
    /// Reads all bookings and all seats of the replay's departures.
    pub async fn read(play: &Play, ground: &Ground) -> anyhow::Result<Self> {
        let stage = play.stage();
        let pages = stage.departures.iter().map(|departure| play.caller().bookings(play.staff(), departure));
        let lists: Vec<Vec<Booking>> = stream::iter(pages).buffered(AT_ONCE).try_collect().await?;
        let mut records = Self::default();
        let mut taken = Vec::with_capacity(lists.len());
        for bookings in &lists {
            let living = |b: &&Booking| {
                matches!(b.state(), BookingState::OnHold | BookingState::Confirmed | BookingState::Redeemed)
            };
            taken.push(bookings.iter().filter(living).map(|b| b.seats).sum::<i32>());
            for booking in bookings {
                if booking.contact.as_ref().is_some_and(|c| c.full_name == BLOCK) {
                    records.blocks += 1;
                } else {
                    records.totals.record(booking, stage.shift);
                }
            }
        }
        let stays: Vec<_> = stage.departures.iter().zip(&stage.capacities).zip(taken).collect();
        for chunk in stays.chunks(100) {
            let request =
                CheckAvailabilityRequest { departure_ids: chunk.iter().map(|((id, _), _)| (*id).clone()).collect() };
            let booking = ground.booking(0)?;
            let answer = patient(|| {
                let (mut booking, request) = (booking.clone(), signed(play.staff(), request.clone()));
                async move { booking.check_availability(request).await }
            });
            let answer = answer.await?;
            for ((id, capacity), taken) in chunk {
                let found = answer.availabilities.iter().find(|a| a.departure_id == **id);
                let left = found.with_context(|| format!("{id} is not known any more"))?.seats_left;
                if left < 0 || *taken > **capacity || *taken != **capacity - left {
                    records.broken.push(format!("{id}: {taken} seats booked, {left} left of {capacity}"));
                }
                records.full += u64::from(left == 0);
            }
        }
        Ok(records)
    }
}
