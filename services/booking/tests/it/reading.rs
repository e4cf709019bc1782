//! What callers can see, and what they cannot.

use std::time::Duration;

use tourmesh::booking::v1 as pb;
use tourmesh_testkit::{eventually, reason};

use crate::scene::{Scene, id};

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_others_is_not_found() {
    let scene = Scene::new().await;
    let (ada, eve, departure) = (scene.traveller(), scene.traveller(), scene.departure(5));
    let booking = scene.book(&ada, &departure, 1).await.unwrap();
    let (guide, rival, staff) = (scene.guide(&scene.supplier), scene.guide(&id("sup")), scene.staff());
    for who in [&eve, &rival] {
        for error in [
            scene.get(who, &booking.id).await.unwrap_err(),
            scene.cancel(who, "c", &booking.id).await.unwrap_err(),
            scene.preview(who, &booking.id).await.unwrap_err(),
            scene.extend(who, "x", &booking.id).await.unwrap_err(),
            scene.confirm(who, "p", &booking.id, "card_ok").await.unwrap_err(),
        ] {
            assert_eq!(reason(&error), "BOOKING_NOT_FOUND");
        }
        assert!(scene.list(who, pb::ListBookingsRequest::default()).await.unwrap().bookings.is_empty());
    }
    for who in [&ada, &guide, &staff] {
        assert_eq!(scene.get(who, &booking.id).await.unwrap().id, booking.id);
        assert_eq!(scene.list(who, pb::ListBookingsRequest::default()).await.unwrap().bookings.len(), 1);
    }
    // The supplier sees it, but does not buy it.
    assert_eq!(reason(&scene.confirm(&guide, "p", &booking.id, "card_ok").await.unwrap_err()), "BOOKING_NOT_FOUND");
    assert_eq!(reason(&scene.get(&ada, &id("bkg")).await.unwrap_err()), "BOOKING_NOT_FOUND");
    assert_eq!(reason(&scene.get(&ada, "dep_1").await.unwrap_err()), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_every_booking_once_newest_first() {
    let scene = Scene::new().await;
    let (ada, departure, other) = (scene.traveller(), scene.departure(50), scene.departure(50));
    let mut made = Vec::new();
    for i in 0..7 {
        made.push(scene.book(&ada, if i < 5 { &departure } else { &other }, 1).await.unwrap().id);
    }
    scene.cancel(&ada, "c", &made[0]).await.unwrap();
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListBookingsRequest { page_size: 3, page_token, ..Default::default() };
        let page = scene.list(&ada, request).await.unwrap();
        seen.extend(page.bookings.into_iter().map(|b| b.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    made.reverse();
    assert_eq!(seen, made);
    let only = pb::ListBookingsRequest {
        departure_id: departure.clone(),
        states: vec![pb::BookingState::OnHold.into()],
        ..Default::default()
    };
    assert_eq!(scene.list(&ada, only.clone()).await.unwrap().bookings.len(), 4);
    let page = scene.list(&ada, pb::ListBookingsRequest { page_size: 2, ..only.clone() }).await.unwrap();
    let wrong = pb::ListBookingsRequest { page_token: page.next_page_token, ..Default::default() };
    assert_eq!(reason(&scene.list(&ada, wrong).await.unwrap_err()), "PAGE_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn availability_knows_departures_that_nobody_has_booked_and_leaves_unknown_ones_out() {
    let scene = Scene::new().await;
    let (one, two, unknown) = (scene.departure(5), scene.departure(7), id("dep"));
    let request = pb::CheckAvailabilityRequest { departure_ids: vec![two.clone(), unknown.clone(), one.clone()] };
    let answer = scene.client().check_availability(request).await.unwrap().into_inner().availabilities;
    let seats: Vec<_> = answer.iter().map(|a| (a.departure_id.clone(), a.capacity, a.seats_left, a.bookable)).collect();
    assert_eq!(seats, [(two, 7, 7, true), (one, 5, 5, true)]);
    let error = scene.client().watch_departure(pb::WatchDepartureRequest { departure_id: unknown }).await.unwrap_err();
    assert_eq!(reason(&error), "DEPARTURE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_the_seats_now_and_after_each_change_also_by_another_replica() {
    let scene = Scene::with(&[("MAX_WATCHERS", "1")]).await;
    let other = scene.replica().await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let watch = pb::WatchDepartureRequest { departure_id: departure.clone() };
    let mut seats = scene.client().watch_departure(watch.clone()).await.unwrap().into_inner();
    let left = |response: Option<pb::WatchDepartureResponse>| response.unwrap().availability.unwrap().seats_left;
    assert_eq!(left(seats.message().await.unwrap()), 5);
    let full = scene.client().watch_departure(watch.clone()).await.unwrap_err();
    assert_eq!(reason(&full), "OVERLOADED");
    let booking = scene.book(&ada, &departure, 2).await.unwrap();
    assert_eq!(left(seats.message().await.unwrap()), 3);
    let elsewhere = pb::booking_service_client::BookingServiceClient::new(other.channel());
    crate::scene::create(elsewhere, &ada, crate::scene::wish("r", &departure, 3)).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(8), seats.message()).await.unwrap();
    assert_eq!(left(told.unwrap()), 0);
    scene.cancel(&ada, "c", &booking.id).await.unwrap();
    assert_eq!(left(seats.message().await.unwrap()), 2);
    drop(seats);
    // The place is free again.
    eventually(|| async { scene.client().watch_departure(watch.clone()).await.is_ok() }).await;
}
