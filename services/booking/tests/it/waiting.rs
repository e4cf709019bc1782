//! Waiting lists: who waits gets what comes free, in order, and nobody else in between.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::future::join_all;
use tourmesh::{
    booking::v1::{BookingState, WaitingState},
    catalog::v1 as catalog,
};
use tourmesh_kit::events::Event;
use tourmesh_testkit::{eventually, reason};

use crate::scene::{Scene, euros, id};

#[tokio::test(flavor = "multi_thread")]
async fn an_ignored_offer_passes_on_and_the_seat_is_never_anybody_elses_in_between() {
    let scene = Arc::new(Scene::with(&[("WAITING_OFFER_SECONDS", "1")]).await);
    let [ada, bob, cyd] = [(); 3].map(|()| scene.traveller());
    let departure = scene.departure(1);
    assert_eq!(reason(&scene.wait_for(&bob, "j", &departure, 1).await.unwrap_err()), "SEATS_LEFT");
    assert_eq!(reason(&scene.wait_for(&bob, "j", &departure, 2).await.unwrap_err()), "PARTY_SIZE");
    let sold = scene.confirmed(&ada, &departure, 1).await;
    let first = scene.wait_for(&bob, "j", &departure, 1).await.unwrap();
    assert_eq!((first.state(), first.seats, first.total.clone()), (WaitingState::Waiting, 1, Some(euros(3_000))));
    scene.wait_for(&cyd, "j", &departure, 1).await.unwrap();

    // Somebody tries to snatch the seat all the time.
    let (stop, thief) = (Arc::new(AtomicBool::new(false)), scene.traveller());
    let snatching = tokio::spawn({
        let (scene, stop, departure) = (scene.clone(), stop.clone(), departure.clone());
        async move {
            let mut tries = 0;
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(reason(&scene.book(&thief, &departure, 1).await.unwrap_err()), "DEPARTURE_SOLD_OUT");
                tries += 1;
            }
            tries
        }
    });
    scene.cancel(&ada, "c", &sold.id).await.unwrap();
    // At once: the offer was made where the seat came free.
    let now = scene.waiting(&bob, &departure).await.remove(0);
    assert_eq!(now.state(), WaitingState::Offered);
    let offer = scene.get(&bob, &now.booking_id).await.unwrap();
    assert_eq!((offer.state(), offer.seats, offer.total.clone()), (BookingState::OnHold, 1, Some(euros(3_000))));
    assert_eq!(offer.hold_expires_at.unwrap().seconds - offer.created_at.unwrap().seconds, 1);
    assert_eq!(reason(&scene.give_up(&bob, "l", &now.id).await.unwrap_err()), "BOOKING_STATE");

    let offered = || async { scene.waiting(&cyd, &departure).await.remove(0) };
    eventually(|| async { offered().await.state() == WaitingState::Offered }).await;
    let offer = offered().await.booking_id;
    scene.confirm(&cyd, "pay", &offer, "card_ok").await.unwrap();
    scene.captured(&scene.payment_of(&offer)).await;
    scene.in_state(&cyd, &offer, BookingState::Confirmed).await;
    stop.store(true, Ordering::SeqCst);
    assert!(snatching.await.unwrap() > 0);
    let states: Vec<_> = scene.waiting(&scene.staff(), &departure).await.iter().map(|e| e.state()).collect();
    assert_eq!(states, [WaitingState::Lapsed, WaitingState::Taken]);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_equal_requests_wait_once_and_who_leaves_gets_nothing() {
    let scene = Scene::new().await;
    let (ada, bob) = (scene.traveller(), scene.traveller());
    let departure = scene.departure(2);
    let sold = scene.book(&ada, &departure, 2).await.unwrap();
    let answers = join_all((0..100).map(|_| scene.wait_for(&bob, "j", &departure, 1))).await;
    let entry = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|a| a.as_ref().unwrap() == entry));
    assert_eq!(reason(&scene.wait_for(&bob, "j", &departure, 2).await.unwrap_err()), "REQUEST_ID_REUSED");
    assert_eq!(reason(&scene.wait_for(&bob, "k", &departure, 2).await.unwrap_err()), "ALREADY_WAITING");
    assert_eq!(reason(&scene.wait_for(&bob, "l", &id("dep"), 2).await.unwrap_err()), "DEPARTURE_NOT_FOUND");
    assert_eq!(reason(&scene.give_up(&ada, "l", &entry.id).await.unwrap_err()), "WAITING_NOT_FOUND");
    assert!(scene.waiting(&ada, "").await.is_empty());
    assert_eq!(scene.waiting(&scene.guide(&scene.supplier), &departure).await, vec![entry.clone()]);
    assert!(scene.waiting(&scene.guide(&id("sup")), &departure).await.is_empty());

    let answers = join_all((0..100).map(|_| scene.give_up(&bob, "l", &entry.id))).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap().state() == WaitingState::Left));
    assert_eq!(reason(&scene.give_up(&bob, "m", &entry.id).await.unwrap_err()), "BOOKING_STATE");
    // Another party may join now; it is the end of the line again.
    scene.wait_for(&bob, "again", &departure, 2).await.unwrap();
    scene.cancel(&ada, "c", &sold.id).await.unwrap();
    let states: Vec<_> = scene.waiting(&bob, &departure).await.iter().map(|e| e.state()).collect();
    assert_eq!(states, [WaitingState::Left, WaitingState::Offered]);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_cancellation_moves_and_a_raised_capacity_serve_the_line_in_order_to_who_fits() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let first = scene.offer(3);
    let other = scene.departure_of(scene.another(&first, 3_000, 5));
    let mut offer = first.clone();
    let departure = scene.departure_of(first);
    let sold = scene.confirmed(&ada, &departure, 2).await;
    let held = scene.confirmed(&ada, &departure, 1).await;
    let people: Vec<_> = (0..4).map(|_| scene.traveller()).collect();
    for (person, seats) in people.iter().zip([3, 1, 1, 3]) {
        scene.wait_for(person, "j", &departure, seats).await.unwrap();
    }
    let states =
        || async { scene.waiting(&scene.staff(), &departure).await.iter().map(|e| e.state()).collect::<Vec<_>>() };
    use WaitingState::{Offered, Waiting};
    // One seat: too few for the first, so the second gets it.
    scene.leave(&ada, "a", &sold.id, &[&sold.items[0].id]).await.unwrap();
    assert_eq!(states().await, [Waiting, Offered, Waiting, Waiting]);
    scene.reschedule(&ada, "b", &held.id, &other, None).await.unwrap();
    assert_eq!(states().await, [Waiting, Offered, Offered, Waiting]);
    // The catalog makes room for one of the large parties: the first of them.
    let changed = offer.departure.as_mut().unwrap();
    (changed.capacity, changed.version) = (6, 2);
    scene.departure_of(offer.clone());
    let message = catalog::DepartureChanged { departure: offer.departure };
    scene.room.publish("catalog", &Event::new(format!("catalog.departure.changed.{departure}"), &message)).await;
    eventually(|| async { states().await == [Offered, Offered, Offered, Waiting] }).await;
    assert_eq!(scene.seats_left(&departure).await, 0);
    scene.promises_hold().await;
}
