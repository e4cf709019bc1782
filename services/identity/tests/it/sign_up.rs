//! Signing up, repeating it, and doing it at the same time.

use prost::Message as _;
use tonic::Code;
use tonic_types::StatusExt as _;
use tourmesh::{
    identity::v1::{GetMeRequest, SignUpRequest, UserRegistered},
    options::v1::Role,
};
use tourmesh_testkit::{bearer, reason};

use crate::{Client, PASSWORD, newcomer, room, sign_in, sign_up, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_signed_in_told_of_once_and_finds_its_account() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let answer = sign_up(&mut client, "Ada@Example.org").await;
    let (user, tokens) = (answer.user.unwrap(), answer.tokens.unwrap());
    assert_eq!(user.email, "ada@example.org");
    assert_eq!((user.full_name.as_str(), user.language.as_str()), ("Ada Lovelace", "fr"));
    assert_eq!(user.roles, [i32::from(Role::Traveller)]);
    assert!(user.id.starts_with("usr_") && user.supplier_id.is_empty());

    let again = client.sign_in(sign_in("ADA@example.ORG", PASSWORD)).await.unwrap().into_inner();
    assert_eq!(again.user.as_ref(), Some(&user));
    assert_ne!(again.tokens.unwrap().refresh_token, tokens.refresh_token);

    let events: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT subject, payload FROM outbox").fetch_all(&room.pool().await).await.unwrap();
    let [(subject, payload)] = &events[..] else { panic!("{} events", events.len()) };
    assert_eq!(*subject, format!("identity.user.registered.{}", user.id));
    assert_eq!(UserRegistered::decode(&payload[..]).unwrap().user, Some(user.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn get_me_answers_the_holder_of_a_token_and_nobody_else() {
    let world = tourmesh_testkit::World::get().await;
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let user = sign_up(&mut client, "me@example.org").await.user.unwrap();
    // The room's verifier holds the test world's key, so this token is made with it.
    let token = world.token(&user.id, &[Role::Traveller], None);
    let me = client.get_me(bearer(GetMeRequest {}, &token)).await.unwrap().into_inner();
    assert_eq!(me.user, Some(user));
    let stranger = world.token("usr_00000000000000000000000000000001", &[Role::Traveller], None);
    let refused = client.get_me(bearer(GetMeRequest {}, &stranger)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "USER_NOT_FOUND"));
    let refused = client.get_me(GetMeRequest {}).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "TOKEN_MISSING"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_same_user_and_other_content_is_refused() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let first = sign_up(&mut client, "repeat@example.org").await;
    let respelled = SignUpRequest { email: "REPEAT@example.org".to_owned(), ..newcomer("repeat@example.org") };
    let second = client.sign_up(respelled).await.unwrap().into_inner();
    assert_eq!(first.user, second.user);
    assert_ne!(first.tokens.unwrap().refresh_token, second.tokens.unwrap().refresh_token);

    let request = newcomer("repeat@example.org");
    for other in [
        SignUpRequest { password: "another password".to_owned(), ..request.clone() },
        SignUpRequest { full_name: "Grace Hopper".to_owned(), ..request.clone() },
        SignUpRequest { language: "en".to_owned(), ..request.clone() },
        SignUpRequest { email: "other@example.org".to_owned(), ..request.clone() },
    ] {
        let refused = client.sign_up(other).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
    }
    let taken = SignUpRequest { request_id: "another".to_owned(), ..request };
    let refused = client.sign_up(taken).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "EMAIL_TAKEN"));
    let pool = room.pool().await;
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&pool).await.unwrap();
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&pool).await.unwrap();
    assert_eq!((users, events), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_the_password_of_an_account_by_repeating_its_sign_up() {
    let room = room().await.with("FAILURES_PER_ACCOUNT", 3);
    let (_running, mut client) = start(&room).await;
    sign_up(&mut client, "oracle@example.org").await;
    let request = newcomer("oracle@example.org");
    let mut last = String::new();
    for guess in 0..4 {
        let guess = SignUpRequest { password: format!("a wrong guess {guess}"), ..request.clone() };
        last = reason(&client.sign_up(guess).await.unwrap_err());
    }
    assert_eq!(last, "TOO_MANY_ATTEMPTS");
    assert_eq!(reason(&client.sign_up(request).await.unwrap_err()), "TOO_MANY_ATTEMPTS");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_want_one_address_at_once_one_gets_it() {
    let room = room().await.with("SIGN_UP_QUEUE", 200);
    let (_running, client) = start(&room).await;
    let outcomes = at_once(&client, |n| SignUpRequest {
        request_id: format!("racer-{n}"),
        ..newcomer(if n % 2 == 0 { "race@example.org" } else { "Race@Example.ORG" })
    });
    let outcomes = outcomes.await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    assert!(outcomes.iter().flat_map(|o| o.as_ref().err()).all(|r| r == "EMAIL_TAKEN"), "{outcomes:?}");
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&room.pool().await).await.unwrap();
    assert_eq!(users, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_many_times_at_once_has_one_effect_and_one_answer() {
    let room = room().await.with("SIGN_UP_QUEUE", 200);
    let (_running, client) = start(&room).await;
    let outcomes = at_once(&client, |_| newcomer("same@example.org")).await;
    let first = outcomes[0].clone().unwrap();
    assert!(outcomes.iter().all(|o| o.as_ref() == Ok(&first)), "{outcomes:?}");
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&room.pool().await).await.unwrap();
    assert_eq!(events, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_break_a_rule_are_named_and_nothing_is_written() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let good = newcomer("rules@example.org");
    for (bad, field) in [
        (SignUpRequest { email: "no address".to_owned(), ..good.clone() }, "email"),
        // Short enough as it is, and too long in lower case.
        (SignUpRequest { email: format!("{}@example.org", "\u{130}".repeat(100)), ..good.clone() }, "email"),
        (SignUpRequest { password: "short".to_owned(), ..good.clone() }, "password"),
        (SignUpRequest { full_name: "   ".to_owned(), ..good.clone() }, "full_name"),
        (SignUpRequest { language: "de".to_owned(), ..good.clone() }, "language"),
        (SignUpRequest { request_id: String::new(), ..good.clone() }, "request_id"),
    ] {
        let refused = client.sign_up(bad).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
        assert!(refused.message().contains(field), "{field}: {}", refused.message());
    }
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&room.pool().await).await.unwrap();
    assert_eq!(users, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_sign_ups_close_signing_up_and_nothing_else() {
    let room = room().await.with("SIGN_UPS_PER_WINDOW", 3).with("FAILURES_WINDOW_SECONDS", 600);
    let (_running, mut client) = start(&room).await;
    sign_up(&mut client, "first@example.org").await;
    sign_up(&mut client, "second@example.org").await;
    let taken = SignUpRequest { request_id: "asks-for-addresses".to_owned(), ..newcomer("first@example.org") };
    assert_eq!(reason(&client.sign_up(taken.clone()).await.unwrap_err()), "EMAIL_TAKEN");
    // To be told of an address counted like an account, so that was the third.
    for request in [taken, newcomer("third@example.org")] {
        let refused = client.sign_up(request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS"));
        let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(wait.as_secs() > 590 && wait.as_secs() <= 600, "{wait:?}");
    }
    client.sign_in(sign_in("first@example.org", PASSWORD)).await.unwrap();
    // A repeat makes nothing new.
    sign_up(&mut client, "second@example.org").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_costs_a_hash_to_hear_of() {
    let room = room().await.with("PASSWORD_MEMORY_KIB", 19_456).with("PASSWORD_PASSES", 4);
    let (_running, mut client) = start(&room).await;
    let mut shortest = [std::time::Duration::MAX; 2];
    for n in 0..4 {
        let new = newcomer(&format!("new{n}@example.org"));
        let taken = SignUpRequest { request_id: format!("taken-{n}"), ..newcomer("new0@example.org") };
        for (at, request) in [new, taken].into_iter().enumerate() {
            let begun = std::time::Instant::now();
            let answer = client.sign_up(request).await;
            assert_eq!(answer.is_ok(), at == 0);
            shortest[at] = begun.elapsed().min(shortest[at]);
        }
    }
    // Without the hash it would be a tenth; the bound is wide because test machines are busy.
    assert!(shortest[1] * 2 > shortest[0], "{shortest:?}");
}

/// A hundred sign-ups at once; each outcome is the user's id or the reason.
async fn at_once(client: &Client, request: impl Fn(usize) -> SignUpRequest) -> Vec<Result<String, String>> {
    let calls: Vec<_> = (0..100)
        .map(|n| {
            let (mut client, request) = (client.clone(), request(n));
            tokio::spawn(async move {
                let answer = client.sign_up(request).await;
                answer.map(|a| a.into_inner().user.unwrap().id).map_err(|status| reason(&status))
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap());
    }
    outcomes
}
