//! Suppliers, tours and options: who may, what counts as a repeat, what is told.

use std::option::Option;

use prost_types::FieldMask;
use tonic_types::StatusExt as _;
use tourmesh::{
    catalog::v1::{Option as WireOption, *},
    common::v1::UnitType,
    google::r#type::LatLng,
};
use tourmesh_testkit::{bearer, reason};

use crate::common::{House, a_tour, an_option, money, prices, text};

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_the_same_answer_and_other_content_is_refused_also_at_the_same_time() {
    let house = House::new().await;
    let supplier = house.supplier("Repeats").await;
    let tour = |title| Some(Tour { supplier_id: supplier.id.clone(), ..a_tour(title, "") });
    let request = CreateTourRequest { request_id: house.id(), tour: tour("Once") };
    let mut calls = Vec::new();
    for _ in 0..12 {
        let mut admin = house.admin();
        let request = bearer(request.clone(), &house.staff);
        calls.push(tokio::spawn(async move { admin.create_tour(request).await.unwrap().into_inner().tour.unwrap() }));
    }
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    assert!(answers.iter().all(|a| *a == answers[0]));
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM tours").fetch_one(&house.pool).await.unwrap();
    assert_eq!(count, 1);
    assert_eq!(house.events("catalog.tour.").await, [format!("catalog.tour.changed.{}", answers[0].id)]);

    let other = CreateTourRequest { tour: tour("Twice"), ..request.clone() };
    assert_eq!(
        reason(&house.admin().create_tour(bearer(other.clone(), &house.staff)).await.unwrap_err()),
        "REQUEST_ID_REUSED"
    );
    // The same id from somebody else is another request.
    let mine = house.supplier_token(&supplier.id);
    let made = house.admin().create_tour(bearer(other, &mine)).await.unwrap().into_inner().tour.unwrap();
    assert_ne!(made.id, answers[0].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplier_reaches_its_own_only_and_the_rest_is_not_found() {
    let house = House::new().await;
    let (mine, theirs) = (house.supplier("Mine").await, house.supplier("Theirs").await);
    let (tour, option) = house.on_sale(&theirs.id, a_tour("Theirs", ""), 20).await;
    let departure = house.departure(&option.id, "2031-05-01T09:00", 5).await;
    let token = house.supplier_token(&mine.id);
    let mut admin = house.admin();
    let id = || house.id();
    let refusals = [
        reason(
            &admin
                .update_tour(bearer(
                    UpdateTourRequest {
                        request_id: id(),
                        tour_id: tour.id.clone(),
                        tour: Some(a_tour("X", "")),
                        update_mask: mask(&["title"]),
                    },
                    &token,
                ))
                .await
                .unwrap_err(),
        ),
        reason(
            &admin
                .publish_tour(bearer(PublishTourRequest { request_id: id(), tour_id: tour.id.clone() }, &token))
                .await
                .unwrap_err(),
        ),
        reason(
            &admin
                .archive_tour(bearer(ArchiveTourRequest { request_id: id(), tour_id: tour.id.clone() }, &token))
                .await
                .unwrap_err(),
        ),
        reason(
            &admin
                .create_option(bearer(
                    CreateOptionRequest { request_id: id(), option: Some(an_option(&tour.id, 5)) },
                    &token,
                ))
                .await
                .unwrap_err(),
        ),
        reason(
            &admin
                .update_option(bearer(
                    UpdateOptionRequest {
                        request_id: id(),
                        option_id: option.id.clone(),
                        option: Some(an_option(&tour.id, 5)),
                        update_mask: mask(&["title"]),
                    },
                    &token,
                ))
                .await
                .unwrap_err(),
        ),
        reason(
            &admin
                .list_schedules(bearer(ListSchedulesRequest { option_id: option.id.clone() }, &token))
                .await
                .unwrap_err(),
        ),
        reason(
            &admin
                .create_departure(bearer(
                    CreateDepartureRequest {
                        request_id: id(),
                        option_id: option.id.clone(),
                        local_start: "2031-05-02T09:00".into(),
                        capacity: 1,
                    },
                    &token,
                ))
                .await
                .unwrap_err(),
        ),
        reason(
            &admin
                .cancel_departure(bearer(
                    CancelDepartureRequest { request_id: id(), departure_id: departure.id.clone() },
                    &token,
                ))
                .await
                .unwrap_err(),
        ),
        reason(
            &admin
                .update_supplier(bearer(
                    UpdateSupplierRequest {
                        request_id: id(),
                        supplier_id: theirs.id.clone(),
                        supplier: Some(theirs.clone()),
                        update_mask: mask(&["name"]),
                    },
                    &token,
                ))
                .await
                .unwrap_err(),
        ),
        reason(
            &admin
                .list_tours(bearer(ListToursRequest { supplier_id: theirs.id.clone(), ..Default::default() }, &token))
                .await
                .unwrap_err(),
        ),
        reason(
            &admin
                .create_tour(bearer(
                    CreateTourRequest {
                        request_id: id(),
                        tour: Some(Tour { supplier_id: theirs.id.clone(), ..a_tour("X", "") }),
                    },
                    &token,
                ))
                .await
                .unwrap_err(),
        ),
    ];
    assert_eq!(
        refusals,
        [
            "TOUR_NOT_FOUND",
            "TOUR_NOT_FOUND",
            "TOUR_NOT_FOUND",
            "TOUR_NOT_FOUND",
            "OPTION_NOT_FOUND",
            "OPTION_NOT_FOUND",
            "OPTION_NOT_FOUND",
            "DEPARTURE_NOT_FOUND",
            "SUPPLIER_NOT_FOUND",
            "SUPPLIER_NOT_FOUND",
            "SUPPLIER_NOT_FOUND",
        ]
    );
    // Without naming itself, a supplier gets its own.
    let request = CreateTourRequest { request_id: house.id(), tour: Some(a_tour("Mine", "")) };
    let own = admin.create_tour(bearer(request, &token)).await.unwrap().into_inner().tour.unwrap();
    assert_eq!(own.supplier_id, mine.id);
    let listed = admin.list_tours(bearer(ListToursRequest::default(), &token)).await.unwrap().into_inner();
    assert_eq!(listed.tours.iter().map(|t| &t.id).collect::<Vec<_>>(), [&own.id]);
    let listed = admin.list_suppliers(bearer(ListSuppliersRequest::default(), &token)).await.unwrap().into_inner();
    assert_eq!(listed.suppliers, [mine]);
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE subject LIKE '%' || $1")
        .bind(&tour.id)
        .fetch_one(&house.pool)
        .await
        .unwrap();
    assert_eq!(events, 4, "created, option added, published, departure scheduled");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_the_mask_names_if_nothing_changed_meanwhile() {
    let house = House::new().await;
    let supplier = house.supplier("Updates").await;
    let (tour, _) = house.on_sale(&supplier.id, a_tour("Before", "Avant"), 20).await;
    let update = |new: Tour, paths: &[&str]| UpdateTourRequest {
        request_id: house.id(),
        tour_id: tour.id.clone(),
        tour: Some(new),
        update_mask: mask(paths),
    };
    let new = Tour { etag: tour.etag.clone(), country: "BE".into(), ..a_tour("After", "Après") };
    let changed = house.admin().update_tour(bearer(update(new.clone(), &["title"]), &house.staff)).await.unwrap();
    let changed = changed.into_inner().tour.unwrap();
    assert_eq!((changed.title.clone(), changed.country.as_str()), (text("After", "Après"), "FR"));
    assert_ne!(changed.etag, tour.etag);
    let stale = house.admin().update_tour(bearer(update(new, &["country"]), &house.staff)).await.unwrap_err();
    assert_eq!(reason(&stale), "CHANGED_MEANWHILE");
    let forbidden =
        house.admin().update_tour(bearer(update(a_tour("X", ""), &["currency"]), &house.staff)).await.unwrap_err();
    assert_eq!(reason(&forbidden), "FIELD_MASK_INVALID");
    // Nothing new: no new version, no event.
    let events = house.events("catalog.tour.").await.len();
    let same =
        house.admin().update_tour(bearer(update(a_tour("After", "Après"), &["title"]), &house.staff)).await.unwrap();
    assert_eq!(same.into_inner().tour.unwrap(), changed);
    assert_eq!(house.events("catalog.tour.").await.len(), events);
    // What is on sale stays complete.
    let empty = Tour { location: None, ..a_tour("After", "Après") };
    let status = house.admin().update_tour(bearer(update(empty, &["location"]), &house.staff)).await.unwrap_err();
    assert_eq!(reason(&status), "TOUR_INCOMPLETE");
    let found = house.search(SearchToursRequest { query: "after".into(), ..Default::default() }).await;
    assert_eq!(found.hits.len(), 1);
    let found = house.search(SearchToursRequest { query: "before".into(), ..Default::default() }).await;
    assert_eq!(found.hits.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_tour_is_not_published_and_is_told_what_it_lacks() {
    let house = House::new().await;
    let supplier = house.supplier("Incomplete").await;
    let bare = Tour { description: None, category: 0, location: None, ..a_tour("Bare", "") };
    let tour = house.draft(&supplier.id, bare).await;
    let status = house.try_publish(&tour.id).await.unwrap_err();
    assert_eq!(reason(&status), "TOUR_INCOMPLETE");
    let fields: Vec<_> =
        status.get_details_bad_request().unwrap().field_violations.into_iter().map(|v| v.field).collect();
    assert_eq!(fields, ["tour.description.en", "tour.category", "tour.location", "tour.options"]);

    let (done, _) = house.on_sale(&supplier.id, a_tour("Complete", ""), 20).await;
    let again = house.try_publish(&done.id).await.unwrap().into_inner().tour.unwrap();
    assert_eq!(again, done);
    assert_eq!(house.events("catalog.tour.published.").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_contradicts_itself_is_refused_and_its_price_moves_the_search() {
    let house = House::new().await;
    let supplier = house.supplier("Options").await;
    let (tour, option) = house.on_sale(&supplier.id, a_tour("Priced", ""), 20).await;
    let good = || an_option(&tour.id, 20);
    let negative = || {
        let mut list = prices(&[(UnitType::Adult, 1)]);
        list.prices[0].price = money(-1, 0, "EUR");
        list
    };
    let dollars = || {
        let mut list = prices(&[(UnitType::Adult, 1)]);
        list.prices[0].price = money(1, 0, "USD");
        list
    };
    for (what, wrong, expected) in [
        ("two units", WireOption { units: [good().units, good().units].concat(), ..good() }, "FIELD_INVALID"),
        ("no units", WireOption { units: vec![], ..good() }, "FIELD_INVALID"),
        (
            "two lists of one beginning",
            WireOption { price_lists: vec![prices(&[(UnitType::Adult, 1)]); 2], ..good() },
            "FIELD_INVALID",
        ),
        (
            "a price for no unit",
            WireOption { price_lists: vec![prices(&[(UnitType::Senior, 1)])], ..good() },
            "FIELD_INVALID",
        ),
        ("a negative price", WireOption { price_lists: vec![negative()], ..good() }, "FIELD_INVALID"),
        ("another currency", WireOption { price_lists: vec![dollars()], ..good() }, "CURRENCY_MISMATCH"),
        ("no party fits", WireOption { min_party: 5, max_party: 4, ..good() }, "FIELD_INVALID"),
        (
            "dates turned round",
            WireOption {
                price_lists: vec![PriceList {
                    valid_from: "2031-02-01".into(),
                    valid_until: "2031-01-01".into(),
                    ..prices(&[(UnitType::Adult, 1)])
                }],
                ..good()
            },
            "FIELD_INVALID",
        ),
        ("no time at all", WireOption { duration_minutes: 0, ..good() }, "FIELD_INVALID"),
    ] {
        let request = CreateOptionRequest { request_id: house.id(), option: Some(wrong) };
        let status = house.admin().create_option(bearer(request, &house.staff)).await.unwrap_err();
        assert_eq!(reason(&status), expected, "{what}: {status:?}");
    }
    let request = UpdateOptionRequest {
        request_id: house.id(),
        option_id: option.id.clone(),
        option: Some(WireOption { etag: option.etag.clone(), ..an_option(&tour.id, 50) }),
        update_mask: mask(&["price_lists"]),
    };
    for _ in 0..2 {
        let changed = house.admin().update_option(bearer(request.clone(), &house.staff)).await.unwrap().into_inner();
        assert_eq!(changed.option.unwrap().price_lists, an_option(&tour.id, 50).price_lists);
    }
    let found = house.search(SearchToursRequest { min_price: money(50, 0, "EUR"), ..Default::default() }).await;
    assert_eq!(found.hits[0].from_price, money(50, 0, "EUR"));
    assert_eq!(house.events("catalog.tour.changed.").await.len(), 3, "created, option added, option changed");
    let stale = UpdateOptionRequest { request_id: house.id(), ..request };
    assert_eq!(
        reason(&house.admin().update_option(bearer(stale, &house.staff)).await.unwrap_err()),
        "CHANGED_MEANWHILE"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_makes_each_item_once_and_a_bad_one_fails_alone() {
    let house = House::new().await;
    let supplier = house.supplier("Import").await;
    let item = |key: &str, adult| ImportItem {
        tour: Some(Tour { external_id: key.into(), ..a_tour(key, "") }),
        options: vec![ImportOption {
            option: Some(an_option("", adult)),
            schedules: vec![Schedule {
                weekdays: vec![6, 7],
                start_times: vec!["10:00".into()],
                capacity: 9,
                ..Default::default()
            }],
        }],
    };
    let mut wrong = item("wrong", 10);
    wrong.options[0].option.as_mut().unwrap().price_lists.push(prices(&[(UnitType::Adult, 1)]));
    let mut draft = item("draft", 10);
    draft.tour.as_mut().unwrap().location = None;
    let request = ImportToursRequest {
        request_id: house.id(),
        supplier_id: supplier.id.clone(),
        items: vec![item("one", 10), wrong, draft, item("one", 10), item("", 1)],
    };
    let (first, second) = tokio::join!(
        async { house.admin().import_tours(bearer(request.clone(), &house.staff)).await.unwrap().into_inner() },
        async { house.admin().import_tours(bearer(request.clone(), &house.staff)).await.unwrap().into_inner() },
    );
    assert_eq!(first, second);
    let third = house.admin().import_tours(bearer(request.clone(), &house.staff)).await.unwrap().into_inner();
    assert_eq!(first, third);
    let results = &third.results;
    assert_eq!(
        results.iter().map(|r| (r.published, r.error.is_empty())).collect::<Vec<_>>(),
        [(true, true), (false, false), (false, true), (true, true), (false, false),]
    );
    assert_eq!(results[0].tour_id, results[3].tour_id);
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM tours").fetch_one(&house.pool).await.unwrap();
    assert_eq!(count, 2);
    assert_eq!(house.events("catalog.tour.").await.len(), 2);
    assert_eq!(house.events("catalog.departure.scheduled.").await.len(), 2);

    let again = ImportToursRequest { request_id: house.id(), items: vec![item("one", 99), item("two", 10)], ..request };
    let again = house.admin().import_tours(bearer(again, &house.staff)).await.unwrap().into_inner();
    assert_eq!(again.results.iter().map(|r| r.created).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn suppliers_are_listed_by_name_page_by_page_and_changed_under_their_etag() {
    let house = House::new().await;
    for name in ["Delta", "Alpha", "Charlie", "Bravo", "Alpha"] {
        house.supplier(name).await;
    }
    let mut names = Vec::new();
    let mut request = ListSuppliersRequest { page_size: 2, ..Default::default() };
    loop {
        let page = house.admin().list_suppliers(bearer(request.clone(), &house.staff)).await.unwrap().into_inner();
        names.extend(page.suppliers.into_iter().map(|s| s.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["Alpha", "Alpha", "Bravo", "Charlie", "Delta"]);
    let supplier = house.supplier("Echo").await;
    let request = UpdateSupplierRequest {
        request_id: house.id(),
        supplier_id: supplier.id.clone(),
        supplier: Some(Supplier { name: "Foxtrot".into(), ..supplier.clone() }),
        update_mask: mask(&["name"]),
    };
    let own = house.supplier_token(&supplier.id);
    let changed =
        house.admin().update_supplier(bearer(request.clone(), &own)).await.unwrap().into_inner().supplier.unwrap();
    assert_eq!(changed.name, "Foxtrot");
    let stale = UpdateSupplierRequest { request_id: house.id(), ..request };
    assert_eq!(reason(&house.admin().update_supplier(bearer(stale, &own)).await.unwrap_err()), "CHANGED_MEANWHILE");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_input_writes_nothing() {
    let house = House::new().await;
    let supplier = house.supplier("Malformed").await;
    let with = |change: &dyn Fn(&mut Tour)| {
        let mut tour = Tour { supplier_id: supplier.id.clone(), ..a_tour("Good", "") };
        change(&mut tour);
        tour
    };
    for (what, tour) in [
        ("currency", with(&|t| t.currency = "XXX".into())),
        ("time zone", with(&|t| t.time_zone = "Mars/Olympus".into())),
        ("country", with(&|t| t.country = "france".into())),
        ("title", with(&|t| t.title = text("", "Seulement"))),
        ("place", with(&|t| t.location = Some(LatLng { latitude: 99.0, longitude: 0.0 }))),
        ("category", with(&|t| t.category = 42)),
        ("supplier", with(&|t| t.supplier_id = "tour_123".into())),
    ] {
        let request = CreateTourRequest { request_id: house.id(), tour: Some(tour) };
        let status = house.admin().create_tour(bearer(request, &house.staff)).await.unwrap_err();
        assert_eq!(reason(&status), "FIELD_INVALID", "{what}: {status:?}");
    }
    let unknown = Tour { supplier_id: format!("sup_{}", "0".repeat(32)), ..a_tour("Good", "") };
    let request = CreateTourRequest { request_id: house.id(), tour: Some(unknown) };
    assert_eq!(
        reason(&house.admin().create_tour(bearer(request, &house.staff)).await.unwrap_err()),
        "SUPPLIER_NOT_FOUND"
    );
    let rows: i64 = sqlx::query_scalar("SELECT (SELECT count(*) FROM tours) + (SELECT count(*) FROM outbox)")
        .fetch_one(&house.pool)
        .await
        .unwrap();
    assert_eq!(rows, 0);
}
