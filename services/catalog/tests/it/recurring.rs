//! Recurrence rules, changes of schedules that keep departures, and blackouts.

// The API has an Option too; ours is the other one.
use std::option::Option;

use prost_types::FieldMask;
use tonic::Status;
use tourmesh::catalog::v1::*;
use tourmesh_testkit::{bearer, eventually, reason};

use crate::common::{House, a_tour, an_option, day};

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() })
}

fn daily(option_id: &str) -> Schedule {
    Schedule {
        option_id: option_id.into(),
        recurrence: "FREQ=DAILY".into(),
        start_times: vec!["09:00".into(), "14:00".into()],
        start_date: day(2),
        end_date: day(11),
        capacity: 10,
        ..Default::default()
    }
}

impl House {
    async fn schedule(&self, schedule: Schedule) -> Result<CreateScheduleResponse, Status> {
        let request = CreateScheduleRequest { request_id: self.id(), schedule: Some(schedule) };
        Ok(self.admin().create_schedule(bearer(request, &self.staff)).await?.into_inner())
    }

    async fn change(
        &self,
        schedule_id: &str,
        effective_from: &str,
        schedule: Schedule,
        fields: &[&str],
    ) -> Result<UpdateScheduleResponse, Status> {
        let request = UpdateScheduleRequest {
            request_id: self.id(),
            schedule_id: schedule_id.into(),
            effective_from: effective_from.into(),
            schedule: Some(schedule),
            update_mask: mask(fields),
        };
        let first = self.admin().update_schedule(bearer(request.clone(), &self.staff)).await?.into_inner();
        // A repeat changes nothing and answers the same.
        let again = self.admin().update_schedule(bearer(request, &self.staff)).await?.into_inner();
        assert_eq!(first, again);
        Ok(first)
    }

    async fn black_out(&self, blackout: Blackout) -> Result<Blackout, Status> {
        let request = CreateBlackoutRequest {
            request_id: self.id(),
            blackout: Some(Blackout { reason: "Repairs".into(), ..blackout }),
        };
        let first = self.admin().create_blackout(bearer(request.clone(), &self.staff)).await?.into_inner().blackout;
        let again = self.admin().create_blackout(bearer(request, &self.staff)).await?.into_inner().blackout;
        assert_eq!(first, again);
        Ok(first.unwrap())
    }

    async fn end_blackout(&self, id: &str) -> Result<(), Status> {
        let request = DeleteBlackoutRequest { request_id: self.id(), blackout_id: id.into() };
        self.admin().delete_blackout(bearer(request, &self.staff)).await.map(|_| ())
    }

    /// The departures of a tour: local start, seats, on sale.
    async fn departures(&self, tour_id: &str) -> Vec<(String, i32, bool)> {
        let request = ListDeparturesRequest { tour_id: tour_id.into(), page_size: 200, ..Default::default() };
        let found = self.read().list_departures(request).await.unwrap().into_inner().departures;
        let open = |d: &Departure| d.state() == DepartureState::Open;
        found.iter().map(|d| (d.local_start.clone(), d.capacity, open(d))).collect()
    }

    async fn open(&self, tour_id: &str) -> usize {
        self.departures(tour_id).await.iter().filter(|(_, _, open)| *open).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_makes_departures_and_what_is_no_rule_is_refused() {
    let house = House::new().await;
    let supplier = house.supplier("Rules").await;
    let (tour, option) = house.on_sale(&supplier.id, a_tour("Rules", ""), 20).await;
    let made = house
        .schedule(Schedule {
            recurrence: "FREQ=DAILY;INTERVAL=3".into(),
            except_dates: vec![day(5)],
            extra_dates: vec![day(6), day(40)],
            ..daily(&option.id)
        })
        .await
        .unwrap();
    // Days 2, 8, 11 by the rule, 6 besides; 5 is left out and 40 lies after the end.
    assert_eq!(made.departures_created, 8);
    let schedule = made.schedule.unwrap();
    assert_eq!((schedule.recurrence.as_str(), &schedule.effective_from), ("FREQ=DAILY;INTERVAL=3", &day(2)));
    let starts: Vec<_> = house.departures(&tour.id).await.into_iter().map(|(start, ..)| start).collect();
    let expected: Vec<_> =
        [2, 6, 8, 11].iter().flat_map(|d| ["09:00", "14:00"].map(|t| format!("{}T{t}", day(*d)))).collect();
    assert_eq!(starts, expected);

    let refused: [(&str, Schedule); 7] = [
        ("hourly", Schedule { recurrence: "FREQ=HOURLY".into(), ..daily(&option.id) }),
        ("no rule", Schedule { recurrence: "every day".into(), ..daily(&option.id) }),
        ("no date", Schedule { recurrence: "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30".into(), ..daily(&option.id) }),
        ("both", Schedule { weekdays: vec![1], ..daily(&option.id) }),
        ("neither", Schedule { recurrence: String::new(), ..daily(&option.id) }),
        ("no time", Schedule { start_times: vec![], ..daily(&option.id) }),
        ("long ago", Schedule { start_date: "1999-01-01".into(), ..daily(&option.id) }),
    ];
    for (what, schedule) in refused {
        assert_eq!(reason(&house.schedule(schedule).await.unwrap_err()), "FIELD_INVALID", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_from_a_date_on_closes_what_is_gone_adds_what_is_new_and_keeps_the_rest() {
    let house = House::new().await;
    let supplier = house.supplier("Changes").await;
    let (tour, option) = house.on_sale(&supplier.id, a_tour("Changes", ""), 20).await;
    let first = house.schedule(daily(&option.id)).await.unwrap().schedule.unwrap();
    assert_eq!(house.open(&tour.id).await, 20);
    let ids = |pool: sqlx::PgPool| async move {
        sqlx::query_scalar::<_, uuid::Uuid>("SELECT id FROM departures ORDER BY id").fetch_all(&pool).await.unwrap()
    };
    let before = ids(house.pool.clone()).await;

    // From day 7 on: 14:00 is gone, 16:00 is new, and there are more seats.
    let wish = Schedule { start_times: vec!["09:00".into(), "16:00".into()], capacity: 12, ..Default::default() };
    let changed = house.change(&first.id, &day(7), wish, &["start_times", "capacity"]).await.unwrap();
    assert_eq!((changed.departures_created, changed.departures_closed), (5, 5));
    let second = changed.schedule.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!((&second.effective_from, &second.start_date), (&day(7), &day(2)));
    for (start, seats, open) in house.departures(&tour.id).await {
        let (date, time) = start.split_once('T').unwrap();
        let later = date >= day(7).as_str();
        assert_eq!(open, !(later && time == "14:00"), "{start}");
        assert_eq!(seats, if later && time != "14:00" { 12 } else { 10 }, "{start}");
    }
    let after = ids(house.pool.clone()).await;
    assert!(before.iter().all(|id| after.contains(id)), "nothing is deleted");
    assert_eq!(house.events("catalog.departure.changed.").await.len(), 10, "5 closed, 5 with other seats");
    let request = ListSchedulesRequest { option_id: option.id.clone() };
    let listed = house.admin().list_schedules(bearer(request, &house.staff)).await.unwrap().into_inner().schedules;
    assert_eq!(
        listed.iter().map(|s| (&s.id, &s.end_date)).collect::<Vec<_>>(),
        [(&first.id, &day(6)), (&second.id, &day(11))]
    );

    // Back again: what was closed opens, what was new closes, and the one in between is as if it had never been.
    let back = house.change(&second.id, &day(7), daily(""), &["start_times", "recurrence"]).await.unwrap();
    assert_eq!((back.departures_created, back.departures_closed), (0, 5));
    assert_eq!(house.open(&tour.id).await, 20);

    // The horizon adds nothing of what was replaced.
    sqlx::query("UPDATE schedules SET filled_until = filled_until - 200").execute(&house.pool).await.unwrap();
    let third = back.schedule.unwrap();
    for (what, id, from) in [
        ("past", &third.id, "2020-01-01".to_owned()),
        ("over", &first.id, day(8)),
        ("after its end", &third.id, day(30)),
    ] {
        let refused = house.change(id, &from, daily(""), &["capacity"]).await.unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID", "{what}");
    }
    let unknown = house.change("sch_00000000000000000000000009", "", daily(""), &["capacity"]).await;
    assert!(unknown.is_err());
    let theirs = house.supplier_token(&house.supplier("Others").await.id);
    let request = UpdateScheduleRequest {
        request_id: house.id(),
        schedule_id: third.id.clone(),
        schedule: Some(daily("")),
        update_mask: mask(&["capacity"]),
        ..Default::default()
    };
    let refused = house.admin().update_schedule(bearer(request, &theirs)).await.unwrap_err();
    assert_eq!(reason(&refused), "SCHEDULE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blackout_takes_dates_off_sale_and_its_end_brings_them_back() {
    let house = House::new().await;
    let supplier = house.supplier("Blackouts").await;
    let (one, option) = house.on_sale(&supplier.id, a_tour("One", ""), 20).await;
    let (two, other) = house.on_sale(&supplier.id, a_tour("Two", ""), 20).await;
    house.schedule(daily(&option.id)).await.unwrap();
    house.schedule(daily(&other.id)).await.unwrap();
    house.departure(&option.id, &format!("{}T20:00", day(4)), 5).await;
    let closed_by_hand = house.departure(&option.id, &format!("{}T21:00", day(4)), 5).await;
    let request = UpdateDepartureRequest {
        request_id: house.id(),
        departure_id: closed_by_hand.id.clone(),
        state: DepartureState::Closed.into(),
        update_mask: mask(&["state"]),
        ..Default::default()
    };
    house.admin().update_departure(bearer(request, &house.staff)).await.unwrap();
    assert_eq!((house.open(&one.id).await, house.open(&two.id).await), (21, 20));

    // One tour: its own two days, with what was made by hand.
    let dates = Blackout { first_date: day(4), last_date: day(5), ..Default::default() };
    let of_one = house.black_out(Blackout { tour_id: one.id.clone(), ..dates.clone() }).await.unwrap();
    assert_eq!((&of_one.supplier_id, &of_one.tour_id), (&supplier.id, &one.id));
    assert_eq!((house.open(&one.id).await, house.open(&two.id).await), (16, 20));
    // All of the supplier, a tour too that comes later.
    let all =
        Blackout { supplier_id: supplier.id.clone(), first_date: day(5), last_date: day(7), ..Default::default() };
    let of_all = house.black_out(all).await.unwrap();
    assert_eq!((house.open(&one.id).await, house.open(&two.id).await), (12, 14));
    let (three, late) = house.on_sale(&supplier.id, a_tour("Three", ""), 20).await;
    assert_eq!(house.schedule(daily(&late.id)).await.unwrap().departures_created, 14);
    let request = CreateDepartureRequest {
        request_id: house.id(),
        option_id: late.id.clone(),
        local_start: format!("{}T10:00", day(6)),
        capacity: 3,
    };
    let refused = house.admin().create_departure(bearer(request, &house.staff)).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");

    let list = ListBlackoutsRequest { tour_id: one.id.clone(), ..Default::default() };
    let mine = house.supplier_token(&supplier.id);
    let listed = house.admin().list_blackouts(bearer(list.clone(), &mine)).await.unwrap().into_inner().blackouts;
    assert_eq!(listed, [of_one.clone(), of_all.clone()]);
    let theirs = house.supplier_token(&house.supplier("Others").await.id);
    let refused = house.admin().list_blackouts(bearer(list, &theirs)).await.unwrap_err();
    assert_eq!(reason(&refused), "TOUR_NOT_FOUND");
    let request = DeleteBlackoutRequest { request_id: house.id(), blackout_id: of_all.id.clone() };
    let refused = house.admin().delete_blackout(bearer(request, &theirs)).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");

    // Where two overlap, one end is not enough; what hands closed stays closed.
    house.end_blackout(&of_all.id).await.unwrap();
    assert_eq!((house.open(&one.id).await, house.open(&two.id).await, house.open(&three.id).await), (16, 20, 20));
    house.end_blackout(&of_one.id).await.unwrap();
    house.end_blackout(&of_one.id).await.unwrap();
    assert_eq!(house.open(&one.id).await, 21);
    assert_eq!(house.events("catalog.blackout.").await.len(), 4);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM unsettled").fetch_one(&house.pool).await.unwrap();
    assert_eq!(left, 0);

    for (first, last) in [(day(5), day(4)), (day(1), day(500))] {
        let wrong = Blackout { tour_id: one.id.clone(), first_date: first, last_date: last, ..Default::default() };
        assert_eq!(reason(&house.black_out(wrong).await.unwrap_err()), "FIELD_INVALID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cut_short_call_left_unsettled_is_settled_in_the_background() {
    let house = House::new().await;
    let supplier = house.supplier("Left over").await;
    let tour = house.draft(&supplier.id, a_tour("Left over", "")).await;
    let option = house.option(an_option(&tour.id, 10)).await;
    house.try_publish(&tour.id).await.unwrap();
    house.schedule(daily(&option.id)).await.unwrap();
    // As if the service had died between the two transactions of a blackout.
    sqlx::query(
        "WITH b AS (INSERT INTO blackouts SELECT gen_random_uuid(), supplier_id, id, current_date + 3, current_date + 3, 'x', now() FROM tours)
         INSERT INTO unsettled SELECT id, current_date + 3, current_date + 3 FROM tours",
    )
    .execute(&house.pool)
    .await
    .unwrap();
    eventually(|| async { house.open(&tour.id).await == 18 }).await;
}
