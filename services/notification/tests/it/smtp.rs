//! Handing over to a mail server, and what its answers lead to.

use tokio::net::TcpListener;
use tourmesh_testkit::eventually;

use crate::{
    mailbox::{Mailbox, readable},
    sink::{Answer, Sink},
    story::{booking, confirmed, user},
};

async fn with(sink: &Sink) -> Mailbox {
    Mailbox::new().await.with("SMTP_URL", sink.url())
}

fn message_id(mail: &str) -> &str {
    mail.lines().find(|l| l.starts_with("Message-ID:")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_e_mail_is_sent_whole_and_once() {
    let sink = Sink::start(&[]).await;
    let mailbox = with(&sink).await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    mailbox.room.publish("booking", &confirmed(&booking(&user(), "amelie@example.com", "fr"))).await;
    mailbox.await_count("state = 'SENT' AND attempts = 1 AND subject LIKE 'Réservation confirmée%'", 1).await;
    assert_eq!(sink.accepted().len(), 1);
    let mail = readable(&sink.accepted()[0]);
    for part in [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/pdf",
        "text/calendar",
        "image/png",
        "From: Tourmesh <no-reply@tourmesh.example>",
        "Auto-Submitted: auto-generated",
        "99,00\u{a0}€",
    ] {
        assert!(mail.contains(part), "{part} in {mail}");
    }
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_now_is_tried_again_and_never_is_given_up_at_once() {
    let busy = Answer::Recipient("451 4.7.1 try again later");
    let never = Answer::Recipient("550 5.1.1 no such user");
    let sink = Sink::start(&[busy, busy, Answer::Recipient("250 ok"), never]).await;
    let mailbox = with(&sink).await.with("SENDERS", 1);
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    mailbox.room.publish("booking", &confirmed(&booking(&user(), "busy@example.com", "en"))).await;
    mailbox.await_count("state = 'SENT' AND attempts = 3", 1).await;
    mailbox.room.publish("booking", &confirmed(&booking(&user(), "gone@example.com", "en"))).await;
    mailbox.await_count("state = 'FAILED' AND attempts = 1 AND error LIKE '%no such user%'", 1).await;
    assert_eq!((sink.accepted().len(), sink.asked()), (1, 4));
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_accepted_is_given_up_after_the_limit() {
    let sink = Sink::start(&[]).await;
    sink.always(Some(Answer::Recipient("452 4.2.2 mailbox full")));
    let mailbox = with(&sink).await.with("GIVE_UP_SECONDS", 1).with("RETRY_PAUSE_MILLIS", 50);
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    mailbox.room.publish("booking", &confirmed(&booking(&user(), "full@example.com", "en"))).await;
    mailbox.await_count("state = 'FAILED' AND attempts > 2 AND error LIKE '%mailbox full%'", 1).await;
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_was_away_gets_everything_when_it_is_back() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = port.local_addr().unwrap();
    drop(port);
    let mailbox = Mailbox::new().await.with("SMTP_URL", format!("smtp://{addr}"));
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    for n in 0..20 {
        mailbox.room.publish("booking", &confirmed(&booking(&user(), &format!("a{n}@example.com"), "en"))).await;
    }
    mailbox.await_count("state = 'PENDING' AND attempts > 0 AND error <> ''", 20).await;
    let sink = Sink::on(TcpListener::bind(addr).await.unwrap(), &[]);
    mailbox.await_count("state = 'SENT'", 20).await;
    assert_eq!(sink.accepted().len(), 20);
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}

/// The classic gap: the server has the message, and nobody says so. It goes out again under the same Message-ID.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_unknown_fate_is_repeated_to_the_byte() {
    let sink = Sink::start(&[Answer::HangUp]).await;
    let mailbox = with(&sink).await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    mailbox.room.publish("booking", &confirmed(&booking(&user(), "amelie@example.com", "en"))).await;
    mailbox.await_count("state = 'SENT' AND attempts = 2", 1).await;
    eventually(|| async { sink.accepted().len() == 1 }).await;
    assert_eq!(sink.lost(), sink.accepted());
    assert!(message_id(&sink.accepted()[0]).contains("<dlv_"));
    running.stop().await;
}
