//! Moves to a departure that costs more: seats are held there until the difference is paid, and the booking has its own
//! meanwhile.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use tourmesh::{
    booking::v1::{self as pb, BookingState, MoveState},
    catalog::v1 as catalog,
    payment::v1::Payment,
};
use tourmesh_kit::{events::Event, time};
use tourmesh_testkit::{eventually, reason};

use crate::scene::{Person, Scene, euros, uuid};

/// Two guests who paid 60.00, and a departure that costs 10.01 more each.
struct Story {
    scene: Scene,
    ada: Person,
    from: String,
    to: String,
    booking: pb::Booking,
}

impl Story {
    async fn new(change: impl Fn(&mut catalog::Offer, &mut catalog::Offer)) -> Self {
        let scene = Scene::new().await;
        let ada = scene.traveller();
        let mut first = scene.offer(2);
        let mut second = scene.another(&first, 4_001, 2);
        change(&mut first, &mut second);
        let (from, to) = (scene.departure_of(first), scene.departure_of(second));
        let booking = scene.confirmed(&ada, &from, 2).await;
        Self { scene, ada, from, to, booking }
    }

    async fn go(&self, request_id: &str, method: &str) -> Result<pb::RescheduleBookingResponse, tonic::Status> {
        self.scene.pay_move(&self.ada, request_id, &self.booking.id, &self.to, None, method).await
    }

    async fn open(&self) -> pb::Move {
        let answer = self.go("m", "card_later").await.unwrap();
        assert_eq!(answer.booking.as_ref(), Some(&self.booking));
        answer.r#move.unwrap()
    }

    async fn left(&self) -> (i32, i32) {
        (self.scene.seats_left(&self.from).await, self.scene.seats_left(&self.to).await)
    }

    async fn now(&self) -> pb::Booking {
        self.scene.get(&self.ada, &self.booking.id).await.unwrap()
    }

    /// Captured, and not for the move any more: all of it goes back, and nothing else happens.
    async fn capture_goes_back(&self, paid: &pb::Move) {
        let before = self.now().await;
        let payment = self.scene.payment_for(paid);
        self.scene.captured(&payment).await;
        self.scene.captured(&payment).await;
        let back = || {
            let all = self.scene.payments.refunds().into_iter().filter(|r| r.payment_id == payment.id);
            all.map(|r| r.amount).collect::<Vec<_>>()
        };
        eventually(|| async { !back().is_empty() }).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!(back(), std::slice::from_ref(&paid.price_difference));
        assert_eq!(self.now().await, before);
        self.scene.promises_hold().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_dearer_moves_at_once_are_paid_once_and_swap_the_seats_once_when_it_is_captured() {
    let story = Story::new(|_, _| ()).await;
    let Story { scene, ada, to, booking, .. } = &story;
    let quote = scene.preview_move(ada, &booking.id, to).await.unwrap();
    assert_eq!(
        (quote.total, quote.price_difference.clone(), quote.refund),
        (Some(euros(8_002)), Some(euros(2_002)), Some(euros(0)))
    );
    assert_eq!(reason(&story.go("none", "").await.unwrap_err()), "RESCHEDULE_DEARER");
    let guide = scene.guide(&scene.supplier);
    let error = scene.pay_move(&guide, "g", &booking.id, to, None, "card_later").await.unwrap_err();
    assert_eq!(reason(&error), "RESCHEDULE_DEARER", "a supplier spends nobody's money");
    let stale = scene.pay_move(ada, "s", &booking.id, to, Some(euros(2_001)), "card_later").await.unwrap_err();
    assert_eq!(reason(&stale), "CHANGED_MEANWHILE");
    assert_eq!(story.left().await, (0, 2));

    // Whoever is told to come back later does.
    let insist = || async {
        loop {
            match story.go("m", "card_later").await {
                Err(status) if reason(&status) == "OVERLOADED" => {}
                other => return other,
            }
        }
    };
    let answers = join_all((0..100).map(|_| insist())).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let paid = answers[0].r#move.clone().unwrap();
    assert!(answers.iter().all(|a| a.r#move.as_ref().unwrap().id == paid.id && a.booking.as_ref() == Some(booking)));
    assert_eq!((paid.state(), paid.price_difference.clone(), paid.seats), (MoveState::Open, Some(euros(2_002)), 2));
    assert_eq!(scene.payments.made().values().filter(|p| !p.purpose.is_empty()).count(), 1);
    assert_eq!(reason(&story.go("m", "card_action").await.unwrap_err()), "REQUEST_ID_REUSED");
    assert_eq!(reason(&story.go("other", "card_later").await.unwrap_err()), "BOOKING_STATE");
    // Both are held: nobody can take either.
    assert_eq!(story.left().await, (0, 0));
    scene.promises_hold().await;

    let payment = scene.payment_for(&paid);
    let event = scene.captured(&payment).await;
    eventually(|| async { story.now().await.departure_id == *to }).await;
    scene.room.publish("payment", &event).await;
    scene.captured(&payment).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let moved = story.now().await;
    assert_eq!(
        (moved.state(), moved.total.clone(), moved.paid.clone()),
        (BookingState::Confirmed, Some(euros(8_002)), Some(euros(8_002)))
    );
    assert_eq!((moved.payment_id.as_str(), moved.refund.clone()), (booking.payment_id.as_str(), None));
    assert_eq!(moved.refund_policy, booking.refund_policy);
    assert!(
        moved
            .items
            .iter()
            .zip(&booking.items)
            .all(|(a, b)| a.voucher_code == b.voucher_code && a.price == Some(euros(4_001)))
    );
    assert_eq!(story.left().await, (2, 0));
    assert_eq!(scene.told("rescheduled", &booking.id).await, 1);
    assert!(scene.payments.refunds().is_empty());
    let again = story.go("m", "card_later").await.unwrap();
    assert_eq!((again.r#move.unwrap().state(), again.booking.unwrap()), (MoveState::Done, moved));
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_paid_at_once_is_made_in_the_answer_and_its_event_finds_it_known() {
    let story = Story::new(|_, _| {}).await;
    let Story { scene, booking, to, .. } = &story;
    let insist = || async {
        loop {
            match story.go("m", "card_ok").await {
                Err(status) if reason(&status) == "OVERLOADED" => tokio::task::yield_now().await,
                other => return other.unwrap(),
            }
        }
    };
    let answers = join_all((0..100).map(|_| insist())).await;
    let moved = story.now().await;
    for answer in answers {
        let paid = answer.r#move.unwrap();
        assert_eq!((paid.state(), answer.booking.as_ref()), (MoveState::Done, Some(&moved)));
    }
    assert_eq!((&moved.departure_id, &moved.paid, moved.version), (to, &Some(euros(8_002)), booking.version + 1));
    assert_eq!((story.left().await, scene.told("rescheduled", &booking.id).await), ((2, 0), 1));

    let payment = scene.payments.made().into_values().find(|p| !p.purpose.is_empty()).unwrap();
    scene.captured(&payment).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!((story.now().await, scene.told("rescheduled", &booking.id).await), (moved, 1));
    assert!(scene.payments.refunds().is_empty());
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_whose_payment_fails_gives_the_seats_back_and_the_booking_is_as_before() {
    let story = Story::new(|_, _| ()).await;
    let scene = &story.scene;
    for _ in 0..2 {
        assert_eq!(reason(&story.go("declined", "card_declined").await.unwrap_err()), "PAYMENT_DECLINED");
        assert_eq!((story.left().await, story.now().await), ((0, 2), story.booking.clone()));
    }
    // The second step at the bank is not taken.
    let answer = story.go("action", "card_action").await.unwrap();
    assert_eq!(answer.next_action_url, "https://bank.example/step");
    let open = answer.r#move.unwrap();
    assert_eq!((open.state(), story.left().await), (MoveState::Open, (0, 0)));
    let payment = scene.payment_for(&open);
    scene.failed(&payment).await;
    eventually(|| async {
        scene.failures_told().await == [(payment.id.clone(), story.booking.id.clone(), open.id.clone())]
    })
    .await;
    assert_eq!(scene.stage(&open).await, "FAILED");
    scene.failed(&payment).await;
    assert_eq!((story.left().await, story.now().await), ((0, 2), story.booking.clone()));
    scene.promises_hold().await;
    // An answer that got lost is asked for again under the same id.
    scene.payments.lost_answers.store(1, Ordering::SeqCst);
    assert_eq!(reason(&story.go("lost", "card_later").await.unwrap_err()), "DEADLINE_EXCEEDED");
    assert_eq!(story.left().await, (0, 0));
    let paid = story.go("lost", "card_later").await.unwrap().r#move.unwrap();
    assert_eq!(scene.payments.made().values().filter(|p| p.purpose == paid.id).count(), 1);
    scene.captured(&scene.payment_for(&paid)).await;
    eventually(|| async { story.left().await == (2, 0) }).await;
    assert_eq!(scene.told("rescheduled", &story.booking.id).await, 1);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_runs_out_frees_its_seats_for_who_waits_and_a_late_capture_goes_back() {
    let story = Story::new(|_, second| second.hold_seconds = 1).await;
    let (scene, bob) = (&story.scene, story.scene.traveller());
    let paid = story.open().await;
    scene.wait_for(&bob, "w", &story.to, 2).await.unwrap();
    eventually(|| async { scene.stage(&paid).await == "EXPIRED" }).await;
    let offered = scene.waiting(&bob, &story.to).await.remove(0);
    assert_eq!(offered.state(), pb::WaitingState::Offered);
    assert_eq!((story.left().await, story.now().await), ((0, 0), story.booking.clone()));
    let told = story.go("m", "card_later").await.unwrap().r#move.unwrap();
    assert_eq!(told.state(), MoveState::Expired);
    story.capture_goes_back(&paid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_some_or_all_meanwhile_ends_the_move_and_so_does_calling_off_where_it_goes() {
    let story = Story::new(|_, _| ()).await;
    let Story { scene, ada, booking, .. } = &story;
    let paid = story.open().await;
    let some = scene.leave(ada, "one", &booking.id, &[&booking.items[0].id]).await.unwrap();
    assert_eq!((some.state(), scene.stage(&paid).await.as_str()), (BookingState::Confirmed, "CANCELLED"));
    assert_eq!(story.left().await, (1, 2));
    story.capture_goes_back(&paid).await;

    let second = story.go("second", "card_later").await.unwrap().r#move.unwrap();
    assert_eq!((second.price_difference.clone(), story.left().await), (Some(euros(1_001)), (1, 1)));
    let called_off = catalog::DepartureCancelled {
        departure: Some(catalog::Departure {
            state: catalog::DepartureState::Cancelled.into(),
            version: 2,
            ..scene.another(&scene.offer(2), 1, 2).departure.unwrap()
        }),
    };
    let mut message = called_off;
    message.departure.as_mut().unwrap().id.clone_from(&story.to);
    scene.room.publish("catalog", &Event::new(format!("catalog.departure.cancelled.{}", story.to), &message)).await;
    eventually(|| async { scene.stage(&second).await == "CANCELLED" }).await;
    story.capture_goes_back(&second).await;

    let third = scene.departure_of(scene.another(&scene.catalog.get(&story.from), 3_500, 2));
    let last = scene.pay_move(ada, "third", &booking.id, &third, None, "card_later").await.unwrap().r#move.unwrap();
    let gone = scene.cancel(ada, "all", &booking.id).await.unwrap();
    assert_eq!((gone.state(), gone.refund.clone()), (BookingState::Cancelled, Some(euros(6_000))));
    assert_eq!((story.left().await.0, scene.seats_left(&third).await), (2, 2));
    assert_eq!(scene.stage(&last).await, "CANCELLED");
    story.capture_goes_back(&last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_after_a_paid_move_gives_both_payments_back_to_the_cent() {
    // In thirty hours: half of everything, 30.01 EUR of 60.00 and 20.02, rounded once.
    let story = Story::new(|first, _| {
        let soon = chrono::Utc::now() + chrono::TimeDelta::hours(30);
        first.departure.as_mut().unwrap().starts_at = Some(time::to_wire(soon));
    })
    .await;
    let Story { scene, ada, booking, .. } = &story;
    let paid = story.open().await;
    let payment = scene.payment_for(&paid);
    scene.captured(&payment).await;
    eventually(|| async { story.left().await == (2, 0) }).await;
    assert_eq!(story.now().await.refund_limit_percent, 50);
    let refunds = |of: &str| -> i64 {
        let all = scene.payments.refunds();
        let cents = |r: &tourmesh::google::r#type::Money| r.units * 100 + i64::from(r.nanos / 10_000_000);
        all.iter().filter(|r| r.payment_id == of).map(|r| cents(r.amount.as_ref().unwrap())).sum()
    };
    // One guest leaves: half of 40.01, out of the last payment, which has 20.02.
    let some = scene.leave(ada, "one", &booking.id, &[&booking.items[0].id]).await.unwrap();
    assert_eq!(some.refund, Some(euros(2_001)));
    eventually(|| async { refunds(&payment.id) == 2_001 }).await;
    scene.promises_hold().await;
    // The other one, too: in sum half of 80.02; the last cent of the second payment, the rest out of the first.
    let preview = scene.preview(ada, &booking.id).await.unwrap();
    assert_eq!(preview.refund, Some(euros(2_000)));
    let gone = scene.cancel(ada, "two", &booking.id).await.unwrap();
    assert_eq!(gone.refund, Some(euros(4_001)));
    eventually(|| async { (refunds(&payment.id), refunds(&booking.payment_id)) == (2_002, 1_999) }).await;
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM refund_tasks WHERE booking_id = $1")
        .bind(uuid(&booking.id))
        .fetch_one(&scene.pool)
        .await
        .unwrap();
    assert_eq!(open, 3);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_amount_and_a_payment_for_no_move_of_ours_go_back() {
    let story = Story::new(|_, _| ()).await;
    let scene = &story.scene;
    let paid = story.open().await;
    let right = scene.payment_for(&paid);
    for (wrong, purpose) in [(euros(1), paid.id.clone()), (euros(2_002), crate::scene::id("mov"))] {
        let other = Payment { id: crate::scene::id("pay"), captured: Some(wrong.clone()), purpose, ..right.clone() };
        scene.captured(&other).await;
        eventually(|| async {
            scene.payments.refunds().iter().any(|r| r.payment_id == other.id && r.amount.as_ref() == Some(&wrong))
        })
        .await;
        assert_eq!((scene.stage(&paid).await.as_str(), story.left().await), ("OPEN", (0, 0)));
    }
    scene.captured(&right).await;
    eventually(|| async { story.left().await == (2, 0) }).await;
    scene.promises_hold().await;
}
