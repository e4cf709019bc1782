//! Each message goes out once, whoever dies.

use std::{collections::BTreeSet, time::Duration};

use tourmesh_kit::{
    events::relay::publish_one,
    telemetry::{self, TelemetryConfig},
};
use tourmesh_notification::{domain::message::Channel, store::outcomes};
use tourmesh_testkit::eventually;

use crate::{
    mailbox::Mailbox,
    sink::{Answer, Sink},
    story::{booking, confirmed, user},
};

async fn publish_confirmations(mailbox: &Mailbox, count: usize) {
    let broker = mailbox.room.broker().await;
    let events: Vec<_> = (0..count).map(|n| confirmed(&booking(&user(), &format!("g{n}@example.com"), "en"))).collect();
    for chunk in events.chunks(100) {
        futures_util::future::try_join_all(chunk.iter().map(|e| publish_one(&broker, "booking", e))).await.unwrap();
    }
}

/// The service stops before it sends; somebody else takes the row and dies with it; the lease ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_sender_died_goes_out_once_after_its_lease() {
    // Files cannot be written: the message stays.
    let blocked = Mailbox::new().await.with("MAIL_DIR", "/dev/null/no").with("RETRY_PAUSE_MILLIS", 20);
    let running = blocked.room.serve(tourmesh_notification::serve).await;
    publish_confirmations(&blocked, 1).await;
    blocked.await_count("state = 'PENDING' AND attempts > 0 AND error <> ''", 1).await;
    running.stop().await;

    let taken = loop {
        let taken = outcomes::take(&blocked.pool, Channel::Email, 10, Duration::from_secs(1)).await.unwrap();
        if !taken.is_empty() {
            break taken;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(taken.len(), 1);
    // Nobody else gets it as long as the lease runs.
    assert!(outcomes::take(&blocked.pool, Channel::Email, 10, Duration::from_secs(1)).await.unwrap().is_empty());

    let mended = Mailbox::new().await;
    let room = blocked.room.with("MAIL_DIR", mended.room.env().foreign("TOURMESH_MAIL_DIR").unwrap());
    let running = room.serve(tourmesh_notification::serve).await;
    blocked.await_count("state = 'SENT'", 1).await;
    assert_eq!(mended.mails().len(), 1);
    blocked.every_end_is_told_once().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_send_a_thousand_confirmations_once_each() {
    // Longer than it takes to write a thousand tickets where nothing is optimized and others work, too.
    let mailbox = Mailbox::new().await.with("LEASE_SECONDS", 600);
    let one = mailbox.room.serve(tourmesh_notification::serve).await;
    let two = mailbox.room.serve(tourmesh_notification::serve).await;
    publish_confirmations(&mailbox, 1_000).await;
    mailbox.await_count("state = 'SENT'", 1_000).await;
    mailbox.settled(1_000).await;
    let mails = mailbox.mails();
    let readers: BTreeSet<&str> =
        mails.values().filter_map(|m| m.split_once('<')?.1.split_once("@example.com>")).map(|(r, _)| r).collect();
    assert_eq!(readers.len(), 1_000, "everybody got one");
    mailbox.every_end_is_told_once().await;
    one.stop().await;
    two.stop().await;
}

/// What was taken and not begun when the service stops is due at once, and the attempt does not count.
#[tokio::test(flavor = "multi_thread")]
async fn stopping_in_the_middle_loses_and_repeats_nothing() {
    let sink = Sink::start(&[]).await;
    sink.always(Some(Answer::Slow(20)));
    let mailbox = Mailbox::new().await.with("SMTP_URL", sink.url()).with("SENDERS", 1);
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    publish_confirmations(&mailbox, 200).await;
    mailbox.await_count("true", 200).await;
    eventually(|| async { mailbox.count("state = 'SENT'").await > 10 }).await;
    running.stop().await;
    assert!(mailbox.count("state = 'PENDING'").await > 0, "it sent everything before it stopped: nothing is proved");
    assert_eq!(mailbox.count("state = 'PENDING' AND (due_at > now() OR attempts > 0)").await, 0);

    sink.always(None);
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    mailbox.await_count("state = 'SENT' AND attempts = 1", 200).await;
    assert_eq!((sink.accepted().len(), sink.asked()), (200, 200));
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}

/// One trace from the booking to the e-mail and on to whoever hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_belongs_to_the_trace_of_its_booking() {
    let quiet =
        TelemetryConfig { log_filter: Some("off".to_owned()), roles: vec!["notification"], ..Default::default() };
    let _telemetry = telemetry::init(quiet);
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let span = tracing::info_span!(target: "tourmesh_test", "a test's booking");
    let event = span.in_scope(|| confirmed(&booking(&user(), "amelie@example.com", "en")));
    let trace = telemetry::trace_id(&span).expect("tracing is on");
    mailbox.room.publish("booking", &event).await;
    mailbox.settled(1).await;
    let links: Vec<String> = sqlx::query_scalar(
        "SELECT traceparent FROM deliveries UNION ALL SELECT traceparent FROM outbox WHERE type LIKE '%DeliverySent'",
    )
    .fetch_all(&mailbox.pool)
    .await
    .unwrap();
    assert_eq!(links.len(), 2);
    assert!(links.iter().all(|link| link.contains(&trace)), "{links:?} are not of the trace {trace}");
    assert_ne!(links[0], links[1], "the sending is a span of its own");
    running.stop().await;
}
