//! Guests who leave while others stay, and who change their names.

use futures_util::future::join_all;
use tourmesh::{
    booking::v1::{self as pb, BookingState},
    common::v1 as common,
};
use tourmesh_kit::time;
use tourmesh_testkit::{eventually, reason};

use crate::scene::{Scene, create, euros, id, wish};

#[tokio::test(flavor = "multi_thread")]
async fn guests_who_leave_one_by_one_get_to_the_cent_what_they_would_get_at_once() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let mut offer = scene.offer(5);
    offer.prices[0].price = Some(euros(3_333));
    let at = chrono::Utc::now() + chrono::TimeDelta::hours(30);
    offer.departure.as_mut().unwrap().starts_at = Some(time::to_wire(at));
    let departure = scene.departure_of(offer);
    let booking = scene.confirmed(&ada, &departure, 3).await;
    let items: Vec<&str> = booking.items.iter().map(|i| i.id.as_str()).collect();
    let mut refunded = 0;
    for (left, (item, cents)) in [(2, (items[1], 1_667)), (1, (items[0], 1_666)), (0, (items[2], 1_667))] {
        let preview = scene.preview_some(&ada, &booking.id, &[item]).await.unwrap();
        assert_eq!((preview.refund_percent, preview.refund), (50, Some(euros(cents))));
        // A hundred times at once: one effect, one answer.
        let one = [item];
        let answers = join_all((0..100).map(|_| scene.leave(&ada, item, &booking.id, &one))).await;
        let now = answers[0].as_ref().unwrap();
        assert!(answers.iter().all(|a| a.as_ref().unwrap() == now));
        refunded += cents;
        assert_eq!(now.refund, Some(euros(refunded)));
        assert_eq!(now.total, Some(euros(9_999)));
        let state = if left > 0 { BookingState::Confirmed } else { BookingState::Cancelled };
        assert_eq!(now.state(), state);
        assert_eq!(now.items.iter().filter(|i| i.cancelled_at.is_none()).count(), left);
        assert_eq!(scene.seats_left(&departure).await, 5 - i32::try_from(left).unwrap());
        assert_eq!(reason(&scene.leave(&ada, "again", &booking.id, &[item]).await.unwrap_err()), "BOOKING_STATE");
        scene.promises_hold().await;
    }
    assert_eq!(refunded, 5_000);
    eventually(|| async { scene.payments.refunds().len() == 3 }).await;
    assert_eq!(scene.told("changed", &booking.id).await, 2);
    assert_eq!(scene.told("cancelled", &booking.id).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stays_keeps_a_seat_and_a_voucher_and_who_left_has_none() {
    let scene = Scene::new().await;
    let (ada, staff, departure) = (scene.traveller(), scene.staff(), scene.departure(5));
    let mut request = wish("one", &departure, 2);
    request.units.push(common::UnitQuantity { unit: common::UnitType::Infant.into(), quantity: 1 });
    let held = create(scene.client(), &ada, request).await.unwrap();
    scene.confirm(&ada, "pay", &held.id, "card_later").await.unwrap();
    // The money is on its way: it can only fit the party that it was asked for.
    let error = scene.leave(&ada, "early", &held.id, &[&held.items[0].id]).await.unwrap_err();
    assert_eq!(reason(&error), "BOOKING_STATE");
    scene.captured(&scene.payment_of(&held.id)).await;
    let booking = scene.in_state(&ada, &held.id, BookingState::Confirmed).await;
    let [first, second, infant] = [0, 1, 2].map(|at| booking.items[at].clone());

    let alone = scene.leave(&ada, "a", &booking.id, &[&first.id, &second.id]).await.unwrap_err();
    assert_eq!(reason(&alone), "PARTY_SIZE");
    let stranger = scene.leave(&ada, "b", &booking.id, &[&id("itm")]).await.unwrap_err();
    assert_eq!(reason(&stranger), "FIELD_INVALID");
    let other = scene.leave(&scene.traveller(), "c", &booking.id, &[&first.id]).await.unwrap_err();
    assert_eq!(reason(&other), "BOOKING_NOT_FOUND");

    scene.leave(&ada, "d", &booking.id, &[&first.id]).await.unwrap();
    let other = scene.leave(&ada, "d", &booking.id, &[&second.id]).await.unwrap_err();
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
    assert_eq!(reason(&scene.redeem(&staff, "a", &first.voucher_code).await.unwrap_err()), "BOOKING_STATE");
    scene.redeem(&staff, "b", &second.voucher_code).await.unwrap();
    let inside = scene.leave(&ada, "e", &booking.id, &[&second.id]).await.unwrap_err();
    assert_eq!(reason(&inside), "BOOKING_STATE");
    // The last one who is not in leaves: everybody who comes is in.
    let done = scene.leave(&ada, "f", &booking.id, &[&infant.id]).await.unwrap();
    assert_eq!((done.state(), done.seats), (BookingState::Redeemed, 1));
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_who_leaves_a_hold_is_not_paid_for() {
    let scene = Scene::new().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let held = scene.book(&ada, &departure, 3).await.unwrap();
    let now = scene.leave(&ada, "a", &held.id, &[&held.items[2].id]).await.unwrap();
    assert_eq!((now.state(), now.seats, now.total, now.refund), (BookingState::OnHold, 2, Some(euros(6_000)), None));
    scene.confirm(&ada, "pay", &held.id, "card_ok").await.unwrap();
    assert_eq!(scene.payment_of(&held.id).amount, Some(euros(6_000)));
    scene.captured(&scene.payment_of(&held.id)).await;
    let sold = scene.in_state(&ada, &held.id, BookingState::Confirmed).await;
    assert_eq!(sold.paid, Some(euros(6_000)));
    assert!(sold.items[2].voucher_code.is_empty());
    let gone = scene.cancel(&ada, "c", &held.id).await.unwrap();
    assert_eq!(gone.refund, Some(euros(6_000)));
    assert_eq!(scene.seats_left(&departure).await, 5);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_contact_change_until_the_start_and_are_told_once() {
    let scene = Scene::new().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let booking = scene.confirmed(&ada, &departure, 2).await;
    let request = |request_id: &str, name: &str, paths: &[&str]| pb::UpdateBookingRequest {
        request_id: request_id.into(),
        booking_id: booking.id.clone(),
        contact: Some(pb::Contact { full_name: "Grace".into(), email: "g@example.org".into(), language: "fr".into() }),
        guests: vec![pb::GuestName { item_id: booking.items[1].id.clone(), guest_name: name.into() }],
        update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() }),
    };
    let calls = join_all((0..100).map(|_| scene.update(&ada, request("a", "Alan", &["guests"])))).await;
    let now = calls[0].as_ref().unwrap();
    assert!(calls.iter().all(|c| c.as_ref().unwrap() == now));
    assert_eq!((now.items[1].guest_name.as_str(), now.items[0].guest_name.as_str()), ("Alan", ""));
    assert_eq!(now.contact, booking.contact);
    let now = scene.update(&ada, request("b", "", &["contact"])).await.unwrap();
    assert_eq!((now.contact.as_ref().unwrap().full_name.as_str(), now.items[1].guest_name.as_str()), ("Grace", "Alan"));
    // What says nothing new is told to nobody.
    assert_eq!(scene.update(&ada, request("c", "Alan", &["contact", "guests"])).await.unwrap(), now);
    assert_eq!(scene.told("changed", &booking.id).await, 2);
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap(), now);

    let error = scene.update(&ada, request("d", "x", &["total"])).await.unwrap_err();
    assert_eq!(reason(&error), "FIELD_MASK_INVALID");
    assert_eq!(reason(&scene.update(&ada, request("a", "y", &["guests"])).await.unwrap_err()), "REQUEST_ID_REUSED");
    let other = scene.update(&scene.traveller(), request("e", "x", &["guests"])).await.unwrap_err();
    assert_eq!(reason(&other), "BOOKING_NOT_FOUND");
    scene.leave(&ada, "f", &booking.id, &[&booking.items[1].id]).await.unwrap();
    assert_eq!(reason(&scene.update(&ada, request("g", "z", &["guests"])).await.unwrap_err()), "BOOKING_STATE");
    sqlx::query("UPDATE terms SET starts_at = now()").execute(&scene.pool).await.unwrap();
    assert_eq!(reason(&scene.update(&ada, request("h", "z", &["contact"])).await.unwrap_err()), "DEPARTURE_IN_PAST");
    scene.promises_hold().await;
}
