//! A random mix of everything at once, on two replicas: the promises hold while it runs and afterwards.

use std::{collections::hash_map::RandomState, hash::BuildHasher as _, sync::Arc};

use futures_util::future::join_all;
use tourmesh::booking::v1::{self as pb, booking_service_client::BookingServiceClient};
use tourmesh_testkit::{eventually, reason};

use crate::{
    pools::share,
    scene::{Scene, create, wish},
};

/// A small generator whose seed can be printed and given again (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn held_equals_the_seats_of_the_bookings_after_any_mix() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| RandomState::new().hash_one(0) | 1);
    // Shown when the test fails: SEED=… runs the same dice again.
    eprintln!("SEED={seed}");
    let scene = Arc::new(Scene::with(&[("MAX_OPEN_HOLDS", "1000")]).await);
    let other = scene.replica().await;
    let mut tour = scene.offer(12);
    // All of them leave at the same time and share: 40 helmets, and a guide for every five guests, of whom there are nine.
    let (helmets, guides) = (scene.a_pool(40, 15), scene.a_pool(9, 60));
    share(&mut tour, &[(&helmets, 1, 1), (&guides, 1, 5)]);
    let departures: Arc<Vec<String>> = Arc::new(
        (0..4)
            .map(|i| {
                let mut offer = scene.another(&tour, 3_000 - 500 * (i % 3), 12);
                // On some the holds run out while the mix is going on.
                offer.hold_seconds = if i % 2 == 0 { 1 } else { 0 };
                scene.departure_of(offer)
            })
            .collect(),
    );
    let people = (0..12).map(|i| {
        let (scene, departures) = (scene.clone(), departures.clone());
        let client = if i % 2 == 0 { scene.client() } else { BookingServiceClient::new(other.channel()) };
        tokio::spawn(async move { wander(&scene, client, &departures, Dice(seed.wrapping_add(i * 7_919) | 1)).await })
    });
    for person in join_all(people).await {
        person.unwrap();
    }
    scene.promises_hold().await;
    // What ran out goes, what was captured is confirmed or goes back: then everything is settled.
    eventually(|| async {
        let open: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM bookings WHERE state = 'ON_HOLD' AND hold_expires_at < now())
                  + (SELECT count(*) FROM refund_tasks WHERE done_at IS NULL)",
        )
        .fetch_one(&scene.pool)
        .await
        .unwrap();
        open == 0
    })
    .await;
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_killed_in_the_middle_of_a_rush_loses_no_answered_hold_and_repeats_find_theirs() {
    let mut scene = Scene::with(&[("MAX_OPEN_HOLDS", "1000")]).await;
    let me = scene.traveller();
    let departures: Vec<String> = (0..3).map(|_| scene.departure(1_000)).collect();
    let mut answered: Vec<(usize, String)> = Vec::new();
    for round in 0..3 {
        let calls = (0..120).map(|i| {
            let (client, me, departure) = (scene.client(), me.clone(), departures[i % 3].clone());
            let request = wish(&format!("{round}.{i}"), &departure, 1);
            tokio::spawn(async move { create(client, &me, request).await })
        });
        let calls: Vec<_> = calls.collect();
        tokio::time::sleep(std::time::Duration::from_millis(30 + 40 * round)).await;
        let next = scene.replica().await;
        std::mem::replace(&mut scene.running, next).kill().await;
        for (i, call) in calls.into_iter().enumerate() {
            if let Ok(booking) = call.await.unwrap() {
                answered.push((i, booking.id.clone()));
                assert_eq!(scene.get(&me, &booking.id).await.unwrap(), booking);
            }
        }
        // Who got no answer asks again, and so does everybody else: each has exactly one booking.
        for i in 0..120 {
            let again = scene.book_as(&me, &format!("{round}.{i}"), &departures[i % 3], 1).await.unwrap();
            assert!(answered.iter().all(|(n, id)| *n != i || *id == again.id));
        }
        answered.clear();
        let bookings: i64 = sqlx::query_scalar("SELECT count(*) FROM bookings").fetch_one(&scene.pool).await.unwrap();
        assert_eq!(bookings, 120 * (i64::try_from(round).unwrap() + 1));
        scene.promises_hold().await;
    }
}

async fn wander(
    scene: &Scene,
    client: BookingServiceClient<tonic::transport::Channel>,
    departures: &[String],
    mut dice: Dice,
) {
    let me = scene.traveller();
    let staff = scene.staff();
    let mut mine: Vec<pb::Booking> = Vec::new();
    for step in 0..40 {
        let request_id = format!("r{step}");
        let one = mine.get(usize::try_from(dice.roll(mine.len().max(1) as u64)).unwrap()).cloned();
        match (dice.roll(14), one) {
            (0..4, _) | (_, None) => {
                let departure = &departures[usize::try_from(dice.roll(departures.len() as u64)).unwrap()];
                let seats = i32::try_from(dice.roll(4)).unwrap() + 1;
                match create(client.clone(), &me, wish(&request_id, departure, seats)).await {
                    Ok(booking) => mine.push(booking),
                    Err(status) => {
                        assert_eq!(reason(&status), "DEPARTURE_SOLD_OUT", "{status:?}");
                        let _ = scene.wait_for(&me, &request_id, departure, seats).await;
                    }
                }
            }
            (4..7, Some(booking)) => {
                let method = ["card_ok", "card_later"][usize::try_from(dice.roll(2)).unwrap()];
                if scene.confirm(&me, &request_id, &booking.id, method).await.is_ok() {
                    let payment = scene.payment_of(&booking.id);
                    scene.captured(&payment).await;
                }
            }
            (7..9, Some(booking)) => {
                let who = if dice.roll(2) == 0 { &me } else { &staff };
                let _ = scene.cancel(who, &request_id, &booking.id).await;
            }
            (12, _) if dice.roll(2) == 0 => {
                let tour = scene.catalog.get(&departures[0]).departure.unwrap().tour_id;
                let seats = i32::try_from(dice.roll(4)).unwrap() + 1;
                let _ = scene.wait_for_tour(&me, &request_id, &tour, seats, ("", "")).await;
            }
            (12, _) => {
                let line = scene.waiting(&me, "").await;
                if let Some(entry) = line.last() {
                    let _ = scene.give_up(&me, &request_id, &entry.id).await;
                }
            }
            (10..12, Some(booking)) => {
                let departure = &departures[usize::try_from(dice.roll(departures.len() as u64)).unwrap()];
                // Where it costs more it is paid for: at once, too late, or never.
                let method = ["card_ok", "card_action", "card_declined"][usize::try_from(dice.roll(3)).unwrap()];
                let answer = scene.pay_move(&me, &request_id, &booking.id, departure, None, method).await;
                if let Some(paid) = answer.ok().and_then(|a| a.r#move)
                    && dice.roll(4) > 0
                {
                    let payment = scene.payment_for(&paid);
                    let captured = payment.amount.clone();
                    scene.captured(&tourmesh::payment::v1::Payment { captured, ..payment }).await;
                }
            }
            (9, Some(booking)) => {
                let item = &booking.items[usize::try_from(dice.roll(booking.items.len() as u64)).unwrap()].id;
                let _ = scene.leave(&me, &request_id, &booking.id, &[item]).await;
            }
            (_, Some(booking)) => {
                let now = scene.get(&me, &booking.id).await.unwrap();
                if let Some(item) = now.items.iter().find(|i| !i.voucher_code.is_empty() && i.cancelled_at.is_none()) {
                    let _ = scene.redeem(&staff, &request_id, &item.voucher_code).await;
                }
            }
        }
    }
}
