//! Who gets the seats.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tonic_types::StatusExt as _;
use tourmesh::{
    booking::v1::{self as pb, BookingState, booking_service_client::BookingServiceClient},
    catalog::v1 as catalog,
    common::v1 as common,
};
use tourmesh_kit::events::Event;
use tourmesh_testkit::{eventually, reason};

use crate::scene::{Scene, create, euros, uuid, wish};

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_priced_frozen_and_told() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let departure = scene.departure(10);
    let mut request = wish("one", &departure, 2);
    request.units.push(common::UnitQuantity { unit: common::UnitType::Child.into(), quantity: 1 });
    request.units.push(common::UnitQuantity { unit: common::UnitType::Infant.into(), quantity: 1 });
    let booking = create(scene.client(), &ada, request).await.unwrap();
    assert_eq!(booking.state(), BookingState::OnHold);
    assert_eq!((booking.seats, booking.items.len()), (3, 4));
    assert_eq!(booking.total, Some(euros(2 * 3_000 + 1_235)));
    assert_eq!(booking.customer_id, ada.id);
    assert_eq!(booking.tour_title.as_ref().unwrap().fr, "Le Louvre à l'aube");
    assert!(booking.items.iter().all(|i| i.voucher_code.is_empty() && i.id.starts_with("itm_")));
    let hold = booking.hold_expires_at.unwrap().seconds - booking.created_at.unwrap().seconds;
    assert_eq!(hold, 900);
    // What was answered is what is stored.
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap(), booking);
    assert_eq!(scene.seats_left(&departure).await, 7);
    assert_eq!(scene.told("held", &booking.id).await, 1);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_seat_is_sold_once_to_200_buyers() {
    let scene = Arc::new(Scene::new().await);
    let departure = scene.departure(1);
    // A new token costs a signature, slowly in a debug build: a few people try many times.
    let people: Vec<_> = (0..20).map(|_| scene.traveller()).collect();
    let buyers = (0..200).map(|i| {
        let (scene, departure, buyer) = (scene.clone(), departure.clone(), people[i % 20].clone());
        tokio::spawn(async move { scene.book(&buyer, &departure, 1).await })
    });
    let mut won = 0;
    for buyer in join_all(buyers).await {
        match buyer.unwrap() {
            Ok(_) => won += 1,
            Err(status) => {
                assert_eq!(reason(&status), "DEPARTURE_SOLD_OUT");
                assert_eq!(status.get_details_error_info().unwrap().metadata["seats_left"], "0");
            }
        }
    }
    assert_eq!(won, 1);
    // 200 buyers, one question to the catalog.
    assert_eq!(scene.catalog.asked(), 1);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_never_oversell_together() {
    let scene = Arc::new(Scene::with(&[("MAX_OPEN_HOLDS", "1000")]).await);
    let other = scene.replica().await;
    let departures: Vec<String> = (0..5).map(|_| scene.departure(40)).collect();
    let clients = [scene.client(), BookingServiceClient::new(other.channel())];
    let people: Vec<_> = (0..20).map(|_| scene.traveller()).collect();
    let attempts = (0..400).map(|i| {
        let (departure, client, buyer) = (departures[i % 5].clone(), clients[i % 2].clone(), people[i % 20].clone());
        tokio::spawn(async move {
            let seats = i32::try_from(i % 3).unwrap() + 1;
            create(client, &buyer, wish(&format!("r{i}"), &departure, seats)).await
        })
    });
    for attempt in join_all(attempts).await {
        if let Err(status) = attempt.unwrap() {
            assert_eq!(reason(&status), "DEPARTURE_SOLD_OUT", "{status:?}");
        }
    }
    for departure in &departures {
        // 400 attempts ask for 160 seats of each: all 40 are taken, since parties of one fill the gaps.
        assert_eq!(scene.seats_left(departure).await, 0);
    }
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_equal_requests_at_once_have_one_effect_and_one_answer() {
    let scene = Arc::new(Scene::new().await);
    let other = scene.replica().await;
    let (ada, departure) = (scene.traveller(), scene.departure(500));
    let clients = [scene.client(), BookingServiceClient::new(other.channel())];
    let calls = (0..100).map(|i| {
        let (client, ada, departure) = (clients[i % 2].clone(), ada.clone(), departure.clone());
        tokio::spawn(async move { create(client, &ada, wish("same", &departure, 2)).await.unwrap() })
    });
    let answers: Vec<pb::Booking> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|b| *b == answers[0]));
    assert_eq!(scene.seats_left(&departure).await, 498);

    let error = scene.book_as(&ada, "same", &departure, 3).await.unwrap_err();
    assert_eq!(reason(&error), "REQUEST_ID_REUSED");
    let elsewhere = scene.departure(5);
    assert_eq!(reason(&scene.book_as(&ada, "same", &elsewhere, 2).await.unwrap_err()), "REQUEST_ID_REUSED");
    // The same request_id of somebody else is another request.
    assert!(scene.book_as(&scene.traveller(), "same", &departure, 3).await.is_ok());
    scene.promises_hold().await;
}

/// Both have looked before one of them is written: the other finds no seat, and must find out who took it.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_that_takes_the_last_seat_meanwhile_is_the_answer_of_both() {
    let scene = Scene::new().await;
    let other = scene.replica().await;
    let there = BookingServiceClient::new(other.channel());
    let departure = scene.departure(3);
    let (ada, bob) = (scene.traveller(), scene.traveller());
    create(scene.client(), &bob, wish("here", &departure, 1)).await.unwrap();
    create(there.clone(), &bob, wish("there", &departure, 1)).await.unwrap();

    let somebody = scene.stuck_departure(&departure).await;
    let asking = async {
        tokio::join!(
            create(scene.client(), &ada, wish("one", &departure, 1)),
            create(there, &ada, wish("one", &departure, 1)),
        )
    };
    let closing = async {
        scene.so_many_wait(2).await;
        sqlx::Connection::close(somebody).await.unwrap();
    };
    let ((one, same), ()) = tokio::join!(asking, closing);
    assert_eq!(one.unwrap(), same.unwrap());
    assert_eq!(scene.seats_left(&departure).await, 0);
    let late = create(scene.client(), &bob, wish("late", &departure, 1)).await.unwrap_err();
    assert_eq!(reason(&late), "DEPARTURE_SOLD_OUT");
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_id_for_many_departures_at_once_books_one_of_them() {
    let scene = Arc::new(Scene::new().await);
    let ada = scene.traveller();
    let departures: Vec<String> = (0..20).map(|_| scene.departure(5)).collect();
    let calls = departures.iter().map(|departure| {
        let (scene, ada, departure) = (scene.clone(), ada.clone(), departure.clone());
        tokio::spawn(async move { scene.book_as(&ada, "same", &departure, 1).await })
    });
    let mut made = BTreeSet::new();
    for call in join_all(calls).await {
        match call.unwrap() {
            Ok(booking) => {
                made.insert(booking.id);
            }
            Err(status) => assert_eq!(reason(&status), "REQUEST_ID_REUSED", "{status:?}"),
        }
    }
    assert_eq!(made.len(), 1);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_also_when_the_tour_is_no_longer_sold() {
    let scene = Scene::with(&[("OFFER_SECONDS", "0")]).await;
    let ada = scene.traveller();
    let mut offer = scene.offer(5);
    let departure = scene.departure_of(offer.clone());
    let booking = scene.book_as(&ada, "one", &departure, 1).await.unwrap();
    offer.tour_state = catalog::TourState::Archived.into();
    scene.departure_of(offer);
    assert_eq!(scene.book_as(&ada, "one", &departure, 1).await.unwrap(), booking);
    assert_eq!(reason(&scene.book_as(&ada, "one", &departure, 2).await.unwrap_err()), "REQUEST_ID_REUSED");
    assert_eq!(reason(&scene.book_as(&ada, "two", &departure, 1).await.unwrap_err()), "TOUR_NOT_PUBLISHED");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sold_is_refused_with_its_reason_and_nothing_is_written() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let change = |f: &dyn Fn(&mut catalog::Offer)| {
        let mut offer = scene.offer(5);
        f(&mut offer);
        scene.departure_of(offer)
    };
    let closed = change(&|o| o.departure.as_mut().unwrap().state = catalog::DepartureState::Closed.into());
    let cancelled = change(&|o| o.departure.as_mut().unwrap().state = catalog::DepartureState::Cancelled.into());
    let past = change(&|o| o.departure.as_mut().unwrap().starts_at = Some(prost_timestamp(1_000_000)));
    let draft = change(&|o| o.tour_state = catalog::TourState::Draft.into());
    let small = change(&|o| o.max_party = 2);
    let large = change(&|o| o.min_party = 4);
    let no_adults = change(&|o| o.prices.retain(|p| p.unit != i32::from(common::UnitType::Adult)));
    let full = change(&|o| o.departure.as_mut().unwrap().capacity = 2);
    for (departure, expected) in [
        (&closed, "DEPARTURE_CLOSED"),
        (&cancelled, "DEPARTURE_CANCELLED"),
        (&past, "DEPARTURE_IN_PAST"),
        (&draft, "TOUR_NOT_PUBLISHED"),
        (&small, "PARTY_SIZE"),
        (&large, "PARTY_SIZE"),
        (&no_adults, "UNIT_NOT_SOLD"),
        (&full, "DEPARTURE_SOLD_OUT"),
        (&crate::scene::id("dep"), "DEPARTURE_NOT_FOUND"),
    ] {
        let error = scene.book(&ada, departure, 3).await.unwrap_err();
        assert_eq!(reason(&error), expected);
    }
    let mut twice = wish("x", &small, 1);
    twice.units.push(twice.units[0]);
    assert_eq!(reason(&create(scene.client(), &ada, twice).await.unwrap_err()), "FIELD_INVALID");
    let bookings: i64 = sqlx::query_scalar("SELECT count(*) FROM bookings").fetch_one(&scene.pool).await.unwrap();
    assert_eq!(bookings, 0);
}

fn prost_timestamp(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_has_a_limited_number_of_open_holds() {
    let scene = Scene::with(&[("MAX_OPEN_HOLDS", "2")]).await;
    let (ada, departure) = (scene.traveller(), scene.departure(50));
    let first = scene.book(&ada, &departure, 1).await.unwrap();
    scene.book(&ada, &departure, 1).await.unwrap();
    assert_eq!(reason(&scene.book(&ada, &departure, 1).await.unwrap_err()), "TOO_MANY_HOLDS");
    scene.cancel(&ada, "c", &first.id).await.unwrap();
    assert!(scene.book(&ada, &departure, 1).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_runs_out_gives_its_seats_back_within_a_second() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let mut offer = scene.offer(2);
    offer.hold_seconds = 1;
    let departure = scene.departure_of(offer);
    let booking = scene.book(&ada, &departure, 2).await.unwrap();
    assert_eq!(reason(&scene.book(&ada, &departure, 1).await.unwrap_err()), "DEPARTURE_SOLD_OUT");
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    let expired = scene.get(&ada, &booking.id).await.unwrap();
    assert_eq!((expired.state(), expired.hold_expires_at), (BookingState::Expired, None));
    assert_eq!(scene.seats_left(&departure).await, 2);
    let error = scene.confirm(&ada, "pay", &booking.id, "card_ok").await.unwrap_err();
    assert_eq!(reason(&error), "HOLD_EXPIRED");
    assert_eq!(reason(&scene.extend(&ada, "x", &booking.id).await.unwrap_err()), "HOLD_EXPIRED");
    assert!(scene.payments.asked().is_empty());
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_extended_once_per_request_and_up_to_the_limit() {
    let scene = Scene::with(&[("HOLD_SECONDS", "100"), ("HOLD_LIMIT_SECONDS", "101")]).await;
    let (ada, departure) = (scene.traveller(), scene.departure(5));
    let booking = scene.book(&ada, &departure, 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let extended = scene.extend(&ada, "x", &booking.id).await.unwrap();
    assert!(extended.hold_expires_at.unwrap().seconds >= booking.hold_expires_at.unwrap().seconds);
    assert_ne!(extended.hold_expires_at, booking.hold_expires_at);
    assert_eq!(scene.extend(&ada, "x", &booking.id).await.unwrap(), extended);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    scene.extend(&ada, "y", &booking.id).await.unwrap();
    assert_eq!(reason(&scene.extend(&ada, "z", &booking.id).await.unwrap_err()), "HOLD_LIMIT");
    let stranger = scene.traveller();
    assert_eq!(reason(&scene.extend(&stranger, "x", &booking.id).await.unwrap_err()), "BOOKING_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_event_ends_what_is_believed_of_an_offer() {
    let scene = Scene::with(&[("OFFER_SECONDS", "3600")]).await;
    let ada = scene.traveller();
    let mut offer = scene.offer(20);
    let departure = scene.departure_of(offer.clone());
    assert_eq!(scene.book(&ada, &departure, 1).await.unwrap().total, Some(euros(3_000)));
    offer.prices[0].price = Some(euros(4_500));
    scene.departure_of(offer.clone());
    let tour = catalog::Tour { id: offer.departure.as_ref().unwrap().tour_id.clone(), ..catalog::Tour::default() };
    let subject = format!("catalog.tour.changed.{}", tour.id);
    scene.room.publish("catalog", &Event::new(subject, &catalog::TourChanged { tour: Some(tour) })).await;
    eventually(|| async { scene.book(&ada, &departure, 1).await.unwrap().total == Some(euros(4_500)) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lowered_capacity_takes_no_seat_back_and_sells_none_until_it_fits() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let mut offer = scene.offer(5);
    let departure = scene.departure_of(offer.clone());
    let booking = scene.book(&ada, &departure, 4).await.unwrap();
    let tell = async |offer: &mut catalog::Offer, capacity: i32, version: i64| {
        let changed = offer.departure.as_mut().unwrap();
        (changed.capacity, changed.version) = (capacity, version);
        scene.departure_of(offer.clone());
        let message = catalog::DepartureChanged { departure: offer.departure.clone() };
        scene.room.publish("catalog", &Event::new(format!("catalog.departure.changed.{departure}"), &message)).await;
    };
    tell(&mut offer, 3, 3).await;
    eventually(|| async { scene.seats_left(&departure).await == 0 }).await;
    // News that is older than what is known changes nothing.
    tell(&mut offer, 100, 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(reason(&scene.book(&ada, &departure, 1).await.unwrap_err()), "DEPARTURE_SOLD_OUT");
    scene.cancel(&ada, "c", &booking.id).await.unwrap();
    assert_eq!(scene.seats_left(&departure).await, 3);
    let (capacity, wanted): (i32, i32) =
        sqlx::query_as("SELECT capacity, capacity_wanted FROM departures WHERE id = $1")
            .bind(uuid(&departure))
            .fetch_one(&scene.pool)
            .await
            .unwrap();
    assert_eq!((capacity, wanted), (3, 3));
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_has_its_own_limit_of_open_holds_however_many_ask_at_once() {
    let scene = Scene::with(&[("MAX_OPEN_HOLDS", "3")]).await;
    let me = scene.traveller();
    let mut offer = scene.offer(50);
    offer.max_open_holds = 2;
    let departures: Vec<String> =
        (0..4).map(|_| scene.another(&offer, 3_000, 50)).map(|offer| scene.departure_of(offer)).collect();
    let wishes = (0..24).map(|n| {
        let (client, me) = (scene.client(), me.clone());
        let wish = wish(&format!("limited-{n}"), &departures[n % 4], 1);
        tokio::spawn(async move { create(client, &me, wish).await })
    });
    let answers: Vec<_> = join_all(wishes).await.into_iter().map(Result::unwrap).collect();
    let granted: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert_eq!(granted.len(), 2);
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(reason(refused), "TOO_MANY_HOLDS");
    }
    // Somebody else has a limit of their own, and so has what is not of this option: the platform's counts all holds.
    scene.book(&scene.traveller(), &departures[0], 1).await.unwrap();
    let elsewhere = scene.departure(50);
    scene.book(&me, &elsewhere, 1).await.unwrap();
    assert_eq!(reason(&scene.book(&me, &elsewhere, 1).await.unwrap_err()), "TOO_MANY_HOLDS");
    // A hold that ended makes room; a larger limit than the platform's is one, too.
    scene.cancel(&me, "room", &granted[0].id).await.unwrap();
    scene.book(&me, &departures[1], 1).await.unwrap();
    let mut generous = scene.offer(50);
    generous.max_open_holds = 5;
    let generous = scene.departure_of(generous);
    for _ in 0..5 {
        scene.book(&me, &generous, 1).await.unwrap();
    }
    assert_eq!(reason(&scene.book(&me, &generous, 1).await.unwrap_err()), "TOO_MANY_HOLDS");
    scene.promises_hold().await;
}
