//! SearchTours: what is found, in which order, page by page.

use tonic::Code;
use tourmesh::{
    catalog::v1::{
        FacetCount, Near, Option as WireOption, SearchOrder, SearchToursRequest, SearchToursResponse, Supplier, Tour,
        TourCategory, UpdateOptionRequest,
    },
    google::r#type::LatLng,
};
use tourmesh_testkit::{bearer, reason};

use crate::common::{House, a_tour, an_option, day, money};

fn titles(found: &SearchToursResponse) -> Vec<String> {
    found.hits.iter().map(|h| h.tour.clone().unwrap().title.unwrap().en).collect()
}

fn asked(query: &str) -> SearchToursRequest {
    SearchToursRequest { query: query.into(), ..Default::default() }
}

fn place(latitude: f64, longitude: f64) -> Option<LatLng> {
    Some(LatLng { latitude, longitude })
}

/// Four tours that differ in everything.
async fn four(house: &House) -> Supplier {
    let supplier = house.supplier("Four Tours").await;
    let castle = a_tour("Castle of the Loire", "Château de la Loire");
    let (castle, _) = house.on_sale(&supplier.id, castle, 30).await;
    let option = &castle.options[0];
    house.departure(&option.id, &format!("{}T09:00", day(3)), 10).await;
    house.departure(&option.id, &format!("{}T09:00", day(10)), 10).await;
    let abbey = Tour {
        category: TourCategory::DayTrip.into(),
        location: place(48.636, -1.511),
        ..a_tour("Abbey on the rock", "Abbaye sur le rocher")
    };
    let (abbey, _) = house.on_sale(&supplier.id, abbey, 80).await;
    house.departure(&abbey.options[0].id, &format!("{}T08:00", day(5)), 4).await;
    let island = Tour {
        category: TourCategory::MultiDay.into(),
        location: place(-17.0, 179.9),
        country: "FJ".into(),
        time_zone: "Pacific/Fiji".into(),
        ..a_tour("Island of reefs", "Île aux récifs")
    };
    house.on_sale(&supplier.id, island, 500).await;
    let swiss = Tour {
        currency: "CHF".into(),
        country: "CH".into(),
        location: place(46.5, 7.9),
        time_zone: "Europe/Zurich".into(),
        ..a_tour("Alpine lake", "")
    };
    let swiss = house.draft(&supplier.id, swiss).await;
    let mut option = an_option(&swiss.id, 40);
    for price in &mut option.price_lists[0].prices {
        price.price.as_mut().unwrap().currency_code = "CHF".into();
    }
    house.option(option).await;
    house.try_publish(&swiss.id).await.unwrap();
    supplier
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_finds_what_it_says() {
    let house = House::new().await;
    four(&house).await;
    let near = |latitude, longitude, radius_meters| Some(Near { center: place(latitude, longitude), radius_meters });
    let none = SearchToursRequest::default;
    let cases = [
        ("accents are forgiven", asked("chateau"), vec!["Castle of the Loire"]),
        ("and in the text that is given", asked("châtéau"), vec!["Castle of the Loire"]),
        ("other forms of a word", asked("castles"), vec!["Castle of the Loire"]),
        ("French forms", asked("récif"), vec!["Island of reefs"]),
        ("capitals", asked("ABBEY"), vec!["Abbey on the rock"]),
        ("a typing error", asked("abey rok"), vec!["Abbey on the rock"]),
        ("one word too many", asked("castle volcano"), vec!["Castle of the Loire"]),
        ("nothing like it", asked("xylophone"), vec![]),
        ("signs only", asked("&|!:*()'"), vec![]),
        ("near", SearchToursRequest { near: near(48.8, 2.3, 20_000), ..none() }, vec!["Castle of the Loire"]),
        ("not near", SearchToursRequest { near: near(48.8, 2.3, 2_000), ..none() }, vec![]),
        (
            "nearest first",
            SearchToursRequest { near: near(48.8, 2.3, 400_000), ..none() },
            vec!["Castle of the Loire", "Abbey on the rock"],
        ),
        (
            "over the date line",
            SearchToursRequest { near: near(-17.0, -179.9, 50_000), ..none() },
            vec!["Island of reefs"],
        ),
        (
            "country",
            SearchToursRequest { countries: vec!["FJ".into(), "CH".into()], ..none() },
            vec!["Alpine lake", "Island of reefs"],
        ),
        (
            "category",
            SearchToursRequest { categories: vec![TourCategory::DayTrip.into()], ..none() },
            vec!["Abbey on the rock"],
        ),
        (
            "price, in its currency only",
            SearchToursRequest { max_price: money(100, 0, "EUR"), ..none() },
            vec!["Abbey on the rock", "Castle of the Loire"],
        ),
        (
            "price range",
            SearchToursRequest { min_price: money(30, 10_000_000, "EUR"), max_price: money(80, 0, "EUR"), ..none() },
            vec!["Abbey on the rock"],
        ),
        ("dates", SearchToursRequest { date_from: day(4), date_to: day(6), ..none() }, vec!["Abbey on the rock"]),
        ("dates without an end", SearchToursRequest { date_from: day(6), ..none() }, vec!["Castle of the Loire"]),
        (
            "the last day counts",
            SearchToursRequest { date_from: day(10), date_to: day(10), ..none() },
            vec!["Castle of the Loire"],
        ),
        ("party", SearchToursRequest { party_size: 5, ..none() }, vec!["Castle of the Loire"]),
        (
            "cheapest first",
            SearchToursRequest { order: SearchOrder::Price.into(), ..none() },
            vec!["Alpine lake", "Castle of the Loire", "Abbey on the rock", "Island of reefs"],
        ),
        (
            "by French title, which falls back to English",
            SearchToursRequest { language: "fr".into(), ..none() },
            vec!["Abbey on the rock", "Alpine lake", "Castle of the Loire", "Island of reefs"],
        ),
        (
            "all together",
            SearchToursRequest {
                near: near(48.8, 2.3, 400_000),
                date_from: day(1),
                date_to: day(6),
                party_size: 2,
                max_price: money(50, 0, "EUR"),
                categories: vec![TourCategory::GuidedWalk.into()],
                countries: vec!["FR".into()],
                ..asked("castle")
            },
            vec!["Castle of the Loire"],
        ),
    ];
    for (what, request, expected) in cases {
        let found = house.search(SearchToursRequest { with_facets: true, ..request }).await;
        assert_eq!(titles(&found), expected, "{what}");
        assert_eq!(usize::try_from(found.total).unwrap(), expected.len(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_says_price_distance_and_next_departure_and_facets_count_all_pages() {
    let house = House::new().await;
    four(&house).await;
    let near = Some(Near { center: place(48.8584, 2.3945), radius_meters: 100_000 });
    let found = house.search(SearchToursRequest { near, date_from: day(4), ..Default::default() }).await;
    let hit = &found.hits[0];
    assert_eq!(hit.next_departure, format!("{}T09:00", day(10)));
    assert_eq!(hit.from_price, money(30, 0, "EUR"));
    assert!((7_300..7_330).contains(&hit.distance_meters), "{}", hit.distance_meters);
    assert!(hit.tour.as_ref().unwrap().options.is_empty());

    let found = house.search(SearchToursRequest { with_facets: true, page_size: 1, ..Default::default() }).await;
    let facet = |value: &str, count| FacetCount { value: value.into(), count };
    assert_eq!(found.total, 4);
    assert_eq!(found.category_facets, [facet("GUIDED_WALK", 2), facet("DAY_TRIP", 1), facet("MULTI_DAY", 1)]);
    assert_eq!(found.country_facets, [facet("FR", 2), facet("CH", 1), facet("FJ", 1)]);
    assert_eq!(titles(&found).len(), 1);
    // Without being asked, nothing is counted.
    assert_eq!(house.search(SearchToursRequest::default()).await.total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_no_gaps_and_no_doubles_in_any_order() {
    let house = House::new().await;
    let supplier = house.supplier("Many Tours").await;
    for i in 0..23 {
        // Titles, prices and places repeat, so that the id has to decide.
        let tour = Tour {
            location: place(48.0 + f64::from(i % 4), 2.0),
            ..a_tour(&format!("Walk {}", i % 3), &format!("Balade {}", i % 5))
        };
        house.on_sale(&supplier.id, tour, i64::from(20 + i % 2)).await;
    }
    let near = || Some(Near { center: place(48.0, 2.0), radius_meters: 900_000 });
    for request in [
        SearchToursRequest::default(),
        SearchToursRequest { language: "fr".into(), ..Default::default() },
        SearchToursRequest { order: SearchOrder::Price.into(), ..Default::default() },
        SearchToursRequest { near: near(), ..Default::default() },
        SearchToursRequest { near: near(), order: SearchOrder::Title.into(), ..Default::default() },
        SearchToursRequest { max_price: money(21, 0, "EUR"), ..Default::default() },
        SearchToursRequest { min_price: money(20, 0, "EUR"), language: "fr".into(), ..Default::default() },
        asked("walk"),
        asked("wallk"),
    ] {
        let mut all = Vec::new();
        let mut request = SearchToursRequest { page_size: 5, ..request };
        loop {
            let page = house.search(request.clone()).await;
            assert!(page.hits.len() <= 5);
            all.extend(page.hits.iter().map(|h| h.tour.as_ref().unwrap().id.clone()));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let whole =
            house.search(SearchToursRequest { page_size: 100, page_token: String::new(), ..request.clone() }).await;
        let whole: Vec<_> = whole.hits.into_iter().map(|h| h.tour.unwrap().id).collect();
        assert_eq!(all, whole, "{request:?}");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 23, "{request:?}");
    }
    let first = house.search(SearchToursRequest { page_size: 5, ..Default::default() }).await;
    let wrong = SearchToursRequest { page_token: first.next_page_token, ..asked("walk") };
    assert_eq!(reason(&house.read().search_tours(wrong).await.unwrap_err()), "PAGE_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_by_field() {
    let house = House::new().await;
    let none = SearchToursRequest::default;
    for (field, request) in [
        ("date_to", SearchToursRequest { date_from: day(5), date_to: day(4), ..none() }),
        ("date_from", SearchToursRequest { date_from: "2026-02-30".into(), ..none() }),
        ("max_price", SearchToursRequest { min_price: money(1, 0, "EUR"), max_price: money(2, 0, "USD"), ..none() }),
        ("max_price", SearchToursRequest { min_price: money(3, 0, "EUR"), max_price: money(2, 0, "EUR"), ..none() }),
        ("min_price", SearchToursRequest { min_price: money(3, 0, "XXX"), ..none() }),
        ("order", SearchToursRequest { order: SearchOrder::Distance.into(), ..none() }),
        (
            "near.center",
            SearchToursRequest { near: Some(Near { center: place(91.0, 0.0), radius_meters: 5 }), ..none() },
        ),
        (
            "near.center",
            SearchToursRequest { near: Some(Near { center: place(f64::NAN, 0.0), radius_meters: 5 }), ..none() },
        ),
        (
            "near.radius_meters",
            SearchToursRequest { near: Some(Near { center: place(1.0, 0.0), radius_meters: 0 }), ..none() },
        ),
        ("categories[0]", SearchToursRequest { categories: vec![77], ..none() }),
    ] {
        let status = house.read().search_tours(request).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "FIELD_INVALID"),
            "{field}: {status:?}"
        );
        assert!(status.message().contains(field.split('[').next().unwrap()), "{field}: {status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_on_sale_is_found_and_a_draft_is_seen_by_its_own_people_alone() {
    use tourmesh::catalog::v1::{ArchiveTourRequest, GetTourRequest};
    let house = House::new().await;
    let (mine, other) = (house.supplier("Mine").await, house.supplier("Other").await);
    let draft = house.draft(&mine.id, a_tour("Secret garden", "Jardin secret")).await;
    house.option(an_option(&draft.id, 10)).await;
    assert_eq!(titles(&house.search(asked("secret")).await), [""; 0]);
    let get = || GetTourRequest { tour_id: draft.id.clone() };
    assert_eq!(reason(&house.read().get_tour(get()).await.unwrap_err()), "TOUR_NOT_FOUND");
    let foreign = house.supplier_token(&other.id);
    assert_eq!(reason(&house.read().get_tour(bearer(get(), &foreign)).await.unwrap_err()), "TOUR_NOT_FOUND");
    for token in [&house.supplier_token(&mine.id), &house.staff] {
        assert!(house.read().get_tour(bearer(get(), token)).await.is_ok());
    }

    house.try_publish(&draft.id).await.unwrap();
    assert_eq!(titles(&house.search(asked("secret")).await), ["Secret garden"]);
    assert_eq!(house.read().get_tour(get()).await.unwrap().into_inner().tour.unwrap().options.len(), 1);

    let archive = ArchiveTourRequest { request_id: house.id(), tour_id: draft.id.clone() };
    house.admin().archive_tour(bearer(archive, &house.staff)).await.unwrap();
    assert_eq!(titles(&house.search(asked("secret")).await), [""; 0]);
    assert_eq!(reason(&house.read().get_tour(get()).await.unwrap_err()), "TOUR_NOT_FOUND");
    assert_eq!(reason(&house.try_publish(&draft.id).await.unwrap_err()), "TOUR_NOT_PUBLISHED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_finds_a_tour_by_the_option_that_takes_it() {
    let house = House::new().await;
    let supplier = house.supplier("Parties").await;
    let tour = house.draft(&supplier.id, a_tour("Parties", "")).await;
    // Pairs in the morning, groups of ten and more at night.
    let pairs = house.option(WireOption { max_party: 2, ..an_option(&tour.id, 10) }).await;
    let groups = house.option(WireOption { min_party: 10, ..an_option(&tour.id, 10) }).await;
    house.try_publish(&tour.id).await.unwrap();
    house.departure(&pairs.id, &format!("{}T09:00", day(3)), 20).await;
    house.departure(&groups.id, &format!("{}T21:00", day(4)), 20).await;
    let next = async |party_size| {
        let found = house.search(SearchToursRequest { party_size, ..Default::default() }).await.hits;
        found.first().map(|hit| hit.next_departure.clone())
    };
    let (morning, night) = (Some(format!("{}T09:00", day(3))), Some(format!("{}T21:00", day(4))));
    for (party, expected) in [(2, morning), (3, None), (9, None), (10, night.clone()), (20, night), (21, None)] {
        assert_eq!(next(party).await, expected, "{party}");
    }
    // From now on the pairs may be five.
    let request = UpdateOptionRequest {
        request_id: house.id(),
        option_id: pairs.id.clone(),
        option: Some(WireOption { max_party: 5, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["max_party".into()] }),
    };
    house.admin().update_option(bearer(request, &house.staff)).await.unwrap();
    assert!(next(5).await.is_some());
}
