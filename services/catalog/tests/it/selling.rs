//! Quotes, offers, departures.

use chrono::{TimeDelta, Utc};
use tourmesh::{
    catalog::v1::{Option as WireOption, *},
    common::v1::{UnitQuantity, UnitType},
};
use tourmesh_testkit::{bearer, reason};

use crate::common::{House, a_tour, an_option, day, money, prices};

fn party(units: &[(UnitType, i32)]) -> Vec<UnitQuantity> {
    units.iter().map(|(unit, quantity)| UnitQuantity { unit: (*unit).into(), quantity: *quantity }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_adds_up_and_the_list_that_begins_last_counts() {
    let house = House::new().await;
    let supplier = house.supplier("Quotes").await;
    let tour = house.draft(&supplier.id, a_tour("Quoted", "Coté")).await;
    let mut option = an_option(&tour.id, 30);
    let season = PriceList {
        valid_from: day(10),
        valid_until: day(20),
        ..prices(&[(UnitType::Adult, 45), (UnitType::Child, 20)])
    };
    let feast = PriceList { valid_from: day(15), valid_until: day(15), ..prices(&[(UnitType::Adult, 60)]) };
    option.price_lists.extend([season, feast]);
    let option = house.option(option).await;
    house.try_publish(&tour.id).await.unwrap();
    for (date, units, total, seats) in [
        (5, party(&[(UnitType::Adult, 2), (UnitType::Child, 1), (UnitType::Infant, 1)]), Ok(75), 3),
        (10, party(&[(UnitType::Adult, 2), (UnitType::Child, 1)]), Ok(110), 3),
        (20, party(&[(UnitType::Adult, 1)]), Ok(45), 1),
        (21, party(&[(UnitType::Adult, 1)]), Ok(30), 1),
        (15, party(&[(UnitType::Adult, 1)]), Ok(60), 1),
        // The feast's list has no price for children, the season's has none for infants: not sold then.
        (15, party(&[(UnitType::Adult, 1), (UnitType::Child, 1)]), Err("UNIT_NOT_SOLD"), 0),
        (10, party(&[(UnitType::Adult, 1), (UnitType::Infant, 1)]), Err("UNIT_NOT_SOLD"), 0),
    ] {
        let start = format!("{}T0{}:00", day(date), 1 + date % 9);
        let existing = house
            .read()
            .list_departures(ListDeparturesRequest {
                tour_id: tour.id.clone(),
                date_from: day(date),
                date_to: day(date),
                ..Default::default()
            })
            .await
            .unwrap()
            .into_inner()
            .departures;
        let departure = match existing.into_iter().next() {
            Some(departure) => departure,
            None => house.departure(&option.id, &start, 10).await,
        };
        let request = QuoteRequest { departure_id: departure.id.clone(), units: units.clone() };
        match (house.read().quote(request).await, total) {
            (Ok(quote), Ok(total)) => {
                let quote = quote.into_inner();
                assert_eq!((quote.total, quote.seats), (money(total, 0, "EUR"), seats), "day {date}");
                assert_eq!(quote.lines.iter().map(|l| l.total.as_ref().unwrap().units).sum::<i64>(), total);
                assert_eq!(
                    quote.lines.iter().map(|l| l.unit).collect::<Vec<_>>(),
                    units.iter().map(|u| u.unit).collect::<Vec<_>>()
                );
                assert_eq!(quote.refund_policy, option.refund_policy);
            }
            (Err(status), Err(expected)) => assert_eq!(reason(&status), expected, "day {date}"),
            (answer, _) => panic!("day {date}: {answer:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departure_that_cannot_be_sold_says_why() {
    let house = House::new().await;
    let supplier = house.supplier("Refusals").await;
    let tour = house.draft(&supplier.id, a_tour("Refused", "Refusé")).await;
    let option = house.option(WireOption { min_party: 2, max_party: 6, ..an_option(&tour.id, 30) }).await;
    let departure = house.departure(&option.id, &format!("{}T09:00", day(5)), 5).await;
    let ask = |units: &[(UnitType, i32)]| QuoteRequest { departure_id: departure.id.clone(), units: party(units) };
    let refused = async |request| reason(&house.read().quote(request).await.unwrap_err());
    let two = [(UnitType::Adult, 2)];
    assert_eq!(refused(ask(&two)).await, "TOUR_NOT_PUBLISHED");
    house.try_publish(&tour.id).await.unwrap();
    assert!(house.read().quote(ask(&two)).await.is_ok());
    for (units, expected) in [
        (&[(UnitType::Adult, 1)][..], "PARTY_SIZE"),
        (&[(UnitType::Adult, 6)], "PARTY_SIZE"),
        (&[(UnitType::Infant, 3)], "PARTY_SIZE"),
        (&[(UnitType::Senior, 2)], "UNIT_NOT_SOLD"),
        (&[(UnitType::Adult, 1), (UnitType::Adult, 1)], "FIELD_INVALID"),
        (&[(UnitType::Adult, -1)], "FIELD_INVALID"),
        (&[(UnitType::Adult, 101)], "FIELD_INVALID"),
        (&[(UnitType::Unspecified, 1)], "FIELD_INVALID"),
        (&[], "FIELD_INVALID"),
    ] {
        assert_eq!(refused(ask(units)).await, expected, "{units:?}");
    }
    let unknown = QuoteRequest { departure_id: format!("dep_{}", "0".repeat(32)), units: party(&two) };
    assert_eq!(refused(unknown).await, "DEPARTURE_NOT_FOUND");
    let malformed = QuoteRequest { departure_id: tour.id.clone(), units: party(&two) };
    assert_eq!(refused(malformed).await, "FIELD_INVALID");

    let change = |state: DepartureState| UpdateDepartureRequest {
        request_id: house.id(),
        departure_id: departure.id.clone(),
        state: state.into(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["state".into()] }),
        ..Default::default()
    };
    house.admin().update_departure(bearer(change(DepartureState::Closed), &house.staff)).await.unwrap();
    assert_eq!(refused(ask(&two)).await, "DEPARTURE_CLOSED");
    house.admin().update_departure(bearer(change(DepartureState::Open), &house.staff)).await.unwrap();
    sqlx::query("UPDATE departures SET starts_at = now() - interval '1 minute'").execute(&house.pool).await.unwrap();
    assert_eq!(refused(ask(&two)).await, "DEPARTURE_IN_PAST");
    let cancel = CancelDepartureRequest { request_id: house.id(), departure_id: departure.id.clone() };
    house.admin().cancel_departure(bearer(cancel, &house.staff)).await.unwrap();
    assert_eq!(refused(ask(&two)).await, "DEPARTURE_CANCELLED");
    let reopened = house.admin().update_departure(bearer(change(DepartureState::Open), &house.staff)).await;
    assert_eq!(reason(&reopened.unwrap_err()), "DEPARTURE_CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_holds_all_that_selling_needs_for_services_only() {
    let house = House::new().await;
    let supplier = house.supplier("Offers").await;
    let (tour, option) = house.on_sale(&supplier.id, a_tour("Offered", "Offert"), 30).await;
    let departure = house.departure(&option.id, &format!("{}T09:00", day(5)), 12).await;
    let request = || GetOfferRequest { departure_id: departure.id.clone() };
    assert_eq!(reason(&house.read().get_offer(request()).await.unwrap_err()), "TOKEN_MISSING");
    let supplier_token = house.supplier_token(&supplier.id);
    assert_eq!(reason(&house.read().get_offer(bearer(request(), &supplier_token)).await.unwrap_err()), "ROLE_MISSING");
    let token = house.world.service_token("booking");
    let offer = house.read().get_offer(bearer(request(), &token)).await.unwrap().into_inner().offer.unwrap();
    assert_eq!(offer.departure.clone().unwrap(), departure);
    assert_eq!(offer.tour_state(), TourState::Published);
    assert_eq!((offer.tour_title, offer.option_title), (tour.title, option.title));
    assert_eq!((offer.units, offer.prices), (option.units, option.price_lists[0].prices.clone()));
    assert_eq!((offer.currency.as_str(), offer.min_party, offer.max_party), ("EUR", 1, 0));
    assert_eq!(offer.refund_policy, option.refund_policy);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_departure_has_one_event_and_a_repeat_has_none() {
    let house = House::new().await;
    let supplier = house.supplier("Events").await;
    let (tour, option) = house.on_sale(&supplier.id, a_tour("Told", "Raconté"), 30).await;
    let departure = house.departure(&option.id, &format!("{}T09:00", day(5)), 12).await;
    assert_eq!(
        house.events("catalog.departure.scheduled.").await,
        [format!("catalog.departure.scheduled.{}", tour.id)]
    );
    let mask = |paths: &[&str]| Some(prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
    let request = UpdateDepartureRequest {
        request_id: house.id(),
        departure_id: departure.id.clone(),
        capacity: 8,
        version: 1,
        update_mask: mask(&["capacity"]),
        ..Default::default()
    };
    for _ in 0..2 {
        let changed = house.admin().update_departure(bearer(request.clone(), &house.staff)).await.unwrap().into_inner();
        let changed = changed.departure.unwrap();
        assert_eq!((changed.capacity, changed.version, changed.state()), (8, 2, DepartureState::Open));
    }
    let stale = UpdateDepartureRequest { request_id: house.id(), capacity: 9, ..request.clone() };
    assert_eq!(
        reason(&house.admin().update_departure(bearer(stale, &house.staff)).await.unwrap_err()),
        "CHANGED_MEANWHILE"
    );
    let reused = UpdateDepartureRequest { capacity: 9, ..request.clone() };
    assert_eq!(
        reason(&house.admin().update_departure(bearer(reused, &house.staff)).await.unwrap_err()),
        "REQUEST_ID_REUSED"
    );
    let unknown =
        UpdateDepartureRequest { request_id: house.id(), update_mask: mask(&["local_start"]), ..request.clone() };
    assert_eq!(
        reason(&house.admin().update_departure(bearer(unknown, &house.staff)).await.unwrap_err()),
        "FIELD_MASK_INVALID"
    );
    for _ in 0..2 {
        let cancel = CancelDepartureRequest { request_id: house.id(), departure_id: departure.id.clone() };
        let cancelled = house.admin().cancel_departure(bearer(cancel, &house.staff)).await.unwrap().into_inner();
        assert_eq!(cancelled.departure.unwrap().version, 3);
    }
    assert_eq!(
        house.events("catalog.departure.changed.").await,
        [format!("catalog.departure.changed.{}", departure.id)]
    );
    assert_eq!(
        house.events("catalog.departure.cancelled.").await,
        [format!("catalog.departure.cancelled.{}", departure.id)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departure_is_made_once_at_a_time_in_the_future_and_keeps_its_local_time() {
    let house = House::new().await;
    let supplier = house.supplier("Times").await;
    let (_, option) = house.on_sale(&supplier.id, a_tour("Timed", "À l’heure"), 30).await;
    let skipped = house.departure(&option.id, "2031-03-30T02:30", 5).await;
    assert_eq!(skipped.local_start, "2031-03-30T03:30");
    assert_eq!(skipped.starts_at.unwrap().seconds, 1_932_600_600);
    for (local_start, expected) in [
        ("2031-03-30T03:30", "FIELD_INVALID"),
        ("2031-03-30T02:30", "FIELD_INVALID"),
        ("2020-01-01T09:00", "DEPARTURE_IN_PAST"),
        ("2031-02-30T09:00", "FIELD_INVALID"),
        ("tomorrow", "FIELD_INVALID"),
    ] {
        let request = CreateDepartureRequest {
            request_id: house.id(),
            option_id: option.id.clone(),
            local_start: local_start.into(),
            capacity: 5,
        };
        let status = house.admin().create_departure(bearer(request, &house.staff)).await.unwrap_err();
        assert_eq!(reason(&status), expected, "{local_start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_fills_the_horizon_and_its_departures_are_listed_page_by_page() {
    let house = House::new().await;
    let supplier = house.supplier("Rhythm").await;
    let (tour, option) = house.on_sale(&supplier.id, a_tour("Weekly", "Chaque semaine"), 30).await;
    let schedule = Schedule {
        option_id: option.id.clone(),
        weekdays: (1..=7).collect(),
        start_times: vec!["09:00".into(), "14:30".into(), "18:00".into(), "20:00".into()],
        start_date: day(1),
        capacity: 15,
        except_dates: vec![day(7)],
        ..Default::default()
    };
    let request = CreateScheduleRequest { request_id: house.id(), schedule: Some(schedule) };
    let (one, two) = tokio::join!(
        async { house.admin().create_schedule(bearer(request.clone(), &house.staff)).await.unwrap().into_inner() },
        async { house.admin().create_schedule(bearer(request.clone(), &house.staff)).await.unwrap().into_inner() },
    );
    assert_eq!(one, two);
    // The date here (UTC) and in Paris may differ by one day.
    assert!([119 * 4, 120 * 4].contains(&one.departures_created), "{}", one.departures_created);
    assert_eq!(house.events("catalog.departure.scheduled.").await.len(), 2);
    let listed = ListSchedulesRequest { option_id: option.id.clone() };
    let listed = house.admin().list_schedules(bearer(listed, &house.staff)).await.unwrap().into_inner();
    assert_eq!(listed.schedules, [one.schedule.unwrap()]);

    let mut request = ListDeparturesRequest { tour_id: tour.id.clone(), page_size: 77, ..Default::default() };
    let mut all: Vec<Departure> = Vec::new();
    loop {
        let page = house.read().list_departures(request.clone()).await.unwrap().into_inner();
        all.extend(page.departures);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(i32::try_from(all.len()).unwrap(), one.departures_created);
    assert!(all.is_sorted_by_key(|d| d.starts_at.unwrap().seconds));
    assert!(all.iter().all(|d| d.capacity == 15 && d.duration_minutes == 120 && !d.local_start.starts_with(&day(7))));
    assert!(all.iter().all(|d| ["09:00", "14:30", "18:00", "20:00"].contains(&&d.local_start[11..])));
    let some =
        ListDeparturesRequest { tour_id: tour.id.clone(), date_from: day(3), date_to: day(4), ..Default::default() };
    assert_eq!(house.read().list_departures(some).await.unwrap().into_inner().departures.len(), 8);

    // A month later somebody has to go on: the hourly work does.
    let cut = (Utc::now() + TimeDelta::days(60)).date_naive();
    sqlx::query("UPDATE schedules SET filled_until = $1").bind(cut).execute(&house.pool).await.unwrap();
    sqlx::query("DELETE FROM departures WHERE local_start::date > $1").bind(cut).execute(&house.pool).await.unwrap();
    let again = house.room.serve(tourmesh_catalog::serve).await;
    tourmesh_testkit::eventually(|| async {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM departures").fetch_one(&house.pool).await.unwrap();
        count == i64::from(one.departures_created)
    })
    .await;
    again.stop().await;
}
