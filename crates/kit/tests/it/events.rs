//! Outbox to inbox: in order, each effect once, and what cannot be handled holds nobody up.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{TimeDelta, Utc};
use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use tourmesh::identity::v1::{User, UserRegistered};
use tourmesh_kit::{
    ApiError, ApiResult,
    db::Db,
    events::{Broker, Consumer, Event, Handler, Interest, Received, dead_letters, outbox, relay::Relay},
    readiness::Readiness,
    shutdown::Shutdown,
};
use tourmesh_testkit::{Room, World, eventually};

use crate::SCHEMA;

const CONSUMER: Consumer = Consumer { name: "kit-notes", domain: "kit", subjects: &["kit.note.made.*"] };

fn event(number: i64) -> Event {
    let user = User { full_name: number.to_string(), ..User::default() };
    Event::new(format!("kit.note.made.{number}"), &UserRegistered { user: Some(user) })
}

/// Notes each event's number; refuses 13 until it is `lucky`, and everything while it is `broken`.
#[derive(Default, Clone)]
struct Notes {
    broken: Arc<AtomicBool>,
    lucky: Arc<AtomicBool>,
    interest: Arc<Mutex<Option<Interest>>>,
}

impl Handler for Notes {
    fn handle<'a>(&'a self, tx: &'a mut PgConnection, events: &'a [Received]) -> BoxFuture<'a, ApiResult<()>> {
        Box::pin(async move {
            for event in events {
                let user = event.decode::<UserRegistered>()?.and_then(|e| e.user).unwrap_or_default();
                let number: i64 = user.full_name.parse().map_err(ApiError::internal)?;
                sqlx::query("INSERT INTO notes VALUES ($1, 'x')").bind(number).execute(&mut *tx).await?;
                if number == 13 && !self.lucky.load(Ordering::SeqCst) {
                    return Err(ApiError::internal("13 is unlucky"));
                }
            }
            if self.broken.load(Ordering::SeqCst) {
                return Err(ApiError::unavailable("the test", "broken"));
            }
            Ok(())
        })
    }

    fn interest<'a>(&'a self, _db: &'a Db) -> BoxFuture<'a, ApiResult<Interest>> {
        Box::pin(std::future::ready(Ok(self.interest.lock().unwrap().unwrap_or(Interest::All))))
    }
}

async fn start(room: &Room, handler: Notes) -> (Db, Shutdown) {
    let db = Db::of_env(&room.env()).unwrap();
    let broker = room.broker().await;
    let shutdown = Shutdown::new();
    tokio::spawn(
        Relay { db: db.clone(), broker: broker.clone(), domain: "kit", patience: PATIENCE }
            .run(Readiness::default(), shutdown.clone()),
    );
    tokio::spawn(CONSUMER.run(db.clone(), broker, handler, Readiness::default(), shutdown.clone()));
    (db, shutdown)
}

const PATIENCE: Duration = Duration::from_millis(100);

async fn append(db: &Db, numbers: impl IntoIterator<Item = i64>) {
    let events: Vec<Event> = numbers.into_iter().map(event).collect();
    db.write(move |tx| {
        let events = events.clone();
        Box::pin(async move { outbox::append(tx, &events).await })
    })
    .await
    .unwrap();
}

/// Sends all events of the outbox with their own ids, under message ids that the stream has not seen.
async fn republish_everything(room: &Room) {
    let events: Vec<(uuid::Uuid, String, String, Vec<u8>)> =
        sqlx::query_as("SELECT id, type, subject, payload FROM outbox").fetch_all(&room.pool().await).await.unwrap();
    let broker = room.broker().await;
    for (id, kind, subject, payload) in events {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("ce-id", id.to_string());
        headers.insert("ce-type", kind);
        broker
            .jetstream()
            .publish_with_headers(broker.subject(&subject), headers, payload.into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
}

async fn noted(db: &Db) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(db.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_takes_effect_exactly_once_singly_and_in_batches() {
    let room = World::get().await.room("kit", &SCHEMA).await;
    let (db, shutdown) = start(&room, Notes::default()).await;
    // One by one: the relay publishes single messages. The primary key of `notes` would refuse a second effect.
    for number in 100..120 {
        append(&db, [number]).await;
    }
    // At once: an atomic batch.
    append(&db, 1000..2000).await;
    eventually(|| async { noted(&db).await == 1020 }).await;
    // The same events again, when neither the relay nor the stream remembers them: the inbox alone stops them.
    let mut stream = room.broker().await.stream("kit").await.unwrap();
    let before = stream.info().await.unwrap().state.messages;
    republish_everything(&room).await;
    append(&db, [5000]).await;
    eventually(|| async { noted(&db).await == 1021 }).await;
    assert!(stream.info().await.unwrap().state.messages > before + 1000, "the stream took them all once more");
    let waiting = "SELECT count(*) FROM outbox_waiting";
    eventually(|| async { sqlx::query_scalar::<_, i64>(waiting).fetch_one(db.pool()).await.unwrap() == 0 }).await;
    assert_eq!(noted(&db).await, 1021);
    shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_event_becomes_a_dead_letter_and_holds_nobody_up() {
    let room = World::get().await.room("kit", &SCHEMA).await;
    let handler = Notes::default();
    let (db, shutdown) = start(&room, handler.clone()).await;
    append(&db, 0..40).await;
    eventually(|| async { noted(&db).await == 39 }).await;
    let broker = room.broker().await;
    eventually(|| async {
        let mut stream = broker.stream("deadletter").await.unwrap();
        stream.info().await.unwrap().state.messages == 1
    })
    .await;
    // Once the fault is mended it can be tried again, and leaves the list.
    let letters = dead_letters::list(&broker, 0, 10).await.unwrap();
    assert_eq!((letters[0].consumer.as_str(), letters[0].subject.as_str()), ("kit-notes", "kit.note.made.13"));
    handler.lucky.store(true, Ordering::SeqCst);
    dead_letters::replay(&broker, &letters[0]).await.unwrap();
    eventually(|| async { noted(&db).await == 40 }).await;
    assert!(dead_letters::list(&broker, 0, 10).await.unwrap().is_empty());
    shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_tried_until_it_can() {
    let room = World::get().await.room("kit", &SCHEMA).await;
    let handler = Notes::default();
    handler.broken.store(true, Ordering::SeqCst);
    let (db, shutdown) = start(&room, handler.clone()).await;
    append(&db, 100..105).await;
    // Longer than five deliveries take: what was tried in vain is not counted out.
    tokio::time::sleep(Duration::from_millis(4500)).await;
    assert_eq!(noted(&db).await, 0);
    handler.broken.store(false, Ordering::SeqCst);
    eventually(|| async { noted(&db).await == 5 }).await;
    let dead = room.broker().await.stream("deadletter").await.unwrap().info().await.unwrap().state.messages;
    assert_eq!(dead, 0);
    shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_publish_each_event_once_and_one_takes_over_when_the_other_stops() {
    let room = World::get().await.room("kit", &SCHEMA).await;
    let (first, stop_first) = start(&room, Notes::default()).await;
    let (second, stop_second) = start(&room, Notes::default()).await;
    append(&first, 100..200).await;
    append(&second, 200..300).await;
    eventually(|| async { noted(&first).await == 200 }).await;
    stop_first.trigger();
    append(&second, 300..350).await;
    eventually(|| async { noted(&second).await == 250 }).await;
    stop_second.trigger();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_commits_after_a_later_one_is_published_also_by_the_next_relay() {
    let room = World::get().await.room("kit", &SCHEMA).await;
    let (db, shutdown) = start(&room, Notes::default()).await;
    let (mut slow, mut slower) = (db.pool().begin().await.unwrap(), db.pool().begin().await.unwrap());
    outbox::append(&mut slow, &[event(1)]).await.unwrap();
    outbox::append(&mut slower, &[event(2)]).await.unwrap();
    append(&db, 100..150).await;
    eventually(|| async { noted(&db).await == 50 }).await;
    slow.commit().await.unwrap();
    eventually(|| async { noted(&db).await == 51 }).await;
    shutdown.trigger();
    // Well after the gap is old: it is not forgotten while its transaction is open.
    tokio::time::sleep(PATIENCE * 5).await;
    let (db, shutdown) = start(&room, Notes::default()).await;
    append(&db, [200]).await;
    eventually(|| async { noted(&db).await == 52 }).await;
    tokio::time::sleep(PATIENCE * 10).await;
    slower.commit().await.unwrap();
    eventually(|| async { noted(&db).await == 53 }).await;
    shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_were_rolled_back_are_forgotten() {
    let room = World::get().await.room("kit", &SCHEMA).await;
    let (db, shutdown) = start(&room, Notes::default()).await;
    let mut undone = db.pool().begin().await.unwrap();
    outbox::append(&mut undone, &[event(1), event(2), event(3)]).await.unwrap();
    append(&db, [100]).await;
    eventually(|| async { noted(&db).await == 1 }).await;
    let gaps = || async {
        sqlx::query_scalar::<_, i32>("SELECT cardinality(gaps) FROM outbox_cursor").fetch_one(db.pool()).await.unwrap()
    };
    eventually(|| async { gaps().await == 3 }).await;
    undone.rollback().await.unwrap();
    eventually(|| async { gaps().await == 0 }).await;
    append(&db, [200]).await;
    eventually(|| async { noted(&db).await == 2 }).await;
    shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_interest_costs_the_broker_nothing_and_hears_of_everything_since_it_began() {
    let world = World::get().await;
    let room = world.room("kit", &SCHEMA).await;
    let handler = Notes::default();
    let mind = |interest| *handler.interest.lock().unwrap() = Some(interest);
    mind(Interest::None);
    let (db, shutdown) = start(&room, handler.clone()).await;
    let broker = room.broker().await;
    let is_there = async || {
        let stream = broker.jetstream().get_stream(broker.stream_name("kit")).await.unwrap();
        stream.consumer_info(CONSUMER.name).await.is_ok()
    };
    let old = Utc::now();
    append(&db, 1..=3).await;
    eventually(|| async { told(&broker).await == 3 }).await;
    // Longer than clocks may differ.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!is_there().await && noted(&db).await == 0);

    let begun = Utc::now();
    append(&db, 4..=6).await;
    eventually(|| async { told(&broker).await == 6 }).await;
    mind(Interest::Since(begun));
    eventually(|| async { noted(&db).await == 3 }).await;
    append(&db, 7..=9).await;
    eventually(|| async { noted(&db).await == 6 }).await;

    // An older beginning is known as well where the consumer is there already.
    mind(Interest::Since(old - TimeDelta::days(1)));
    append(&db, 10..=10).await;
    eventually(|| async { noted(&db).await == 7 }).await;

    mind(Interest::None);
    let mut number = 20;
    while is_there().await {
        append(&db, number..=number).await;
        number += 1;
        assert!(number < 100, "the consumer is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shutdown.trigger();
}

/// How many events the stream has.
async fn told(broker: &Broker) -> u64 {
    broker.stream("kit").await.unwrap().get_info().await.unwrap().state.messages
}
