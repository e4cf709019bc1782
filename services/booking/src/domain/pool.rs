//! Resource pools: what departures share while they last, and what that leaves of their seats.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::{DepartureId, OptionId, PoolId, TourId, offer::DepartureState};
use crate::error::BookingError;

/// A pool as the catalog tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) capacity: u32,
    pub(crate) slot_minutes: u32,
    pub(crate) version: i64,
}

/// What departures of an option use of a pool: `units` for every `seats` that are held, begun ones in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolUse {
    pub(crate) pool: PoolId,
    pub(crate) units: u32,
    pub(crate) seats: u32,
}

/// All that departures of an option use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OptionPools {
    pub(crate) option: OptionId,
    pub(crate) tour: TourId,
    /// The catalog's version of the option.
    pub(crate) version: i64,
    pub(crate) duration_minutes: i32,
    pub(crate) uses: Vec<PoolUse>,
}

/// A departure's share of a pool, in the slots from `first` until before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) pool: PoolId,
    pub(crate) units: u32,
    pub(crate) seats: u32,
    pub(crate) first: i32,
    pub(crate) until: i32,
}

impl Share {
    /// The units that so many held seats take.
    pub(crate) fn units_of(&self, held: u32) -> u64 {
        u64::from(held).div_ceil(u64::from(self.seats.max(1))) * u64::from(self.units)
    }

    /// The most seats that can be held with so many units.
    fn seats_with(&self, units: u64) -> u64 {
        units / u64::from(self.units.max(1)) * u64::from(self.seats)
    }

    fn slots(&self) -> impl Iterator<Item = (PoolId, i32)> {
        let pool = self.pool;
        (self.first..self.until).map(move |slot| (pool, slot))
    }
}

/// One slot of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) capacity: u32,
    pub(crate) held: u64,
}

/// The seats of one departure, as they are under the lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seats {
    pub(crate) capacity: u32,
    pub(crate) held: u32,
    pub(crate) state: DepartureState,
    pub(crate) starts_at: DateTime<Utc>,
}

/// The seats of departures, and the slots of the pools that they share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    pub(crate) departures: HashMap<DepartureId, Seats>,
    pub(crate) shares: HashMap<DepartureId, Vec<Share>>,
    /// One that is missing is not known yet and refuses nothing: whoever writes finds out.
    pub(crate) slots: HashMap<(PoolId, i32), Slot>,
}

impl Room {
    /// Some of its departures share pools.
    pub(crate) fn is_shared(&self) -> bool {
        !self.shares.is_empty()
    }

    /// The shares of a departure.
    pub(crate) fn shares_of(&self, departure: DepartureId) -> &[Share] {
        self.shares.get(&departure).map(Vec::as_slice).unwrap_or_default()
    }

    /// All slots that its departures share.
    pub(crate) fn slots_needed(&self) -> impl Iterator<Item = (PoolId, i32)> {
        self.shares.values().flatten().flat_map(Share::slots)
    }

    /// The seats that a departure can still sell: its own, and no more than its pools have units for.
    pub(crate) fn seats_left(&self, departure: DepartureId) -> u32 {
        let Some(seats) = self.departures.get(&departure) else { return 0 };
        let held = u64::from(seats.held);
        let own = u64::from(seats.capacity.saturating_sub(seats.held));
        let shared = self.shares_of(departure).iter().flat_map(|share| {
            let slots = share.slots().filter_map(|slot| self.slots.get(&slot));
            slots.map(|slot| {
                let free = u64::from(slot.capacity).saturating_sub(slot.held);
                share.seats_with(share.units_of(seats.held) + free).saturating_sub(held)
            })
        });
        u32::try_from(shared.fold(own, u64::min)).unwrap_or(u32::MAX)
    }

    /// The most seats that a departure could have if nothing were held.
    pub(crate) fn most(&self, departure: DepartureId) -> u32 {
        let Some(seats) = self.departures.get(&departure) else { return 0 };
        let shared = self.shares_of(departure).iter().flat_map(|share| {
            let slots = share.slots().filter_map(|slot| self.slots.get(&slot));
            slots.map(|slot| share.seats_with(u64::from(slot.capacity)))
        });
        u32::try_from(shared.fold(u64::from(seats.capacity), u64::min)).unwrap_or(u32::MAX)
    }

    /// Whether so many seats of a departure can be sold now.
    pub(crate) fn may_give(&self, departure: DepartureId, seats: u32, now: DateTime<Utc>) -> Result<(), BookingError> {
        let known = self.departures.get(&departure).ok_or(BookingError::DepartureNotFound)?;
        match known.state {
            DepartureState::Open => {}
            DepartureState::Closed => return Err(BookingError::DepartureClosed),
            DepartureState::Cancelled => return Err(BookingError::DepartureCancelled),
        }
        if known.starts_at <= now {
            return Err(BookingError::DepartureInPast);
        }
        let seats_left = self.seats_left(departure);
        if seats > seats_left { Err(BookingError::SoldOut { seats_left }) } else { Ok(()) }
    }

    /// Takes seats, and what they need of the pools.
    pub(crate) fn take(&mut self, departure: DepartureId, seats: u32) {
        let held = self.departures.get(&departure).map_or(0, |known| known.held);
        self.hold(departure, held + seats);
    }

    /// Gives seats back, and what they needed of the pools.
    pub(crate) fn give_back(&mut self, departure: DepartureId, seats: u32) {
        let held = self.departures.get(&departure).map_or(0, |known| known.held);
        self.hold(departure, held.saturating_sub(seats));
    }

    fn hold(&mut self, departure: DepartureId, held: u32) {
        let Some(known) = self.departures.get_mut(&departure) else { return };
        let before = std::mem::replace(&mut known.held, held);
        for share in self.shares.get(&departure).map(Vec::as_slice).unwrap_or_default() {
            let (old, new) = (share.units_of(before), share.units_of(held));
            for key in share.slots() {
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.held = (slot.held + new).saturating_sub(old);
                }
            }
        }
    }
}
