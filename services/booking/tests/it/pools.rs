//! Resource pools: what several tours share is never sold twice, and comes back by every way that seats come back.

use std::sync::Arc;

use futures_util::future::join_all;
use tourmesh::{
    booking::v1::{self as pb, booking_service_client::BookingServiceClient},
    catalog::v1 as catalog,
};
use tourmesh_kit::{events::Event, time};
use tourmesh_testkit::{eventually, reason};

use crate::scene::{Scene, create, id, uuid, wish};

impl Scene {
    /// A pool of so many units.
    pub(crate) fn a_pool(&self, capacity: i32, slot_minutes: i32) -> catalog::ResourcePool {
        catalog::ResourcePool {
            id: id("pool"),
            supplier_id: self.supplier.clone(),
            name: "Helmets".into(),
            kind: catalog::ResourceKind::Equipment.into(),
            capacity,
            slot_minutes,
            version: 1,
            created_at: None,
        }
    }

    /// What is held of a pool, slot by slot.
    async fn held_of(&self, pool: &catalog::ResourcePool) -> Vec<i32> {
        sqlx::query_scalar("SELECT held FROM pool_slots WHERE pool_id = $1 ORDER BY slot")
            .bind(uuid(&pool.id))
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// The catalog tells that a pool or an option of a tour changed.
    async fn pool_changes(&self, pool: &catalog::ResourcePool) {
        let message = catalog::ResourcePoolChanged { pool: Some(pool.clone()) };
        self.room.publish("catalog", &Event::new(format!("catalog.pool.changed.{}", pool.id), &message)).await;
    }

    async fn option_changes(&self, offer: &catalog::Offer) {
        let departure = offer.departure.clone().unwrap();
        let option = catalog::Option {
            id: departure.option_id,
            tour_id: departure.tour_id.clone(),
            duration_minutes: departure.duration_minutes,
            pools: offer.pool_uses.clone(),
            version: offer.option_version,
            ..Default::default()
        };
        let tour = catalog::Tour { id: departure.tour_id, options: vec![option], ..Default::default() };
        let subject = format!("catalog.tour.changed.{}", tour.id);
        self.room.publish("catalog", &Event::new(subject, &catalog::TourChanged { tour: Some(tour) })).await;
    }
}

/// Departures of the offer's option use these pools: units for every so many seats.
pub(crate) fn share(offer: &mut catalog::Offer, pools: &[(&catalog::ResourcePool, i32, i32)]) {
    offer.pools = pools.iter().map(|(pool, ..)| (*pool).clone()).collect();
    let one = |(pool, units, seats): &(&catalog::ResourcePool, i32, i32)| catalog::PoolUse {
        pool_id: pool.id.clone(),
        units: *units,
        seats: *seats,
    };
    offer.pool_uses = pools.iter().map(one).collect();
    offer.option_version += 1;
}

/// Starts so many minutes after a full hour in ten days, and takes so many.
fn at(mut offer: catalog::Offer, start: i64, minutes: i32) -> catalog::Offer {
    let hour = (chrono::Utc::now() + chrono::TimeDelta::days(10)).timestamp() / 3_600 * 3_600;
    let starts_at = chrono::DateTime::from_timestamp(hour + start * 60, 0).unwrap();
    let departure = offer.departure.as_mut().unwrap();
    departure.starts_at = Some(time::to_wire(starts_at));
    departure.duration_minutes = minutes;
    offer
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_rush_on_two_tours_not_one_unit_of_their_pool_is_sold_twice_and_other_times_are_not_touched() {
    let scene = Arc::new(Scene::with(&[("MAX_OPEN_HOLDS", "1000")]).await);
    let other = scene.replica().await;
    for round in 0..5 {
        let bikes = scene.a_pool(37, 15);
        let shared = |start, minutes, units| {
            let mut offer = at(scene.offer(1_000), start, minutes);
            share(&mut offer, &[(&bikes, units, 1)]);
            scene.departure_of(offer)
        };
        // Both are under way from 10:00 to 10:30; the third begins when the first has ended.
        let departures = [shared(0, 90, 1), shared(60, 60, 2), shared(120, 60, 1)];
        let people = (0..90).map(|n| {
            let scene = scene.clone();
            let client = if n % 2 == 0 { scene.client() } else { BookingServiceClient::new(other.channel()) };
            let departure = departures[n % 2].clone();
            let seats = i32::try_from(n % 4).unwrap() + 1;
            tokio::spawn(async move {
                let me = scene.traveller();
                match create(client, &me, wish(&format!("{round}.{n}"), &departure, seats)).await {
                    Ok(booking) => booking.seats,
                    Err(status) => {
                        assert_eq!(reason(&status), "DEPARTURE_SOLD_OUT", "{status:?}");
                        0
                    }
                }
            })
        });
        let got: Vec<i32> = join_all(people).await.into_iter().map(Result::unwrap).collect();
        let each = |n: usize| [1, 2][n % 2];
        let units: i32 = got.iter().enumerate().map(|(n, seats)| each(n) * seats).sum();
        assert!(units <= 37, "{units} of 37 units are sold");
        for (n, _) in got.iter().enumerate().filter(|(_, seats)| **seats == 0) {
            let wanted = each(n) * (i32::try_from(n % 4).unwrap() + 1);
            assert!(wanted > 37 - units, "{wanted} were refused, and {units} of 37 are sold");
        }
        let left = [scene.seats_left(&departures[0]).await, scene.seats_left(&departures[1]).await];
        assert_eq!(left, [37 - units, (37 - units) / 2]);
        assert_eq!(scene.seats_left(&departures[2]).await, 37);
        scene.promises_hold().await;
        let held = scene.held_of(&bikes).await;
        assert_eq!((held.iter().max(), held.len()), (Some(&units), 12));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn units_come_back_with_the_seats_by_every_way() {
    let scene = Scene::new().await;
    let me = scene.traveller();
    let pool = scene.a_pool(6, 30);
    let mut first = at(scene.offer(100), 0, 60);
    share(&mut first, &[(&pool, 1, 1)]);
    let mut second = at(scene.another(&first, 3_000, 100), 30, 60);
    second.hold_seconds = 1;
    let (first, second) = (scene.departure_of(first), scene.departure_of(second));

    // Expiry.
    scene.book(&me, &second, 4).await.unwrap();
    assert_eq!(scene.held_of(&pool).await, [4, 4]);
    assert_eq!(reason(&scene.book(&me, &first, 3).await.unwrap_err()), "DEPARTURE_SOLD_OUT");
    eventually(|| async { scene.held_of(&pool).await == [0, 0, 0] }).await;
    // Cancellation, of some and of all.
    let booking = scene.book(&me, &first, 6).await.unwrap();
    assert_eq!(scene.seats_left(&second).await, 0);
    let gone = [booking.items[0].id.as_str(), booking.items[1].id.as_str()];
    scene.leave(&me, "two-leave", &booking.id, &gone).await.unwrap();
    assert_eq!((scene.seats_left(&first).await, scene.seats_left(&second).await), (2, 2));
    assert_eq!(scene.held_of(&pool).await, [4, 4, 0]);
    scene.cancel(&me, "all-leave", &booking.id).await.unwrap();
    assert_eq!(scene.held_of(&pool).await, [0, 0, 0]);
    // A move to a departure at the same time takes what it gives back, also where nothing else is left.
    let booking = scene.confirmed(&me, &first, 6).await;
    let moved = scene.reschedule(&me, "move", &booking.id, &second, None).await.unwrap();
    assert_eq!(moved.departure_id, second);
    assert_eq!(scene.held_of(&pool).await, [0, 6, 6]);
    assert_eq!(reason(&scene.book(&me, &first, 1).await.unwrap_err()), "DEPARTURE_SOLD_OUT");
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guide_leads_a_whole_group_and_is_free_when_its_last_guest_has_left() {
    let scene = Scene::new().await;
    let me = scene.traveller();
    let guides = scene.a_pool(2, 15);
    let mut offer = at(scene.offer(100), 0, 60);
    share(&mut offer, &[(&guides, 1, 4)]);
    let later = at(scene.another(&offer, 3_000, 100), 45, 60);
    let (one, two) = (scene.departure_of(offer), scene.departure_of(later));
    let five = scene.book(&me, &one, 5).await.unwrap();
    // Both guides are out: with one group more than full there are three places, and none for the other departure.
    assert_eq!((scene.seats_left(&one).await, scene.seats_left(&two).await), (3, 0));
    assert_eq!(reason(&scene.book(&me, &two, 1).await.unwrap_err()), "DEPARTURE_SOLD_OUT");
    scene.leave(&me, "one-leaves", &five.id, &[five.items[0].id.as_str()]).await.unwrap();
    assert_eq!((scene.seats_left(&one).await, scene.seats_left(&two).await), (4, 4));
    scene.book(&me, &two, 4).await.unwrap();
    assert_eq!((scene.seats_left(&one).await, scene.seats_left(&two).await), (0, 0));
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalog_changes_counts_for_what_is_sold_already() {
    let scene = Scene::new().await;
    let me = scene.traveller();
    let mut offer = at(scene.offer(100), 0, 60);
    offer.option_version = 1;
    let mut later = at(scene.another(&offer, 3_000, 100), 30, 60);
    let (one, two) = (scene.departure_of(offer.clone()), scene.departure_of(later.clone()));
    scene.book(&me, &one, 5).await.unwrap();
    scene.book(&me, &two, 2).await.unwrap();
    // From now on they share seven units; the offers, as they are scripted here, still know of none.
    let mut pool = scene.a_pool(7, 30);
    scene.pool_changes(&pool).await;
    share(&mut offer, &[(&pool, 1, 1)]);
    scene.option_changes(&offer).await;
    eventually(|| async { scene.held_of(&pool).await == [5, 7, 2] }).await;
    assert_eq!(reason(&scene.book(&me, &one, 1).await.unwrap_err()), "DEPARTURE_SOLD_OUT");
    assert_eq!((scene.seats_left(&one).await, scene.seats_left(&two).await), (0, 0));
    // More units: sold by the statement that the offer did not ask for.
    (pool.capacity, pool.version) = (9, 2);
    scene.pool_changes(&pool).await;
    eventually(|| async { scene.seats_left(&one).await == 2 }).await;
    let more = scene.book(&me, &one, 1).await.unwrap();
    assert_eq!(scene.held_of(&pool).await, [6, 8, 2]);
    // Fewer: nobody loses anything, and nothing is sold until enough has come back.
    (pool.capacity, pool.version) = (7, 3);
    scene.pool_changes(&pool).await;
    eventually(|| async { scene.seats_left(&two).await == 0 }).await;
    scene.cancel(&me, "back", &more.id).await.unwrap();
    assert_eq!((scene.seats_left(&one).await, scene.seats_left(&two).await), (0, 0));
    scene.promises_hold().await;
    // An older word changes nothing; a newer one ends the sharing.
    let old = catalog::ResourcePool { capacity: 100, version: 2, ..pool.clone() };
    scene.pool_changes(&old).await;
    share(&mut later, &[]);
    later.option_version = offer.option_version + 1;
    scene.option_changes(&later).await;
    eventually(|| async { scene.held_of(&pool).await == [0, 0, 0] }).await;
    assert_eq!((scene.seats_left(&one).await, scene.seats_left(&two).await), (95, 98));
    scene.book(&me, &one, 50).await.unwrap();
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_offered_what_another_tour_gave_back_and_who_watches_sees_it() {
    let scene = Scene::new().await;
    let (me, you) = (scene.traveller(), scene.traveller());
    let pool = scene.a_pool(4, 30);
    let mut mine = at(scene.offer(100), 0, 60);
    share(&mut mine, &[(&pool, 1, 1)]);
    let mut yours = at(scene.offer(100), 30, 60);
    share(&mut yours, &[(&pool, 1, 1)]);
    let (mine, yours) = (scene.departure_of(mine), scene.departure_of(yours));
    let booking = scene.book(&me, &mine, 4).await.unwrap();
    // More than there ever are is not waited for.
    assert_eq!(reason(&scene.wait_for(&you, "too-many", &yours, 5).await.unwrap_err()), "PARTY_SIZE");
    let request = pb::WatchDepartureRequest { departure_id: yours.clone() };
    let mut watched = scene.client().watch_departure(request).await.unwrap().into_inner();
    let first = watched.message().await.unwrap().unwrap().availability.unwrap();
    assert_eq!((first.seats_left, first.bookable), (0, false));
    scene.wait_for(&you, "wait", &yours, 3).await.unwrap();
    scene.cancel(&me, "back", &booking.id).await.unwrap();
    // At once: the offer was made where the units came free.
    assert_ne!(scene.waiting(&you, "").await[0].booking_id, "");
    let seen = async { while watched.message().await.unwrap().unwrap().availability.unwrap().seats_left != 1 {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), seen).await.unwrap();
    assert_eq!(scene.held_of(&pool).await, [0, 3, 3]);
    scene.promises_hold().await;
}
