//! Text messages and push messages, against real HTTP servers.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use p256::{PublicKey, SecretKey, ecdh::diffie_hellman, elliptic_curve::sec1::ToEncodedPoint as _};
use ring::{aead, hkdf};
use tourmesh::notification::v1::{
    AddPushSubscriptionRequest, Channel, ChannelPreference, GetPushKeyRequest, MessageKind, Preferences,
    RemovePushSubscriptionRequest, SetPreferencesRequest, notification_service_client::NotificationServiceClient,
};
use tourmesh_testkit::{Role, World, bearer, reason};

use crate::{
    mailbox::Mailbox,
    story::{booking, cancelled_because, confirmed, euros, sold, user},
    web::Web,
};

async fn with_sms(web: &Web) -> Mailbox {
    Mailbox::new()
        .await
        .with("SMS_URL", web.url(""))
        .with("SMS_ACCOUNT", "AC123")
        .with("SMS_TOKEN", "hush")
        .with("SMS_FROM", "+33700000000")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_telephone_is_told_what_its_owner_wants_in_the_providers_own_form() {
    let web = Web::start(&["429 Too Many Requests\n\n{\"code\":20429,\"message\":\"slow down\"}"]).await;
    web.always("201 Created\nContent-Type: application/json\n\n{\"sid\":\"SM1\",\"status\":\"queued\"}");
    let mailbox = with_sms(&web).await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let me = user();
    let token = World::get().await.token(&me, &[Role::Traveller], None);
    let preferences = Preferences {
        language: "fr".to_owned(),
        phone: "+33612345678".to_owned(),
        channels: vec![ChannelPreference {
            channel: Channel::Sms.into(),
            muted: vec![MessageKind::BookingConfirmed.into()],
        }],
        ..Preferences::default()
    };
    let request = SetPreferencesRequest { request_id: "sms".to_owned(), preferences: Some(preferences) };
    NotificationServiceClient::new(running.channel()).set_preferences(bearer(request, &token)).await.unwrap();
    let booking = booking(&me, "amelie@example.com", "en");
    mailbox.room.publish("booking", &confirmed(&booking)).await;
    mailbox.settled(1).await;
    assert!(web.asked().is_empty(), "confirmations are muted on this channel");
    let off = cancelled_because(&sold(&booking), euros(99, 0), tourmesh::booking::v1::CancellationCause::Departure);
    mailbox.room.publish("booking", &off).await;
    mailbox.await_count("channel = 'SMS' AND state = 'SENT' AND attempts = 2 AND address = '+33612345678'", 1).await;
    let asked = web.asked();
    assert_eq!(asked.len(), 2, "busy, then taken");
    assert_eq!(asked[1].path, "/2010-04-01/Accounts/AC123/Messages.json");
    assert_eq!(asked[1].header("authorization"), "Basic QUMxMjM6aHVzaA==");
    let form: std::collections::HashMap<_, _> = url::form_urlencoded::parse(&asked[1].body).into_owned().collect();
    assert_eq!((form["To"].as_str(), form["From"].as_str()), ("+33612345678", "+33700000000"));
    assert!(form["Body"].starts_with("Ne venez pas : Rives de la Seine, 1er janvier à 09:00"), "{}", form["Body"]);
    mailbox.settled(2).await;
    mailbox.every_end_is_told_once().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_the_provider_refuses_is_given_up_with_its_words() {
    let web = Web::start(&[]).await;
    web.always("400 Bad Request\n\n{\"code\":21211,\"message\":\"The 'To' number is not a valid phone number.\"}");
    let mailbox = with_sms(&web).await;
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let me = user();
    let token = World::get().await.token(&me, &[Role::Traveller], None);
    let preferences = Preferences { phone: "+33600000000".to_owned(), ..Preferences::default() };
    let request = SetPreferencesRequest { request_id: "sms".to_owned(), preferences: Some(preferences) };
    NotificationServiceClient::new(running.channel()).set_preferences(bearer(request, &token)).await.unwrap();
    mailbox.room.publish("booking", &confirmed(&booking(&me, "a@example.com", "en"))).await;
    mailbox
        .await_count("channel = 'SMS' AND state = 'FAILED' AND attempts = 1 AND error LIKE '%21211%not a valid%'", 1)
        .await;
    mailbox.await_count("channel = 'EMAIL' AND state = 'SENT'", 1).await;
    running.stop().await;
}

fn decoded(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

struct Length(usize);
impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derived<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    key.expand(&[info], Length(N)).unwrap().fill(&mut out).unwrap();
    out
}

/// What a browser does with a push message (RFC 8291).
fn decrypted(private: &SecretKey, auth: &[u8], body: &[u8]) -> Vec<u8> {
    let (salt, rest) = body.split_at(16);
    let (head, rest) = rest.split_at(5);
    let (sender, sealed) = rest.split_at(head[4].into());
    let shared = diffie_hellman(private.to_nonzero_scalar(), PublicKey::from_sec1_bytes(sender).unwrap().as_affine());
    let public = private.public_key().to_encoded_point(false);
    let info = [b"WebPush: info\0".as_slice(), public.as_bytes(), sender].concat();
    let ikm: [u8; 32] = derived(auth, shared.raw_secret_bytes(), &info);
    let key: [u8; 16] = derived(salt, &ikm, b"Content-Encoding: aes128gcm\0");
    let nonce: [u8; 12] = derived(salt, &ikm, b"Content-Encoding: nonce\0");
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).unwrap());
    let mut plain = sealed.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let opened = key.open_in_place(nonce, aead::Aad::empty(), &mut plain).unwrap();
    let end = opened.iter().rposition(|b| *b != 0).unwrap();
    assert_eq!(opened[end], 2, "the last record");
    opened[..end].to_vec()
}

const PRIVATE: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWcLcM94";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

/// What the reference library in Python (http_ece) encrypts for this key.
#[test]
fn the_browser_of_these_tests_reads_what_others_encrypt() {
    let private = SecretKey::from_slice(&decoded(PRIVATE)).unwrap();
    let body = decoded(concat!(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl",
        "7A_K6AAT2X8gzsIqtvwZhad3xkH0WRfajzPwaatVs77l6ZsP_mXU-WrC5h8nYU6PL5VrAHqLnRzT15k5",
    ));
    assert_eq!(decrypted(&private, &decoded(AUTH), &body), b"When I grow up, I want to be a watermelon");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_reads_its_message_and_one_that_is_gone_is_forgotten() {
    let web = Web::start(&["201 Created", "410 Gone"]).await;
    // Made for this test.
    let key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgzFHdTZi345hostgazENPxi4nv5IbcJ6cs3iiQNORdtahRANCAAS7zKQ6WH1HM3WrWS9R5YCv0xqmyTF+ukKGlXuJDnnMXX14jncXz9/9C4HuJpmsDxVuer47hBbW4CJdqCKV3yoS\n-----END PRIVATE KEY-----";
    let mailbox = Mailbox::new().await.with("PUSH_KEY", key).with("ALLOW_PRIVATE_TARGETS", "true");
    let running = mailbox.room.serve(tourmesh_notification::serve).await;
    let mut client = NotificationServiceClient::new(running.channel());
    let ours = client.get_push_key(GetPushKeyRequest {}).await.unwrap().into_inner().public_key;
    assert_eq!(decoded(&ours).len(), 65);

    let private = SecretKey::from_slice(&decoded(PRIVATE)).unwrap();
    let p256dh = BASE64_URL_SAFE_NO_PAD.encode(private.public_key().to_encoded_point(false).as_bytes());
    let me = user();
    let token = World::get().await.token(&me, &[Role::Traveller], None);
    let add = |endpoint: String, auth: &str| AddPushSubscriptionRequest {
        request_id: "push".to_owned(),
        endpoint,
        p256dh: p256dh.clone(),
        auth: auth.to_owned(),
    };
    let wrong = client.add_push_subscription(bearer(add(web.url("/p"), "short"), &token)).await.unwrap_err();
    assert_eq!(reason(&wrong), "FIELD_INVALID");
    for _ in 0..2 {
        client.add_push_subscription(bearer(add(web.url("/push/abc"), AUTH), &token)).await.unwrap();
    }
    let booking = booking(&me, "amelie@example.com", "en");
    mailbox.room.publish("booking", &confirmed(&booking)).await;
    mailbox.await_count("channel = 'PUSH' AND state = 'SENT'", 1).await;
    let asked = web.asked().remove(0);
    assert_eq!((asked.path.as_str(), asked.header("content-encoding")), ("/push/abc", "aes128gcm"));
    assert_eq!((asked.header("ttl"), asked.header("urgency")), ("86400", "high"));
    let message: serde_json::Value = serde_json::from_slice(&decrypted(&private, &decoded(AUTH), &asked.body)).unwrap();
    assert!(message["title"].as_str().unwrap().starts_with("Booking confirmed: Banks of the Seine"), "{message}");
    assert_eq!(message["booking"], booking.id);

    // VAPID: signed with the key that browsers were given, for this very service.
    let (token_part, key_part) = asked.header("authorization").split_once(", k=").unwrap();
    assert_eq!(key_part, ours);
    let jwt = token_part.strip_prefix("vapid t=").unwrap();
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, decoded(&ours));
    public.verify(signed.as_bytes(), &decoded(signature)).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&decoded(signed.split_once('.').unwrap().1)).unwrap();
    assert_eq!(claims["aud"], web.url(""));

    let off = cancelled_because(&sold(&booking), euros(0, 0), tourmesh::booking::v1::CancellationCause::Traveller);
    mailbox.room.publish("booking", &off).await;
    mailbox.await_count("channel = 'PUSH' AND state = 'FAILED' AND error LIKE '%wants no messages%'", 1).await;
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM push_subscriptions").fetch_one(&mailbox.pool).await.unwrap();
    assert_eq!(left, 0);
    let remove = RemovePushSubscriptionRequest { request_id: "r".to_owned(), endpoint: web.url("/push/abc") };
    client.remove_push_subscription(bearer(remove, &token)).await.unwrap();
    running.stop().await;
}
