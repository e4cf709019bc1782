//! Taxes: shown, added, frozen, and given back to the last cent.

use tourmesh::{
    booking::v1 as pb,
    catalog::v1 as catalog,
    common::v1::{Tax, TaxLine, UnitQuantity, UnitType},
    google::r#type::Money,
};
use tourmesh_kit::events::Event;
use tourmesh_testkit::{eventually, reason};

use crate::scene::{Scene, create, euros, wish};

fn tax(name: &str, percent: &str, included: bool) -> Tax {
    Tax { name: name.into(), percent: percent.into(), included }
}

pub(crate) fn cents(money: Option<&Money>) -> i64 {
    money.map_or(0, |m| m.units * 100 + i64::from(m.nanos) / 10_000_000)
}

fn lines(taxes: &[TaxLine]) -> Vec<(String, i64)> {
    taxes.iter().map(|l| (l.tax.clone().unwrap().name, cents(l.amount.as_ref()))).collect()
}

/// Two adults for 30.00, a child for 12.35, an infant for nothing.
fn family(request_id: &str, departure: &str) -> pb::CreateBookingRequest {
    let units = [(UnitType::Adult, 2), (UnitType::Child, 1), (UnitType::Infant, 1)];
    let units = units.map(|(unit, quantity)| UnitQuantity { unit: unit.into(), quantity }).to_vec();
    pb::CreateBookingRequest { units, ..wish(request_id, departure, 1) }
}

impl Scene {
    /// The country's taxes are these now, for this departure.
    async fn taxed(&self, offer: &mut catalog::Offer, taxes: &[Tax]) {
        offer.taxes = taxes.to_vec();
        self.catalog.put(offer.clone());
        let message = catalog::TaxesChanged { country: offer.country.clone(), rule: None, deleted: false };
        self.room.publish("catalog", &Event::new(format!("catalog.taxes.changed.{}", offer.country), &message)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn taxes_are_in_the_price_or_on_top_and_frozen_and_all_of_it_goes_back() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let mut offer = scene.offer(100);
    offer.taxes = vec![tax("VAT", "10", true), tax("City", "1.5", false)];
    let departure = scene.departure_of(offer.clone());
    let booking = create(scene.client(), &ada, family("one", &departure)).await.unwrap();
    // An adult's 30.00 hold 2.73 of VAT, a child's 12.35 hold 1.12; 1.5 % of 27.27 are 0.41, of 11.23 are 0.17.
    assert_eq!(lines(&booking.taxes), [("VAT".into(), 273 * 2 + 112), ("City".into(), 41 * 2 + 17)]);
    assert_eq!((cents(booking.total.as_ref()), cents(booking.net.as_ref())), (7_235 + 99, 7_235 - 658));
    let prices: Vec<i64> = booking.items.iter().map(|i| cents(i.price.as_ref())).collect();
    assert_eq!(prices, [3_041, 3_041, 1_252, 0]);
    let of_items = |at: usize| booking.items.iter().map(|i| cents(i.taxes.get(at))).sum::<i64>();
    assert_eq!((of_items(0), of_items(1)), (658, 99));
    let preview = scene.price(&ada, &family("", &departure)).await.unwrap();
    assert_eq!(
        (preview.total, preview.taxes, preview.net),
        (booking.total.clone(), booking.taxes.clone(), booking.net.clone())
    );

    // The rules change: what is bought from now on costs something else, what was bought does not.
    scene.taxed(&mut offer, &[tax("VAT", "20", true)]).await;
    eventually(|| async {
        let now = scene.price(&ada, &family("", &departure)).await.unwrap();
        lines(&now.taxes) == [("VAT".into(), 500 * 2 + 206)]
    })
    .await;
    let other = create(scene.client(), &ada, family("two", &departure)).await.unwrap();
    assert_eq!((cents(other.total.as_ref()), lines(&other.taxes)), (7_235, vec![("VAT".into(), 1_206)]));
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap(), booking);
    assert_eq!(create(scene.client(), &ada, family("one", &departure)).await.unwrap(), booking);

    // All of it is paid, and all of it goes back; who leaves one by one gets the same.
    for (booking, one_by_one) in [(booking, true), (other, false)] {
        scene.confirm(&ada, &booking.id, &booking.id, "card_ok").await.unwrap();
        let payment = scene.payment_of(&booking.id);
        assert_eq!(payment.amount, booking.total);
        // Payment is told how much of it is taxes: its ledger keeps them apart.
        let told = scene.payments.asked().into_iter().rfind(|asked| asked.booking_id == booking.id).unwrap();
        assert_eq!(cents(told.tax.as_ref()), booking.taxes.iter().map(|l| cents(l.amount.as_ref())).sum::<i64>());
        scene.captured(&payment).await;
        let sold = scene.in_state(&ada, &booking.id, pb::BookingState::Confirmed).await;
        assert_eq!((&sold.taxes, &sold.net, &sold.paid), (&booking.taxes, &booking.net, &booking.total));
        if one_by_one {
            let child = booking.items[2].id.as_str();
            let left = scene.leave(&ada, &format!("{child}.l"), &booking.id, &[child]).await.unwrap();
            assert_eq!((left.refund, &left.taxes), (Some(euros(1_252)), &booking.taxes));
        }
        let gone = scene.cancel(&ada, &format!("{}.c", booking.id), &booking.id).await.unwrap();
        assert_eq!((&gone.refund, &gone.total), (&booking.total, &booking.total));
    }
    eventually(|| async { scene.payments.refunds().len() == 3 }).await;
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_who_leave_before_paying_take_their_taxes_along() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let mut offer = scene.offer(100);
    offer.taxes = vec![tax("VAT", "20", true), tax("City", "5", false)];
    let departure = scene.departure_of(offer);
    let booking = create(scene.client(), &ada, family("one", &departure)).await.unwrap();
    let left = scene.leave(&ada, "l", &booking.id, &[&booking.items[0].id]).await.unwrap();
    // An adult's 30.00 hold 5.00 of VAT and get 1.25 on top, a child's 12.35 hold 2.06 and get 0.51.
    assert_eq!(lines(&left.taxes), [("VAT".into(), 706), ("City".into(), 176)]);
    assert_eq!((cents(left.total.as_ref()), cents(left.net.as_ref())), (4_235 + 176, 4_235 - 706));
    let again = create(
        scene.client(),
        &ada,
        pb::CreateBookingRequest {
            units: vec![
                UnitQuantity { unit: UnitType::Adult.into(), quantity: 1 },
                UnitQuantity { unit: UnitType::Child.into(), quantity: 1 },
            ],
            ..wish("two", &departure, 1)
        },
    );
    let again = again.await.unwrap();
    assert_eq!((again.total, again.taxes), (left.total, left.taxes));
    let gone = scene.cancel(&ada, "c", &booking.id).await.unwrap();
    assert_eq!(gone.refund, Some(euros(0)));
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_is_offered_seats_under_the_taxes_of_the_day_of_joining() {
    let scene = Scene::new().await;
    let (ada, bob) = (scene.traveller(), scene.traveller());
    let mut offer = scene.offer(3);
    offer.taxes = vec![tax("VAT", "10", true), tax("City", "1.5", false)];
    let departure = scene.departure_of(offer);
    let first = scene.book(&ada, &departure, 3).await.unwrap();
    let entry = scene.wait_for(&bob, "w", &departure, 2).await.unwrap();
    assert_eq!(entry.total, Some(euros(6_082)));
    scene.cancel(&ada, "c", &first.id).await.unwrap();
    let line = scene.waiting(&bob, &departure).await;
    let offered = scene.get(&bob, &line[0].booking_id).await.unwrap();
    assert_eq!(lines(&offered.taxes), [("VAT".into(), 546), ("City".into(), 82)]);
    assert_eq!(offered.total, entry.total);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_moves_is_taxed_as_there_and_guests_who_left_before_as_here() {
    let scene = Scene::new().await;
    let ada = scene.traveller();
    let mut first = scene.offer(10);
    first.taxes = vec![tax("VAT", "10", true), tax("City", "10", false)];
    let mut to = scene.another(&first, 2_000, 10);
    to.taxes = vec![tax("VAT", "20", true)];
    let (from, to) = (scene.departure_of(first), scene.departure_of(to));
    // 30.00 hold 2.73, and get 2.73 on top.
    let booking = scene.confirmed(&ada, &from, 3).await;
    assert_eq!(cents(booking.total.as_ref()), 9_000 + 819);
    scene.leave(&ada, "l", &booking.id, &[&booking.items[1].id]).await.unwrap();
    let quote = scene.preview_move(&ada, &booking.id, &to).await.unwrap();
    assert_eq!(cents(quote.refund.as_ref()), 2 * (3_273 - 2_000));
    let moved = scene.reschedule(&ada, "m", &booking.id, &to, quote.price_difference).await.unwrap();
    assert_eq!(moved.total, quote.total);
    assert_eq!(cents(moved.total.as_ref()), 3_273 + 2 * 2_000);
    let shown: Vec<(String, String, i64)> = moved
        .taxes
        .iter()
        .map(|l| (l.tax.clone().unwrap().name, l.tax.clone().unwrap().percent, cents(l.amount.as_ref())))
        .collect();
    let line = |name: &str, percent: &str, cents| (name.to_owned(), percent.to_owned(), cents);
    assert_eq!(shown, [line("VAT", "20", 666), line("VAT", "10", 273), line("City", "10", 273)]);
    assert_eq!(scene.get(&ada, &booking.id).await.unwrap(), moved);
    let gone = scene.cancel(&ada, "c", &booking.id).await.unwrap();
    assert_eq!(gone.refund, booking.total);
    scene.promises_hold().await;
    let unknown = scene.price(&ada, &family("", &crate::scene::id("dep"))).await.unwrap_err();
    assert_eq!(reason(&unknown), "DEPARTURE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dearer_departure_costs_the_difference_with_its_taxes_and_the_same_discount_to_the_cent() {
    let scene = Scene::new().await;
    let (ada, staff) = (scene.traveller(), scene.staff());
    let code = pb::PromoCode {
        supplier_id: scene.supplier.clone(),
        code: "TENTH".into(),
        discount: Some(pb::promo_code::Discount::Percent("10".into())),
        ..pb::PromoCode::default()
    };
    let request = pb::CreatePromoCodeRequest { request_id: "c".into(), promo_code: Some(code) };
    scene.client().create_promo_code(tourmesh_testkit::bearer(request, staff.token())).await.unwrap();
    let mut first = scene.offer(10);
    first.taxes = vec![tax("VAT", "10", true)];
    let mut to = scene.another(&first, 3_335, 10);
    to.taxes = vec![tax("VAT", "10", true), tax("City", "7", false)];
    let (from, to) = (scene.departure_of(first), scene.departure_of(to));
    let request = pb::CreateBookingRequest { promo_code: "TENTH".into(), ..wish("b", &from, 3) };
    let booking = create(scene.client(), &ada, request).await.unwrap();
    scene.confirm(&ada, "p", &booking.id, "card_ok").await.unwrap();
    scene.captured(&scene.payment_of(&booking.id)).await;
    scene.in_state(&ada, &booking.id, pb::BookingState::Confirmed).await;
    assert_eq!(cents(booking.total.as_ref()), 8_100);

    // A tenth of 100.05 is 10.01: 30.01, 30.01 and 30.02 less than before taxes, which hold 2.73 and get 1.91 on top.
    let open = scene.pay_move(&ada, "m", &booking.id, &to, None, "card_later").await.unwrap().r#move.unwrap();
    assert_eq!(cents(open.price_difference.as_ref()), 10_005 - 1_001 + 3 * 191 - 8_100);
    let told = scene.payments.asked().into_iter().rfind(|asked| asked.purpose == open.id).unwrap();
    assert_eq!(cents(told.tax.as_ref()), 3 * (273 + 191 - 245), "what is new of the taxes");
    let payment = scene.payment_for(&open);
    scene.captured(&payment).await;
    eventually(|| async { scene.get(&ada, &booking.id).await.unwrap().departure_id == to }).await;
    let event = scene.last_told::<pb::BookingRescheduled>("rescheduled", &booking.id).await;
    assert_eq!((event.payment_id, event.tax, event.move_id), (payment.id, told.tax, open.id));
    assert_eq!((event.price_difference, event.refund), (open.price_difference, Some(euros(0))));
    let moved = scene.get(&ada, &booking.id).await.unwrap();
    assert_eq!((cents(moved.total.as_ref()), cents(moved.discount.as_ref())), (9_004 + 573, 1_001));
    assert_eq!(lines(&moved.taxes), [("VAT".into(), 3 * 273), ("City".into(), 573)]);
    let prices: i64 = moved.items.iter().map(|i| cents(i.price.as_ref())).sum();
    assert_eq!(prices, 9_577);
    scene.promises_hold().await;
    let gone = scene.cancel(&ada, "x", &booking.id).await.unwrap();
    assert_eq!(cents(gone.refund.as_ref()), 9_577);
    scene.promises_hold().await;
}
