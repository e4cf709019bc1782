//! Promo codes: what they give, to whom, and never more often than they may.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;
use tourmesh::booking::v1::{self as pb, booking_service_client::BookingServiceClient, promo_code::Discount};
use tourmesh_kit::time;
use tourmesh_testkit::{bearer, eventually, reason};

use crate::{
    scene::{Person, Scene, create, euros, id, wish},
    taxes::cents,
};

/// A code of a supplier.
pub(crate) fn code(scene: &Scene, code: &str, discount: Discount) -> pb::PromoCode {
    pb::PromoCode {
        supplier_id: scene.supplier.clone(),
        code: code.into(),
        discount: Some(discount),
        ..pb::PromoCode::default()
    }
}

pub(crate) fn percent(percent: &str) -> Discount {
    Discount::Percent(percent.into())
}

fn with(code: &str, request: pb::CreateBookingRequest) -> pb::CreateBookingRequest {
    pb::CreateBookingRequest { promo_code: code.into(), ..request }
}

/// Who is told to wait comes back, with the same request: what is proven here does not depend on how busy the machine is.
async fn patient<T>(call: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
    loop {
        match call().await {
            Err(status) if reason(&status) == "OVERLOADED" => {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
            other => return other,
        }
    }
}

async fn insist(
    client: BookingServiceClient<Channel>,
    person: &Person,
    request: pb::CreateBookingRequest,
) -> Result<pb::Booking, Status> {
    patient(async || create(client.clone(), person, request.clone()).await).await
}

impl Scene {
    async fn make(&self, person: &Person, request_id: &str, code: pb::PromoCode) -> Result<pb::PromoCode, Status> {
        let request = pb::CreatePromoCodeRequest { request_id: request_id.into(), promo_code: Some(code) };
        let call = async || self.client().create_promo_code(bearer(request.clone(), person.token())).await;
        let answer = patient(call).await?;
        Ok(answer.into_inner().promo_code.unwrap())
    }

    /// Staff makes a code.
    pub(crate) async fn code(&self, code: pb::PromoCode) -> pb::PromoCode {
        self.make(&self.staff(), &id("r"), code).await.unwrap()
    }

    pub(crate) async fn end(&self, person: &Person, request_id: &str, code: &str) -> Result<pb::PromoCode, Status> {
        let request = pb::EndPromoCodeRequest { request_id: request_id.into(), promo_code_id: code.into() };
        let call = async || self.client().end_promo_code(bearer(request.clone(), person.token())).await;
        let answer = patient(call).await?;
        Ok(answer.into_inner().promo_code.unwrap())
    }

    /// All codes that somebody sees, page by page.
    async fn codes(&self, person: &Person, with_ended: bool) -> Vec<pb::PromoCode> {
        let mut all = Vec::new();
        let mut request = pb::ListPromoCodesRequest { with_ended, page_size: 2, ..Default::default() };
        loop {
            let page = self.client().list_promo_codes(bearer(request.clone(), person.token())).await.unwrap();
            let page = page.into_inner();
            all.extend(page.promo_codes);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// How often a code is used.
    pub(crate) async fn uses(&self, code: &str) -> i32 {
        self.codes(&self.staff(), true).await.into_iter().find(|c| c.id == code).unwrap().uses
    }

    async fn use_code(&self, person: &Person, departure: &str, code: &str) -> Result<pb::Booking, Status> {
        insist(self.client(), person, with(code, wish(&id("r"), departure, 1))).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_with_ten_uses_and_two_hundred_buyers_at_two_replicas_gives_ten_discounts() {
    let scene = Scene::new().await;
    let other = scene.replica().await;
    let code = scene.code(pb::PromoCode { max_uses: 10, ..code(&scene, "TEN", percent("50")) }).await;
    // Many departures: nothing but the code itself keeps the buyers apart.
    let departures: Vec<String> = (0..7).map(|_| scene.departure(1_000)).collect();
    let buys = (0..200).map(|n| {
        let client: BookingServiceClient<Channel> =
            if n % 2 == 0 { scene.client() } else { BookingServiceClient::new(other.channel()) };
        let (person, departure) = (scene.traveller(), departures[n % 7].clone());
        async move { insist(client, &person, with("ten", wish("r", &departure, 2))).await }
    });
    let answers = join_all(buys).await;
    let (mut sold, mut refused) = (0, 0);
    for answer in answers {
        match answer {
            Ok(booking) => {
                assert_eq!(
                    (booking.promo_code.as_str(), booking.total, booking.discount),
                    ("TEN", Some(euros(3_000)), Some(euros(3_000)))
                );
                sold += 1;
            }
            Err(status) => {
                assert_eq!(reason(&status), "PROMO_CODE_USED_UP", "{status:?}");
                assert_eq!(status.get_details_error_info().unwrap().metadata["limit"], "total");
                refused += 1;
            }
        }
    }
    assert_eq!((sold, refused), (10, 190));
    assert_eq!(scene.uses(&code.id).await, 10);
    let bookings: i64 = sqlx::query_scalar("SELECT count(*) FROM bookings").fetch_one(&scene.pool).await.unwrap();
    assert_eq!(bookings, 10, "who gets no discount gets no booking at another price");
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_races_at_two_replicas_has_a_limited_code_as_often_as_one_may() {
    let scene = Scene::with(&[("MAX_OPEN_HOLDS", "1000")]).await;
    let other = scene.replica().await;
    let limited = pb::PromoCode { max_uses_per_customer: 2, max_uses: 100, ..code(&scene, "TWICE", percent("10")) };
    let code = scene.code(limited).await;
    let departures: Vec<String> = (0..5).map(|_| scene.departure(1_000)).collect();
    let people: Vec<Person> = (0..3).map(|_| scene.traveller()).collect();
    let buys = (0..90).map(|n| {
        let client: BookingServiceClient<Channel> =
            if n % 2 == 0 { scene.client() } else { BookingServiceClient::new(other.channel()) };
        let (person, departure) = (people[n % 3].clone(), departures[n % 5].clone());
        async move { (n % 3, insist(client, &person, with("TWICE", wish(&format!("r{n}"), &departure, 1))).await) }
    });
    let mut sold = [0; 3];
    for (who, answer) in join_all(buys).await {
        match answer {
            Ok(_) => sold[who] += 1,
            Err(status) => {
                assert_eq!(reason(&status), "PROMO_CODE_USED_UP", "{status:?}");
                assert_eq!(status.get_details_error_info().unwrap().metadata["limit"], "customer");
            }
        }
    }
    assert_eq!(sold, [2, 2, 2]);
    assert_eq!(scene.uses(&code.id).await, 6);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_repeats_use_a_code_once() {
    let scene = Scene::new().await;
    let other = scene.replica().await;
    let ada = scene.traveller();
    let code = scene.code(pb::PromoCode { max_uses: 1, ..code(&scene, "ONCE", percent("10")) }).await;
    let departure = scene.departure(10);
    let calls = (0..100).map(|n| {
        let client: BookingServiceClient<Channel> =
            if n % 2 == 0 { scene.client() } else { BookingServiceClient::new(other.channel()) };
        insist(client, &ada, with("once", wish("same", &departure, 1)))
    });
    let bookings: BTreeSet<String> = join_all(calls).await.into_iter().map(|b| b.unwrap().id).collect();
    assert_eq!(bookings.len(), 1);
    assert_eq!(scene.uses(&code.id).await, 1);
    let without = create(scene.client(), &ada, wish("same", &departure, 1)).await.unwrap_err();
    assert_eq!(reason(&without), "REQUEST_ID_REUSED");
    // Used up and ended: a repeat still finds what it made.
    scene.end(&scene.staff(), "e", &code.id).await.unwrap();
    let again = create(scene.client(), &ada, with("once", wish("same", &departure, 1))).await.unwrap();
    assert!(bookings.contains(&again.id));
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_come_back_with_a_hold_that_ends_and_stay_with_a_booking_that_was_sold() {
    let scene = Scene::new().await;
    let (ada, bob) = (scene.traveller(), scene.traveller());
    let limited = pb::PromoCode { max_uses: 1, max_uses_per_customer: 1, ..code(&scene, "LAST", percent("10")) };
    let code = scene.code(limited).await;
    let mut short = scene.offer(10);
    short.hold_seconds = 1;
    let (short, departure) = (scene.departure_of(short), scene.departure(10));

    let run_out = scene.use_code(&ada, &short, "LAST").await.unwrap();
    assert_eq!(reason(&scene.use_code(&bob, &departure, "LAST").await.unwrap_err()), "PROMO_CODE_USED_UP");
    scene.in_state(&ada, &run_out.id, pb::BookingState::Expired).await;
    assert_eq!(scene.uses(&code.id).await, 0);

    let cancelled = scene.use_code(&ada, &departure, "LAST").await.unwrap();
    assert_eq!(scene.uses(&code.id).await, 1);
    scene.cancel(&ada, "c", &cancelled.id).await.unwrap();
    assert_eq!(scene.uses(&code.id).await, 0);

    // Of two guests one leaves: the booking keeps the code.
    let two = create(scene.client(), &ada, with("LAST", wish("two", &departure, 2))).await.unwrap();
    let one = scene.leave(&ada, "l", &two.id, &[&two.items[0].id]).await.unwrap();
    assert_eq!((one.discount, scene.uses(&code.id).await), (Some(euros(300)), 1));
    scene.confirm(&ada, "p", &two.id, "card_ok").await.unwrap();
    scene.captured(&scene.payment_of(&two.id)).await;
    scene.in_state(&ada, &two.id, pb::BookingState::Confirmed).await;
    let gone = scene.cancel(&ada, "c2", &two.id).await.unwrap();
    assert_eq!((gone.refund, gone.promo_code.as_str()), (Some(euros(2_700)), "LAST"));
    assert_eq!(scene.uses(&code.id).await, 1);
    assert_eq!(reason(&scene.use_code(&bob, &departure, "LAST").await.unwrap_err()), "PROMO_CODE_USED_UP");
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_code_takes_off_is_shown_before_and_after_to_the_cent() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let mut taxed = scene.offer(100);
    let tax =
        |percent: &str, included| tourmesh::common::v1::Tax { name: percent.into(), percent: percent.into(), included };
    taxed.taxes = vec![tax("20", true), tax("5", false)];
    let departure = scene.departure_of(taxed);
    for (text, discount, off, total) in [
        // Three guests of 20.00, which hold 3.33 and get 0.83 on top.
        ("PERCENT", percent("33.3333"), 3_000, 6_249),
        // Three guests of 30.00 less 10.00: 26.66, 26.67 and 26.67, which get 1.11 on top.
        ("AMOUNT", Discount::Amount(euros(1_000)), 1_000, 8_333),
        ("UNIT", Discount::AmountPerUnit(euros(999)), 2_997, 6_252),
        ("ALL", percent("100"), 9_000, 0),
        ("MORE", Discount::Amount(euros(100_000)), 9_000, 0),
    ] {
        scene.code(code(&scene, text, discount)).await;
        let request = with(text, wish(&id("r"), &departure, 3));
        let preview = scene.price(&ada, &request).await.unwrap();
        let booking = create(scene.client(), &ada, request).await.unwrap();
        assert_eq!((cents(booking.discount.as_ref()), cents(booking.total.as_ref())), (off, total), "{text}");
        assert_eq!((preview.discount, preview.total), (booking.discount.clone(), booking.total.clone()), "{text}");
        assert_eq!((preview.taxes, preview.net), (booking.taxes.clone(), booking.net.clone()), "{text}");
        let items: i64 = booking.items.iter().map(|i| cents(i.discount.as_ref())).sum();
        assert_eq!(items, off);
        assert_eq!(scene.get(&ada, &booking.id).await.unwrap(), booking);
        if total == 0 {
            // Nothing is left to pay: it is confirmed at once.
            let sold = scene.confirm(&ada, &booking.id, &booking.id, "").await.unwrap().booking.unwrap();
            assert_eq!(sold.state(), pb::BookingState::Confirmed);
        }
    }
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_not_for_this_says_why_and_holds_no_seats() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let departure = scene.departure(10);
    let at = |days: i64| Some(time::to_wire(chrono::Utc::now() + chrono::TimeDelta::days(days)));
    let base = |text: &str| code(&scene, text, percent("10"));
    // The departure is on 2030-06-01, local.
    scene.code(pb::PromoCode { tour_ids: vec![id("tour")], ..base("TOUR") }).await;
    scene.code(pb::PromoCode { depart_from: "2030-06-02".into(), ..base("AFTER") }).await;
    scene.code(pb::PromoCode { depart_until: "2030-05-31".into(), ..base("BEFORE") }).await;
    scene.code(pb::PromoCode { book_from: at(1), ..base("SOON") }).await;
    scene.code(pb::PromoCode { book_until: at(1), ..base("LATE") }).await;
    let ended = scene.code(base("ENDED")).await;
    scene.end(&scene.staff(), "e", &ended.id).await.unwrap();
    let dollars = tourmesh::google::r#type::Money { currency_code: "USD".into(), units: 1, nanos: 0 };
    scene.code(code(&scene, "DOLLARS", Discount::Amount(dollars))).await;
    scene.code(pb::PromoCode { supplier_id: id("sup"), ..base("OTHERS") }).await;
    sqlx::query("UPDATE promo_codes SET book_until = now() - interval '1 s' WHERE code = 'LATE'")
        .execute(&scene.pool)
        .await
        .unwrap();
    for (text, why) in [
        ("NONE", "PROMO_CODE_UNKNOWN"),
        ("OTHERS", "PROMO_CODE_UNKNOWN"),
        ("TOUR", "PROMO_CODE_NOT_APPLICABLE"),
        ("AFTER", "PROMO_CODE_NOT_APPLICABLE"),
        ("BEFORE", "PROMO_CODE_NOT_APPLICABLE"),
        ("DOLLARS", "PROMO_CODE_NOT_APPLICABLE"),
        ("SOON", "PROMO_CODE_ENDED"),
        ("LATE", "PROMO_CODE_ENDED"),
        ("ENDED", "PROMO_CODE_ENDED"),
    ] {
        let refused = scene.use_code(&ada, &departure, text).await.unwrap_err();
        assert_eq!(reason(&refused), why, "{text}");
        let preview = scene.price(&ada, &with(text, wish("r", &departure, 1))).await.unwrap_err();
        assert_eq!(reason(&preview), why, "{text}");
    }
    assert_eq!(scene.seats_left(&departure).await, 10);
    // On the day itself, and for this tour, it counts.
    let tour = scene.book(&ada, &departure, 1).await.unwrap().tour_id;
    let day = "2030-06-01".to_owned();
    scene
        .code(pb::PromoCode { tour_ids: vec![tour], depart_from: day.clone(), depart_until: day, ..base("DAY") })
        .await;
    assert_eq!(scene.use_code(&ada, &departure, " day ").await.unwrap().total, Some(euros(2_700)));
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suppliers_run_their_own_codes_and_staff_runs_all() {
    let scene = Scene::new().await;
    let (staff, guide, rival) = (scene.staff(), scene.guide(&scene.supplier), scene.guide(&id("sup")));
    let new = pb::PromoCode { supplier_id: String::new(), ..code(&scene, "Spring-10", percent("10.50")) };
    // A hundred repeats make one, and everybody gets it.
    let made = join_all((0..100).map(|_| scene.make(&guide, "one", new.clone()))).await;
    let spring = made[0].as_ref().unwrap().clone();
    assert!(made.iter().all(|m| m.as_ref().unwrap() == &spring));
    assert_eq!((spring.supplier_id.as_str(), spring.code.as_str()), (scene.supplier.as_str(), "SPRING-10"));
    assert_eq!((spring.discount.clone(), spring.uses), (Some(percent("10.5")), 0));
    assert_eq!(reason(&scene.make(&guide, "two", new.clone()).await.unwrap_err()), "PROMO_CODE_TAKEN");
    let other = pb::PromoCode { code: "OTHER".into(), ..new.clone() };
    assert_eq!(reason(&scene.make(&guide, "one", other).await.unwrap_err()), "REQUEST_ID_REUSED");
    // Another supplier, and the platform, may have the same text; the supplier's own is the one that counts.
    scene.make(&rival, "one", new.clone()).await.unwrap();
    let platform =
        scene.make(&staff, "one", pb::PromoCode { discount: Some(percent("50")), ..new.clone() }).await.unwrap();
    assert_eq!(platform.supplier_id, "");
    let departure = scene.departure(10);
    let booking = scene.use_code(&scene.traveller(), &departure, "spring-10").await.unwrap();
    assert_eq!(booking.discount, Some(euros(315)));
    let named = pb::PromoCode { supplier_id: scene.supplier.clone(), code: "STOLEN".into(), ..new.clone() };
    assert_eq!(reason(&scene.make(&rival, "three", named).await.unwrap_err()), "SUPPLIER_NOT_FOUND");
    assert_eq!(reason(&scene.end(&rival, "e", &spring.id).await.unwrap_err()), "PROMO_CODE_UNKNOWN");
    assert_eq!(reason(&scene.end(&guide, "e", &platform.id).await.unwrap_err()), "PROMO_CODE_UNKNOWN");
    assert_eq!(reason(&scene.make(&scene.traveller(), "t", new.clone()).await.unwrap_err()), "ROLE_MISSING");
    assert_eq!((scene.codes(&guide, true).await.len(), scene.codes(&staff, true).await.len()), (1, 3));

    // Ended once, its text is free again; who has it keeps it.
    let ended = join_all((0..20).map(|_| scene.end(&guide, "e2", &spring.id))).await;
    assert!(ended.iter().all(|e| e.as_ref().unwrap() == ended[0].as_ref().unwrap()));
    assert!(ended[0].as_ref().unwrap().ended_at.is_some());
    assert!(scene.codes(&guide, false).await.is_empty());
    scene.make(&guide, "again", new).await.unwrap();
    let told: Vec<(String, i64)> = sqlx::query_as(
        "SELECT split_part(subject, '.', 3), count(*) FROM outbox WHERE subject LIKE 'booking.promo.%' GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(&scene.pool)
    .await
    .unwrap();
    assert_eq!(told, [("created".to_owned(), 4), ("ended".to_owned(), 1)]);
    for wrong in [
        pb::PromoCode { code: "A B".into(), ..code(&scene, "", percent("1")) },
        code(&scene, "ÄÖÜ", percent("1")),
        code(&scene, "ZERO", percent("0")),
        code(&scene, "MUCH", percent("100.1")),
        code(&scene, "FREE", Discount::Amount(euros(0))),
        code(&scene, "MINUS", Discount::AmountPerUnit(euros(-100))),
        pb::PromoCode { discount: None, ..code(&scene, "NOTHING", percent("1")) },
        pb::PromoCode { max_uses: -1, ..code(&scene, "NEGATIVE", percent("1")) },
        pb::PromoCode {
            depart_from: "2030-01-02".into(),
            depart_until: "2030-01-01".into(),
            ..code(&scene, "DATES", percent("1"))
        },
        pb::PromoCode { book_until: Some(time::to_wire(chrono::Utc::now())), ..code(&scene, "PAST", percent("1")) },
    ] {
        assert_eq!(
            reason(&scene.make(&staff, &id("r"), wrong.clone()).await.unwrap_err()),
            "FIELD_INVALID",
            "{wrong:?}"
        );
    }
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discount_moves_with_the_booking_as_if_it_had_been_bought_there() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    scene.code(pb::PromoCode { depart_until: "2030-06-01".into(), ..code(&scene, "HALF", percent("50")) }).await;
    let first = scene.offer(10);
    let cheaper = scene.departure_of(scene.another(&first, 2_000, 10));
    let mut later = scene.another(&first, 1_000, 10);
    later.departure.as_mut().unwrap().local_start = "2030-06-02T09:00".into();
    let (later, from) = (scene.departure_of(later), scene.departure_of(first));
    let booking = create(scene.client(), &ada, with("HALF", wish("r", &from, 2))).await.unwrap();
    scene.confirm(&ada, "p", &booking.id, "card_ok").await.unwrap();
    scene.captured(&scene.payment_of(&booking.id)).await;
    scene.in_state(&ada, &booking.id, pb::BookingState::Confirmed).await;
    // Half of 20.00, not 20.00 less what was half of 30.00.
    let moved = scene.reschedule(&ada, "m", &booking.id, &cheaper, None).await.unwrap();
    assert_eq!(
        (moved.total, moved.discount, moved.refund),
        (Some(euros(2_000)), Some(euros(2_000)), Some(euros(1_000)))
    );
    // Where the code does not count, the full price does.
    let moved = scene.reschedule(&ada, "m2", &booking.id, &later, None).await.unwrap();
    assert_eq!((moved.total, moved.discount, moved.promo_code.as_str()), (Some(euros(2_000)), None, "HALF"));
    eventually(|| async { scene.payments.refunds().len() == 1 }).await;
    scene.promises_hold().await;
}
