//! What holds over years: bounds, partial changes, old requests, and columns that are added under a running service.

use std::option::Option;

use prost_types::FieldMask;
use tonic_types::StatusExt as _;
use tourmesh::catalog::v1::{Option as WireOption, *};
use tourmesh_testkit::{World, bearer, eventually, reason};

use crate::common::{House, a_tour, an_option, text};

fn mask(path: &str) -> Option<FieldMask> {
    Some(FieldMask { paths: vec![path.to_owned()] })
}

fn fields(status: &tonic::Status) -> Vec<String> {
    let details = status.get_error_details();
    details.bad_request().map(|b| b.field_violations.iter().map(|v| v.field.clone()).collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_needs_only_what_its_mask_names_and_something_new_needs_everything() {
    let house = House::new().await;
    let supplier = house.supplier("Partial").await;
    let (tour, option) = house.on_sale(&supplier.id, a_tour("Partial", ""), 20).await;
    let request = UpdateTourRequest {
        request_id: house.id(),
        tour_id: tour.id.clone(),
        tour: Some(Tour { country: "BE".into(), ..Default::default() }),
        update_mask: mask("country"),
    };
    let changed = house.admin().update_tour(bearer(request, &house.staff)).await.unwrap().into_inner().tour.unwrap();
    assert_eq!((changed.country.as_str(), &changed.title), ("BE", &tour.title));
    let request = UpdateOptionRequest {
        request_id: house.id(),
        option_id: option.id.clone(),
        option: Some(WireOption { max_party: 4, ..Default::default() }),
        update_mask: mask("max_party"),
    };
    let changed = house.admin().update_option(bearer(request, &house.staff)).await.unwrap().into_inner().option.unwrap();
    assert_eq!((changed.max_party, &changed.units), (4, &option.units));
    let change = |name: &str, path: &str| UpdateSupplierRequest {
        request_id: house.id(),
        supplier_id: supplier.id.clone(),
        supplier: Some(Supplier { name: name.into(), ..Default::default() }),
        update_mask: mask(path),
    };
    let request = change("Renamed", "name");
    let changed = house.admin().update_supplier(bearer(request, &house.staff)).await.unwrap().into_inner();
    assert_eq!(changed.supplier.unwrap().contact_email, supplier.contact_email);
    for (name, path, field) in [(" ", "name", "supplier.name"), ("x", "contact_email", "supplier.contact_email")] {
        let refused = house.admin().update_supplier(bearer(change(name, path), &house.staff)).await.unwrap_err();
        assert_eq!(fields(&refused), [field]);
    }

    let request = CreateSupplierRequest { request_id: house.id(), supplier: Some(Supplier::default()) };
    let refused = house.admin().create_supplier(bearer(request, &house.staff)).await.unwrap_err();
    assert_eq!(fields(&refused), ["supplier.name", "supplier.contact_email"]);
    for (tour, field) in [
        (Tour { title: None, ..a_tour("", "") }, "tour.title.en"),
        (a_tour(&"é".repeat(201), ""), "tour.title.en"),
        (a_tour("x", &"é".repeat(201)), "tour.title.fr"),
        (Tour { time_zone: String::new(), ..a_tour("x", "") }, "tour.time_zone"),
        (Tour { currency: String::new(), ..a_tour("x", "") }, "tour.currency"),
    ] {
        let tour = Some(Tour { supplier_id: supplier.id.clone(), ..tour });
        let request = CreateTourRequest { request_id: house.id(), tour };
        let refused = house.admin().create_tour(bearer(request, &house.staff)).await.unwrap_err();
        assert_eq!(fields(&refused), [field]);
    }
    for (new, field) in [
        (WireOption { title: text(&"x".repeat(201), ""), ..an_option(&tour.id, 9) }, "option.title.en"),
        (WireOption { duration_minutes: 0, ..an_option(&tour.id, 9) }, "option.duration_minutes"),
        (WireOption { price_lists: vec![], ..an_option(&tour.id, 9) }, "option.price_lists"),
    ] {
        let request = CreateOptionRequest { request_id: house.id(), option: Some(new) };
        let refused = house.admin().create_option(bearer(request, &house.staff)).await.unwrap_err();
        assert_eq!(fields(&refused), [field]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tour_has_twenty_options_at_most() {
    let house = House::new().await;
    let supplier = house.supplier("Many").await;
    let tour = house.draft(&supplier.id, a_tour("Many", "")).await;
    for _ in 0..20 {
        house.option(an_option(&tour.id, 10)).await;
    }
    let request = CreateOptionRequest { request_id: house.id(), option: Some(an_option(&tour.id, 10)) };
    let refused = house.admin().create_option(bearer(request, &house.staff)).await.unwrap_err();
    assert_eq!((reason(&refused).as_str(), fields(&refused)), ("FIELD_INVALID", vec!["tour.options".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_forgotten_after_thirty_days() {
    let room = World::get().await.room(tourmesh_catalog::ROLE, &tourmesh_catalog::SCHEMA).await;
    let pool = room.pool().await;
    sqlx::query(
        "INSERT INTO requests (caller, method, request_id, hash, subject, created_at)
         SELECT 'usr', 'CreateTour', n::text, '', gen_random_uuid(), now() - make_interval(days => n / 100)
         FROM generate_series(0, 5999) AS n",
    )
    .execute(&pool)
    .await
    .unwrap();
    let _running = room.serve(tourmesh_catalog::serve).await;
    eventually(|| async {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM requests").fetch_one(&pool).await.unwrap();
        left == 3000
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_does_not_mind_a_new_column() {
    let house = House::new().await;
    let supplier = house.supplier("Columns").await;
    let everything = async || {
        let (tour, option) = house.on_sale(&supplier.id, a_tour("Columns", ""), 20).await;
        let schedule = Schedule {
            option_id: option.id.clone(),
            recurrence: "FREQ=DAILY".into(),
            start_times: vec!["09:00".into()],
            capacity: 3,
            ..Default::default()
        };
        let request = CreateScheduleRequest { request_id: house.id(), schedule: Some(schedule) };
        let schedule = house.admin().create_schedule(bearer(request, &house.staff)).await.unwrap().into_inner();
        let schedule = schedule.schedule.unwrap();
        let request = UpdateScheduleRequest {
            request_id: house.id(),
            schedule_id: schedule.id,
            schedule: Some(Schedule { capacity: 4, ..Default::default() }),
            update_mask: mask("capacity"),
            ..Default::default()
        };
        house.admin().update_schedule(bearer(request, &house.staff)).await.unwrap();
        let departure = house.departure(&option.id, "2031-05-01T09:00", 5).await;
        let request = CancelDepartureRequest { request_id: house.id(), departure_id: departure.id.clone() };
        house.admin().cancel_departure(bearer(request, &house.staff)).await.unwrap();
        let blackout = Blackout {
            tour_id: tour.id.clone(),
            first_date: "2031-01-01".into(),
            last_date: "2031-01-02".into(),
            reason: "x".into(),
            ..Default::default()
        };
        let request = CreateBlackoutRequest { request_id: house.id(), blackout: Some(blackout) };
        let blackout = house.admin().create_blackout(bearer(request, &house.staff)).await.unwrap().into_inner();
        let blackout_id = blackout.blackout.unwrap().id;
        let request = DeleteBlackoutRequest { request_id: house.id(), blackout_id };
        house.admin().delete_blackout(bearer(request, &house.staff)).await.unwrap();
        let request = UpdateSupplierRequest {
            request_id: house.id(),
            supplier_id: supplier.id.clone(),
            supplier: Some(Supplier { country: "BE".into(), ..Default::default() }),
            update_mask: mask("country"),
        };
        house.admin().update_supplier(bearer(request, &house.staff)).await.unwrap();
        assert!(!house.search(SearchToursRequest { query: "columns".into(), ..Default::default() }).await.hits.is_empty());
    };
    // Often enough that every connection has prepared its statements.
    for _ in 0..8 {
        everything().await;
    }
    for table in ["suppliers", "tours", "options", "schedules", "departures", "blackouts", "search", "requests"] {
        let add = format!("ALTER TABLE {table} ADD COLUMN added_later integer");
        sqlx::query(sqlx::AssertSqlSafe(add)).execute(&house.pool).await.unwrap();
    }
    for _ in 0..4 {
        everything().await;
    }
}
