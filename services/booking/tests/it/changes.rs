//! Changes that come together are written together, and each is decided alone.

use futures_util::future::join_all;
use tourmesh::booking::v1::BookingState;
use tourmesh_testkit::reason;

use crate::scene::{Scene, euros};

#[tokio::test(flavor = "multi_thread")]
async fn of_many_cancellations_at_once_each_takes_effect_once_and_those_of_strangers_none() {
    let scene = Scene::new().await;
    let departure = scene.departure_of(scene.offer(40));
    let travellers: Vec<_> = (0..40).map(|_| scene.traveller()).collect();
    let bookings = join_all(travellers.iter().map(|person| scene.confirmed(person, &departure, 1))).await;
    assert_eq!(scene.seats_left(&departure).await, 0);
    let stranger = scene.traveller();
    let all = travellers.iter().zip(&bookings);
    let own = all.flat_map(|(person, booking)| (0..2).map(|_| scene.cancel(person, "gone", &booking.id)));
    let foreign = bookings.iter().map(|booking| scene.cancel(&stranger, &booking.id, &booking.id));
    // Under the same id, but about somebody else's booking.
    let next = bookings.iter().cycle().skip(1);
    let reused = travellers.iter().zip(next).map(|(person, other)| scene.cancel(person, "gone", &other.id));
    let (own, foreign, reused) = tokio::join!(join_all(own), join_all(foreign), join_all(reused));
    for gone in own {
        assert_eq!(gone.unwrap().state(), BookingState::Cancelled);
    }
    for refused in foreign.into_iter().chain(reused) {
        assert_eq!(reason(&refused.unwrap_err()), "BOOKING_NOT_FOUND");
    }
    assert_eq!(scene.seats_left(&departure).await, 40);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_of_one_booking_who_leave_at_the_same_moment_get_back_to_the_cent_what_they_paid() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let mut offer = scene.offer(7);
    offer.prices[0].price = Some(euros(3_333));
    let departure = scene.departure_of(offer);
    let booking = scene.confirmed(&ada, &departure, 7).await;
    let guests: Vec<&str> = booking.items.iter().map(|item| item.id.as_str()).collect();
    let left =
        join_all(guests.iter().map(|guest| scene.leave(&ada, guest, &booking.id, std::slice::from_ref(guest)))).await;
    assert!(left.iter().all(Result::is_ok), "{left:?}");
    let gone = scene.get(&ada, &booking.id).await.unwrap();
    assert_eq!((gone.state(), gone.refund), (BookingState::Cancelled, Some(euros(7 * 3_333))));
    assert_eq!(scene.seats_left(&departure).await, 7);
    // Whoever left before does not leave again.
    let again = scene.leave(&ada, "again", &booking.id, &guests[..1]).await;
    assert_eq!(reason(&again.unwrap_err()), "BOOKING_STATE");
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_group_that_is_scanned_at_two_doors_at_once_is_let_in_once() {
    let scene = Scene::new().await;
    let (ada, guide) = (scene.traveller(), scene.guide(&scene.supplier));
    let departure = scene.departure_of(scene.offer(9));
    let booking = scene.confirmed(&ada, &departure, 9).await;
    let codes: Vec<&str> = booking.items.iter().map(|item| item.voucher_code.as_str()).collect();
    let doors = codes.iter().enumerate().flat_map(|(guest, code)| {
        let scene = &scene;
        let guide = &guide;
        ["north", "south"].map(|door| async move { scene.redeem(guide, &format!("{door}-{guest}"), code).await })
    });
    let answers = join_all(doors).await;
    let (let_in, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((let_in.len(), refused.len()), (9, 9));
    for again in refused {
        assert_eq!(reason(&again.unwrap_err()), "VOUCHER_REDEEMED");
    }
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap().state(), BookingState::Redeemed);
    scene.promises_hold().await;
}
