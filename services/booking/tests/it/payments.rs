//! Money in: a booking is confirmed by its captured payment, once, whether Payment's answer says it or the event; everything
//! else goes back, once.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use sqlx::Connection as _;
use tonic_types::StatusExt as _;
use tourmesh::{
    booking::v1::{self as pb, BookingState},
    payment::v1 as payment,
};
use tourmesh_kit::events::Event;
use tourmesh_testkit::{Wire, World, eventually, reason};

use crate::scene::{Person, Scene, euros, id, uuid};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_captured_at_once_confirms_in_the_answer_and_its_events_change_nothing() {
    let scene = Scene::new().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let booking = scene.book(&ada, &departure, 2).await.unwrap();
    let confirmed = scene.confirm(&ada, "pay", &booking.id, "card_ok").await.unwrap().booking.unwrap();
    let paid = scene.payment_of(&booking.id);
    assert_eq!((confirmed.state(), &confirmed.paid), (BookingState::Confirmed, &Some(euros(6_000))));
    assert_eq!((confirmed.payment_id.as_str(), &paid.amount), (paid.id.as_str(), &Some(euros(6_000))));
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap(), confirmed);
    let event = scene.captured(&paid).await;
    only_once(&scene, &ada, &confirmed, &event).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_captured_later_confirms_by_its_event_and_once_however_often_it_is_told() {
    let scene = Scene::new().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let booking = scene.book(&ada, &departure, 2).await.unwrap();
    let held = scene.confirm(&ada, "pay", &booking.id, "card_later").await.unwrap().booking.unwrap();
    let paid = scene.payment_of(&booking.id);
    assert_eq!((held.state(), held.payment_id.as_str()), (BookingState::OnHold, paid.id.as_str()));
    let event = scene.captured(&paid).await;
    let confirmed = scene.in_state(&ada, &booking.id, BookingState::Confirmed).await;
    only_once(&scene, &ada, &confirmed, &event).await;
}

/// The news comes again, and so does the request: nothing happens any more.
async fn only_once(scene: &Scene, ada: &Person, confirmed: &pb::Booking, event: &Event) {
    let (paid, method) = (scene.payment_of(&confirmed.id), scene.payments.asked()[0].payment_method.clone());
    assert!(confirmed.items.iter().all(|i| i.voucher_code.len() == 26));
    assert_ne!(confirmed.items[0].voucher_code, confirmed.items[1].voucher_code);
    // The very same event again, and the same news as another event.
    scene.room.publish("payment", event).await;
    scene.captured(&paid).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(scene.get(ada, &confirmed.id).await.unwrap(), *confirmed);
    assert_eq!(scene.told("confirmed", &confirmed.id).await, 1);
    assert!(scene.payments.refunds().is_empty());
    // Repeats of the request are answered from the booking.
    let again = scene.confirm(ada, "pay", &confirmed.id, &method).await.unwrap();
    assert_eq!(again.booking.unwrap(), *confirmed);
    assert_eq!(scene.payments.asked().len(), 1);
    assert_eq!(reason(&scene.confirm(ada, "pay", &confirmed.id, "card_no").await.unwrap_err()), "REQUEST_ID_REUSED");
    assert_eq!(reason(&scene.confirm(ada, "new", &confirmed.id, &method).await.unwrap_err()), "BOOKING_STATE");
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_confirmations_at_once_are_one_payment() {
    let scene = Arc::new(Scene::new().await);
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let booking = scene.book(&ada, &departure, 1).await.unwrap();
    let calls = (0..100).map(|_| {
        let (scene, ada, booking) = (scene.clone(), ada.clone(), booking.id.clone());
        tokio::spawn(async move { scene.confirm(&ada, "pay", &booking, "card_ok").await.unwrap().booking.unwrap() })
    });
    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|b| b.payment_id == answers[0].payment_id && !b.payment_id.is_empty()));
    assert_eq!(scene.payments.made().len(), 1);
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap().state(), BookingState::Confirmed);
    assert_eq!(scene.told("confirmed", &booking.id).await, 1);
    let attempts: i32 =
        sqlx::query_scalar("SELECT payment_attempts FROM bookings").fetch_one(&scene.pool).await.unwrap();
    assert_eq!(attempts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_again_under_the_same_id_and_a_decline_under_a_new_one() {
    let scene = Scene::new().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let booking = scene.book(&ada, &departure, 1).await.unwrap();
    let declined = scene.confirm(&ada, "a", &booking.id, "card_declined").await.unwrap_err();
    assert_eq!(reason(&declined), "PAYMENT_DECLINED");
    assert_eq!(declined.get_details_error_info().unwrap().metadata["decline_code"], "insufficient_funds");
    scene.payments.lost_answers.store(1, Ordering::SeqCst);
    assert_eq!(reason(&scene.confirm(&ada, "b", &booking.id, "card_ok").await.unwrap_err()), "DEADLINE_EXCEEDED");
    let confirmed = scene.confirm(&ada, "b", &booking.id, "card_ok").await.unwrap().booking.unwrap();
    assert_eq!(confirmed.state(), BookingState::Confirmed);
    let ids: Vec<String> = scene.payments.asked().into_iter().map(|r| r.request_id).collect();
    assert_eq!(ids, [format!("{}.1", booking.id), format!("{}.2", booking.id), format!("{}.2", booking.id)]);
    assert_eq!(scene.payments.made().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_step_is_passed_on() {
    let scene = Scene::new().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let booking = scene.book(&ada, &departure, 1).await.unwrap();
    let answer = scene.confirm(&ada, "a", &booking.id, "card_action").await.unwrap();
    assert_eq!(answer.next_action_url, "https://bank.example/step");
    assert_eq!(answer.booking.unwrap().state(), BookingState::OnHold);
    assert_eq!(reason(&scene.confirm(&ada, "b", &booking.id, "").await.unwrap_err()), "FIELD_INVALID");
    // The step is not taken: that is told, and the hold runs on.
    let payment = scene.payments.made().into_values().next().unwrap();
    scene.failed(&payment).await;
    eventually(|| async { !scene.failures_told().await.is_empty() }).await;
    assert_eq!(scene.failures_told().await, [(payment.id, booking.id.clone(), String::new())]);
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap().state(), BookingState::OnHold);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_costs_nothing_or_is_paid_on_arrival_is_confirmed_at_once() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let mut on_arrival = scene.offer(5);
    on_arrival.pay_on_arrival = true;
    let mut free = scene.offer(5);
    free.prices[0].price = Some(euros(0));
    for offer in [on_arrival, free] {
        let departure = scene.departure_of(offer);
        let booking = scene.book(&ada, &departure, 2).await.unwrap();
        let confirmed = scene.confirm(&ada, &booking.id, &booking.id, "").await.unwrap().booking.unwrap();
        assert_eq!(confirmed.state(), BookingState::Confirmed);
        assert_eq!(scene.confirm(&ada, &booking.id, &booking.id, "").await.unwrap().booking.unwrap(), confirmed);
        assert_eq!(scene.told("confirmed", &booking.id).await, 1);
        let cancelled = scene.cancel(&ada, &booking.id, &booking.id).await.unwrap();
        assert_eq!(cancelled.refund, Some(euros(0)));
    }
    assert!(scene.payments.asked().is_empty() && scene.payments.refunds().is_empty());
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_payment_goes_back_once_also_when_the_reconciler_is_restarted_and_payment_is_down() {
    let mut scene = Scene::new().await;
    let ada = scene.traveller();
    let mut offer = scene.offer(2);
    offer.hold_seconds = 1;
    let departure = scene.departure_of(offer);
    let booking = scene.book(&ada, &departure, 2).await.unwrap();
    scene.confirm(&ada, "pay", &booking.id, "card_later").await.unwrap();
    scene.in_state(&ada, &booking.id, BookingState::Expired).await;
    scene.payments.broken_refunds.store(2, Ordering::SeqCst);
    let paid = scene.payment_of(&booking.id);
    let event = scene.captured(&paid).await;
    eventually(|| async { scene.payments.broken_refunds.load(Ordering::SeqCst) < 2 }).await;
    // Killed in the middle of it, and told again meanwhile.
    let restarted = scene.replica().await;
    std::mem::replace(&mut scene.running, restarted).kill().await;
    scene.room.publish("payment", &event).await;
    scene.captured(&paid).await;
    // The lease of the killed one must not be waited for here.
    sqlx::query("UPDATE refund_tasks SET next_try_at = now()").execute(&scene.pool).await.unwrap();
    eventually(|| async { !scene.payments.refunds().is_empty() }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let again = scene.replica().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let refunds = scene.payments.refunds();
    assert_eq!(refunds.len(), 1, "{refunds:?}");
    assert_eq!((refunds[0].payment_id.as_str(), &refunds[0].amount), (paid.id.as_str(), &Some(euros(6_000))));
    assert_eq!(scene.told("refunding", &booking.id).await, 1);
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap().state(), BookingState::Expired);
    again.stop().await;
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_payment_and_a_wrong_amount_go_back_in_full() {
    let scene = Scene::new().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let booking = scene.book(&ada, &departure, 1).await.unwrap();
    scene.confirm(&ada, "pay", &booking.id, "card_later").await.unwrap();
    let right = scene.payment_of(&booking.id);
    let wrong = payment::Payment { id: id("pay"), captured: Some(euros(2_999)), ..right.clone() };
    scene.captured(&wrong).await;
    eventually(|| async { scene.payments.refunds().len() == 1 }).await;
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap().state(), BookingState::OnHold);
    scene.captured(&right).await;
    scene.in_state(&ada, &booking.id, BookingState::Confirmed).await;
    let second = payment::Payment { id: id("pay"), ..right.clone() };
    scene.captured(&second).await;
    eventually(|| async { scene.payments.refunds().len() == 2 }).await;
    let back: Vec<_> = scene.payments.refunds().into_iter().map(|r| (r.payment_id, r.amount)).collect();
    assert_eq!(back, [(wrong.id, Some(euros(2_999))), (second.id, Some(euros(3_000)))]);
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap().payment_id, right.id);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_captures_at_once_confirm_all_and_one_bad_event_holds_nobody_up() {
    let scene = Arc::new(Scene::with(&[("MAX_OPEN_HOLDS", "1000")]).await);
    let (ada, departure) = (scene.traveller(), scene.departure(1_000));
    let stranger =
        payment::Payment { id: id("pay"), booking_id: id("bkg"), captured: Some(euros(1)), ..Default::default() };
    let mut payments = vec![stranger];
    for _ in 0..40 {
        let booking = scene.book(&ada, &departure, 1).await.unwrap();
        payments.push(payment::Payment {
            id: id("pay"),
            booking_id: booking.id,
            captured: Some(euros(3_000)),
            ..Default::default()
        });
    }
    join_all(payments.iter().map(|p| scene.captured(p))).await;
    eventually(|| async {
        let confirmed: i64 = sqlx::query_scalar("SELECT count(*) FROM bookings WHERE state = 'CONFIRMED'")
            .fetch_one(&scene.pool)
            .await
            .unwrap();
        confirmed == 40
    })
    .await;
    let paid: bool = sqlx::query_scalar("SELECT payment_id IS NOT NULL FROM bookings WHERE id = $1")
        .bind(uuid(&payments[1].booking_id))
        .fetch_one(&scene.pool)
        .await
        .unwrap();
    assert!(paid);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_payment_that_is_told_together_with_the_one_that_counts_goes_back() {
    let scene = Scene::new().await;
    let (ada, bob, departure) = (scene.traveller(), scene.traveller(), scene.departure(5));
    let sold = scene.book(&ada, &departure, 1).await.unwrap();
    scene.confirm(&ada, "pay", &sold.id, "card_ok").await.unwrap();
    let held = scene.book(&bob, &departure, 1).await.unwrap();
    scene.confirm(&bob, "pay", &held.id, "card_later").await.unwrap();
    // The news of another booking is stuck: what is told meanwhile is read at once.
    let stuck = scene.stuck(&held.id).await;
    scene.captured(&scene.payment_of(&held.id)).await;
    scene.somebody_waits().await;
    let first = scene.payment_of(&sold.id);
    let second = payment::Payment { id: id("pay"), ..first.clone() };
    scene.captured(&second).await;
    scene.captured(&first).await;
    stuck.close().await.unwrap();
    eventually(|| async { !scene.payments.refunds().is_empty() }).await;
    scene.in_state(&bob, &held.id, BookingState::Confirmed).await;
    let back: Vec<_> = scene.payments.refunds().into_iter().map(|r| r.payment_id).collect();
    assert_eq!(back, [second.id]);
    assert_eq!(scene.get(&ada, &sold.id).await.unwrap().payment_id, first.id);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_a_payment_that_comes_after_a_move_to_where_nothing_has_to_be_paid_gives_nothing_back_twice() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let dear = scene.offer(5);
    let free = scene.departure_of(scene.another(&dear, 0, 5));
    let departure = scene.departure_of(dear);
    let booking = scene.book(&ada, &departure, 1).await.unwrap();
    scene.confirm(&ada, "pay", &booking.id, "card_ok").await.unwrap();
    let moved = scene.reschedule(&ada, "move", &booking.id, &free, None).await.unwrap();
    assert_eq!((&moved.total, &moved.refund), (&Some(euros(0)), &Some(euros(3_000))));
    eventually(|| async { scene.payments.refunds().len() == 1 }).await;
    scene.captured(&scene.payment_of(&booking.id)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(scene.payments.refunds().len(), 1);
    assert_eq!(scene.told("refunding", &booking.id).await, 0);
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap(), moved);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_payment_whose_hold_ran_out_before_the_answer_is_no_booking_and_goes_back() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let mut offer = scene.offer(2);
    offer.hold_seconds = 1;
    let departure = scene.departure_of(offer);
    let booking = scene.book(&ada, &departure, 2).await.unwrap();
    scene.payments.hangs.store(true, Ordering::SeqCst);
    let in_time = async {
        scene.in_state(&ada, &booking.id, BookingState::Expired).await;
        scene.payments.hangs.store(false, Ordering::SeqCst);
    };
    let (answer, ()) = tokio::join!(scene.confirm(&ada, "pay", &booking.id, "card_slow"), in_time);
    assert_eq!(answer.unwrap().booking.unwrap().state(), BookingState::Expired);
    assert!(scene.payments.refunds().is_empty());
    scene.captured(&scene.payment_of(&booking.id)).await;
    eventually(|| async { scene.payments.refunds().len() == 1 }).await;
    assert_eq!((scene.seats_left(&departure).await, scene.told("refunding", &booking.id).await), (2, 1));
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_while_the_broker_is_away_has_a_booking_and_its_event_follows() {
    let world = World::get().await;
    let (nats, room) = (world.nats(), world.room("booking", &tourmesh_booking::SCHEMA).await);
    let wire = Wire::to(format!("{}:{}", nats.host, nats.port)).await;
    wire.mend();
    let url = room.env().foreign("TOURMESH_NATS_URL").unwrap().to_owned();
    let url = url.replace(&format!(":{}", nats.port), &format!(":{}", wire.address().port()));
    let scene = Scene::with(&[("NATS_URL", &url)]).await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    wire.cut();
    let held = scene.book(&ada, &departure, 1).await.unwrap();
    let confirmed = scene.confirm(&ada, "pay", &held.id, "card_ok").await.unwrap().booking.unwrap();
    assert_eq!(confirmed.state(), BookingState::Confirmed);
    // The relay's cursor passes an event when the broker has it.
    let untold = || async {
        let sql = "SELECT count(*) FROM outbox WHERE seq > (SELECT head FROM outbox_cursor)";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&scene.pool).await.unwrap()
    };
    assert_eq!(untold().await, 2);
    wire.mend();
    eventually(|| async { untold().await == 0 }).await;
    scene.promises_hold().await;
}
