//! Bookings that move to another departure of their tour: seats and money in one step.

use std::sync::Arc;

use futures_util::future::join_all;
use tonic_types::StatusExt as _;
use tourmesh::{booking::v1::BookingState, google::r#type::Money};
use tourmesh_kit::time;
use tourmesh_testkit::{eventually, reason};

use crate::scene::{Scene, euros};

fn minus(cents: i64) -> Money {
    let Money { currency_code, units, nanos } = euros(cents);
    Money { currency_code, units: -units, nanos: -nanos }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_moves_at_once_swap_the_seats_once_and_give_the_difference_back_once() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let first = scene.offer(5);
    let to = scene.departure_of(scene.another(&first, 2_500, 4));
    let from = scene.departure_of(first);
    let booking = scene.confirmed(&ada, &from, 3).await;

    let quote = scene.preview_move(&ada, &booking.id, &to).await.unwrap();
    assert_eq!((quote.total, quote.price_difference.clone()), (Some(euros(7_500)), Some(minus(1_500))));
    assert_eq!((quote.refund, quote.refund_limit_percent), (Some(euros(1_500)), 100));
    let stale = scene.reschedule(&ada, "stale", &booking.id, &to, Some(minus(1_400))).await.unwrap_err();
    assert_eq!(reason(&stale), "CHANGED_MEANWHILE");

    let quoted = quote.price_difference;
    let answers = join_all((0..100).map(|_| scene.reschedule(&ada, "m", &booking.id, &to, quoted.clone()))).await;
    let moved = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|a| a.as_ref().unwrap() == moved));
    assert_eq!((moved.departure_id.as_str(), moved.state()), (to.as_str(), BookingState::Confirmed));
    assert_eq!((moved.total.clone(), moved.paid.clone()), (Some(euros(7_500)), Some(euros(9_000))));
    assert_eq!(moved.refund, Some(euros(1_500)));
    // Who shows the old voucher is still let in.
    let codes = |b: &tourmesh::booking::v1::Booking| b.items.iter().map(|i| i.voucher_code.clone()).collect::<Vec<_>>();
    assert_eq!(codes(moved), codes(&booking));
    assert_eq!(moved.refund_policy, booking.refund_policy);
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap(), *moved);
    assert_eq!((scene.seats_left(&from).await, scene.seats_left(&to).await), (5, 1));
    assert_eq!(scene.told("rescheduled", &booking.id).await, 1);
    eventually(|| async { scene.payments.refunds().len() == 1 }).await;
    scene.promises_hold().await;

    // What is left of the money goes back with the cancellation, and no more.
    let gone = scene.cancel(&ada, "c", &booking.id).await.unwrap();
    assert_eq!(gone.refund, Some(euros(9_000)));
    eventually(|| async { scene.payments.refunds().len() == 2 }).await;
    assert_eq!(scene.payments.refunds()[1].amount, Some(euros(7_500)));
    assert_eq!(scene.seats_left(&to).await, 4);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_move_stays_where_it_is() {
    let scene = Scene::new().await;
    let (ada, staff) = (scene.traveller(), scene.staff());
    let first = scene.offer(5);
    let dearer = scene.departure_of(scene.another(&first, 3_001, 5));
    let small = scene.departure_of(scene.another(&first, 3_000, 1));
    let elsewhere = scene.departure(5);
    let mut gone = scene.another(&first, 3_000, 5);
    gone.departure.as_mut().unwrap().state = tourmesh::catalog::v1::DepartureState::Closed.into();
    let closed = scene.departure_of(gone);
    let from = scene.departure_of(first);
    let held = scene.book(&ada, &from, 1).await.unwrap();
    let error = scene.reschedule(&ada, "held", &held.id, &small, None).await.unwrap_err();
    assert_eq!(reason(&error), "BOOKING_STATE");
    let booking = scene.confirmed(&ada, &from, 2).await;
    let cases = [
        (&dearer, "RESCHEDULE_DEARER"),
        (&small, "DEPARTURE_SOLD_OUT"),
        (&elsewhere, "FIELD_INVALID"),
        (&from, "FIELD_INVALID"),
        (&closed, "DEPARTURE_CLOSED"),
        (&crate::scene::id("dep"), "DEPARTURE_NOT_FOUND"),
    ];
    for (to, why) in cases {
        match scene.preview_move(&ada, &booking.id, to).await {
            Ok(quote) => assert_eq!((why, quote.price_difference), ("RESCHEDULE_DEARER", Some(euros(2)))),
            Err(error) => assert_eq!(reason(&error), why),
        }
        let error = scene.reschedule(&ada, why, &booking.id, to, None).await.unwrap_err();
        assert_eq!(reason(&error), why);
        if why == "RESCHEDULE_DEARER" {
            assert_eq!(error.get_details_error_info().unwrap().metadata["price_difference"], "0.02");
        }
    }
    let other = scene.reschedule(&scene.traveller(), "o", &booking.id, &small, None).await.unwrap_err();
    assert_eq!(reason(&other), "BOOKING_NOT_FOUND");
    scene.redeem(&staff, "r", &booking.items[0].voucher_code).await.unwrap();
    let inside = scene.reschedule(&ada, "in", &booking.id, &small, None).await.unwrap_err();
    assert_eq!(reason(&inside), "BOOKING_STATE");
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap().departure_id, from);
    assert_eq!(scene.told("rescheduled", &booking.id).await, 0);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_betters_a_late_cancellation_by_moving_first_and_the_supplier_moves_for_all_of_it() {
    let scene = Scene::new().await;
    let (ada, guide) = (scene.traveller(), scene.guide(&scene.supplier));
    for (mover, limit, at_move, in_all) in [(&ada, 50, 500, 1_500), (&guide, 100, 1_000, 3_000)] {
        let mut first = scene.offer(5);
        let to = scene.departure_of(scene.another(&first, 2_000, 5));
        let soon = chrono::Utc::now() + chrono::TimeDelta::hours(30);
        first.departure.as_mut().unwrap().starts_at = Some(time::to_wire(soon));
        let from = scene.departure_of(first);
        let booking = scene.confirmed(&ada, &from, 1).await;
        let moved = scene.reschedule(mover, &booking.id, &booking.id, &to, None).await.unwrap();
        assert_eq!((moved.refund_limit_percent, moved.refund), (limit, Some(euros(at_move))));
        let preview = scene.preview(&ada, &booking.id).await.unwrap();
        assert_eq!(preview.refund_percent, limit);
        let gone = scene.cancel(&ada, &booking.id, &booking.id).await.unwrap();
        assert_eq!(gone.refund, Some(euros(in_all)));
    }
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crossing_moves_neither_wait_for_each_other_nor_oversell() {
    let scene = Arc::new(Scene::new().await);
    let ada = scene.traveller();
    let first = scene.offer(6);
    let there = scene.departure_of(scene.another(&first, 3_000, 6));
    let here = scene.departure_of(first);
    let mut bookings = Vec::new();
    for i in 0..8 {
        let at = if i % 2 == 0 { &here } else { &there };
        bookings.push(scene.confirmed(&ada, at, 1).await);
    }
    let moves = (0..80).map(|i: usize| {
        let (scene, ada, booking) = (scene.clone(), ada.clone(), bookings[i % 8].id.clone());
        let to = if (i / 8 + i).is_multiple_of(2) { there.clone() } else { here.clone() };
        tokio::spawn(async move { scene.reschedule(&ada, &format!("m{i}"), &booking, &to, None).await })
    });
    for done in join_all(moves).await {
        if let Err(status) = done.unwrap() {
            assert!(["DEPARTURE_SOLD_OUT", "FIELD_INVALID"].contains(&reason(&status).as_str()), "{status:?}");
        }
    }
    assert_eq!(scene.seats_left(&here).await + scene.seats_left(&there).await, 4);
    scene.promises_hold().await;
}
