//! Real places: the same everywhere, and added once.

use chrono::{DateTime, TimeDelta, Utc};
use tourmesh::catalog::v1::{Departure, DeparturesScheduled, SearchToursRequest};
use tourmesh_catalog::seed::{SeedReport, Wish, seed};
use tourmesh_kit::db::Db;

use crate::common::House;

fn wish(now: DateTime<Utc>, sites: usize) -> Wish {
    Wish { sites: Some(sites), ..Wish::at(now) }
}

async fn run(house: &House, wish: Wish) -> SeedReport {
    seed(&Db::of_env(&house.room.env()).unwrap(), wish, |_, _| {}).await.unwrap()
}

/// Everything that is seeded, but the moment at which it was.
async fn content(house: &House) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT (to_jsonb(t) - 'created_at' - 'updated_at')::text FROM tours t
         UNION ALL SELECT (to_jsonb(o) - 'created_at')::text FROM options o
         UNION ALL SELECT (to_jsonb(s) - 'created_at')::text FROM schedules s
         UNION ALL SELECT to_jsonb(d)::text FROM departures d
         UNION ALL SELECT (to_jsonb(s) - 'created_at')::text FROM suppliers s ORDER BY 1",
    )
    .fetch_all(&house.pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_is_the_same_everywhere_and_adds_nothing_the_second_time() {
    let (one, other) = tokio::join!(House::new(), House::new());
    let now = Utc::now();
    let report = run(&one, wish(now, 60)).await;
    assert_eq!(report.tours, 60);
    assert!(report.departures > 60 * 50, "{report:?}");
    assert_eq!(report.new, report.tours + report.departures);
    run(&other, wish(now, 60)).await;
    assert_eq!(content(&one).await, content(&other).await);

    let events = one.events("catalog.").await;
    let again = run(&one, wish(now, 60)).await;
    assert_eq!(again, SeedReport { new: 0, ..report });
    assert_eq!(one.events("catalog.").await, events);
    assert_eq!(content(&one).await, content(&other).await);

    // A week later the departures of a week are added, once.
    let later = run(&one, wish(now + TimeDelta::days(7), 60)).await;
    assert!(later.new > 60 && later.new < 60 * 20, "{later:?}");
    assert_eq!(later.departures, report.departures + later.new);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_seeded_tour_and_departure_is_told_once() {
    let house = House::new().await;
    run(&house, wish(Utc::now(), 30)).await;
    assert_eq!(house.events("catalog.tour.published.").await.len(), 30);
    let payloads: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT payload FROM outbox WHERE subject LIKE 'catalog.departure.scheduled.%'")
            .fetch_all(&house.pool)
            .await
            .unwrap();
    let mut told: Vec<Departure> = Vec::new();
    for payload in payloads {
        let message: DeparturesScheduled = prost::Message::decode(payload.as_slice()).unwrap();
        assert!(message.departures.len() <= 400);
        assert!(message.departures.iter().all(|d| d.tour_id == message.tour_id));
        told.extend(message.departures);
    }
    let mut ids: Vec<_> = told.iter().map(|d| d.id.trim_start_matches("dep_").to_owned()).collect();
    ids.sort_unstable();
    let stored: Vec<String> = sqlx::query_scalar("SELECT replace(id::text, '-', '') FROM departures ORDER BY 1")
        .fetch_all(&house.pool)
        .await
        .unwrap();
    assert_eq!(ids, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_world_is_seeded_quickly_and_found_in_both_languages() {
    let house = House::new().await;
    let begun = std::time::Instant::now();
    let mut steps = Vec::new();
    let db = Db::of_env(&house.room.env()).unwrap();
    let report = seed(&db, Wish::at(Utc::now()), |done, total| steps.push((done, total))).await.unwrap();
    assert_eq!(report.tours, 1_121);
    assert!(report.departures > 100_000, "{report:?}");
    assert_eq!((steps[0], *steps.last().unwrap()), ((0, 1_121), (1_121, 1_121)));
    assert!(begun.elapsed().as_secs() < 120, "{:?}", begun.elapsed());
    for (query, place) in [
        ("chateau versailles", "Versailles"),
        ("château de versailles", "Versailles"),
        ("chateau de la loire", "Loire"),
        ("vieille ville de Jérusalem", "Jerusalem"),
        ("old city jerusalem", "Jerusalem"),
        ("great barier reef", "Great Barrier Reef"),
        ("versaille", "Versailles"),
        ("taj mahal", "Taj Mahal"),
    ] {
        let found = house.search(SearchToursRequest { query: query.into(), ..Default::default() }).await;
        let titles: Vec<_> = found.hits.into_iter().map(|h| h.tour.unwrap().title.unwrap().en).collect();
        assert!(titles.iter().any(|t| t.contains(place)), "{query}: {titles:?}");
    }
    let all = house.search(SearchToursRequest { with_facets: true, ..Default::default() }).await;
    assert_eq!(all.total, 1_121);
    assert!(all.hits.iter().all(|h| !h.next_departure.is_empty() && h.from_price.is_some()));
    assert_eq!(all.category_facets.iter().map(|f| f.count).sum::<i32>(), 1_121);
}
