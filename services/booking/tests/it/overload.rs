//! More than can be done: what was begun is completed, what begins is refused; and what is merely slow elsewhere refuses
//! nobody.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use sqlx::Connection as _;
use tonic::Status;
use tonic_types::StatusExt as _;
use tourmesh::booking::v1::{self as pb, BookingState};
use tourmesh_testkit::{bearer, eventually, reason};

use crate::scene::{Person, Scene, id, wish};

/// Whoever does not pay for so long after holding is not expected at once.
const THINKING: Duration = Duration::from_millis(2_200);

/// Refused at the door, and told when to come back.
fn is_refused<T>(answer: &Result<T, Status>) -> bool {
    answer.as_ref().err().is_some_and(|status| {
        assert_eq!((status.code(), reason(status).as_str()), (tonic::Code::ResourceExhausted, "OVERLOADED"));
        let info = status.get_details_retry_info().unwrap();
        assert!(info.retry_delay.unwrap() >= Duration::from_millis(100));
        true
    })
}

async fn held(scene: &Scene, departure: &str, many: usize) -> Vec<(Person, pb::Booking)> {
    let mut all = Vec::new();
    for _ in 0..many {
        let person = scene.traveller();
        let booking = scene.book(&person, departure, 1).await.unwrap();
        all.push((person, booking));
    }
    all
}

/// Far more refusals at once than one connection carries calls: each is told, and the connection lives on.
async fn flood(scene: &Scene, person: &Person, departure: &str) {
    let client = scene.client();
    let ask = || async {
        let pb::CreateBookingRequest { departure_id, units, .. } = wish("price", departure, 1);
        let request = pb::PreviewBookingRequest { departure_id, units, promo_code: String::new() };
        client.clone().preview_booking(bearer(request, &person.token)).await
    };
    assert!(join_all((0..3_000).map(|_| ask())).await.iter().all(is_refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_bookings_are_refused_while_those_that_have_begun_are_late_and_taken_again_afterwards() {
    let scene = Arc::new(Scene::with(&[("CHECKOUT_ROOM", "4"), ("CHECKOUT_PATIENCE_MILLIS", "50")]).await);
    let departure = scene.departure(100);
    let begun = held(&scene, &departure, 6).await;
    let newcomer = scene.traveller();
    tokio::time::sleep(THINKING).await;

    // Three pay, and the database does not get to writing it: late, but few. Prices are refused from three on, holds are
    // not.
    let stuck = scene.stuck(&begun[0].1.id).await;
    let pay = |at: usize| {
        let (scene, (person, booking)) = (scene.clone(), begun[at].clone());
        tokio::spawn(async move { scene.confirm(&person, "pay", &booking.id, "card_ok").await.unwrap() })
    };
    // The first one first, so that the others wait behind it.
    let mut paying = vec![pay(0)];
    scene.somebody_waits().await;
    paying.extend([pay(1), pay(2)]);
    eventually(|| async { is_refused(&scene.price(&newcomer, &wish("price", &departure, 1)).await) }).await;
    scene.book(&newcomer, &departure, 1).await.unwrap();
    // A new hold may be paid for any moment: it takes a place until its customer is known to think.
    assert!(is_refused(&scene.book_as(&newcomer, "late", &departure, 1).await));

    flood(&scene, &newcomer, &departure).await;

    // Who holds seats pays all the same, and everything else goes on.
    for (person, booking) in &begun[3..] {
        scene.extend(person, "more", &booking.id).await.unwrap();
    }
    paying.extend([pay(3), pay(4), pay(5)]);
    assert_eq!(scene.seats_left(&departure).await, 93);
    assert!(is_refused(&scene.book_as(&newcomer, "late", &departure, 1).await));

    // It is written, and the door is open again; what was refused has left nothing behind.
    stuck.close().await.unwrap();
    for paid in join_all(paying).await {
        assert_eq!(paid.unwrap().booking.unwrap().state(), BookingState::Confirmed);
    }
    eventually(|| async { !is_refused(&scene.book_as(&newcomer, "late", &departure, 1).await) }).await;
    scene.price(&newcomer, &wish("price", &departure, 1)).await.unwrap();
    assert_eq!(scene.seats_left(&departure).await, 92);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_stops_no_hold_and_takes_only_its_share_of_the_places() {
    let settings = [("CHECKOUT_ROOM", "2"), ("CHECKOUT_PATIENCE_MILLIS", "50"), ("CHECKOUT_LIMIT", "4")];
    let scene = Scene::with(&settings).await;
    let departure = scene.departure(100);
    let begun = held(&scene, &departure, 5).await;
    scene.payments.hangs.store(true, Ordering::SeqCst);
    let paying = join_all(begun[..4].iter().map(|(p, b)| scene.confirm(p, "pay", &b.id, "card_slow")));
    let meanwhile = async {
        eventually(|| async { scene.payments.asked().len() == 4 }).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Holding goes on.
        let newcomer = scene.traveller();
        scene.price(&newcomer, &wish("price", &departure, 1)).await.unwrap();
        scene.book(&newcomer, &departure, 1).await.unwrap();
        // A fifth payment would wait like the others: it is told to come back, and its seats stay.
        let (person, booking) = &begun[4];
        let answer = scene.confirm(person, "pay", &booking.id, "card_ok").await;
        assert!(is_refused(&answer));
        assert_eq!(scene.get(person, &booking.id).await.unwrap().state(), BookingState::OnHold);
        scene.payments.hangs.store(false, Ordering::SeqCst);
    };
    let (paid, ()) = tokio::join!(paying, meanwhile);
    assert!(paid.iter().all(Result::is_ok), "{paid:?}");
    let (person, booking) = &begun[4];
    scene.confirm(person, "pay", &booking.id, "card_ok").await.unwrap();
    for (person, booking) in &begun {
        scene.in_state(person, &booking.id, BookingState::Confirmed).await;
    }
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_fails_is_under_way_no_more() {
    let scene = Arc::new(Scene::with(&[("CHECKOUT_ROOM", "2"), ("CHECKOUT_PATIENCE_MILLIS", "1")]).await);
    let departure = scene.departure(100);
    let begun = held(&scene, &departure, 3).await;
    // One is at its bank; with any of the others the room would be full.
    scene.payments.hangs.store(true, Ordering::SeqCst);
    let (first, booking) = begun[0].clone();
    let at_the_bank = scene.clone();
    let paying =
        tokio::spawn(async move { at_the_bank.confirm(&first, "pay", &booking.id, "card_slow").await.unwrap() });
    eventually(|| async { scene.payments.asked().len() == 1 }).await;
    for (person, booking) in &begun[1..] {
        let declined = scene.confirm(person, "pay", &booking.id, "card_declined").await.unwrap_err();
        assert_eq!(reason(&declined), "PAYMENT_DECLINED");
        let unknown = scene.confirm(person, "gone", &id("bkg"), "card_ok").await.unwrap_err();
        assert_eq!(reason(&unknown), "BOOKING_NOT_FOUND");
    }
    // What was written last took longer than a millisecond, so only the room lets this one in.
    scene.book(&scene.traveller(), &departure, 1).await.unwrap();
    scene.payments.hangs.store(false, Ordering::SeqCst);
    paying.await.unwrap();
    scene.promises_hold().await;
}
