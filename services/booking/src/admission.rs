//! Who is let in while more comes than can be done: work that is under way goes before work that begins.
//!
//! A hold costs little, and the booking that it becomes costs ten times as much. Under more load than the house can
//! bear all holds would be granted, and their payments would starve each other. So new bookings are refused at the
//! [`Door`], with OVERLOADED and RetryInfo and before anything is paid for them, while two things are true of this replica:
//!
//! - **many checkouts are under way**: being held, held within the last two seconds, or being paid for, CHECKOUT_ROOM or
//!   more. A hold counts from the moment at which it is let in: those that come to pay at once come when it is too late to
//!   refuse them;
//! - **they are late by our own fault**: what was written of a checkout within the last second, that its payment begins or
//!   that it is confirmed, took CHECKOUT_PATIENCE_MILLIS or longer, or nothing that waits to be written has been for so long.
//!
//! The number alone would refuse too early on a machine that does thousands a second, and would close the house when
//! merely the payment provider is slow: those checkouts are many, and what is ours to write of them is written in time.
//! Holding goes on then, on purpose: a hold lasts for minutes, and the provider may be back by then. The delay alone would
//! be told too late, because a thousand holds can be taken before the first of them is paid. Both together need no
//! knowledge of the machine. Every clock is this process's own, and every replica guards itself: it counts the checkouts
//! that it was asked for.
//!
//! Prices are refused a little earlier than holds, and who was told one within the last half second counts with them: who
//! was told a price should also get the seats, and what the price has cost is lost if not. What was begun is never refused
//! here, but for one bound: so that a provider that does not answer at all leaves room for everything else, at most
//! CHECKOUT_LIMIT calls pay at the same time.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tourmesh::booking::v1::booking_service_server::SERVICE_NAME;
use tourmesh_kit::{
    ApiError, ApiResult,
    door::{Door, Refusal},
};

use crate::{config::Config, domain::BookingId};

/// When the refused may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long a hold is expected to be paid for at once, at least. Who thinks longer is counted again when they pay.
const EAGER: Duration = Duration::from_secs(2);
/// How long who was told a price is expected to hold at once.
const PRICED: Duration = Duration::from_millis(500);
/// How long what was written late says something about now.
const FRESH: Duration = Duration::from_secs(1);
/// A hold is expected to be paid for at once for no longer than this, however slow everything is.
const PATIENT: Duration = Duration::from_secs(30);

/// The checkouts that are under way here. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Checkouts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    refusal: Refusal,
    room: usize,
    patience: Duration,
    limit: usize,
    under_way: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    /// How far each is.
    bookings: HashMap<BookingId, Stage>,
    /// Who was told a price and has not come to hold, oldest first.
    priced: VecDeque<Instant>,
    /// How many calls hold seats at this moment.
    holding: usize,
    /// Those that were held, oldest first, whatever became of them.
    held: VecDeque<(Instant, BookingId)>,
    /// How many calls pay at this moment.
    calls: usize,
    /// How many of them wait for something of ours to be written.
    writing: usize,
    /// Since when something waits to be written and nothing was.
    silent_since: Option<Instant>,
    /// The slowest write of late: when it was done, and how long it took. A quick one between slow ones is luck.
    slowest: Option<(Instant, Duration)>,
}

/// How far a booking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Held, since then.
    Held(Instant),
    /// Being paid for.
    Paying,
}

/// One call that holds seats.
pub(crate) struct Holding(Checkouts);

/// One call that pays for a booking.
pub(crate) struct Checkout {
    checkouts: Checkouts,
    booking: BookingId,
}

/// Something of ours that waits to be written.
struct Writing<'a> {
    checkouts: &'a Checkouts,
    since: Instant,
    is_done: bool,
}

impl Checkouts {
    pub(crate) fn new(config: &Config) -> Self {
        Self(Arc::new(Inner {
            refusal: Refusal::overloaded(RETRY_AFTER),
            room: config.checkout_room,
            patience: config.checkout_patience,
            limit: config.checkout_limit,
            under_way: Mutex::default(),
        }))
    }

    /// A new booking, which was let in, begins.
    pub(crate) fn holding(&self) -> Holding {
        let mut under_way = self.lock();
        under_way.holding += 1;
        // Whoever it is: they are counted, not known.
        under_way.priced.pop_front();
        Holding(self.clone())
    }

    /// Is there no place for another hold?
    fn refuses_hold(&self) -> bool {
        let now = Instant::now();
        self.at(now).is_late(0, self.0.room, self.0.patience, now)
    }

    /// Is there no place for somebody who will hold once they know the price? Else they are expected to.
    fn refuses_price(&self) -> bool {
        let now = Instant::now();
        let mut under_way = self.at(now);
        let priced = under_way.priced.len();
        if under_way.is_late(priced, self.0.room - self.0.room / 4, self.0.patience, now) {
            return true;
        }
        under_way.priced.push_back(now);
        false
    }

    /// What is under way at this moment.
    fn at(&self, now: Instant) -> MutexGuard<'_, UnderWay> {
        let mut under_way = self.lock();
        // Where everything takes long, so does the way from a hold to its payment.
        let eager = EAGER.max(under_way.delay(now) * 4).min(PATIENT);
        under_way.forget_held_before(now.checked_sub(eager));
        under_way.forget_priced_before(now.checked_sub(PRICED));
        under_way
    }

    /// A booking is about to be paid for.
    pub(crate) fn begin(&self, booking: BookingId) -> ApiResult<Checkout> {
        let mut under_way = self.lock();
        if under_way.calls >= self.0.limit {
            return Err(ApiError::overloaded(RETRY_AFTER));
        }
        under_way.calls += 1;
        under_way.bookings.insert(booking, Stage::Paying);
        Ok(Checkout { checkouts: self.clone(), booking })
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door for Checkouts {
    fn refuses(&self, path: &str) -> Option<&Refusal> {
        let refuses = match path.strip_prefix('/')?.strip_prefix(SERVICE_NAME)? {
            "/CreateBooking" => self.refuses_hold(),
            "/PreviewBooking" => self.refuses_price(),
            _ => return None,
        };
        refuses.then_some(&self.0.refusal)
    }
}

impl Holding {
    /// The seats are held.
    pub(crate) fn held(self, booking: BookingId) {
        self.0.lock().hold(booking, Instant::now());
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut under_way = self.0.lock();
        under_way.holding = under_way.holding.saturating_sub(1);
    }
}

impl Checkout {
    pub(crate) fn booking(&self) -> BookingId {
        self.booking
    }

    /// Something of ours is written: how long that takes tells how late we are.
    pub(crate) async fn writes<T>(&self, work: impl Future<Output = T>) -> T {
        let since = Instant::now();
        self.checkouts.lock().begin_writing(since);
        let mut writing = Writing { checkouts: &self.checkouts, since, is_done: false };
        let done = work.await;
        writing.is_done = true;
        done
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        // Who hangs up says nothing about how fast we are.
        let now = Instant::now();
        self.checkouts.lock().end_writing(self.is_done.then_some((now, now.saturating_duration_since(self.since))));
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let mut under_way = self.checkouts.lock();
        under_way.calls = under_way.calls.saturating_sub(1);
        under_way.bookings.remove(&self.booking);
    }
}

impl UnderWay {
    /// Whether there is no room, with so many more that are expected, and what is under way is late.
    fn is_late(&self, expected: usize, room: usize, patience: Duration, now: Instant) -> bool {
        self.bookings.len() + self.holding + expected >= room && self.delay(now) >= patience
    }

    /// How long what we write of a checkout takes at the moment.
    fn delay(&self, now: Instant) -> Duration {
        let silence = self.silent_since.filter(|_| self.writing > 0).map(|since| now.saturating_duration_since(since));
        silence.max(self.slowest(now).map(|(_, took)| took)).unwrap_or_default()
    }

    fn slowest(&self, now: Instant) -> Option<(Instant, Duration)> {
        self.slowest.filter(|(at, _)| now.saturating_duration_since(*at) < FRESH)
    }

    fn hold(&mut self, booking: BookingId, now: Instant) {
        // A repeat may tell of one that is further.
        self.bookings.entry(booking).or_insert_with(|| {
            self.held.push_back((now, booking));
            Stage::Held(now)
        });
    }

    fn begin_writing(&mut self, now: Instant) {
        if self.writing == 0 {
            self.silent_since = Some(now);
        }
        self.writing += 1;
    }

    /// When it was written, and how long that took; `None`: nobody waits for it any more.
    fn end_writing(&mut self, written: Option<(Instant, Duration)>) {
        self.writing = self.writing.saturating_sub(1);
        if let Some((now, took)) = written {
            self.silent_since = Some(now);
            if self.slowest(now).is_none_or(|(_, slowest)| slowest <= took) {
                self.slowest = written;
            }
        }
    }

    fn forget_priced_before(&mut self, moment: Option<Instant>) {
        let Some(moment) = moment else { return };
        while self.priced.front().is_some_and(|since| *since < moment) {
            self.priced.pop_front();
        }
    }

    fn forget_held_before(&mut self, moment: Option<Instant>) {
        let Some(moment) = moment else { return };
        while let Some((since, booking)) = self.held.front().copied().filter(|(since, _)| *since < moment) {
            self.held.pop_front();
            if self.bookings.get(&booking) == Some(&Stage::Held(since)) {
                self.bookings.remove(&booking);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn after(begun: Instant, millis: u64) -> Instant {
        begun + Duration::from_millis(millis)
    }

    /// So many that are being paid for.
    fn paying(many: usize) -> UnderWay {
        UnderWay { bookings: (0..many).map(|_| (BookingId::new(), Stage::Paying)).collect(), ..UnderWay::default() }
    }

    #[test]
    fn many_are_no_reason_as_long_as_what_is_ours_is_written_in_time() {
        // A slow provider: a thousand wait for it, and what comes of the few that it answers is written at once.
        let (mut under_way, begun) = (paying(1_000), Instant::now());
        assert!(!under_way.is_late(0, 500, PATIENCE, after(begun, 60_000)));
        for n in 0..400 {
            under_way.begin_writing(after(begun, n * 1_000));
            under_way.end_writing(Some((after(begun, n * 1_000 + 40), Duration::from_millis(40))));
            assert!(!under_way.is_late(0, 500, PATIENCE, after(begun, n * 1_000 + 900)));
        }
    }

    #[test]
    fn late_is_what_was_written_late_or_is_not_written_at_all() {
        let (mut under_way, begun) = (paying(10), Instant::now());
        under_way.begin_writing(begun);
        under_way.begin_writing(after(begun, 10));
        assert!(!under_way.is_late(0, 10, PATIENCE, after(begun, 99)));
        // Nothing came.
        assert!(under_way.is_late(0, 10, PATIENCE, after(begun, 100)));
        // One came, late; were they fewer, that would be no reason.
        under_way.end_writing(Some((after(begun, 150), Duration::from_millis(150))));
        assert!(under_way.is_late(0, 10, PATIENCE, after(begun, 151)));
        assert!(!under_way.is_late(0, 11, PATIENCE, after(begun, 151)));
        // All came; what was late then says nothing about those that pay later.
        under_way.end_writing(Some((after(begun, 160), Duration::from_millis(150))));
        assert!(under_way.is_late(0, 10, PATIENCE, after(begun, 170)));
        assert!(!under_way.is_late(0, 10, PATIENCE, after(begun, 1_160)));
    }

    #[test]
    fn who_hangs_up_is_not_waited_for_and_makes_nobody_late() {
        let (mut under_way, begun) = (paying(10), Instant::now());
        under_way.begin_writing(begun);
        under_way.end_writing(None);
        assert_eq!(under_way.delay(after(begun, 500)), Duration::ZERO);
    }

    #[test]
    fn a_hold_counts_until_it_is_paid_for_or_its_customer_thinks_for_long() {
        let (mut under_way, begun) = (paying(1), Instant::now());
        under_way.begin_writing(begun);
        let (quick, slow) = (BookingId::new(), BookingId::new());
        under_way.hold(quick, begun);
        under_way.hold(slow, after(begun, 10));
        under_way.bookings.insert(quick, Stage::Paying);
        under_way.hold(quick, after(begun, 20));
        assert!(under_way.is_late(0, 3, PATIENCE, after(begun, 200)));
        under_way.forget_held_before(Some(after(begun, 11)));
        assert_eq!(under_way.bookings.len(), 2);
        assert!(!under_way.is_late(0, 3, PATIENCE, after(begun, 200)));
        under_way.holding += 1;
        assert!(under_way.is_late(0, 3, PATIENCE, after(begun, 200)));
    }

    #[test]
    fn who_was_told_a_price_takes_a_place_until_somebody_holds_or_half_a_second_has_passed() {
        let (mut under_way, begun) = (paying(1), Instant::now());
        under_way.begin_writing(begun);
        under_way.priced.extend([begun, after(begun, 10), after(begun, 20)]);
        assert!(under_way.is_late(under_way.priced.len(), 4, PATIENCE, after(begun, 200)));
        // Holds do not wait for those who may never come.
        assert!(!under_way.is_late(0, 4, PATIENCE, after(begun, 200)));
        under_way.forget_priced_before(Some(after(begun, 11)));
        assert_eq!(under_way.priced.len(), 1);
        assert!(!under_way.is_late(under_way.priced.len(), 4, PATIENCE, after(begun, 200)));
    }
}
