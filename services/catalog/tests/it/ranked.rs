//! Searching by words when it is remembered which tours have them: nothing is shown that does not hold any more, and
//! nothing is left out.

use tourmesh::catalog::v1::{
    ArchiveTourRequest, CancelDepartureRequest, Option as WireOption, SearchToursRequest, SearchToursResponse, Tour,
    UpdateOptionRequest, UpdateTourRequest,
};
use tourmesh_testkit::bearer;

use crate::common::{House, a_tour, an_option, day, money, prices, text};

fn asked(query: &str) -> SearchToursRequest {
    SearchToursRequest { query: query.into(), ..Default::default() }
}

fn ids(found: &SearchToursResponse) -> Vec<String> {
    found.hits.iter().map(|h| h.tour.clone().unwrap().id).collect()
}

async fn change(house: &House, tour: &Tour, field: &str, to: &str) {
    let request = UpdateTourRequest {
        request_id: house.id(),
        tour_id: tour.id.clone(),
        tour: Some(Tour { title: text(to, ""), description: text(to, ""), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec![field.into()] }),
    };
    house.admin().update_tour(bearer(request, &house.staff)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tour_that_gains_or_loses_a_word_is_found_and_not_found_at_once() {
    let house = House::new().await;
    let supplier = house.supplier("Words").await;
    let (first, _) = house.on_sale(&supplier.id, a_tour("Lighthouse", ""), 10).await;
    let (second, _) = house.on_sale(&supplier.id, a_tour("Windmill", ""), 10).await;
    for _ in 0..2 {
        assert_eq!(ids(&house.search(asked("lighthouse")).await), [first.id.as_str()]);
        change(&house, &second, "title", "Windmill and lighthouse").await;
        assert_eq!(ids(&house.search(asked("lighthouse")).await).len(), 2);
        change(&house, &second, "title", "Windmill").await;
    }
    assert_eq!(ids(&house.search(asked("windmill")).await), [second.id.as_str()]);
    // One more, put on sale after it was remembered; and one that goes.
    let (third, _) = house.on_sale(&supplier.id, a_tour("Windmill of the hill", ""), 10).await;
    assert_eq!(ids(&house.search(asked("windmill")).await).len(), 2);
    let archive = ArchiveTourRequest { request_id: house.id(), tour_id: second.id.clone() };
    house.admin().archive_tour(bearer(archive, &house.staff)).await.unwrap();
    assert_eq!(ids(&house.search(asked("windmill")).await), [third.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_words_is_never_remembered() {
    let house = House::new().await;
    let supplier = house.supplier("Fresh").await;
    let (tour, option) = house.on_sale(&supplier.id, a_tour("Lagoon", ""), 10).await;
    let departure = house.departure(&option.id, &format!("{}T09:00", day(5)), 4).await;
    let dated = || SearchToursRequest { date_from: day(4), date_to: day(6), ..asked("lagoon") };
    let party = |party_size| SearchToursRequest { party_size, ..dated() };
    assert_eq!(ids(&house.search(dated()).await), [tour.id.as_str()]);
    assert_eq!(ids(&house.search(party(4)).await), [tour.id.as_str()]);
    assert_eq!(ids(&house.search(party(5)).await), [""; 0]);
    assert_eq!(house.search(asked("lagoon")).await.hits[0].from_price, money(10, 0, "EUR"));

    let request = UpdateOptionRequest {
        request_id: house.id(),
        option_id: option.id.clone(),
        option: Some(WireOption {
            price_lists: vec![prices(&[
                (tourmesh::common::v1::UnitType::Adult, 12),
                (tourmesh::common::v1::UnitType::Child, 6),
                (tourmesh::common::v1::UnitType::Infant, 0),
            ])],
            ..an_option(&tour.id, 12)
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["price_lists".into()] }),
    };
    house.admin().update_option(bearer(request, &house.staff)).await.unwrap();
    assert_eq!(house.search(asked("lagoon")).await.hits[0].from_price, money(12, 0, "EUR"));
    let cheap = SearchToursRequest { max_price: money(11, 0, "EUR"), ..asked("lagoon") };
    assert_eq!(ids(&house.search(cheap).await), [""; 0]);

    let cancel = CancelDepartureRequest { request_id: house.id(), departure_id: departure.id.clone() };
    house.admin().cancel_departure(bearer(cancel, &house.staff)).await.unwrap();
    assert_eq!(ids(&house.search(dated()).await), [""; 0]);
    assert_eq!(house.search(asked("lagoon")).await.hits[0].next_departure, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_were_written_before_and_committed_after_they_were_looked_for_are_found() {
    let house = House::new().await;
    let supplier = house.supplier("Late").await;
    let (first, _) = house.on_sale(&supplier.id, a_tour("Glacier", ""), 10).await;
    let (second, _) = house.on_sale(&supplier.id, a_tour("Meadow", ""), 10).await;
    let write = "UPDATE search SET words = search_words($2, '', '', '') WHERE tour_id = $1::text::uuid";
    let plain = second.id.trim_start_matches("tour_").to_owned();
    let mut late = house.pool.begin().await.unwrap();
    sqlx::query(write).bind(&plain).bind("Glacier meadow").execute(&mut *late).await.unwrap();
    for _ in 0..2 {
        assert_eq!(ids(&house.search(asked("glacier")).await), [first.id.as_str()]);
    }
    late.commit().await.unwrap();
    assert_eq!(ids(&house.search(asked("glacier")).await).len(), 2);
    assert_eq!(ids(&house.search(asked("glacier")).await).len(), 2);

    // It is the trigger's note that tells. Without it the words are those that are remembered.
    sqlx::query("ALTER TABLE search DISABLE TRIGGER search_words_changed").execute(&house.pool).await.unwrap();
    sqlx::query(write).bind(&plain).bind("Meadow").execute(&house.pool).await.unwrap();
    assert_eq!(ids(&house.search(asked("glacier")).await).len(), 2);
    sqlx::query("ALTER TABLE search ENABLE TRIGGER search_words_changed").execute(&house.pool).await.unwrap();
    sqlx::query(write).bind(&plain).bind("Meadow of flowers").execute(&house.pool).await.unwrap();
    assert_eq!(ids(&house.search(asked("glacier")).await), [first.id.as_str()]);

    // Rows of another server, whose transactions have numbers that are yet to come here, are neither old nor new.
    let foreign = "UPDATE search SET changed_in = (pg_current_xact_id()::text::bigint + 1000000)::text::xid8";
    sqlx::query(foreign).execute(&house.pool).await.unwrap();
    assert_eq!(ids(&house.search(asked("glacier")).await), [first.id.as_str()]);
    sqlx::query(write).bind(&plain).bind("Glacier of flowers").execute(&house.pool).await.unwrap();
    assert_eq!(ids(&house.search(asked("glacier")).await).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tours_than_are_remembered_come_all_and_in_order() {
    let house = House::new().await;
    let supplier = house.supplier("Crowd").await;
    let (tour, _) = house.on_sale(&supplier.id, a_tour("Harbour", ""), 10).await;
    let (last, option) = house.on_sale(&supplier.id, a_tour("Quiet bay", ""), 10).await;
    house.departure(&option.id, &format!("{}T09:00", day(5)), 4).await;
    change(&house, &last, "description", "A bay behind the harbour.").await;
    // 450 tours that have the word in their titles, and fit it therefore better than the one that mentions it.
    let copies = [
        "INSERT INTO tours (id, supplier_id, title_en, title_fr, description_en, description_fr, category, latitude,
                            longitude, country, time_zone, currency, state, created_at, updated_at)
         SELECT md5(n::text)::uuid, supplier_id, title_en, title_fr, description_en, description_fr, category, latitude,
                longitude, country, time_zone, currency, state, created_at, updated_at
         FROM tours, generate_series(1, 450) n WHERE title_en = 'Harbour'",
        "INSERT INTO search (tour_id, category, country, latitude, longitude, currency, from_price, time_zone,
                             title_en_key, title_fr_key, words)
         SELECT t.id, s.category, s.country, s.latitude, s.longitude, s.currency, s.from_price, s.time_zone,
                s.title_en_key, s.title_fr_key, s.words
         FROM search s, tours t WHERE s.title_en_key = 'harbour' AND t.title_en = 'Harbour' AND t.id <> s.tour_id",
    ];
    assert_eq!(ids(&house.search(asked("harbour")).await), [tour.id.as_str(), last.id.as_str()]);
    for copy in copies {
        sqlx::query(copy).execute(&house.pool).await.unwrap();
    }
    let expected: Vec<String> = sqlx::query_scalar(
        "SELECT replace(tour_id::text, '-', '') FROM search WHERE words @@ search_query('harbour')
         ORDER BY (ts_rank(words, search_query('harbour')) * -1000000)::integer, tour_id",
    )
    .fetch_all(&house.pool)
    .await
    .unwrap();
    assert_eq!(expected.len(), 452);
    for page_size in [7, 100] {
        let mut all = Vec::new();
        let mut request = SearchToursRequest { page_size, ..asked("harbour") };
        loop {
            let page = house.search(request.clone()).await;
            all.extend(ids(&page));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let all: Vec<_> = all.iter().map(|id| id.trim_start_matches("tour_").replace('-', "")).collect();
        assert_eq!(all, expected, "{page_size}");
    }
    // The only one with a departure is the last of all.
    let dated = SearchToursRequest { date_from: day(4), date_to: day(6), with_facets: true, ..asked("harbour") };
    let found = house.search(dated).await;
    assert_eq!((ids(&found), found.total), (vec![last.id.clone()], 1));
}
