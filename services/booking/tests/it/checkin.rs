//! Vouchers at the door.

use futures_util::future::join_all;
use tonic_types::StatusExt as _;
use tourmesh::booking::v1::BookingState;
use tourmesh_testkit::reason;

use crate::scene::{Scene, id};

#[tokio::test(flavor = "multi_thread")]
async fn each_guest_is_checked_in_once_by_the_supplier_or_staff() {
    let scene = Scene::new().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let (guide, rival, staff) = (scene.guide(&scene.supplier), scene.guide(&id("sup")), scene.staff());
    let booking = scene.confirmed(&ada, &departure, 2).await;
    let [first, second] = [&booking.items[0].voucher_code, &booking.items[1].voucher_code];

    assert_eq!(reason(&scene.redeem(&ada, "a", first).await.unwrap_err()), "ROLE_MISSING");
    assert_eq!(reason(&scene.redeem(&rival, "a", first).await.unwrap_err()), "VOUCHER_NOT_FOUND");
    assert_eq!(reason(&scene.redeem(&guide, "a", "ABC").await.unwrap_err()), "VOUCHER_NOT_FOUND");

    // The same request a hundred times is one check-in; so is what was typed in lower case.
    let answers = join_all((0..100).map(|_| scene.redeem(&guide, "a", first))).await;
    let answer = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|a| a.as_ref().unwrap() == answer));
    assert_eq!(answer.booking.as_ref().unwrap().state(), BookingState::Confirmed);
    let again = scene.redeem(&staff, "b", &first.to_lowercase()).await.unwrap_err();
    assert_eq!(reason(&again), "VOUCHER_REDEEMED");
    assert!(again.get_details_error_info().unwrap().metadata["redeemed_at"].starts_with("20"));
    // Who has been let in is not refunded.
    assert_eq!(reason(&scene.cancel(&ada, "c", &booking.id).await.unwrap_err()), "BOOKING_STATE");

    let answer = scene.redeem(&staff, "b", second).await.unwrap();
    assert_eq!(answer.booking.unwrap().state(), BookingState::Redeemed);
    assert_eq!(scene.told("redeemed", &booking.id).await, 2);
    assert_eq!(
        scene.redeem(&guide, "a", first).await.unwrap().item.unwrap(),
        answers[0].as_ref().unwrap().item.clone().unwrap()
    );
    assert_eq!(reason(&scene.redeem(&guide, "a", second).await.unwrap_err()), "REQUEST_ID_REUSED");
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_voucher_of_a_cancelled_booking_opens_no_door() {
    let scene = Scene::new().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let booking = scene.confirmed(&ada, &departure, 1).await;
    scene.cancel(&ada, "c", &booking.id).await.unwrap();
    let error = scene.redeem(&scene.staff(), "a", &booking.items[0].voucher_code).await.unwrap_err();
    assert_eq!(reason(&error), "BOOKING_STATE");
    assert_eq!(error.get_details_error_info().unwrap().metadata["state"], "CANCELLED");
}
