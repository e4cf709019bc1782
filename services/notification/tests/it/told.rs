//! Which changes of a booking are told, and how.

use tourmesh::{
    booking::v1::{BookingChanged, BookingRescheduled, CancellationCause, WaitingEntry, WaitingListOffered},
    catalog::v1::{Departure, DepartureChanged},
    google::r#type::Money,
};
use tourmesh_kit::events::Event;
use tourmesh_testkit::eventually;

use crate::{
    mailbox::Mailbox,
    story::{booking, cancelled_because, confirmed, euros, held, in_days, paid, sold, user},
};

fn moved(booking: &tourmesh::booking::v1::Booking, version: i64, day: &str, difference: Money, refund: Money) -> Event {
    let mut moved = sold(booking);
    moved.version = version;
    moved.local_start = format!("{day}T14:30");
    let event = BookingRescheduled {
        booking: Some(moved),
        from_departure_id: String::new(),
        price_difference: Some(difference),
        refund: Some(refund),
        ..BookingRescheduled::default()
    };
    Event::new(format!("booking.booking.rescheduled.{}", booking.id), &event)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_move_is_told_with_the_old_time_and_the_difference() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let booking = booking(&user(), "amelie@example.com", "fr");
    mailbox.room.publish("booking", &confirmed(&booking)).await;
    mailbox.settled(1).await;
    mailbox.room.publish("booking", &moved(&booking, 3, "2027-01-05", euros(-10, 0), euros(10, 0))).await;
    mailbox.settled(2).await;
    mailbox.room.publish("booking", &moved(&booking, 4, "2027-01-06", euros(0, 0), euros(0, 0))).await;
    mailbox.settled(3).await;
    let mails = mailbox.mails();
    let with = |part: &str| mails.values().filter(|m| m.contains(part)).count();
    assert_eq!(with("Réservation déplacée"), 0, "subjects are encoded");
    assert_eq!(with("Auparavant :   vendredi 1er janvier 2027 à 09:00"), 1);
    assert_eq!(with("coûte 10,00\u{a0}€ de moins. Nous vous remboursons 10,00\u{a0}€"), 1);
    assert_eq!(with("Auparavant :   mardi 5 janvier 2027 à 14:30"), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_who_left_have_no_voucher_in_what_is_told_afterwards() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let booking = booking(&user(), "amelie@example.com", "en");
    mailbox.room.publish("booking", &confirmed(&booking)).await;
    mailbox.settled(1).await;
    let mut fewer = sold(&booking);
    fewer.version = 3;
    fewer.refund = Some(euros(49, 50));
    fewer.items[0].cancelled_at = Some(prost_types::Timestamp { seconds: 1_790_000_200, nanos: 0 });
    fewer.items[1].guest_name = "Łukasz Żółtowski".to_owned();
    let event = BookingChanged { booking: Some(fewer.clone()) };
    mailbox.room.publish("booking", &Event::new(format!("booking.booking.changed.{}", booking.id), &event)).await;
    mailbox.settled(2).await;
    let mail = mailbox.mails().into_values().find(|m| m.contains("your booking has changed")).unwrap();
    assert!(!mail.contains("VCH-0-") && mail.contains("VCH-1-") && mail.contains("1 × Adult"), "{mail}");
    assert!(mail.contains("Łukasz Żółtowski") && mail.contains("€49.50"), "{mail}");
    // A hold that changes is nobody's business.
    let mut hold = held_booking();
    hold.version = 2;
    let event = BookingChanged { booking: Some(hold.clone()) };
    mailbox.room.publish("booking", &Event::new(format!("booking.booking.changed.{}", hold.id), &event)).await;
    eventually(|| async { mailbox.heard().await == 3 }).await;
    mailbox.settled(2).await;
    running.stop().await;
}

fn held_booking() -> tourmesh::booking::v1::Booking {
    booking(&user(), "hold@example.com", "en")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departure_that_is_called_off_apologizes() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let booking = paid(&booking(&user(), "amelie@example.com", "en"));
    mailbox.room.publish("booking", &confirmed(&booking)).await;
    mailbox.settled(1).await;
    let off = cancelled_because(&sold(&booking), euros(99, 0), CancellationCause::Departure);
    mailbox.room.publish("booking", &off).await;
    mailbox.settled(2).await;
    let sorry = mailbox.mails().into_values().find(|m| m.contains("does not take place, and")).unwrap();
    assert!(sorry.contains("We give back €99.00") && sorry.contains("STATUS:CANCELLED"), "{sorry}");
    assert_eq!(mailbox.count("kind = 'DEPARTURE_CANCELLED' AND priority = 0").await, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_the_waiting_list_says_until_when_and_why_its_promo_code_does_not_count() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut offer = booking(&user(), "amelie@example.com", "en");
    // 17:30 in Paris.
    offer.hold_expires_at = Some(prost_types::Timestamp { seconds: 1_798_648_200, nanos: 0 });
    let entry = WaitingEntry {
        promo_code: "SUMMER".to_owned(),
        promo_refusal: "PROMO_CODE_USED_UP".to_owned(),
        ..WaitingEntry::default()
    };
    let event = WaitingListOffered { entry: Some(entry), booking: Some(offer.clone()) };
    mailbox.room.publish("booking", &Event::new("booking.waiting.offered.wtg_1", &event)).await;
    mailbox.settled(1).await;
    let mail = mailbox.mails().into_values().next().unwrap();
    assert!(mail.contains("until Wednesday, 30 December 2026 at 17:30 (Europe/Paris)"), "{mail}");
    assert!(mail.contains("Your promo code SUMMER has been used up meanwhile"), "{mail}");
    assert!(mail.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{mail}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departure_at_another_time_is_told_to_everybody_who_has_a_seat_and_to_nobody_else() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let departure = format!("dep_{}", uuid::Uuid::now_v7().simple());
    let (one, two, hold) =
        (in_days(30, "one@example.com"), in_days(30, "two@example.com"), in_days(30, "h@example.com"));
    for (booking, sell) in [(&one, true), (&two, true), (&hold, false)] {
        let mut booking = booking.clone();
        booking.departure_id.clone_from(&departure);
        mailbox.room.publish("booking", &if sell { confirmed(&booking) } else { held(&booking) }).await;
    }
    mailbox.settled(2).await;
    let changed = |version: i64, start: &str, minutes: i32| {
        let changed = Departure {
            id: departure.clone(),
            local_start: start.to_owned(),
            time_zone: one.time_zone.clone(),
            duration_minutes: minutes,
            capacity: 99,
            version,
            ..Departure::default()
        };
        let event = DepartureChanged { departure: Some(changed) };
        Event::new(format!("catalog.departure.changed.{departure}"), &event)
    };
    // More seats concern no guest.
    mailbox.room.publish("catalog", &changed(2, &one.local_start, one.duration_minutes)).await;
    mailbox.room.publish("catalog", &changed(3, "2027-02-03T11:15", 90)).await;
    mailbox.settled(4).await;
    let mails = mailbox.mails();
    let told: Vec<_> = mails.values().filter(|m| m.contains("has changed the departure")).collect();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|m| m.contains("Wednesday, 3 February 2027 at 11:15") && m.contains("VCH-")), "{told:?}");
    assert!(!mails.values().any(|m| m.contains("h@example.com")));
    running.stop().await;
}
