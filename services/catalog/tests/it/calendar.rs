//! The calendar in a search row tells what the departures tell, whatever happens to them, and at the same time.

use tourmesh::catalog::v1::{
    CancelDepartureRequest, CreateDepartureRequest, Departure, DepartureState, Option as WireOption,
    SearchToursRequest, UpdateDepartureRequest,
};
use tourmesh_testkit::bearer;

use crate::common::{House, a_tour, an_option, day};

async fn set(house: &House, departure: &Departure, fields: &[&str], state: DepartureState, capacity: i32) {
    let request = UpdateDepartureRequest {
        request_id: house.id(),
        departure_id: departure.id.clone(),
        state: state.into(),
        capacity,
        update_mask: Some(prost_types::FieldMask { paths: fields.iter().map(|f| (*f).to_owned()).collect() }),
        ..Default::default()
    };
    house.admin().update_departure(bearer(request, &house.staff)).await.unwrap();
}

async fn cancel(house: &House, departure: &Departure) {
    let request = CancelDepartureRequest { request_id: house.id(), departure_id: departure.id.clone() };
    house.admin().cancel_departure(bearer(request, &house.staff)).await.unwrap();
}

/// What the calendars say, and what they say when they are written anew.
async fn assert_calendars(house: &House) {
    let now = || async {
        let rows: Vec<(String, String, bool, i32)> = sqlx::query_as(
            "SELECT tour_id::text, open_days::text, open_later, open_capacity FROM search ORDER BY tour_id",
        )
        .fetch_all(&house.pool)
        .await
        .unwrap();
        rows
    };
    let kept = now().await;
    sqlx::query("SELECT fill_calendars(array_agg(tour_id)) FROM search").execute(&house.pool).await.unwrap();
    assert_eq!(kept, now().await);
}

/// Hits and their count by many dates and parties are those that a look at all departures finds.
async fn assert_as_departures_say(house: &House) {
    let days: Vec<Option<i64>> = [-3, 0, 1, 2, 3, 5, 9, 10, 798, 799, 801, 1_200].map(Some).to_vec();
    let date = |days: Option<i64>| {
        days.map(|n| (chrono::Utc::now().date_naive() + chrono::Duration::days(n)).to_string()).unwrap_or_default()
    };
    let mut hits = 0;
    for from in days.iter().copied().chain([None]) {
        for to in days.iter().copied().chain([None]) {
            if matches!((from, to), (Some(from), Some(to)) if to < from) {
                continue;
            }
            for party_size in [0, 2, 7] {
                let (date_from, date_to) = (date(from), date(to));
                let expected: Vec<String> = sqlx::query_scalar(
                    "SELECT DISTINCT s.title_en_key FROM search s
                     JOIN departures d ON d.tour_id = s.tour_id JOIN options o ON o.id = d.option_id
                     WHERE d.state = 1 AND d.starts_at > now()
                           AND d.local_start >= coalesce(nullif($1, '')::date, '-infinity')
                           AND d.local_start::date <= coalesce(nullif($2, '')::date, 'infinity')
                           AND ($3 = 0 OR d.capacity >= $3 AND o.min_party <= $3
                                          AND (o.max_party = 0 OR o.max_party >= $3))
                     UNION SELECT title_en_key FROM search WHERE $1 = '' AND $2 = '' AND $3 = 0
                     ORDER BY 1",
                )
                .bind(&date_from)
                .bind(&date_to)
                .bind(party_size)
                .fetch_all(&house.pool)
                .await
                .unwrap();
                let asked =
                    SearchToursRequest { date_from, date_to, party_size, with_facets: true, ..Default::default() };
                let what = format!("{from:?} to {to:?} for {party_size}");
                let found = house.search(asked).await;
                let titles: Vec<_> =
                    found.hits.iter().map(|h| h.tour.clone().unwrap().title.unwrap().en.to_lowercase()).collect();
                assert_eq!(titles, expected, "{what}");
                assert_eq!(usize::try_from(found.total).unwrap(), expected.len(), "{what}");
                hits += expected.len();
            }
        }
    }
    assert!(hits > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_opened_closed_called_off_or_gone_is_counted_as_its_departures_say() {
    let house = House::new().await;
    let supplier = house.supplier("Calendar").await;
    let mut all = Vec::new();
    for (title, zone) in [("East", "Pacific/Kiritimati"), ("Middle", "Europe/Paris"), ("West", "Pacific/Pago_Pago")] {
        let tour = tourmesh::catalog::v1::Tour { time_zone: zone.into(), ..a_tour(title, "") };
        let tour = house.draft(&supplier.id, tour).await;
        let pairs = house.option(WireOption { max_party: 2, ..an_option(&tour.id, 10) }).await;
        let any = house.option(an_option(&tour.id, 10)).await;
        for (option, days, capacity) in
            [(&pairs, 3, 9), (&any, 3, 1), (&any, 9, 7), (&any, 798, 2), (&pairs, 900, 2), (&any, 2, 2)]
        {
            all.push(house.departure(&option.id, &format!("{}T12:00", day(days)), capacity).await);
        }
        house.try_publish(&tour.id).await.unwrap();
        // One that has just left, and one that leaves in a moment: the calendar knows nothing of hours.
        for minutes in [-1, 30] {
            sqlx::query(
                "INSERT INTO departures (id, tour_id, option_id, supplier_id, local_start, time_zone, starts_at,
                                         duration_minutes, capacity)
                 SELECT gen_random_uuid(), o.tour_id, o.id, t.supplier_id,
                        (now() + $2 * interval '1 minute') AT TIME ZONE t.time_zone, t.time_zone,
                        now() + $2 * interval '1 minute', 60, 8
                 FROM options o JOIN tours t ON t.id = o.tour_id WHERE t.title_en = $1 AND o.max_party = 0",
            )
            .bind(title)
            .bind(minutes)
            .execute(&house.pool)
            .await
            .unwrap();
            // Only the second tour has one that has not left.
            if title != "Middle" {
                break;
            }
        }
    }
    assert_calendars(&house).await;
    assert_as_departures_say(&house).await;
    for (i, departure) in all.iter().enumerate() {
        match i % 4 {
            0 => set(&house, departure, &["state"], DepartureState::Closed, 0).await,
            1 => cancel(&house, departure).await,
            2 => set(&house, departure, &["capacity"], DepartureState::Open, 8).await,
            _ => {}
        }
    }
    assert_calendars(&house).await;
    assert_as_departures_say(&house).await;
    for departure in all.iter().step_by(4) {
        set(&house, departure, &["state"], DepartureState::Open, 0).await;
    }
    assert_calendars(&house).await;
    assert_as_departures_say(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_misses_no_change_however_many_are_made_at_the_same_time() {
    let house = House::new().await;
    let supplier = house.supplier("Rush").await;
    for round in 0..8_u64 {
        let tour = house.draft(&supplier.id, a_tour(&format!("Rush {round}"), "")).await;
        let option = house.option(an_option(&tour.id, 10)).await;
        let mut there = Vec::new();
        for n in 0..6 {
            there.push(house.departure(&option.id, &format!("{}T09:00", day(5 + n)), 4).await);
        }
        let (house, option) = (&house, &option.id);
        let publish = async { drop(house.try_publish(&tour.id).await.unwrap()) };
        let close = futures_util::future::join_all(
            there.iter().take(4).map(|departure| set(house, departure, &["state"], DepartureState::Closed, 0)),
        );
        let call_off = cancel(house, &there[5]);
        let add = futures_util::future::join_all((0..4).map(async |n| {
            let request = CreateDepartureRequest {
                request_id: house.id(),
                option_id: option.clone(),
                local_start: format!("{}T09:00", day(20 + n)),
                capacity: 3,
            };
            house.admin().create_departure(bearer(request, &house.staff)).await.unwrap();
        }));
        tokio::join!(publish, close, call_off, add);
        assert_calendars(house).await;
        let asked = |from: u64, to: u64| SearchToursRequest {
            query: format!("rush {round}"),
            date_from: day(from),
            date_to: day(to),
            with_facets: true,
            ..Default::default()
        };
        for (from, to, expected) in [(5, 8, 0), (9, 9, 1), (10, 10, 0), (20, 23, 1)] {
            assert_eq!(house.search(asked(from, to)).await.total, expected, "{round}: {from} to {to}");
        }
    }
}
