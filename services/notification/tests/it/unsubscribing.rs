//! Links in messages, bounces, and what is given up.

use tourmesh::booking::v1::CancellationCause;
use tourmesh::notification::v1::{
    Channel, DeliveryState, GetPreferencesRequest, ListDeliveriesRequest, MessageKind, ReportBounceRequest,
    ResendDeliveryRequest, UnsubscribeRequest, notification_service_client::NotificationServiceClient,
};
use tourmesh_kit::events::relay::publish_one;
use tourmesh_testkit::{Role, World, bearer, reason};

use crate::{
    mailbox::Mailbox,
    sink::{Answer, Sink},
    story::{
        booking, cancelled, cancelled_because, confirmed, euros, first_paid_by_its_move, payment_failed, sold, user,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_stops_one_kind_without_signing_in() {
    let mailbox = Mailbox::new().await.with("PUBLIC_URL", "https://tours.example");
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = NotificationServiceClient::new(running.channel());
    let booking = booking(&user(), "amelie@example.com", "en");
    mailbox.room.publish("booking", &payment_failed(&booking)).await;
    mailbox.settled(1).await;
    let mail = mailbox.mails().into_values().next().unwrap();
    let (_, rest) = mail.split_once("List-Unsubscribe: <https://tours.example/unsubscribe/").unwrap();
    let token = rest.split_once('>').unwrap().0.replace(['\r', '\n', ' '], "");
    let shown = UnsubscribeRequest { token: token.clone(), only_show: true };
    let shown = client.unsubscribe(shown).await.unwrap().into_inner();
    assert_eq!((shown.channel(), shown.kind()), (Channel::Email, MessageKind::PaymentFailed));
    let mine = World::get().await.token(&booking.customer_id, &[Role::Traveller], None);
    let preferences = async || {
        let mut client = NotificationServiceClient::new(running.channel());
        client.get_preferences(bearer(GetPreferencesRequest {}, &mine)).await.unwrap().into_inner().preferences.unwrap()
    };
    assert!(preferences().await.channels.is_empty(), "showing changes nothing");
    for _ in 0..2 {
        client.unsubscribe(UnsubscribeRequest { token: token.clone(), only_show: false }).await.unwrap();
    }
    let channels = preferences().await.channels;
    assert_eq!(channels[0].muted, [i32::from(MessageKind::PaymentFailed)]);
    mailbox.room.publish("booking", &payment_failed(&booking)).await;
    mailbox.await_count("state = 'SUPPRESSED' AND kind = 'PAYMENT_FAILED'", 1).await;
    let mut wrong = token;
    wrong.pop();
    let refused = client.unsubscribe(UnsubscribeRequest { token: wrong, only_show: false }).await.unwrap_err();
    assert_eq!(reason(&refused), "SIGNATURE_INVALID");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_is_asked_once_and_staff_can_try_it_again() {
    let sink = Sink::start(&[Answer::Recipient("550 5.1.1 no such user")]).await;
    let mailbox = Mailbox::new().await.with("SMTP_URL", sink.url());
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = NotificationServiceClient::new(running.channel());
    let staff = World::get().await.token(&user(), &[Role::Staff], None);
    let booking = booking(&user(), "Gone@example.com", "en");
    mailbox.room.publish("booking", &confirmed(&booking)).await;
    mailbox.await_count("state = 'FAILED'", 1).await;
    mailbox.room.publish("booking", &cancelled(&sold(&booking), euros(0, 0))).await;
    mailbox.await_count("state = 'FAILED' AND error LIKE '%came back: %no such user%'", 1).await;
    assert_eq!(sink.asked(), 1, "the mail server was not asked again");
    let given_up = ListDeliveriesRequest {
        states: vec![DeliveryState::Failed.into(), DeliveryState::Bounced.into()],
        ..ListDeliveriesRequest::default()
    };
    let listed = client.list_deliveries(bearer(given_up, &staff)).await.unwrap().into_inner().deliveries;
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|d| d.error.contains("no such user") && d.channel() == Channel::Email));
    let again = ResendDeliveryRequest { request_id: "again".to_owned(), delivery_id: listed[1].id.clone() };
    client.resend_delivery(bearer(again, &staff)).await.unwrap();
    mailbox.await_count("state = 'SENT' AND priority = 0", 1).await;
    assert_eq!(sink.accepted().len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_came_back_is_told_and_its_address_spared() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = NotificationServiceClient::new(running.channel());
    let staff = World::get().await.token(&user(), &[Role::Staff], None);
    mailbox.room.publish("booking", &confirmed(&booking(&user(), "back@example.com", "en"))).await;
    mailbox.settled(1).await;
    let (name, _) = mailbox.mails().pop_first().unwrap();
    let id = name.trim_end_matches(".eml");
    let report = format!(
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\nAction: failed\r\n\
         Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 nobody here\r\n\r\nMessage-ID: <{id}@tourmesh.example>\r\n"
    );
    for _ in 0..2 {
        let request = ReportBounceRequest { request_id: "b".to_owned(), message: report.clone().into_bytes() };
        let answer = client.report_bounce(bearer(request, &staff)).await.unwrap().into_inner().delivery.unwrap();
        assert_eq!((answer.state(), answer.id.as_str()), (DeliveryState::Bounced, id));
    }
    let failed = mailbox.ends().await.into_iter().filter(|(kind, _)| kind == "DeliveryFailed").count();
    assert_eq!(failed, 1);
    mailbox.room.publish("booking", &confirmed(&booking(&user(), "back@example.com", "en"))).await;
    mailbox.await_count("state = 'FAILED' AND error LIKE '%nobody here%'", 1).await;
    let wrong = ReportBounceRequest { request_id: "c".to_owned(), message: b"hello".to_vec() };
    assert_eq!(reason(&client.report_bounce(bearer(wrong, &staff)).await.unwrap_err()), "FIELD_INVALID");
    running.stop().await;
}

/// A slow channel, and everything there at once: what is urgent does not wait for what came before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_urgent_overtakes_what_is_not() {
    let sink = Sink::start(&[]).await;
    let mailbox = Mailbox::new().await.with("SMTP_URL", sink.url()).with("SENDERS", 1).with("MAIL_PER_SECOND", 4);
    mailbox.room.serve(tourmesh_notification::serve).await.stop().await;
    let broker = mailbox.room.broker().await;
    // Each of them is told that it was moved, and gets a receipt.
    for n in 0..60 {
        let booking = booking(&user(), &format!("p{n}@example.com"), "en");
        publish_one(&broker, "booking", &first_paid_by_its_move(&booking, 3)).await.unwrap();
    }
    let urgent = booking(&user(), "urgent@example.com", "en");
    publish_one(&broker, "booking", &cancelled_because(&sold(&urgent), euros(0, 0), CancellationCause::Departure))
        .await
        .unwrap();
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    mailbox.await_count("kind = 'DEPARTURE_CANCELLED' AND state = 'SENT'", 1).await;
    let behind = mailbox.count("state = 'PENDING'").await;
    assert!(behind > 60, "only {behind} were overtaken");
    let receipts = mailbox.count("kind = 'RECEIPT' AND state = 'SENT'").await;
    assert!(receipts <= 8, "what was moved goes before receipts: {receipts}");
    running.stop().await;
}
