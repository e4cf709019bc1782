//! Reminders: once, in time, and only of what takes place.

use std::time::Duration;

use tourmesh::{
    booking::v1::{BookingRedeemed, BookingRescheduled, BookingState},
    notification::v1::{Preferences, SetPreferencesRequest, notification_service_client::NotificationServiceClient},
};
use tourmesh_kit::events::Event;
use tourmesh_testkit::{Role, World, bearer};

use crate::{
    mailbox::Mailbox,
    story::{at, cancelled, confirmed, euros, in_days, sold, user},
};

async fn mailbox() -> Mailbox {
    Mailbox::new().await.with("REMINDER_HOURS", 24).with("REMINDER_PAUSE_MILLIS", 50)
}

/// As if time had passed: what is due in `hours` is due now.
async fn pass(mailbox: &Mailbox, hours: i32) {
    let sql = "UPDATE bookings SET remind_at = remind_at - $1 * interval '1 hour'";
    sqlx::query(sql).bind(hours).execute(&mailbox.pool).await.unwrap();
}

async fn waiting(mailbox: &Mailbox) -> i64 {
    let sql = "SELECT count(*) FROM bookings WHERE remind_at IS NOT NULL";
    sqlx::query_scalar(sql).fetch_one(&mailbox.pool).await.unwrap()
}

const REMINDERS: &str = "kind = 'DEPARTURE_REMINDER'";

#[tokio::test(flavor = "multi_thread")]
async fn a_sold_booking_is_reminded_once_however_many_replicas_look() {
    let mailbox = mailbox().await;
    let one = mailbox.room.serve(tourmesh_notification::serve).await;
    let two = mailbox.room.serve(tourmesh_notification::serve).await;
    let bookings: Vec<_> = (0..20).map(|n| in_days(3, &format!("r{n}@example.com"))).collect();
    for booking in &bookings {
        mailbox.room.publish("booking", &confirmed(booking)).await;
    }
    mailbox.settled(20).await;
    assert_eq!((waiting(&mailbox).await, mailbox.count(REMINDERS).await), (20, 0), "it is too early");
    pass(&mailbox, 49).await;
    mailbox.settled(40).await;
    // Confirmed once more by a late event of the same version, and changed: the reminder has been.
    mailbox.room.publish("booking", &confirmed(&bookings[0])).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    pass(&mailbox, 49).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((waiting(&mailbox).await, mailbox.count(REMINDERS).await), (0, 20));
    let reminder = mailbox.mails().into_values().find(|m| m.contains("your tour starts soon")).unwrap();
    assert!(reminder.contains("List-Unsubscribe:") && reminder.contains("application/pdf"), "{reminder}");
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_checks_in_or_books_late_is_not_reminded() {
    let mailbox = mailbox().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let (gone, in_already, late) = (in_days(3, "a@example.com"), in_days(3, "b@example.com"), at(5, "c@example.com"));
    for booking in [&gone, &in_already, &late] {
        mailbox.room.publish("booking", &confirmed(booking)).await;
    }
    mailbox.settled(3).await;
    assert_eq!(waiting(&mailbox).await, 2, "who books five hours before knows");
    mailbox.room.publish("booking", &cancelled(&sold(&gone), euros(0, 0))).await;
    let mut redeemed = sold(&in_already);
    redeemed.state = BookingState::Redeemed.into();
    redeemed.version = 9;
    let event = BookingRedeemed { booking: Some(redeemed), item_id: String::new() };
    mailbox.room.publish("booking", &Event::new(format!("booking.booking.redeemed.{}", in_already.id), &event)).await;
    mailbox.settled(4).await;
    tourmesh_testkit::eventually(|| async { waiting(&mailbox).await == 0 }).await;
    pass(&mailbox, 72).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(mailbox.count(REMINDERS).await, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_moves_with_its_booking() {
    let mailbox = mailbox().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let booking = in_days(2, "a@example.com");
    mailbox.room.publish("booking", &confirmed(&booking)).await;
    mailbox.settled(1).await;
    pass(&mailbox, 25).await;
    mailbox.await_count("kind = 'DEPARTURE_REMINDER' AND state = 'SENT'", 1).await;
    // Moved after it was reminded: the new day has a reminder of its own.
    let later = in_days(9, "a@example.com");
    let mut moved = sold(&booking);
    moved.version = 5;
    (moved.starts_at, moved.local_start) = (later.starts_at, later.local_start.clone());
    let event = BookingRescheduled { booking: Some(moved), ..BookingRescheduled::default() };
    mailbox.room.publish("booking", &Event::new(format!("booking.booking.rescheduled.{}", booking.id), &event)).await;
    mailbox.settled(3).await;
    assert_eq!(waiting(&mailbox).await, 1);
    let due: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("SELECT remind_at FROM bookings WHERE remind_at IS NOT NULL")
            .fetch_one(&mailbox.pool)
            .await
            .unwrap();
    assert_eq!(due.timestamp(), later.starts_at.unwrap().seconds - 86_400);
    pass(&mailbox, 24 * 9).await;
    mailbox.await_count("kind = 'DEPARTURE_REMINDER' AND state = 'SENT'", 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_hold_back_what_is_not_urgent_and_nothing_else() {
    let mailbox = mailbox().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut booking = in_days(3, "a@example.com");
    booking.customer_id = user();
    booking.paid = Some(euros(99, 0));
    let token = World::get().await.token(&booking.customer_id, &[Role::Traveller], None);
    let now = chrono::Utc::now();
    let clock = |hours: i64| (now + chrono::Duration::hours(hours)).format("%H:00").to_string();
    let preferences = Preferences {
        time_zone: "UTC".to_owned(),
        quiet_from: clock(-2),
        quiet_until: clock(3),
        ..Preferences::default()
    };
    let request = SetPreferencesRequest { request_id: "quiet".to_owned(), preferences: Some(preferences) };
    NotificationServiceClient::new(running.channel()).set_preferences(bearer(request, &token)).await.unwrap();
    mailbox.room.publish("booking", &confirmed(&booking)).await;
    mailbox.await_count("kind = 'BOOKING_CONFIRMED' AND state = 'SENT'", 1).await;
    pass(&mailbox, 49).await;
    mailbox.await_count(
        "kind = 'DEPARTURE_REMINDER' AND state = 'PENDING' AND due_at BETWEEN now() + interval '1 hour' AND now() + interval '3 hours'",
        1,
    )
    .await;
    // The booking is cancelled in the night: what waits is not sent in the morning.
    mailbox.room.publish("booking", &cancelled(&sold(&booking), euros(99, 0))).await;
    mailbox.await_count("kind = 'BOOKING_CANCELLED' AND state = 'SENT'", 1).await;
    mailbox.await_count("kind = 'DEPARTURE_REMINDER' AND state = 'SUPPRESSED'", 1).await;
    running.stop().await;
}
