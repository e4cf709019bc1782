//! Who gets the seats: the decision over a batch of wishes, in order of arrival.
//!
//! The rules: a wish that fits is granted, whatever was refused before it; a repeat gets the booking that it made before;
//! the same request_id with other content is refused; nobody holds more than the limit, which is the option's own or the
//! platform's; a promo code is used as often as it
//! may be.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::{
    BookingId, DepartureId, OptionId, PromoId, UserId,
    offer::DepartureState,
    pool::{Room, Seats},
    promo::Uses,
};
use crate::error::BookingError;

/// One wish for seats.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) customer: UserId,
    pub(crate) request_id: &'a str,
    pub(crate) hash: &'a [u8; 32],
    /// What the booking is called if it is granted.
    pub(crate) booking: BookingId,
    pub(crate) departure: DepartureId,
    pub(crate) seats: u32,
    pub(crate) promo: Option<PromoId>,
    pub(crate) option: OptionId,
    /// How many open holds on departures of the option its customer may have; 0: the platform's limit counts.
    pub(crate) max_of_option: u32,
}

/// A booking that a request made before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Earlier {
    pub(crate) booking: BookingId,
    pub(crate) hash: [u8; 32],
}

/// What the batch is decided on.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    pub(crate) now: DateTime<Utc>,
    pub(crate) room: Room,
    /// Some of the departures share pools.
    pub(crate) shared: bool,
    pub(crate) earlier: HashMap<(UserId, &'a str), Earlier>,
    pub(crate) open_holds: HashMap<UserId, u32>,
    /// Of those options that have a limit of their own.
    pub(crate) open_of_options: HashMap<(UserId, OptionId), u32>,
    pub(crate) max_open_holds: u32,
    /// Those of the wishes that have a promo code.
    pub(crate) promos: HashMap<PromoId, Uses>,
}

impl<'a> View<'a> {
    /// Nothing is known yet: there is room for everybody, and nobody has asked before. Whoever writes what was decided on it
    /// finds out.
    pub(crate) fn hopeful(wishes: &[Wish<'a>], now: DateTime<Utc>, max_open_holds: u32) -> Self {
        let room =
            Seats { capacity: u32::MAX, held: 0, state: DepartureState::Open, starts_at: DateTime::<Utc>::MAX_UTC };
        Self {
            now,
            room: Room { departures: wishes.iter().map(|wish| (wish.departure, room)).collect(), ..Room::default() },
            shared: false,
            earlier: HashMap::new(),
            open_holds: HashMap::new(),
            open_of_options: HashMap::new(),
            max_open_holds,
            promos: HashMap::new(),
        }
    }
}

/// What becomes of a wish.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    Granted,
    /// It was granted before, as this booking.
    Repeat(BookingId),
    Refused(BookingError),
}

/// Decides the wishes in order. The view is used up: it holds the seats as they are after the batch.
pub(crate) fn decide<'a>(wishes: &[Wish<'a>], view: &mut View<'a>) -> Vec<Verdict> {
    wishes.iter().map(|wish| decide_one(wish, view)).collect()
}

fn decide_one<'a>(wish: &Wish<'a>, view: &mut View<'a>) -> Verdict {
    let key = (wish.customer, wish.request_id);
    if let Some(earlier) = view.earlier.get(&key) {
        return if earlier.hash == *wish.hash {
            Verdict::Repeat(earlier.booking)
        } else {
            Verdict::Refused(BookingError::RequestIdReused)
        };
    }
    if let Err(error) = view.room.may_give(wish.departure, wish.seats, view.now) {
        return Verdict::Refused(error);
    }
    let open = view.open_holds.entry(wish.customer).or_default();
    let mut of_option = None;
    let (held, limit) = match wish.max_of_option {
        0 => (*open, view.max_open_holds),
        own => (**of_option.insert(view.open_of_options.entry((wish.customer, wish.option)).or_default()), own),
    };
    if held >= limit {
        return Verdict::Refused(BookingError::TooManyHolds { limit });
    }
    if let Some(promo) = wish.promo {
        let Some(uses) = view.promos.get_mut(&promo) else { return Verdict::Refused(BookingError::PromoUnknown) };
        if let Err(error) = uses.may_take(wish.customer, view.now) {
            return Verdict::Refused(error);
        }
        uses.take(wish.customer);
    }
    *open += 1;
    if let Some(of_option) = of_option {
        *of_option += 1;
    }
    view.room.take(wish.departure, wish.seats);
    view.earlier.insert(key, Earlier { booking: wish.booking, hash: *wish.hash });
    Verdict::Granted
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{
        PoolId,
        pool::{Share, Slot},
    };

    /// The simplest thing that could be right: one request after the other, each against the whole history.
    #[derive(Default)]
    struct Sequential {
        made: Vec<(UserId, String, [u8; 32], DepartureId, u32, BookingId)>,
    }

    impl Sequential {
        /// `shares`: departures and what they need of a pool of so many units, all at the same time.
        fn book(
            &mut self,
            wish: &Wish<'_>,
            capacity: &HashMap<DepartureId, u32>,
            (shares, units): (&HashMap<DepartureId, Share>, u64),
            limit: usize,
        ) -> Verdict {
            if let Some(m) = self.made.iter().find(|m| m.0 == wish.customer && m.1 == wish.request_id) {
                return if m.2 == *wish.hash {
                    Verdict::Repeat(m.5)
                } else {
                    Verdict::Refused(BookingError::RequestIdReused)
                };
            }
            let held: u32 = self.made.iter().filter(|m| m.3 == wish.departure).map(|m| m.4).sum();
            let used = |more: u32| -> u64 {
                let held = |id| self.made.iter().filter(|m| m.3 == id).map(|m| m.4).sum::<u32>();
                shares.iter().map(|(id, s)| s.units_of(held(*id) + if *id == wish.departure { more } else { 0 })).sum()
            };
            // Found by trying, one seat after the other.
            let own = capacity[&wish.departure] - held;
            let shared = shares.contains_key(&wish.departure);
            let left = (0..=own).rev().find(|more| !shared || used(*more) <= units).unwrap();
            if wish.seats > left {
                return Verdict::Refused(BookingError::SoldOut { seats_left: left });
            }
            let own = wish.max_of_option > 0;
            let limit = if own { usize::try_from(wish.max_of_option).unwrap() } else { limit };
            let counts = |d: DepartureId| !own || d == wish.departure;
            if self.made.iter().filter(|m| m.0 == wish.customer && counts(m.3)).count() >= limit {
                return Verdict::Refused(BookingError::TooManyHolds { limit: u32::try_from(limit).unwrap() });
            }
            self.made.push((
                wish.customer,
                wish.request_id.to_owned(),
                *wish.hash,
                wish.departure,
                wish.seats,
                wish.booking,
            ));
            Verdict::Granted
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn batches_of_any_size_decide_like_one_request_after_the_other(
            requests in prop::collection::vec((0_usize..4, 0_usize..12, 0_u8..3, 0_usize..3, 1_u32..6), 1..80),
            capacities in prop::collection::vec(0_u32..20, 3),
            batch in 1_usize..20,
            limit in 1_u32..8,
            own_limit in 1_u32..4,
            // The first two departures share a pool: so many units, each needs some of them for every so many seats.
            units in 0_u32..20,
            needs in prop::collection::vec((1_u32..4, 1_u32..5), 2),
        ) {
            let now = Utc::now();
            let departures: Vec<DepartureId> = (0..3).map(|_| DepartureId::new()).collect();
            let options: Vec<OptionId> = (0..3).map(|_| OptionId::new()).collect();
            let customers: Vec<UserId> = (0..4).map(|_| UserId::new()).collect();
            let ids: Vec<String> = (0..12).map(|i| format!("r{i}")).collect();
            // The hash stands for the whole content: departure and seats follow from it.
            let contents: Vec<([u8; 32], usize, u32)> = requests.iter()
                .map(|&(_, _, salt, d, s)| ([salt * 100 + u8::try_from(d * 10).unwrap() + u8::try_from(s).unwrap(); 32], d, s))
                .collect();
            let wishes: Vec<Wish<'_>> = requests.iter().zip(&contents).map(|(&(c, r, ..), (hash, d, s))| Wish {
                customer: customers[c], request_id: &ids[r], hash, booking: BookingId::new(),
                departure: departures[*d], seats: *s, promo: None,
                // Departures of the last option have a limit of their own.
                option: options[*d], max_of_option: if *d == 2 { own_limit } else { 0 },
            }).collect();
            let capacity: HashMap<DepartureId, u32> = departures.iter().copied().zip(capacities.iter().copied()).collect();
            let pool = PoolId::new();
            let shares: HashMap<DepartureId, Share> = departures.iter().copied().zip(needs)
                .map(|(id, (units, seats))| (id, Share { pool, units, seats, first: 7, until: 9 }))
                .collect();
            let mut model = Sequential::default();
            let expected: Vec<Verdict> = wishes.iter()
                .map(|w| model.book(w, &capacity, (&shares, units.into()), usize::try_from(limit).unwrap()))
                .collect();

            let mut stored = View {
                now,
                room: Room { departures: capacity.iter().map(|(id, capacity)| (*id, Seats {
                    capacity: *capacity, held: 0, state: DepartureState::Open, starts_at: now + TimeDelta::days(1),
                })).collect(),
                    shares: shares.iter().map(|(id, share)| (*id, vec![*share])).collect(),
                    slots: [7, 8].map(|slot| ((pool, slot), Slot { capacity: units, held: 0 })).into(),
                },
                shared: true, earlier: HashMap::new(), open_holds: HashMap::new(), open_of_options: HashMap::new(),
                max_open_holds: limit, promos: HashMap::new(),
            };
            let mut got = Vec::new();
            for chunk in wishes.chunks(batch) {
                got.extend(decide(chunk, &mut stored));
                prop_assert!(stored.room.departures.values().all(|s| s.held <= s.capacity));
                prop_assert!(stored.room.slots.values().all(|s| s.held <= u64::from(s.capacity)));
            }
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_small_party_is_not_starved_by_a_large_one_before_it() {
        let now = Utc::now();
        let departure = DepartureId::new();
        let seats = Seats { capacity: 2, held: 0, state: DepartureState::Open, starts_at: now + TimeDelta::days(1) };
        let mut view = View {
            now,
            room: Room { departures: HashMap::from([(departure, seats)]), ..Room::default() },
            shared: false,
            earlier: HashMap::new(),
            open_holds: HashMap::new(),
            open_of_options: HashMap::new(),
            max_open_holds: 9,
            promos: HashMap::new(),
        };
        let wish = |request_id, seats| Wish {
            customer: UserId::new(),
            request_id,
            hash: &[0; 32],
            booking: BookingId::new(),
            departure,
            seats,
            promo: None,
            option: OptionId::new(),
            max_of_option: 0,
        };
        let verdicts = decide(&[wish("a", 3), wish("b", 1), wish("c", 2), wish("d", 1)], &mut view);
        assert_eq!(
            verdicts,
            [
                Verdict::Refused(BookingError::SoldOut { seats_left: 2 }),
                Verdict::Granted,
                Verdict::Refused(BookingError::SoldOut { seats_left: 1 }),
                Verdict::Granted,
            ]
        );
    }
}
