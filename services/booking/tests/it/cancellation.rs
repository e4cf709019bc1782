//! Money back: what the preview says is what the cancellation does, by the policy that was frozen at purchase.

use std::time::Duration;

use futures_util::future::join_all;
use tourmesh::{booking::v1::BookingState, catalog::v1 as catalog, common::v1 as common};
use tourmesh_kit::{events::Event, time};
use tourmesh_testkit::{eventually, reason};

use crate::scene::{Scene, euros};

fn starts_in(offer: &mut catalog::Offer, hours: i64) {
    let at = chrono::Utc::now() + chrono::TimeDelta::hours(hours) + chrono::TimeDelta::minutes(5);
    offer.departure.as_mut().unwrap().starts_at = Some(time::to_wire(at));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_gives_back_what_the_frozen_policy_says_to_the_cent() {
    let scene = Scene::with(&[("OFFER_SECONDS", "0")]).await;
    for (hours, percent, cents) in [(72, 100, 3_333), (24, 50, 1_667), (1, 0, 0)] {
        let ada = scene.traveller();
        let mut offer = scene.offer(5);
        offer.prices[0].price = Some(euros(3_333));
        starts_in(&mut offer, hours);
        let departure = scene.departure_of(offer.clone());
        let booking = scene.confirmed(&ada, &departure, 1).await;
        // The policy changes afterwards: this booking keeps its own.
        offer.refund_policy =
            Some(common::RefundPolicy { tiers: vec![common::RefundTier { hours_before: 0, refund_percent: 7 }] });
        scene.departure_of(offer);
        let preview = scene.preview(&ada, &booking.id).await.unwrap();
        assert_eq!((preview.refund_percent, preview.refund), (percent, Some(euros(cents))));
        let cancelled = scene.cancel(&ada, "c", &booking.id).await.unwrap();
        assert_eq!((cancelled.state(), cancelled.refund), (BookingState::Cancelled, Some(euros(cents))));
        assert_eq!(scene.seats_left(&departure).await, 5);
        let paid = scene.payment_of(&booking.id).id;
        let mine = || scene.payments.refunds().into_iter().filter(|r| r.payment_id == paid).collect::<Vec<_>>();
        if cents > 0 {
            eventually(|| async { !mine().is_empty() }).await;
            assert_eq!(mine()[0].amount, Some(euros(cents)));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(mine().len(), usize::from(cents > 0));
        assert_eq!(reason(&scene.preview(&ada, &booking.id).await.unwrap_err()), "BOOKING_STATE");
    }
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_supplier_and_staff_give_all_back() {
    let scene = Scene::new().await;
    let (guide, staff, rival) = (scene.guide(&scene.supplier), scene.staff(), scene.guide(&crate::scene::id("sup")));
    for who in [guide, staff] {
        let ada = scene.traveller();
        let mut offer = scene.offer(5);
        starts_in(&mut offer, 1);
        let departure = scene.departure_of(offer);
        let booking = scene.confirmed(&ada, &departure, 1).await;
        assert_eq!(scene.preview(&ada, &booking.id).await.unwrap().refund, Some(euros(0)));
        assert_eq!(scene.preview(&who, &booking.id).await.unwrap().refund, Some(euros(3_000)));
        assert_eq!(reason(&scene.cancel(&rival, "c", &booking.id).await.unwrap_err()), "BOOKING_NOT_FOUND");
        let cancelled = scene.cancel(&who, &booking.id, &booking.id).await.unwrap();
        assert_eq!(cancelled.refund, Some(euros(3_000)));
    }
    eventually(|| async { scene.payments.refunds().len() == 2 }).await;
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_cancellations_at_once_free_the_seats_and_the_money_once() {
    let scene = Scene::new().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let booking = scene.confirmed(&ada, &departure, 3).await;
    let answers = join_all((0..100).map(|_| scene.cancel(&ada, "c", &booking.id))).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|a| a.as_ref().unwrap() == first));
    assert_eq!(scene.seats_left(&departure).await, 5);
    eventually(|| async { !scene.payments.refunds().is_empty() }).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(scene.payments.refunds().len(), 1);
    assert_eq!(reason(&scene.cancel(&ada, "d", &booking.id).await.unwrap_err()), "BOOKING_STATE");
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_captured_after_its_hold_was_cancelled_goes_back_in_full() {
    let scene = Scene::new().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let booking = scene.book(&ada, &departure, 1).await.unwrap();
    scene.confirm(&ada, "pay", &booking.id, "card_later").await.unwrap();
    let cancelled = scene.cancel(&ada, "c", &booking.id).await.unwrap();
    assert_eq!(cancelled.refund, Some(euros(0)));
    scene.captured(&scene.payment_of(&booking.id)).await;
    eventually(|| async { scene.payments.refunds().len() == 1 }).await;
    assert_eq!(scene.payments.refunds()[0].amount, Some(euros(3_000)));
    assert_eq!(scene.told("refunding", &booking.id).await, 1);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departure_that_is_called_off_cancels_and_refunds_its_bookings_in_full() {
    let scene = Scene::with(&[("MAX_OPEN_HOLDS", "1000")]).await;
    let mut offer = scene.offer(50);
    starts_in(&mut offer, 1);
    let departure = scene.departure_of(offer.clone());
    let (ada, grace) = (scene.traveller(), scene.traveller());
    let held = scene.book(&ada, &departure, 2).await.unwrap();
    let sold = scene.confirmed(&grace, &departure, 3).await;
    let changed = offer.departure.as_mut().unwrap();
    (changed.state, changed.version) = (catalog::DepartureState::Cancelled.into(), 2);
    scene.departure_of(offer.clone());
    let message = catalog::DepartureCancelled { departure: offer.departure };
    scene.room.publish("catalog", &Event::new(format!("catalog.departure.cancelled.{departure}"), &message)).await;
    scene.in_state(&ada, &held.id, BookingState::Cancelled).await;
    let cancelled = scene.in_state(&grace, &sold.id, BookingState::Cancelled).await;
    assert_eq!(cancelled.refund, Some(euros(9_000)));
    eventually(|| async { scene.payments.refunds().len() == 1 }).await;
    assert_eq!(reason(&scene.book(&ada, &departure, 1).await.unwrap_err()), "DEPARTURE_CANCELLED");
    eventually(|| async {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM departures WHERE calling_off")
            .fetch_one(&scene.pool)
            .await
            .unwrap();
        left == 0
    })
    .await;
    scene.promises_hold().await;
}
