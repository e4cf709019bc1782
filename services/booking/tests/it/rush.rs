//! The rush: everybody wants the same seats at the same moment, from one replica and from five.
//!
//! `TOURMESH_TEST_LONG=1` runs the sizes of the promise itself (10,000 buyers and 100 rounds; 1,000,000 attempts); without
//! it the same tests run smaller.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tonic::{Status, transport::Channel};
use tourmesh::booking::v1::{self as pb, booking_service_client::BookingServiceClient};
use tourmesh_testkit::reason;

use crate::scene::{Person, Scene, create, uuid, wish};

fn long() -> bool {
    std::env::var_os("TOURMESH_TEST_LONG").is_some()
}

/// Asks until there is an answer: a server that has too much to do says so at once, and that is no answer.
async fn attempt(
    client: &BookingServiceClient<Channel>,
    person: &Person,
    request: &pb::CreateBookingRequest,
) -> Result<pb::Booking, Status> {
    loop {
        match create(client.clone(), person, request.clone()).await {
            Err(status) if reason(&status) == "OVERLOADED" => tokio::time::sleep(Duration::from_millis(5)).await,
            answer => return answer,
        }
    }
}

/// Calls `once` with 0 .. `times`, by so many at the same time.
async fn at_once<F, Fut>(times: usize, workers: usize, once: F)
where
    F: Fn(usize) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let workers = (0..workers).map(|_| {
        let (next, once) = (next.clone(), once.clone());
        tokio::spawn(async move {
            loop {
                let turn = next.fetch_add(1, Ordering::SeqCst);
                if turn >= times {
                    return;
                }
                once(turn).await;
            }
        })
    });
    for worker in join_all(workers).await {
        worker.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_seat_has_one_winner_however_many_want_it() {
    let (buyers, rounds) = if long() { (10_000, 100) } else { (1_000, 10) };
    let scene = Scene::new().await;
    let people: Arc<Vec<Person>> = Arc::new((0..buyers).map(|_| scene.traveller()).collect());
    let clients: Arc<Vec<_>> = Arc::new((0..8).map(|_| scene.client()).collect());
    let begun = Instant::now();
    for round in 0..rounds {
        let departure = scene.departure(1);
        let (won, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (to, counts) = (departure.clone(), (won.clone(), lost.clone()));
        let (people, clients) = (people.clone(), clients.clone());
        // All of them are under way before the first is answered.
        at_once(buyers, buyers, move |buyer| {
            let request = wish(&format!("round-{round}"), &to, 1);
            let (person, client) = (people[buyer].clone(), clients[buyer % clients.len()].clone());
            let (won, lost) = counts.clone();
            async move {
                match attempt(&client, &person, &request).await {
                    Ok(_) => won.fetch_add(1, Ordering::SeqCst),
                    Err(status) => {
                        assert_eq!(reason(&status), "DEPARTURE_SOLD_OUT", "{status:?}");
                        lost.fetch_add(1, Ordering::SeqCst)
                    }
                };
            }
        })
        .await;
        assert_eq!((won.load(Ordering::SeqCst), lost.load(Ordering::SeqCst)), (1, buyers - 1), "round {round}");
        assert_eq!(scene.seats_left(&departure).await, 0);
    }
    println!("{rounds} rounds of {buyers} buyers in {:?}", begun.elapsed());
    let sold: i64 = sqlx::query_scalar("SELECT count(*) FROM bookings").fetch_one(&scene.pool).await.unwrap();
    assert_eq!(sold, rounds);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_replicas_sell_five_hundred_seats_to_the_seat() {
    let attempts = if long() { 1_000_000 } else { 50_000 };
    let scene = Arc::new(Scene::with(&[("MAX_OPEN_HOLDS", "1000000")]).await);
    let mut replicas = Vec::new();
    for _ in 0..4 {
        replicas.push(scene.replica().await);
    }
    let departure = scene.departure(500);
    let clients: Arc<Vec<_>> = Arc::new(
        std::iter::once(&scene.running)
            .chain(&replicas)
            .flat_map(|replica| [replica.channel(), replica.channel()])
            .map(BookingServiceClient::new)
            .collect(),
    );
    let people: Arc<Vec<Person>> = Arc::new((0..200).map(|_| scene.traveller()).collect());

    // Whoever looks while it is going on sees no seat too many.
    let over = Arc::new(AtomicBool::new(false));
    let looking = tokio::spawn({
        let (scene, over, id) = (scene.clone(), over.clone(), uuid(&departure));
        async move {
            let mut looks = 0;
            while !over.load(Ordering::SeqCst) {
                let most: Result<Option<(i32, i64)>, sqlx::Error> = sqlx::query_as(
                    "SELECT held, (SELECT coalesce(sum(seats), 0)::bigint FROM bookings WHERE departure_id = d.id
                                   AND state IN ('ON_HOLD', 'CONFIRMED', 'REDEEMED'))
                     FROM departures d WHERE id = $1",
                )
                .bind(id)
                .fetch_optional(&scene.pool)
                .await;
                // Who looks is as busy as everybody else: a connection that did not come in time shows nothing.
                let most = most.or_else(|e| if matches!(e, sqlx::Error::PoolTimedOut) { Ok(None) } else { Err(e) });
                if let Some((held, booked)) = most.unwrap() {
                    assert!(held <= 500 && i64::from(held) == booked, "held {held}, booked {booked}");
                    looks += 1;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            looks
        }
    });

    let begun = Instant::now();
    let seats = Arc::new(AtomicUsize::new(0));
    let (to, sold) = (departure.clone(), seats.clone());
    at_once(attempts, 512, move |turn| {
        // Parties of three, two and one; the ones fill what the others leave.
        let request = wish(&format!("r{turn}"), &to, 3 - i32::try_from(turn % 3).unwrap());
        let person = people[turn % people.len()].clone();
        // Neighbouring attempts go to different replicas, and every sixteenth is made twice, at two of them.
        let first = clients[turn % clients.len()].clone();
        let second = (turn % 16 == 0).then(|| clients[(turn + 3) % clients.len()].clone());
        let sold = sold.clone();
        async move {
            let answers = match second {
                None => vec![attempt(&first, &person, &request).await],
                Some(second) => {
                    let (a, b) = tokio::join!(attempt(&first, &person, &request), attempt(&second, &person, &request));
                    vec![a, b]
                }
            };
            let booked: Vec<&pb::Booking> = answers.iter().flatten().collect();
            if let Some(booking) = booked.first() {
                assert!(booked.len() == answers.len() && booked.iter().all(|b| b == booking), "{answers:?}");
                sold.fetch_add(usize::try_from(booking.seats).unwrap(), Ordering::SeqCst);
            }
            for status in answers.iter().filter_map(|a| a.as_ref().err()) {
                assert_eq!(reason(status), "DEPARTURE_SOLD_OUT", "{status:?}");
            }
        }
    })
    .await;
    over.store(true, Ordering::SeqCst);
    let looks: u32 = looking.await.unwrap();
    assert!(looks > 0, "nobody looked while seats were sold");
    println!("{attempts} attempts at five replicas in {:?}, looked at {looks} times meanwhile", begun.elapsed());

    // What callers were told, what the departure says and what the bookings have is the same, to the seat.
    assert_eq!(seats.load(Ordering::SeqCst), 500);
    let (held, booked): (i32, i64) = sqlx::query_as(
        "SELECT d.held, sum(b.seats)::bigint FROM departures d JOIN bookings b ON b.departure_id = d.id
         WHERE d.id = $1 AND b.state = 'ON_HOLD' GROUP BY d.held",
    )
    .bind(uuid(&departure))
    .fetch_one(&scene.pool)
    .await
    .unwrap();
    assert_eq!((held, booked), (500, 500));
    assert_eq!(scene.seats_left(&departure).await, 0);
    scene.promises_hold().await;
}
