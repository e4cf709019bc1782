use tourmesh::{catalog::v1::*, google::r#type::LatLng};
use crate::common::{House, day, money};
#[tokio::test(flavor = "multi_thread")]
async fn zz_measure() {
    let house = House::new().await;
    let db = tourmesh_kit::db::Db::of_env(&house.room.env()).unwrap();
    let t = std::time::Instant::now();
    let r = tourmesh_catalog::seed::seed(&db, tourmesh_catalog::seed::Wish::at(chrono::Utc::now()), |_, _| {}).await.unwrap();
    eprintln!("ZZ seed {r:?} {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let r = tourmesh_catalog::seed::seed(&db, tourmesh_catalog::seed::Wish::at(chrono::Utc::now()), |_, _| {}).await.unwrap();
    eprintln!("ZZ again {r:?} {:?}", t.elapsed());
    sqlx::query("ANALYZE").execute(&house.pool).await.unwrap();
    let n = SearchToursRequest::default;
    let near = Some(Near { center: Some(LatLng { latitude: 48.8, longitude: 2.3 }), radius_meters: 300_000 });
    for (what, request) in [
        ("browse", n()),
        ("browse+facets", SearchToursRequest { with_facets: true, ..n() }),
        ("rare word", SearchToursRequest { query: "chateau".into(), ..n() }),
        ("common word", SearchToursRequest { query: "guided walk".into(), ..n() }),
        ("typo", SearchToursRequest { query: "versaile gardns".into(), ..n() }),
        ("near", SearchToursRequest { near: near.clone(), ..n() }),
        ("dates", SearchToursRequest { date_from: day(10), date_to: day(12), ..n() }),
        ("dates far+party", SearchToursRequest { date_from: day(100), date_to: day(102), party_size: 4, ..n() }),
        ("price", SearchToursRequest { max_price: money(50, 0, "EUR"), order: SearchOrder::Price.into(), ..n() }),
        ("word+dates+facets", SearchToursRequest { query: "old town".into(), date_from: day(10), date_to: day(20), with_facets: true, ..n() }),
        ("country", SearchToursRequest { countries: vec!["FR".into()], ..n() }),
    ] {
        for _ in 0..30 { house.search(request.clone()).await; }
        let mut times = Vec::new();
        for _ in 0..200 {
            let t = std::time::Instant::now();
            house.search(request.clone()).await;
            times.push(t.elapsed());
        }
        times.sort();
        eprintln!("ZZ {what}: median {:?} p99 {:?}", times[100], times[197]);
    }
    let out: Vec<(i64, i64)> = sqlx::query_as("SELECT count(*), max(length(payload))::bigint FROM outbox").fetch_all(&house.pool).await.unwrap();
    eprintln!("ZZ outbox {out:?}");
    let t = std::time::Instant::now();
    let facets: Vec<String> = sqlx::query_scalar("EXPLAIN (ANALYZE) WITH hits AS (SELECT s.category, s.country FROM search s WHERE EXISTS (SELECT 1 FROM departures e WHERE e.tour_id = s.tour_id AND e.state = 1 AND e.local_start >= now()::timestamp + interval '10 days' AND e.starts_at > now() AND e.local_start < now()::timestamp + interval '12 days')) SELECT category, country, count(*) FROM hits GROUP BY GROUPING SETS ((category),(country),())").fetch_all(&house.pool).await.unwrap();
    eprintln!("ZZ {:?} {}", t.elapsed(), facets.join("\nZZ "));
}
