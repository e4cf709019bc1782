//! Who is let in while more comes than can be done: work that is under way goes before work that begins.
//!
//! A hold costs little, and the booking that it becomes costs twelve times as much. Under more load than the house can
//! bear all holds would be granted, and their payments would starve each other. So new bookings are refused at the
//! [`Door`], with OVERLOADED and RetryInfo and before anything is paid for them, while two things are true of this replica:
//!
//! - **many checkouts are under way**: held within the last two seconds, paying, or paid and not heard to be CONFIRMED,
//!   CHECKOUT_ROOM or more. A hold counts from the moment at which it is let in: those that come to pay at once come when
//!   it is too late to refuse them;
//! - **they are late by our own fault**: what was confirmed last waited CHECKOUT_PATIENCE_MILLIS or longer between the
//!   payment's answer and the news of its confirmation, or nothing that waits has been confirmed for so long.
//!
//! The number alone would refuse too early on a machine that does thousands a second, and would close the house when
//! merely the payment provider is slow: those checkouts are many, and not late once their money is there. Holding goes on
//! then, on purpose: a hold lasts for minutes, and the provider may be back by then. The delay alone would be told too
//! late, because a thousand holds can be taken before the first of them is paid. Both together need no knowledge of the
//! machine. Every clock is this process's own, and every replica guards itself: it counts the checkouts that it was asked
//! for, and hears of their confirmations whoever wrote them.
//!
//! Prices are refused a little earlier than holds: who was told a price should also get the seats. What was begun is never
//! refused here, but for one bound: so that a provider that does not answer at all leaves room for everything else, at
//! most CHECKOUT_LIMIT calls pay at the same time.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use tourmesh::booking::v1::booking_service_server::SERVICE_NAME;
use tourmesh_kit::{
    ApiError, ApiResult,
    door::{Door, Refusal},
    events::Broker,
    shutdown::Shutdown,
};

use crate::{config::Config, domain::BookingId};

/// When the refused may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long a hold is expected to be paid for at once, at least. Who thinks longer is counted again when they pay.
const EAGER: Duration = Duration::from_secs(2);
/// How long what was confirmed last says something about now.
const FRESH: Duration = Duration::from_secs(1);
/// A payment of which nothing was heard for so long is not counted any more: its news was lost, or something else is
/// wrong than too much work.
const FORGOTTEN: Duration = Duration::from_secs(30);

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
    /// How many calls hold seats at this moment.
    holding: usize,
    /// Those that were held, oldest first, whatever became of them.
    held: VecDeque<(Instant, BookingId)>,
    /// How many are paid.
    paid: usize,
    /// Those that were paid, oldest first, whatever became of them.
    order: VecDeque<(Instant, BookingId)>,
    /// How many calls pay at this moment.
    calls: usize,
    /// Since when something waits and nothing was confirmed.
    silent_since: Option<Instant>,
    /// When something was confirmed last, and how long that had waited.
    last: Option<(Instant, Duration)>,
}

/// How far a booking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Held, since then.
    Held(Instant),
    /// Being paid for.
    Paying,
    /// Paid and not heard to be confirmed, since then.
    Paid(Instant),
}

/// One call that holds seats.
pub(crate) struct Holding(Checkouts);

/// One call that pays for a booking.
pub(crate) struct Checkout {
    checkouts: Checkouts,
    booking: BookingId,
    is_paid: bool,
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
        self.lock().holding += 1;
        Holding(self.clone())
    }

    /// Is it too late for more than so many?
    fn is_late(&self, room: usize) -> bool {
        let (mut under_way, now) = (self.lock(), Instant::now());
        // Where everything takes long, so does the way from a hold to its payment.
        let eager = EAGER.max(under_way.delay(now) * 4).min(FORGOTTEN);
        under_way.forget_held_before(now.checked_sub(eager));
        under_way.is_late(room, self.0.patience, now)
    }

    /// A booking is about to be paid for.
    pub(crate) fn begin(&self, booking: BookingId) -> ApiResult<Checkout> {
        let mut under_way = self.lock();
        if under_way.calls >= self.0.limit {
            return Err(ApiError::overloaded(RETRY_AFTER));
        }
        under_way.forget_before(Instant::now().checked_sub(FORGOTTEN));
        under_way.calls += 1;
        under_way.begin(booking);
        Ok(Checkout { checkouts: self.clone(), booking, is_paid: false })
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears which bookings are confirmed, by whichever replica, until shutdown.
    pub(crate) async fn listen(self, broker: Broker, shutdown: Shutdown) {
        while !shutdown.is_triggered() {
            match broker.client().subscribe(broker.subject("booking.booking.confirmed.*")).await {
                Ok(mut confirmed) => {
                    // What was said before the subscription stood is not known.
                    self.lock().forget_before(Some(Instant::now()));
                    while let Some(Some(message)) = shutdown.unless(confirmed.next()).await {
                        if let Some(Ok(booking)) = message.subject.rsplit('.').next().map(str::parse) {
                            self.lock().confirmed(booking, Instant::now());
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "nobody hears which bookings are confirmed"),
            }
            shutdown.sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Door for Checkouts {
    fn refuses(&self, path: &str) -> Option<&Refusal> {
        let room = match path.strip_prefix('/')?.strip_prefix(SERVICE_NAME)? {
            "/CreateBooking" => self.0.room,
            "/PreviewBooking" => self.0.room - self.0.room / 4,
            _ => return None,
        };
        self.is_late(room).then_some(&self.0.refusal)
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

    /// The money is there; the confirmation is ours to make.
    pub(crate) fn paid(mut self) {
        self.is_paid = true;
        self.checkouts.lock().paid(self.booking, Instant::now());
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let mut under_way = self.checkouts.lock();
        under_way.calls = under_way.calls.saturating_sub(1);
        if !self.is_paid && under_way.bookings.get(&self.booking) == Some(&Stage::Paying) {
            under_way.bookings.remove(&self.booking);
        }
    }
}

impl UnderWay {
    fn is_late(&self, room: usize, patience: Duration, now: Instant) -> bool {
        self.bookings.len() + self.holding >= room && self.delay(now) >= patience
    }

    /// How long a paid booking waits at the moment.
    fn delay(&self, now: Instant) -> Duration {
        let silence = self.silent_since.filter(|_| self.paid > 0).map(|since| now.saturating_duration_since(since));
        let last = self.last.filter(|(at, _)| now.saturating_duration_since(*at) < FRESH).map(|(_, waited)| waited);
        silence.max(last).unwrap_or_default()
    }

    fn hold(&mut self, booking: BookingId, now: Instant) {
        // A repeat may tell of one that is further.
        self.bookings.entry(booking).or_insert_with(|| {
            self.held.push_back((now, booking));
            Stage::Held(now)
        });
    }

    fn begin(&mut self, booking: BookingId) {
        let stage = self.bookings.entry(booking).or_insert(Stage::Paying);
        if matches!(stage, Stage::Held(_)) {
            *stage = Stage::Paying;
        }
    }

    fn paid(&mut self, booking: BookingId, now: Instant) {
        // Its confirmation may have been faster than the payment's answer.
        if let Some(stage @ Stage::Paying) = self.bookings.get_mut(&booking) {
            *stage = Stage::Paid(now);
            self.order.push_back((now, booking));
            if self.paid == 0 {
                self.silent_since = Some(now);
            }
            self.paid += 1;
        }
    }

    fn confirmed(&mut self, booking: BookingId, now: Instant) {
        if let Some(Stage::Paid(since)) = self.bookings.remove(&booking) {
            self.paid -= 1;
            self.silent_since = Some(now);
            self.last = Some((now, now.saturating_duration_since(since)));
        }
    }

    fn forget_before(&mut self, moment: Option<Instant>) {
        let Some(moment) = moment else { return };
        while let Some((since, booking)) = self.order.front().copied().filter(|(since, _)| *since < moment) {
            self.order.pop_front();
            if self.bookings.get(&booking) == Some(&Stage::Paid(since)) {
                self.bookings.remove(&booking);
                self.paid -= 1;
            }
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
    fn paying(under_way: &mut UnderWay, many: usize) -> Vec<BookingId> {
        let ids: Vec<BookingId> = (0..many).map(|_| BookingId::new()).collect();
        ids.iter().for_each(|id| under_way.begin(*id));
        ids
    }

    #[test]
    fn many_are_no_reason_as_long_as_what_is_paid_for_is_confirmed_in_time() {
        let (mut under_way, begun) = (UnderWay::default(), Instant::now());
        // A slow provider: a thousand wait for it, and the few whose money comes are confirmed at once.
        let ids = paying(&mut under_way, 1_000);
        assert!(!under_way.is_late(500, PATIENCE, after(begun, 60_000)));
        for (n, id) in (0..).zip(&ids[..400]) {
            under_way.paid(*id, after(begun, n * 1_000));
            under_way.confirmed(*id, after(begun, n * 1_000 + 40));
            assert!(!under_way.is_late(500, PATIENCE, after(begun, n * 1_000 + 900)));
        }
    }

    #[test]
    fn late_is_what_was_confirmed_late_or_is_not_confirmed_at_all() {
        let (mut under_way, begun) = (UnderWay::default(), Instant::now());
        let ids = paying(&mut under_way, 10);
        for id in &ids {
            under_way.paid(*id, begun);
        }
        assert!(!under_way.is_late(10, PATIENCE, after(begun, 99)));
        // Nothing came.
        assert!(under_way.is_late(10, PATIENCE, after(begun, 100)));
        // One came, late; few are left.
        under_way.confirmed(ids[0], after(begun, 150));
        assert!(under_way.is_late(9, PATIENCE, after(begun, 151)));
        assert!(!under_way.is_late(10, PATIENCE, after(begun, 151)));
        // All came; what was late then says nothing about those that pay later.
        for id in &ids[1..] {
            under_way.confirmed(*id, after(begun, 160));
        }
        paying(&mut under_way, 20);
        assert!(under_way.is_late(20, PATIENCE, after(begun, 170)));
        assert!(!under_way.is_late(20, PATIENCE, after(begun, 1_160)));
    }

    #[test]
    fn a_hold_counts_until_it_is_paid_for_or_its_customer_thinks_for_long() {
        let (mut under_way, begun) = (UnderWay::default(), Instant::now());
        let ids = paying(&mut under_way, 1);
        under_way.paid(ids[0], begun);
        let (quick, slow) = (BookingId::new(), BookingId::new());
        under_way.hold(quick, begun);
        under_way.hold(slow, after(begun, 10));
        under_way.begin(quick);
        under_way.hold(quick, after(begun, 20));
        assert!(under_way.is_late(3, PATIENCE, after(begun, 200)));
        under_way.forget_held_before(Some(after(begun, 11)));
        assert_eq!(under_way.bookings.len(), 2);
        assert!(!under_way.is_late(3, PATIENCE, after(begun, 200)));
        under_way.holding += 1;
        assert!(under_way.is_late(3, PATIENCE, after(begun, 200)));
    }

    #[test]
    fn news_that_overtakes_its_payment_and_news_that_never_comes_leave_nothing_behind() {
        let (mut under_way, begun) = (UnderWay::default(), Instant::now());
        let ids = paying(&mut under_way, 2);
        under_way.confirmed(ids[0], begun);
        under_way.paid(ids[0], after(begun, 1));
        under_way.paid(ids[1], after(begun, 2));
        assert_eq!((under_way.bookings.len(), under_way.paid), (1, 1));
        under_way.forget_before(Some(after(begun, 3)));
        assert_eq!((under_way.bookings.len(), under_way.paid, under_way.order.len()), (0, 0, 0));
        assert_eq!(under_way.delay(after(begun, 500)), Duration::ZERO);
    }
}
