//! Notification stands still while bookings are confirmed, and starts again later.

use std::{collections::BTreeSet, time::Instant};

use crate::{
    mailbox::Mailbox,
    sink::Sink,
    story::{booking, confirmed, user},
};
use tourmesh_kit::events::relay::publish_one;

/// 500 bookings; 10,000 with TOURMESH_TEST_LONG=1.
#[tokio::test(flavor = "multi_thread")]
async fn everything_that_was_confirmed_meanwhile_goes_out_once_each() {
    let long = std::env::var("TOURMESH_TEST_LONG").is_ok_and(|v| v == "1");
    let count = if long { 10_000 } else { 500 };
    let sink = Sink::start(&[]).await;
    let mailbox = Mailbox::new().await.with("SMTP_URL", sink.url()).with("SENDERS", 8);
    // It was there before, so that its consumer is.
    mailbox.room.serve(tourmesh_notification::serve).await.stop().await;
    let broker = mailbox.room.broker().await;
    let events: Vec<_> = (0..count).map(|n| confirmed(&booking(&user(), &format!("s{n}@example.com"), "fr"))).collect();
    for chunk in events.chunks(200) {
        futures_util::future::try_join_all(chunk.iter().map(|e| publish_one(&broker, "booking", e))).await.unwrap();
    }
    let begun = Instant::now();
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let enough = std::time::Duration::from_secs(if long { 600 } else { 120 });
    while mailbox.count("state = 'SENT'").await < count {
        assert!(begun.elapsed() < enough, "only {} in {enough:?}", mailbox.count("state = 'SENT'").await);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    println!("{count} messages in {:?}", begun.elapsed());
    let accepted = sink.accepted();
    assert_eq!((accepted.len(), sink.asked()), (events.len(), events.len()), "no more and no fewer");
    let readers: BTreeSet<&str> =
        accepted.iter().filter_map(|m| m.split_once("<s")?.1.split_once("@example.com>")).map(|(r, _)| r).collect();
    assert_eq!(readers.len(), events.len(), "everybody got one");
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}
