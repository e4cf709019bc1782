//! Preferences, lists and repetitions over gRPC.

use tonic::transport::Channel;
use tourmesh::notification::v1::{
    Delivery, DeliveryState, GetPreferencesRequest, ListDeliveriesRequest, MessageKind, Preferences,
    ResendDeliveryRequest, SetPreferencesRequest, notification_service_client::NotificationServiceClient,
};
use tourmesh_testkit::{Role, World, bearer, reason};

use crate::{
    mailbox::Mailbox,
    story::{booking, confirmed, user},
};

type Client = NotificationServiceClient<Channel>;

async fn token(user: &str, role: Role) -> String {
    World::get().await.token(user, &[role], None)
}

fn wanting(request_id: &str, language: &str) -> SetPreferencesRequest {
    SetPreferencesRequest {
        request_id: request_id.to_owned(),
        preferences: Some(Preferences {
            language: language.to_owned(),
            muted: vec![MessageKind::PaymentFailed.into(), MessageKind::PaymentFailed.into()],
            ..Preferences::default()
        }),
    }
}

async fn list(client: &mut Client, token: &str, request: ListDeliveriesRequest) -> (Vec<Delivery>, String) {
    let answer = client.list_deliveries(bearer(request, token)).await.unwrap().into_inner();
    (answer.deliveries, answer.next_page_token)
}

#[tokio::test(flavor = "multi_thread")]
async fn preferences_are_the_callers_own_and_repeats_are_harmless() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = Client::new(running.channel());
    let (me, other) = (token(&user(), Role::Traveller).await, token(&user(), Role::Supplier).await);
    let get = async |token: &str| {
        let mut client = Client::new(running.channel());
        client.get_preferences(bearer(GetPreferencesRequest {}, token)).await.unwrap().into_inner().preferences.unwrap()
    };
    assert_eq!(get(&me).await, Preferences::default());

    let first = client.set_preferences(bearer(wanting("r1", "fr"), &me)).await.unwrap().into_inner();
    let kept = Preferences {
        language: "fr".to_owned(),
        muted: vec![MessageKind::PaymentFailed.into()],
        ..Preferences::default()
    };
    assert_eq!(first.preferences, Some(kept.clone()));
    assert_eq!((get(&me).await, get(&other).await), (kept, Preferences::default()));

    // The same again changes nothing, also after a newer request; other content is refused.
    client.set_preferences(bearer(wanting("r2", "en"), &me)).await.unwrap();
    let again = client.set_preferences(bearer(wanting("r1", "fr"), &me)).await.unwrap().into_inner();
    assert_eq!(again.preferences.unwrap().language, "en");
    let refused = client.set_preferences(bearer(wanting("r1", ""), &me)).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    // Another caller's request ids are its own.
    client.set_preferences(bearer(wanting("r1", ""), &other)).await.unwrap();

    let mut wrong = wanting("r3", "en");
    wrong.preferences.as_mut().unwrap().muted = vec![99];
    assert_eq!(reason(&client.set_preferences(bearer(wrong, &me)).await.unwrap_err()), "FIELD_INVALID");
    let mut wrong = wanting("r4", "de");
    wrong.preferences.as_mut().unwrap().muted.clear();
    assert_eq!(reason(&client.set_preferences(bearer(wrong, &me)).await.unwrap_err()), "FIELD_INVALID");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_its_own_deliveries_and_staff_all_page_by_page() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = Client::new(running.channel());
    let (me, other) = (user(), user());
    let mine: Vec<_> = (0..5).map(|_| booking(&me, "me@example.com", "en")).collect();
    for booking in &mine {
        mailbox.room.publish("booking", &confirmed(booking)).await;
    }
    mailbox.room.publish("booking", &confirmed(&booking(&other, "other@example.com", "fr"))).await;
    mailbox.settled(6).await;

    let my_token = token(&me, Role::Traveller).await;
    let mut seen = Vec::new();
    let mut request = ListDeliveriesRequest { page_size: 2, ..ListDeliveriesRequest::default() };
    loop {
        let (page, next) = list(&mut client, &my_token, request.clone()).await;
        assert!(page.len() <= 2);
        seen.extend(page);
        if next.is_empty() {
            break;
        }
        request.page_token = next;
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.windows(2).all(|w| w[0].id > w[1].id), "newest first");
    for delivery in &seen {
        assert_eq!((delivery.user_id.as_str(), delivery.state()), (me.as_str(), DeliveryState::Sent));
        assert!(delivery.subject.starts_with("Booking confirmed: Banks of the Seine") && delivery.sent_at.is_some());
        assert_eq!((delivery.attempts, delivery.language.as_str(), delivery.error.as_str()), (1, "en", ""));
    }
    let staff = token(&user(), Role::Staff).await;
    assert_eq!(list(&mut client, &staff, ListDeliveriesRequest::default()).await.0.len(), 6);
    let one = ListDeliveriesRequest { booking_id: mine[2].id.clone(), ..ListDeliveriesRequest::default() };
    assert_eq!(list(&mut client, &my_token, one.clone()).await.0.len(), 1);
    let stranger = token(&other, Role::Traveller).await;
    assert_eq!(list(&mut client, &stranger, one.clone()).await.0.len(), 0);

    let foreign_token = ListDeliveriesRequest { page_token: request.page_token, ..one };
    let refused = client.list_deliveries(bearer(foreign_token, &my_token)).await.unwrap_err();
    assert_eq!(reason(&refused), "PAGE_TOKEN_INVALID");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_can_have_a_message_sent_again_once_per_request() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = Client::new(running.channel());
    let me = user();
    mailbox.room.publish("booking", &confirmed(&booking(&me, "me@example.com", "en"))).await;
    mailbox.settled(1).await;
    let staff = token(&user(), Role::Staff).await;
    let first = list(&mut client, &staff, ListDeliveriesRequest::default()).await.0.remove(0);

    let request = ResendDeliveryRequest { request_id: "again".to_owned(), delivery_id: first.id.clone() };
    // The same request four times at once.
    let calls = (0..4).map(|_| {
        let (mut client, request) = (client.clone(), bearer(request.clone(), &staff));
        async move { client.resend_delivery(request).await.unwrap().into_inner().delivery.unwrap() }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|a| a.id == answers[0].id && a.id != first.id && a.booking_id == first.booking_id));
    mailbox.settled(2).await;
    mailbox.every_end_is_told_once().await;

    let other = ResendDeliveryRequest { delivery_id: answers[0].id.clone(), ..request.clone() };
    assert_eq!(reason(&client.resend_delivery(bearer(other, &staff)).await.unwrap_err()), "REQUEST_ID_REUSED");
    let unknown = ResendDeliveryRequest {
        request_id: "unknown".to_owned(),
        delivery_id: tourmesh_notification::domain::DeliveryId::new().to_string(),
    };
    assert_eq!(reason(&client.resend_delivery(bearer(unknown, &staff)).await.unwrap_err()), "DELIVERY_NOT_FOUND");
    let mine = token(&me, Role::Traveller).await;
    assert_eq!(reason(&client.resend_delivery(bearer(request, &mine)).await.unwrap_err()), "ROLE_MISSING");
    mailbox.settled(2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_a_newer_version_adds_disturbs_no_replica_that_runs() {
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = Client::new(running.channel());
    let (me, staff) = (user(), token(&user(), Role::Staff).await);
    for round in 0..6 {
        // Prepared in the first rounds, on whichever connections.
        if round == 3 {
            for table in ["bookings", "preferences", "requests", "deliveries"] {
                let sql = format!("ALTER TABLE {table} ADD COLUMN of_tomorrow text");
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mailbox.pool).await.unwrap();
            }
        }
        mailbox.room.publish("booking", &confirmed(&booking(&me, "me@example.com", "en"))).await;
        mailbox.settled(2 * round + 1).await;
        let newest = list(&mut client, &staff, ListDeliveriesRequest::default()).await.0.remove(0);
        let request = ResendDeliveryRequest { request_id: format!("again-{round}"), delivery_id: newest.id };
        for _ in 0..2 {
            client.resend_delivery(bearer(request.clone(), &staff)).await.unwrap();
        }
        mailbox.settled(2 * round + 2).await;
    }
    running.stop().await;
}
