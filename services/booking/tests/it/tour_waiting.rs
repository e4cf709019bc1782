//! Waiting for a tour: whatever departure has seats first, in one line with those who wait for that departure.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;
use tourmesh::{booking::v1::WaitingState, catalog::v1 as catalog};
use tourmesh_kit::events::Event;
use tourmesh_testkit::{eventually, reason};

use crate::scene::{Person, Scene, id};

/// A tour with sold-out departures, each of two seats on its own date.
struct Tour {
    scene: Scene,
    id: String,
    ada: Person,
    offer: catalog::Offer,
    departures: Vec<String>,
    bookings: Vec<String>,
}

impl Tour {
    async fn sold_out(dates: &[&str], settings: &[(&str, &str)]) -> Self {
        let scene = Scene::with(settings).await;
        let (ada, offer) = (scene.traveller(), scene.offer(2));
        let id = offer.departure.as_ref().unwrap().tour_id.clone();
        let mut tour = Self { scene, id, ada, offer, departures: vec![], bookings: vec![] };
        for (n, date) in dates.iter().enumerate() {
            let departure = tour.scene.departure_of(tour.on(date, 3_000 + 100 * i64::try_from(n).unwrap()));
            let booking = tour.scene.book(&tour.ada, &departure, 2).await.unwrap();
            tour.bookings.push(booking.id);
            tour.departures.push(departure);
        }
        tour
    }

    fn on(&self, date: &str, cents: i64) -> catalog::Offer {
        let mut offer = self.scene.another(&self.offer, cents, 2);
        let departure = offer.departure.as_mut().unwrap();
        departure.local_start = format!("{date}T09:00");
        let starts_at = format!("{date}T07:00:00Z").parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        departure.starts_at = Some(tourmesh_kit::time::to_wire(starts_at));
        offer
    }

    async fn wait(&self, person: &Person, adults: i32, dates: (&str, &str)) {
        let entry = self.scene.wait_for_tour(person, "j", &self.id, adults, dates).await.unwrap();
        assert_eq!((entry.state(), entry.tour_wide, entry.departure_id.as_str()), (WaitingState::Waiting, true, ""));
        assert_eq!((entry.seats, entry.total), (0, None));
    }

    /// Where a person was offered seats, and at which price; None: still waiting.
    async fn offered(&self, person: &Person) -> Option<(String, i64)> {
        let entry = self.scene.waiting(person, "").await.remove(0);
        let offer = (entry.state() == WaitingState::Offered).then(|| entry.departure_id.clone())?;
        let booking = self.scene.get(person, &entry.booking_id).await.unwrap();
        assert_eq!(
            (booking.departure_id, booking.total.clone(), booking.seats),
            (offer.clone(), entry.total, entry.seats)
        );
        Some((offer, booking.total.unwrap().units))
    }

    async fn free(&self, departure: usize) {
        self.scene.cancel(&self.ada, &format!("c{departure}"), &self.bookings[departure]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_tour_and_who_waits_for_its_departure_are_one_line() {
    let tour = Tour::sold_out(&["2030-06-01", "2030-06-08", "2030-06-15"], &[]).await;
    let scene = &tour.scene;
    let [bob, cyd, dan, eve] = [(); 4].map(|()| scene.traveller());
    tour.wait(&bob, 1, ("", "")).await;
    scene.wait_for(&cyd, "j", &tour.departures[1], 1).await.unwrap();
    tour.wait(&dan, 2, ("2030-06-08", "2030-06-15")).await;
    tour.wait(&eve, 1, ("2030-06-15", "")).await;
    // Two seats of the second departure: bob joined before cyd, and nothing is left for dan.
    tour.free(1).await;
    assert_eq!(tour.offered(&bob).await, Some((tour.departures[1].clone(), 31)));
    assert_eq!(tour.offered(&cyd).await, Some((tour.departures[1].clone(), 31)));
    // The first one does not suit dan and eve: anybody may have it.
    tour.free(0).await;
    assert_eq!((tour.offered(&dan).await, scene.seats_left(&tour.departures[0]).await), (None, 2));
    assert_eq!(tour.offered(&eve).await, None);
    // The third one: dan takes both, so eve goes on waiting.
    tour.free(2).await;
    assert_eq!(tour.offered(&dan).await, Some((tour.departures[2].clone(), 64)));
    assert_eq!(tour.offered(&eve).await, None);
    // Bob has one offer, not one of each departure.
    assert_eq!(scene.waiting(&bob, "").await.len(), 1);
    assert_eq!(scene.told("held", &scene.waiting(&bob, "").await[0].booking_id).await, 1);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ignored_offer_passes_on_and_a_new_departure_serves_the_line() {
    let tour = Tour::sold_out(&["2030-06-01"], &[("WAITING_OFFER_SECONDS", "1")]).await;
    let scene = &tour.scene;
    let [bob, cyd, dan] = [(); 3].map(|()| scene.traveller());
    tour.wait(&bob, 2, ("", "")).await;
    tour.wait(&cyd, 2, ("", "")).await;
    tour.wait(&dan, 2, ("2031-01-01", "")).await;
    tour.free(0).await;
    assert!(tour.offered(&bob).await.is_some());
    eventually(|| async { tour.offered(&cyd).await.is_some() }).await;
    assert_eq!(scene.waiting(&bob, "").await[0].state(), WaitingState::Lapsed);
    // The catalog schedules more; the first is not when dan can.
    for (date, suits) in [("2030-12-31", false), ("2031-01-01", true)] {
        let offer = tour.on(date, 5_000);
        let departure = scene.departure_of(offer.clone());
        let message = catalog::DeparturesScheduled {
            departures: offer.departure.into_iter().collect(),
            tour_id: tour.id.clone(),
        };
        let event = Event::new(format!("catalog.departure.scheduled.{}", tour.id), &message);
        scene.room.publish("catalog", &event).await;
        if suits {
            eventually(|| async { tour.offered(&dan).await == Some((departure.clone(), 100)) }).await;
        }
    }
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_equal_requests_wait_once_and_what_cannot_be_waited_for_is_refused() {
    let tour = Tour::sold_out(&["2030-06-01", "2030-06-08"], &[]).await;
    let (scene, bob) = (&tour.scene, tour.scene.traveller());
    let answers = join_all((0..100).map(|_| scene.wait_for_tour(&bob, "j", &tour.id, 2, ("", "")))).await;
    let entry = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|a| a.as_ref().unwrap() == entry));
    let refused = |request: &'static str, tour: String, adults, dates| {
        let bob = bob.clone();
        async move { reason(&scene.wait_for_tour(&bob, request, &tour, adults, dates).await.unwrap_err()) }
    };
    assert_eq!(refused("j", tour.id.clone(), 1, ("", "")).await, "REQUEST_ID_REUSED");
    assert_eq!(refused("k", tour.id.clone(), 1, ("", "")).await, "ALREADY_WAITING");
    assert_eq!(refused("l", id("tour"), 1, ("", "")).await, "TOUR_NOT_FOUND");
    assert_eq!(refused("m", tour.id.clone(), 1, ("2030-06-02", "2030-06-01")).await, "FIELD_INVALID");
    assert_eq!(refused("n", String::new(), 1, ("", "")).await, "FIELD_INVALID");
    assert_eq!(scene.waiting(&scene.guide(&scene.supplier), "").await, vec![entry.clone()]);
    scene.give_up(&bob, "l", &entry.id).await.unwrap();
    tour.free(1).await;
    assert_eq!(refused("o", tour.id.clone(), 2, ("", "")).await, "SEATS_LEFT");
    // On the other dates there is nothing, so one may wait.
    let again = scene.wait_for_tour(&bob, "p", &tour.id, 2, ("", "2030-06-07")).await.unwrap();
    assert_eq!((again.to_date.as_str(), scene.seats_left(&tour.departures[1]).await), ("2030-06-07", 2));
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn departures_freed_at_once_serve_everybody_once_and_lose_no_seat() {
    let dates: Vec<String> = (1..=8).map(|day| format!("2030-06-{day:02}")).collect();
    let dates: Vec<&str> = dates.iter().map(String::as_str).collect();
    let tour = Arc::new(Tour::sold_out(&dates, &[]).await);
    let people: Vec<Person> = (0..20).map(|_| tour.scene.traveller()).collect();
    for (n, person) in people.iter().enumerate() {
        if n % 5 == 4 {
            tour.scene.wait_for(person, "j", &tour.departures[n % 8], 1).await.unwrap();
        } else {
            tour.wait(person, 1, ("", "")).await;
        }
    }
    let freeing = (0..8).map(|n| {
        let tour = tour.clone();
        tokio::spawn(async move { tour.free(n).await })
    });
    for freed in join_all(freeing).await {
        freed.unwrap();
    }
    let mut served = Vec::new();
    for person in &people {
        served.extend(tour.offered(person).await.map(|(departure, _)| departure));
    }
    // Sixteen seats: every one is offered, and the tail of the line waits.
    assert_eq!(served.len(), 16);
    for departure in served.iter().collect::<HashSet<_>>() {
        assert_eq!(served.iter().filter(|s| *s == departure).count(), 2);
    }
    for departure in &tour.departures {
        assert_eq!(tour.scene.seats_left(departure).await, 0);
    }
    tour.scene.promises_hold().await;
}
