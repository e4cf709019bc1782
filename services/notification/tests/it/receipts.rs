//! What was paid is told once: with the confirmation, else in a message of its own.

use tourmesh::{
    booking::v1::{Booking, BookingRescheduled},
    notification::v1::{
        MessageKind, Preferences, SetPreferencesRequest, notification_service_client::NotificationServiceClient,
    },
};
use tourmesh_kit::events::Event;
use tourmesh_testkit::{Role, World, bearer, eventually};

use crate::{
    intake::prefer,
    mailbox::Mailbox,
    story::{booking, confirmed, euros, first_paid_by_its_move, paid, sold, user},
    web::Web,
};

const ENGLISH: &str = "RECEIPT\r\n\r\nTotal:    €99.00\r\n  without taxes: €90.00\r\n  incl. VAT 10%: €9.00\r\nPaid:     €99.00\r\n\
                       Paid on:  Monday, 21 September 2026 at 16:13\r\nPayment:  pay_";
const FRENCH: &str = "REÇU\r\n\r\nTotal :        99,00\u{a0}€\r\n  hors taxes : 90,00\u{a0}€\r\n  dont VAT 10\u{202f}% : 9,00\u{a0}€\r\n\
                      Payé :         99,00\u{a0}€\r\nPayé le :      lundi 21 septembre 2026 à 16:13\r\nPaiement :     pay_";

#[tokio::test(flavor = "multi_thread")]
async fn who_books_and_pays_gets_one_e_mail_which_is_the_receipt_too() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let languages = [("en", ENGLISH, "Receipt</h2>"), ("fr", FRENCH, "Reçu</h2>")];
    for (told, (language, text, heading)) in (1..).zip(languages) {
        let booking = paid(&booking(&user(), &format!("{language}@example.com"), language));
        // The same news three times, under other ids.
        for _ in 0..3 {
            mailbox.room.publish("booking", &confirmed(&booking)).await;
        }
        eventually(|| async { mailbox.heard().await == 3 * told }).await;
        mailbox.settled(usize::try_from(told).unwrap()).await;
        let mail = mailbox.mails().into_values().find(|m| m.contains(&format!("<{language}@example.com>"))).unwrap();
        assert!(mail.contains(text), "{text} in {mail}");
        assert!(mail.contains(heading), "{mail}");
        assert_eq!(mail.matches(&booking.payment_id).count(), 2, "once in the text and once in the HTML: {mail}");
        assert!(mail.contains("VCH-0-") && mail.contains("application/pdf"), "it is the confirmation: {mail}");
    }
    assert_eq!(mailbox.count("kind = 'BOOKING_CONFIRMED' AND topic LIKE 'bkg%:confirmed'").await, 2);
    assert_eq!(mailbox.count("true").await, 2, "and nothing else was kept, sent or not");
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_muted_takes_no_receipt_away_and_makes_no_second_message() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let (confirmation, receipt) = (MessageKind::BookingConfirmed, MessageKind::Receipt);
    for (told, muted) in (1..).zip([vec![confirmation], vec![receipt], vec![confirmation, receipt]]) {
        let user = user();
        prefer(&running, &user, "", &muted).await;
        mailbox.room.publish("booking", &confirmed(&paid(&booking(&user, "amelie@example.com", "en")))).await;
        mailbox.settled(told).await;
    }
    let mails = mailbox.mails();
    assert!(mails.values().all(|m| m.contains("your booking is confirmed") && m.contains(ENGLISH)), "{mails:?}");
    assert_eq!(mailbox.count("true").await, 3);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_was_paid_there_is_no_receipt() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    for (told, language) in (1..).step_by(2).zip(["en", "fr"]) {
        let mut free = booking(&user(), "free@example.com", language);
        free.total = Some(euros(0, 0));
        let mut on_arrival = booking(&user(), "arrival@example.com", language);
        on_arrival.pay_on_arrival = true;
        mailbox.room.publish("booking", &confirmed(&free)).await;
        mailbox.settled(told).await;
        mailbox.room.publish("booking", &confirmed(&on_arrival)).await;
        mailbox.settled(told + 1).await;
    }
    for mail in mailbox.mails().into_values() {
        assert!(mail.contains("VCH-0-"), "{mail}");
        for none in ["RECEIPT", "REÇU", "Receipt", "Reçu", "Paid", "Payé", "pay_"] {
            assert!(!mail.contains(none), "{none} in {mail}");
        }
    }
    assert_eq!(mailbox.count("true").await, 4);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_telephone_is_told_of_a_booking_that_was_paid_for_once() {
    let web = Web::start(&[]).await;
    web.always("201 Created\nContent-Type: application/json\n\n{\"sid\":\"SM1\",\"status\":\"queued\"}");
    let mailbox = Mailbox::new().await.with("SMS_URL", web.url("")).with("SMS_ACCOUNT", "AC123");
    let mailbox = mailbox.with("SMS_TOKEN", "hush").with("SMS_FROM", "+33700000000");
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let me = user();
    let token = World::get().await.token(&me, &[Role::Traveller], None);
    let preferences = Preferences { phone: "+33612345678".to_owned(), ..Preferences::default() };
    let request = SetPreferencesRequest { request_id: "sms".to_owned(), preferences: Some(preferences) };
    NotificationServiceClient::new(running.channel()).set_preferences(bearer(request, &token)).await.unwrap();
    mailbox.room.publish("booking", &confirmed(&paid(&booking(&me, "amelie@example.com", "en")))).await;
    mailbox.settled(1).await;
    mailbox.await_count("channel = 'SMS' AND state = 'SENT'", 1).await;
    assert_eq!(mailbox.count("true").await, 2, "an e-mail and a text message");
    let asked = web.asked();
    assert_eq!(asked.len(), 1);
    let form: std::collections::HashMap<_, _> = url::form_urlencoded::parse(&asked[0].body).into_owned().collect();
    assert!(form["Body"].starts_with("Confirmed: Banks of the Seine"), "{}", form["Body"]);
    running.stop().await;
}

fn moved(booking: Booking, difference: i64) -> Event {
    let subject = format!("booking.booking.rescheduled.{}", booking.id);
    let event = BookingRescheduled {
        booking: Some(booking),
        price_difference: Some(euros(difference, 0)),
        refund: Some(euros(0, 0)),
        ..BookingRescheduled::default()
    };
    Event::new(subject, &event)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_the_first_payment_has_a_receipt_of_its_own() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let free = booking(&user(), "amelie@example.com", "en");
    let event = first_paid_by_its_move(&free, 3);
    for _ in 0..2 {
        mailbox.room.publish("booking", &Event { id: uuid::Uuid::now_v7(), ..event.clone() }).await;
    }
    eventually(|| async { mailbox.heard().await == 2 }).await;
    mailbox.settled(2).await;
    let mails = mailbox.mails();
    assert_eq!(mails.values().filter(|m| m.contains("your booking was moved")).count(), 1);
    let receipt = mails.values().find(|m| m.contains("This is your receipt")).unwrap();
    for part in ["incl. VAT 10%: €9.00", "Paid:     €99.00", "Paid on:  ", "Payment:  pay_"] {
        assert!(receipt.contains(part), "{part} in {receipt}");
    }
    assert_eq!(mailbox.count("kind = 'RECEIPT' AND topic LIKE 'bkg%:receipt:3'").await, 1);

    let muted = user();
    prefer(&running, &muted, "", &[MessageKind::Receipt]).await;
    mailbox.room.publish("booking", &first_paid_by_its_move(&booking(&muted, "quiet@example.com", "en"), 3)).await;
    mailbox.settled(3).await;
    mailbox.await_count("kind = 'RECEIPT' AND state = 'SUPPRESSED'", 1).await;
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}

/// What was paid for the move is told with its own payment and its share of the taxes, not with those of the booking.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_costs_more_has_a_receipt_of_what_it_cost() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    for (told, (language, tax)) in (1..).step_by(2).zip([("en", 3), ("fr", 3), ("en", 0)]) {
        let dearer = paid(&sold(&booking(&user(), "amelie@example.com", language)));
        let event = BookingRescheduled {
            booking: Some(dearer.clone()),
            price_difference: Some(euros(30, 0)),
            refund: Some(euros(0, 0)),
            move_id: "mov_1".to_owned(),
            payment_id: "pay_of_the_move".to_owned(),
            tax: Some(euros(tax, 0)),
            ..BookingRescheduled::default()
        };
        let subject = format!("booking.booking.rescheduled.{}", dearer.id);
        mailbox.room.publish("booking", &Event::new(subject, &event)).await;
        mailbox.settled(told + 1).await;
        let mails = mailbox.mails();
        let receipt = mails.values().find(|m| m.contains(&dearer.id) && m.contains("pay_of_the_move")).unwrap();
        let (of_part, of_tax): (&[&str], _) = match language {
            "en" => (&["€30.00 (the booking costs €99.00 now)", "Paid:     €30.00"], "incl. taxes: €3.00"),
            _ => (
                &["30,00\u{a0}€ (la réservation coûte désormais 99,00\u{a0}€)", "Payé :         30,00"],
                "dont taxes : 3,00",
            ),
        };
        for part in of_part {
            assert!(receipt.contains(part), "{part} in {receipt}");
        }
        assert_eq!(receipt.contains(of_tax), tax > 0, "{receipt}");
        for other in ["VAT", &dearer.payment_id, "Paid:     €99.00"] {
            assert!(!receipt.contains(other), "{other} in {receipt}");
        }
    }
    running.stop().await;
}

/// A move without a payment has no receipt, whatever it cost.
#[tokio::test(flavor = "multi_thread")]
async fn no_receipt_is_made_up_for_a_move() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let dearer = || paid(&sold(&booking(&user(), "amelie@example.com", "en")));
    let on_arrival = Booking { paid: None, pay_on_arrival: true, ..dearer() };
    // It costs more, and staff let it be; it costs nothing; it is paid on arrival.
    for (told, event) in (1..).zip([moved(dearer(), 30), moved(dearer(), 0), moved(on_arrival, 99)]) {
        mailbox.room.publish("booking", &event).await;
        mailbox.settled(told).await;
    }
    assert!(mailbox.mails().values().all(|m| m.contains("your booking was moved")));
    assert_eq!(mailbox.count("true").await, 3);
    running.stop().await;
}
