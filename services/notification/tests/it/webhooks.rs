//! Messages to programs: signed, in order, once when they are accepted, and never to where they must not go.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tonic::transport::Channel;
use tourmesh::{
    booking::v1::{Booking, BookingChanged},
    notification::v1::{
        CreateWebhookEndpointRequest, CreateWebhookEndpointResponse, DeleteWebhookEndpointRequest,
        ListWebhookEndpointsRequest, ListWebhookMessagesRequest, ReplayWebhookMessagesRequest,
        RotateWebhookSecretRequest, SwitchWebhookEndpointRequest, WebhookMessage, WebhookMessageState,
        webhook_service_client::WebhookServiceClient,
    },
};
use tourmesh_kit::events::Event;
use tourmesh_notification::{domain::SupplierId, webhooks::keys::Keys};
use tourmesh_testkit::{Role, World, bearer, eventually, reason};

use crate::{
    mailbox::Mailbox,
    story::{booking, confirmed, held, sold, user},
    web::{Asked, Web},
};

type Client = WebhookServiceClient<Channel>;

async fn open() -> Mailbox {
    Mailbox::new().await.with("ALLOW_PRIVATE_TARGETS", "true").with("WEBHOOK_PAUSES", "1,1,1,1,1,1")
}

fn wanting(url: &str, events: &[&str]) -> CreateWebhookEndpointRequest {
    CreateWebhookEndpointRequest {
        request_id: "hook".to_owned(),
        url: url.to_owned(),
        events: events.iter().map(|e| (*e).to_owned()).collect(),
        contact_email: "ops@shop.example".to_owned(),
        language: "en".to_owned(),
    }
}

async fn supplier() -> (String, String) {
    let id = SupplierId::new().to_string();
    let token = World::get().await.token(&user(), &[Role::Supplier], Some(&id));
    (id, token)
}

async fn create(client: &mut Client, token: &str, url: &str, events: &[&str]) -> CreateWebhookEndpointResponse {
    client.create_webhook_endpoint(bearer(wanting(url, events), token)).await.unwrap().into_inner()
}

/// A booking of this supplier's tour.
fn of(supplier: &str) -> Booking {
    let mut booking = booking(&user(), "guest@example.com", "en");
    booking.supplier_id = supplier.to_owned();
    booking
}

fn changed(booking: &Booking, version: i64) -> Event {
    let mut changed = sold(booking);
    changed.version = version;
    Event::new(format!("booking.booking.changed.{}", booking.id), &BookingChanged { booking: Some(changed) })
}

fn verified(asked: &Asked, secret: &str) -> bool {
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(asked.header("webhook-id").as_bytes());
    mac.update(b".");
    mac.update(asked.header("webhook-timestamp").as_bytes());
    mac.update(b".");
    mac.update(&asked.body);
    let expected = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    asked.header("webhook-signature").split(' ').any(|one| one == expected)
}

async fn log(client: &mut Client, token: &str, endpoint: &str) -> Vec<WebhookMessage> {
    let request = ListWebhookMessagesRequest {
        endpoint_id: endpoint.to_owned(),
        page_size: 100,
        ..ListWebhookMessagesRequest::default()
    };
    client.list_webhook_messages(bearer(request, token)).await.unwrap().into_inner().messages
}

fn of_type(asked: &Asked) -> (String, String, i64) {
    let json: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
    let data = &json["data"];
    (
        json["type"].as_str().unwrap().to_owned(),
        data["id"].as_str().unwrap().to_owned(),
        data["version"].as_i64().unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplier_hears_of_its_bookings_signed_and_in_order_and_a_reseller_of_its_own() {
    let (web, shop) = (Web::start(&[]).await, Web::start(&[]).await);
    let mailbox = open().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = Client::new(running.channel());
    let (supplier, token) = supplier().await;
    let hook = create(&mut client, &token, &web.url("/hooks"), &[]).await;
    let again = create(&mut client, &token, &web.url("/hooks"), &[]).await;
    assert_eq!(hook, again, "the same request is the same endpoint");
    let (mine, stranger) = (of(&supplier), booking(&user(), "x@example.com", "en"));
    let reseller = World::get().await.token(&mine.customer_id, &[Role::Traveller], None);
    let shops = create(&mut client, &reseller, &shop.url("/in"), &["booking.confirmed"]).await;

    mailbox.room.publish("booking", &held(&stranger)).await;
    mailbox.room.publish("booking", &held(&mine)).await;
    mailbox.room.publish("booking", &confirmed(&mine)).await;
    for version in 3..10 {
        mailbox.room.publish("booking", &changed(&mine, version)).await;
    }
    eventually(|| async { web.asked().len() == 9 && shop.asked().len() == 1 }).await;
    let asked = web.asked();
    let told: Vec<_> = asked.iter().map(of_type).collect();
    assert!(told.iter().all(|(_, id, _)| *id == mine.id), "{told:?}");
    assert_eq!(told.iter().map(|t| t.2).collect::<Vec<_>>(), (1..10).collect::<Vec<_>>());
    assert_eq!((told[0].0.as_str(), told[1].0.as_str()), ("booking.held", "booking.confirmed"));
    assert!(asked.iter().all(|a| verified(a, &hook.secret) && !verified(a, &shops.secret)));
    assert!(!asked[1].text().contains("VCH-"), "a supplier gets vouchers from the guests");
    assert!(shop.asked()[0].text().contains("VCH-0-"), "who booked hands them on");
    eventually(|| async {
        let messages = log(&mut client.clone(), &token, &hook.endpoint.as_ref().unwrap().id).await;
        messages.len() == 9
            && messages.iter().all(|m| m.state() == WebhookMessageState::Delivered && m.attempts.len() == 1)
    })
    .await;

    // A new secret: both sign.
    let id = hook.endpoint.unwrap().id;
    let rotate = RotateWebhookSecretRequest { request_id: "r".to_owned(), endpoint_id: id.clone() };
    let secret = client.rotate_webhook_secret(bearer(rotate, &token)).await.unwrap().into_inner().secret;
    mailbox.room.publish("booking", &changed(&mine, 10)).await;
    eventually(|| async { web.asked().len() == 10 }).await;
    let last = web.asked().pop().unwrap();
    assert!(secret != hook.secret && verified(&last, &secret) && verified(&last, &hook.secret));

    // Others see nothing of it.
    let other = self::supplier().await.1;
    let request = ListWebhookMessagesRequest { endpoint_id: id.clone(), ..ListWebhookMessagesRequest::default() };
    assert_eq!(reason(&client.list_webhook_messages(bearer(request, &other)).await.unwrap_err()), "WEBHOOK_NOT_FOUND");
    let listed = client.list_webhook_endpoints(bearer(ListWebhookEndpointsRequest {}, &other)).await.unwrap();
    assert!(listed.into_inner().endpoints.is_empty());
    let delete = DeleteWebhookEndpointRequest { request_id: "d".to_owned(), endpoint_id: id };
    assert_eq!(
        reason(&client.delete_webhook_endpoint(bearer(delete.clone(), &other)).await.unwrap_err()),
        "WEBHOOK_NOT_FOUND"
    );
    client.delete_webhook_endpoint(bearer(delete, &token)).await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_and_holds_up_its_own_booking_alone() {
    let web = Web::start(&["503 Service Unavailable\n\nlater", "302 Found\nLocation: http://127.0.0.1:1/steal"]).await;
    let mailbox = open().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = Client::new(running.channel());
    let (supplier, token) = supplier().await;
    let hook = create(&mut client, &token, &web.url("/hooks"), &[]).await;
    let (first, second) = (of(&supplier), of(&supplier));
    mailbox.room.publish("booking", &held(&first)).await;
    eventually(|| async { web.asked().len() == 1 }).await;
    mailbox.room.publish("booking", &confirmed(&first)).await;
    eventually(|| async { web.asked().len() >= 2 }).await;
    mailbox.room.publish("booking", &held(&second)).await;
    eventually(|| async { web.asked().len() == 5 }).await;
    let told: Vec<_> = web.asked().iter().map(of_type).collect();
    let of_first: Vec<i64> = told.iter().filter(|t| t.1 == first.id).map(|t| t.2).collect();
    assert_eq!(of_first, [1, 1, 1, 2], "the second news waited for the first: {told:?}");
    let ids: std::collections::BTreeSet<String> =
        web.asked().iter().map(|a| a.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 3, "a repeated message keeps its id");
    eventually(|| async {
        let messages = log(&mut client.clone(), &token, &hook.endpoint.as_ref().unwrap().id).await;
        let held = messages.iter().find(|m| m.booking_id == first.id && m.r#type == "booking.held").unwrap();
        let statuses: Vec<i32> = held.attempts.iter().map(|a| a.status).collect();
        statuses == [503, 302, 200] && held.attempts[1].error.contains("redirects are not followed")
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_answers_is_switched_off_told_and_replayed_when_it_is_mended() {
    let web = Web::start(&[]).await;
    web.always("500 Internal Server Error\n\nbroken");
    let mailbox = open().await.with("WEBHOOK_DISABLE_SECONDS", 2);
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = Client::new(running.channel());
    let (supplier, token) = supplier().await;
    let hook = create(&mut client, &token, &web.url("/hooks"), &[]).await.endpoint.unwrap();
    let mine = of(&supplier);
    mailbox.room.publish("booking", &held(&mine)).await;
    let now = async || {
        let listed = client.clone().list_webhook_endpoints(bearer(ListWebhookEndpointsRequest {}, &token)).await;
        listed.unwrap().into_inner().endpoints.remove(0)
    };
    eventually(|| async { !now().await.enabled }).await;
    assert!(now().await.disabled_reason.contains("500 broken"), "{}", now().await.disabled_reason);
    mailbox.settled(1).await;
    let notice = mailbox.mails().into_values().next().unwrap();
    assert!(notice.contains("ops@shop.example") && notice.contains("Webhook endpoint switched off"), "{notice}");
    let events = mailbox.ends().await;
    assert_eq!(events.iter().filter(|(kind, _)| kind == "WebhookEndpointDisabled").count(), 1);

    // What happens meanwhile is missed, not lost.
    let before = web.asked().len();
    mailbox.room.publish("booking", &confirmed(&mine)).await;
    eventually(|| async { log(&mut client.clone(), &token, &hook.id).await.len() == 2 }).await;
    let missed = log(&mut client.clone(), &token, &hook.id).await;
    assert!(missed.iter().all(|m| m.state() == WebhookMessageState::Missed), "{missed:?}");
    assert_eq!(web.asked().len(), before);
    web.always("204 No Content");
    let switch =
        SwitchWebhookEndpointRequest { request_id: "on".to_owned(), endpoint_id: hook.id.clone(), enabled: true };
    assert!(
        client
            .clone()
            .switch_webhook_endpoint(bearer(switch, &token))
            .await
            .unwrap()
            .into_inner()
            .endpoint
            .unwrap()
            .enabled
    );
    let replay = ReplayWebhookMessagesRequest {
        request_id: "all".to_owned(),
        endpoint_id: hook.id.clone(),
        message_id: String::new(),
    };
    let count = async |request: ReplayWebhookMessagesRequest| {
        client.clone().replay_webhook_messages(bearer(request, &token)).await.unwrap().into_inner().messages
    };
    assert_eq!(
        (count(replay.clone()).await, count(replay).await),
        (2, 2),
        "a repeat has the same answer, and no effect: see below"
    );
    eventually(|| async { web.asked().len() == before + 2 }).await;
    let told: Vec<i64> = web.asked()[before..].iter().map(|a| of_type(a).2).collect();
    assert_eq!(told, [1, 2], "in order");
    // One more of what was delivered.
    let one = log(&mut client.clone(), &token, &hook.id).await.remove(0).id;
    eventually(|| async {
        log(&mut client.clone(), &token, &hook.id).await.iter().all(|m| m.state() == WebhookMessageState::Delivered)
    })
    .await;
    let single =
        ReplayWebhookMessagesRequest { request_id: "one".to_owned(), endpoint_id: hook.id.clone(), message_id: one };
    assert_eq!(count(single).await, 1);
    eventually(|| async { web.asked().len() == before + 3 }).await;

    // Gone is gone at once.
    web.always("410 Gone");
    mailbox.room.publish("booking", &changed(&mine, 5)).await;
    eventually(|| async { now().await.disabled_reason == "410 Gone" }).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_aim_an_endpoint_at_our_own_network() {
    let web = Web::start(&[]).await;
    let mailbox = Mailbox::new().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = Client::new(running.channel());
    let (supplier, token) = supplier().await;
    for url in [
        "http://hooks.example.com/",
        "https://localhost/",
        "https://169.254.169.254/latest/",
        "https://[::ffff:10.0.0.1]/",
        "https://2130706433/",
        "https://user:pass@hooks.example.com/",
        "nonsense",
        &web.url("/"),
    ] {
        let refused = client.create_webhook_endpoint(bearer(wanting(url, &[]), &token)).await.unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID", "{url}");
    }
    let unknown = client.create_webhook_endpoint(bearer(wanting("https://a.example.com/", &["tea.served"]), &token));
    assert_eq!(reason(&unknown.await.unwrap_err()), "FIELD_INVALID");
    // One that slipped in before the rule was there is refused when it is called.
    let hook = create(&mut client, &token, "https://hooks.example.com/", &[]).await.endpoint.unwrap();
    sqlx::query("UPDATE webhook_endpoints SET url = $1")
        .bind(web.url("/").replace("http", "https"))
        .execute(&mailbox.pool)
        .await
        .unwrap();
    mailbox.room.publish("booking", &held(&of(&supplier))).await;
    eventually(|| async {
        let messages = log(&mut client.clone(), &token, &hook.id).await;
        messages.first().is_some_and(|m| m.attempts.iter().any(|a| a.error.contains("not a public address")))
    })
    .await;
    assert!(web.asked().is_empty());
    running.stop().await;
}

fn bytes(secret: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap()
}

/// Everything that the database holds, as text.
async fn everything(mailbox: &Mailbox) -> String {
    let tables: Vec<String> = sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
        .fetch_all(&mailbox.pool)
        .await
        .unwrap();
    let mut all = String::new();
    for table in tables {
        let rows = sqlx::AssertSqlSafe(format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t"));
        all += &sqlx::query_scalar::<_, String>(rows).fetch_one(&mailbox.pool).await.unwrap();
    }
    all
}

/// In hexadecimal, as a column of bytes shows it, or in the form that its owner has.
fn holds(all: &str, secret: &str) -> bool {
    let hex: String = bytes(secret).iter().map(|byte| format!("{byte:02x}")).collect();
    all.contains(&hex) || all.contains(secret.strip_prefix("whsec_").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_never_holds_a_secret_that_signs_and_what_was_plain_is_sealed_and_signs_on() {
    let web = Web::start(&[]).await;
    let mailbox = open().await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = Client::new(running.channel());
    let (supplier, token) = supplier().await;
    let hook = create(&mut client, &token, &web.url("/hooks"), &[]).await;
    let id = hook.endpoint.unwrap().id;
    assert!(!holds(&everything(&mailbox).await, &hook.secret));
    let rotate =
        |request_id: &str| RotateWebhookSecretRequest { request_id: request_id.into(), endpoint_id: id.clone() };
    let second = client.rotate_webhook_secret(bearer(rotate("r"), &token)).await.unwrap().into_inner().secret;
    let again = client.rotate_webhook_secret(bearer(rotate("r"), &token)).await.unwrap().into_inner().secret;
    assert_eq!(again, second, "a repeat is shown the same secret");
    let all = everything(&mailbox).await;
    assert!(!holds(&all, &hook.secret) && !holds(&all, &second));

    // As an older version has left them.
    let plain = "UPDATE webhook_endpoints SET secret = $1, old_secret = $2, sealed = false";
    let plain = sqlx::query(plain).bind(bytes(&second)).bind(bytes(&hook.secret));
    plain.execute(&mailbox.pool).await.unwrap();
    assert!(holds(&everything(&mailbox).await, &second));
    let booking = of(&supplier);
    let mut version = 0;
    let mut both_sign = async || {
        version += 1;
        let so_far = web.asked().len();
        mailbox.room.publish("booking", &changed(&booking, version)).await;
        eventually(|| async { web.asked().len() > so_far }).await;
        let asked = web.asked().pop().unwrap();
        verified(&asked, &second) && verified(&asked, &hook.secret)
    };
    assert!(both_sign().await);
    let db = tourmesh_kit::db::Db::of_env(&mailbox.room.env()).unwrap();
    let keys = Keys::of_env(&mailbox.room.env()).unwrap();
    assert_eq!(keys.seal_stored(&db).await.unwrap(), 1);
    assert_eq!(keys.seal_stored(&db).await.unwrap(), 0);
    let all = everything(&mailbox).await;
    assert!(!holds(&all, &hook.secret) && !holds(&all, &second));
    assert!(both_sign().await);

    // Another key opens what the mesh's secret has sealed, and seals it anew; without it nothing opens.
    let key = "a key of its own with 32 characters or more";
    let with = |keys: &str| Keys::of_env(&mailbox.room.with("WEBHOOK_KEY", keys).env()).unwrap();
    assert_eq!(with(key).seal_stored(&db).await.unwrap(), 1);
    let (stored, sealed): (Vec<u8>, bool) =
        sqlx::query_as("SELECT secret, sealed FROM webhook_endpoints").fetch_one(&mailbox.pool).await.unwrap();
    let endpoint = id.split_once('_').unwrap().1.parse().unwrap();
    assert!(sealed && keys.open(endpoint, &stored, true).is_err());
    let next = format!("another key that is to replace the first, {key}");
    for keys in [with(key), with(&next)] {
        assert_eq!(keys.open(endpoint, &stored, true).unwrap(), bytes(&second));
        assert!(keys.open(uuid::Uuid::now_v7(), &stored, true).is_err(), "it is of that endpoint alone");
    }
    // A replica with another key signs nothing rather than wrongly.
    let so_far = web.asked().len();
    mailbox.room.publish("booking", &changed(&booking, 99)).await;
    eventually(|| async {
        let messages = log(&mut client.clone(), &token, &id).await;
        messages.iter().any(|m| m.attempts.iter().any(|a| a.error.contains("could not be signed")))
    })
    .await;
    assert_eq!(web.asked().len(), so_far);
    let short = Keys::of_env(&mailbox.room.with("WEBHOOK_KEY", "short").env()).unwrap_err().to_string();
    assert!(short.contains("WEBHOOK_KEY") && !short.contains("short."), "{short}");
}
