//! Signing keys: what others see of them, how they change, and how they are stored.

use std::collections::HashSet;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use tourmesh::identity::v1::GetJwksRequest;
use tourmesh_identity::{Config, keys::Keyring};
use tourmesh_kit::{
    auth::{AUDIENCE, Claims, ISSUER},
    db::Db,
};

use crate::{Client, PASSWORD, room, sign_in, sign_up, start};

async fn key_set(client: &mut Client) -> JwkSet {
    serde_json::from_str(&client.get_jwks(GetJwksRequest {}).await.unwrap().into_inner().jwks_json).unwrap()
}

/// As a stranger would, with nothing but the key set and RFC 7519.
fn verified(token: &str, set: &JwkSet) -> Claims {
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    jsonwebtoken::decode::<Claims>(token, &key, &validation).unwrap().claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_verifies_with_the_key_set_alone() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let answer = sign_up(&mut client, "token@example.org").await;
    let (user, tokens) = (answer.user.unwrap(), answer.tokens.unwrap());
    let claims = verified(&tokens.access_token, &key_set(&mut client).await);
    assert_eq!(claims.sub, user.id);
    assert_eq!(claims.exp - claims.iat, 15 * 60);
    assert_eq!(i64::try_from(claims.exp).unwrap(), tokens.access_expires_at.unwrap().seconds);

    let json = client.get_jwks(GetJwksRequest {}).await.unwrap().into_inner().jwks_json;
    let set: serde_json::Value = serde_json::from_str(&json).unwrap();
    let key = &set["keys"][0];
    for (name, value) in [("kty", "OKP"), ("crv", "Ed25519"), ("alg", "EdDSA"), ("use", "sig")] {
        assert_eq!(key[name], value, "{name}");
    }
    assert_eq!(key["x"].as_str().unwrap().len(), 43, "32 bytes in base64url");
    assert!(key.get("d").is_none(), "the private half stays here");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_share_one_key() {
    let room = room().await;
    let db = Db::of_env(&room.env()).unwrap();
    let config = Config::of_env(&room.env()).unwrap();
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let keyring = Keyring::new(db.clone(), &config);
            tokio::spawn(async move {
                keyring.look_after().await.unwrap();
                keyring.jwks_json().await.unwrap()
            })
        })
        .collect();
    let mut sets = HashSet::new();
    for start in starts {
        sets.insert(start.await.unwrap());
    }
    assert_eq!(sets.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_stays_until_its_tokens_have_ended() {
    let room = room().await;
    let pool = room.pool().await;
    let (running, mut client) = start(&room).await;
    let old_token = sign_up(&mut client, "rotation@example.org").await.tokens.unwrap().access_token;
    let keyring = Keyring::new(Db::of_env(&room.env()).unwrap(), &Config::of_env(&room.env()).unwrap());

    // A key's age is nearly up: the next one is published, and does not sign yet.
    sqlx::query("UPDATE signing_keys SET active_from = now() - interval '29 days 23 hours 30 minutes'")
        .execute(&pool)
        .await
        .unwrap();
    keyring.look_after().await.unwrap();
    let set: JwkSet = serde_json::from_str(&keyring.jwks_json().await.unwrap()).unwrap();
    assert_eq!(set.keys.len(), 2);
    running.stop().await;
    let (running, mut client) = start(&room).await;
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid;
    let still = client.sign_in(sign_in("rotation@example.org", PASSWORD)).await.unwrap().into_inner().tokens.unwrap();
    assert_eq!(kid(&still.access_token), kid(&old_token));

    // Its time comes: it signs, and the old one still verifies.
    sqlx::query("UPDATE signing_keys SET active_from = active_from - interval '2 hours'").execute(&pool).await.unwrap();
    running.stop().await;
    let (running, mut client) = start(&room).await;
    let new = client.sign_in(sign_in("rotation@example.org", PASSWORD)).await.unwrap().into_inner().tokens.unwrap();
    assert_ne!(kid(&new.access_token), kid(&old_token));
    let set = key_set(&mut client).await;
    verified(&new.access_token, &set);
    verified(&old_token, &set);

    // A day and a token's age later nobody needs the old one.
    sqlx::query("UPDATE signing_keys SET active_from = active_from - interval '1 day 16 minutes'")
        .execute(&pool)
        .await
        .unwrap();
    running.stop().await;
    let (_running, mut client) = start(&room).await;
    let set = key_set(&mut client).await;
    assert_eq!(set.keys.len(), 1);
    assert_eq!(set.keys[0].common.key_id, kid(&new.access_token));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_secret_the_private_key_is_sealed_and_without_it_nothing_signs() {
    let room = room().await;
    let sealed = room.with("KEY_SECRET", "a secret that is long enough for this");
    let (running, mut client) = start(&sealed).await;
    let token = sign_up(&mut client, "sealed@example.org").await.tokens.unwrap().access_token;
    verified(&token, &key_set(&mut client).await);
    let (private, is_sealed): (Vec<u8>, bool) =
        sqlx::query_as("SELECT private_key, sealed FROM signing_keys").fetch_one(&room.pool().await).await.unwrap();
    // PKCS#8 of Ed25519 names the algorithm by 1.3.101.112; ciphertext does not.
    assert!(is_sealed && !private.windows(5).any(|w| w == [0x06, 0x03, 0x2b, 0x65, 0x70]));
    running.stop().await;

    // Another secret: the role says what is wrong instead of signing with a key that nobody published.
    let wrong = room.with("KEY_SECRET", "another secret, also long enough to be one");
    let running = wrong.start(tourmesh_identity::serve).await;
    let mut client = Client::new(running.channel());
    tourmesh_testkit::eventually(|| {
        let mut client = client.clone();
        async move { client.get_jwks(GetJwksRequest {}).await.is_ok() }
    })
    .await;
    let refused = client.sign_in(sign_in("sealed@example.org", PASSWORD)).await.unwrap_err();
    assert_eq!(tourmesh_testkit::reason(&refused), "DEPENDENCY_UNAVAILABLE");
    assert_ne!(running.health().await, tonic_health::pb::health_check_response::ServingStatus::Serving);
    verified(&token, &key_set(&mut client).await);
}
