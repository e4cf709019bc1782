//! Which events become which messages.

use tourmesh::notification::v1::{
    MessageKind, Preferences, SetPreferencesRequest, notification_service_client::NotificationServiceClient,
};
use tourmesh_testkit::{Role, Running, World, bearer, eventually};

use crate::{
    mailbox::Mailbox,
    story::{booking, cancelled, confirmed, euros, held, payment_failed, sold, user},
};

pub(crate) async fn prefer(running: &Running, user: &str, language: &str, muted: &[MessageKind]) {
    let token = World::get().await.token(user, &[Role::Traveller], None);
    let request = SetPreferencesRequest {
        request_id: format!("prefer-{user}"),
        preferences: Some(Preferences {
            language: language.to_owned(),
            muted: muted.iter().map(|k| (*k).into()).collect(),
            ..Preferences::default()
        }),
    };
    NotificationServiceClient::new(running.channel()).set_preferences(bearer(request, &token)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_that_is_told_three_times_is_one_e_mail() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let booking = booking(&user(), "amelie@example.com", "en");
    mailbox.room.publish("booking", &confirmed(&booking)).await;
    mailbox.settled(1).await;
    // The same news under other ids: the inbox does not know them.
    for _ in 0..2 {
        mailbox.room.publish("booking", &confirmed(&booking)).await;
    }
    eventually(|| async { mailbox.heard().await == 3 }).await;
    mailbox.settled(1).await;
    let mails = mailbox.mails();
    let (name, mail) = mails.first_key_value().unwrap();
    assert!(name.starts_with("dlv_"), "{name}");
    for part in [
        "To: =?utf-8?",
        "<amelie@example.com>",
        "€99.00",
        "2 × Adult",
        "VCH-0-",
        "VCH-1-",
        "Friday, 1 January 2027 at 09:00",
    ] {
        assert!(mail.contains(part), "{part} in {mail}");
    }
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_is_the_persons_else_the_bookings() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let (english, french, neither) = (user(), user(), user());
    prefer(&running, &english, "en", &[]).await;
    prefer(&running, &french, "fr", &[]).await;
    mailbox.room.publish("booking", &confirmed(&booking(&english, "a@example.com", "fr"))).await;
    mailbox.room.publish("booking", &confirmed(&booking(&french, "b@example.com", "en"))).await;
    mailbox.room.publish("booking", &confirmed(&booking(&neither, "c@example.com", "fr"))).await;
    mailbox.room.publish("booking", &confirmed(&booking(&user(), "d@example.com", ""))).await;
    mailbox.settled(4).await;
    let of = |address: &str| mailbox.mails().into_values().find(|m| m.contains(&format!("<{address}>"))).unwrap();
    for address in ["a@example.com", "d@example.com"] {
        assert!(of(address).contains("your booking is confirmed") && of(address).contains("Content-Language: en"));
    }
    for address in ["b@example.com", "c@example.com"] {
        let mail = of(address);
        assert!(mail.contains("votre réservation est confirmée") && mail.contains("Content-Language: fr"), "{mail}");
        assert!(mail.contains("vendredi 1er janvier 2027 à 09:00") && mail.contains("Rives de la Seine"), "{mail}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_muted_is_suppressed_but_what_must_be_sent_is_sent() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let user = user();
    let all = [MessageKind::BookingConfirmed, MessageKind::BookingCancelled, MessageKind::PaymentFailed];
    prefer(&running, &user, "", &all).await;
    let booking = booking(&user, "amelie@example.com", "en");
    mailbox.room.publish("booking", &payment_failed(&booking)).await;
    mailbox.room.publish("booking", &confirmed(&booking)).await;
    mailbox.room.publish("booking", &cancelled(&sold(&booking), euros(50, 0))).await;
    mailbox.await_count("state = 'SUPPRESSED' AND kind = 'PAYMENT_FAILED'", 1).await;
    mailbox.settled(2).await;
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failed_payment_is_told_once_to_the_contact_of_its_booking() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let booking = booking(&user(), "amelie@example.com", "fr");
    let first = payment_failed(&booking);
    mailbox.room.publish("booking", &first).await;
    mailbox.room.publish("booking", &payment_failed(&booking)).await;
    mailbox.settled(2).await;
    // The same payment again, under another event.
    mailbox.room.publish("booking", &tourmesh_kit::events::Event { id: uuid::Uuid::now_v7(), ..first }).await;
    eventually(|| async { mailbox.heard().await == 3 }).await;
    mailbox.settled(2).await;
    for mail in mailbox.mails().into_values() {
        assert!(
            mail.contains("<amelie@example.com>") && mail.contains("99,00\u{a0}€") && mail.contains("n’a pas abouti"),
            "{mail}"
        );
    }
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_booking_is_its_newest_version() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut newer = booking(&user(), "new@example.com", "en");
    newer.version = 3;
    let mut older = newer.clone();
    older.version = 2;
    older.contact.as_mut().unwrap().email = "old@example.com".to_owned();
    mailbox.room.publish("booking", &payment_failed(&newer)).await;
    mailbox.room.publish("booking", &payment_failed(&older)).await;
    mailbox.settled(2).await;
    let kept: String = sqlx::query_scalar("SELECT email FROM bookings").fetch_one(&mailbox.pool).await.unwrap();
    assert_eq!(kept, "new@example.com");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_booking_that_was_sold_is_told_that_it_was_cancelled() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let (hold, paid) = (booking(&user(), "hold@example.com", "en"), booking(&user(), "paid@example.com", "en"));
    mailbox.room.publish("booking", &held(&hold)).await;
    mailbox.room.publish("booking", &cancelled(&hold, euros(0, 0))).await;
    mailbox.room.publish("booking", &cancelled(&sold(&paid), euros(49, 50))).await;
    mailbox.settled(1).await;
    let mail = mailbox.mails().into_values().next().unwrap();
    assert!(mail.contains("<paid@example.com>") && mail.contains("We give back €49.50"), "{mail}");
    running.stop().await;
}
