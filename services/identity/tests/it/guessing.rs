//! Wrong passwords: what they are told, and when the door closes.

use std::time::{Duration, Instant};

use tonic::Code;
use tonic_types::StatusExt as _;
use tourmesh_testkit::reason;

use crate::{Client, PASSWORD, room, sign_in, sign_up, start};

async fn outcome(client: &mut Client, email: &str, password: &str) -> String {
    client.sign_in(sign_in(email, password)).await.map_or_else(|status| reason(&status), |_| "OK".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_closes_after_too_many_wrong_passwords_and_opens_again() {
    let room = room().await.with("FAILURES_PER_ACCOUNT", 3).with("FAILURES_WINDOW_SECONDS", 600);
    let (_running, mut client) = start(&room).await;
    sign_up(&mut client, "guessed@example.org").await;
    sign_up(&mut client, "other@example.org").await;
    for _ in 0..2 {
        assert_eq!(outcome(&mut client, "guessed@example.org", "a wrong one").await, "CREDENTIALS_WRONG");
    }
    // A right one forgets what was before.
    assert_eq!(outcome(&mut client, "guessed@example.org", PASSWORD).await, "OK");
    for _ in 0..3 {
        assert_eq!(outcome(&mut client, "Guessed@example.org", "a wrong one").await, "CREDENTIALS_WRONG");
    }
    let refused = client.sign_in(sign_in("guessed@example.org", PASSWORD)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS"));
    let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::from_secs(590) && wait <= Duration::from_secs(600), "{wait:?}");
    assert_eq!(outcome(&mut client, "other@example.org", PASSWORD).await, "OK", "others are not concerned");

    let pool = room.pool().await;
    sqlx::query("UPDATE attempts SET ends_at = now()").execute(&pool).await.unwrap();
    assert_eq!(outcome(&mut client, "guessed@example.org", PASSWORD).await, "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_an_account_is_answered_like_one_with() {
    let room = room().await.with("FAILURES_PER_ACCOUNT", 3);
    let (_running, mut client) = start(&room).await;
    sign_up(&mut client, "there@example.org").await;
    let mut told = Vec::new();
    for email in ["there@example.org", "nobody@example.org"] {
        let mut answers = Vec::new();
        for _ in 0..4 {
            let status = client.sign_in(sign_in(email, "a wrong one")).await.unwrap_err();
            answers.push((status.code(), reason(&status), status.message().to_owned()));
        }
        told.push(answers);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0][3].1, "TOO_MANY_ATTEMPTS");
    let keys: Vec<String> = sqlx::query_scalar("SELECT key FROM attempts").fetch_all(&room.pool().await).await.unwrap();
    assert!(keys.iter().all(|k| !k.contains('@')), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_wrong_passwords_everywhere_close_the_accounts_that_had_one_and_no_other() {
    let room = room().await.with("FAILURES_EVERYWHERE", 5);
    let (_running, mut client) = start(&room).await;
    for email in ["clean@example.org", "spray0@example.org", "forgiven@example.org"] {
        sign_up(&mut client, email).await;
    }
    assert_eq!(outcome(&mut client, "forgiven@example.org", "Password123").await, "CREDENTIALS_WRONG");
    assert_eq!(outcome(&mut client, "forgiven@example.org", PASSWORD).await, "OK");
    for n in 0..5 {
        assert_eq!(outcome(&mut client, &format!("spray{n}@example.org"), "Password123").await, "CREDENTIALS_WRONG");
    }
    assert_eq!(outcome(&mut client, "spray0@example.org", PASSWORD).await, "TOO_MANY_ATTEMPTS");
    assert_eq!(outcome(&mut client, "spray1@example.org", "Password124").await, "TOO_MANY_ATTEMPTS");
    // Nobody keeps out whom nobody guesses at.
    assert_eq!(outcome(&mut client, "clean@example.org", PASSWORD).await, "OK");
    assert_eq!(outcome(&mut client, "forgiven@example.org", PASSWORD).await, "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_count_together_and_guesses_at_once_find_no_more_doors() {
    let room = room().await.with("FAILURES_PER_ACCOUNT", 5).with("PASSWORD_QUEUE", 200);
    let (_one, mut client) = start(&room).await;
    let (_two, other) = start(&room).await;
    sign_up(&mut client, "rush@example.org").await;
    let calls: Vec<_> = (0..100)
        .map(|n| {
            let mut client = if n % 2 == 0 { client.clone() } else { other.clone() };
            tokio::spawn(async move { outcome(&mut client, "rush@example.org", "a wrong one").await })
        })
        .collect();
    for call in calls {
        assert!(matches!(call.await.unwrap().as_str(), "CREDENTIALS_WRONG" | "TOO_MANY_ATTEMPTS"));
    }
    // However many were looked at: the right one is not let in any more.
    assert_eq!(outcome(&mut client, "rush@example.org", PASSWORD).await, "TOO_MANY_ATTEMPTS");
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_once_do_not_learn_which_of_them_was_right() {
    // Slow hashes: all are admitted while the account is open, and looked at when it is not any more.
    let room = room().await.with("FAILURES_PER_ACCOUNT", 3).with("PASSWORD_MEMORY_KIB", 19_456);
    let room = room.with("PASSWORD_PASSES", 4).with("PASSWORD_QUEUE", 200);
    let (_running, mut client) = start(&room).await;
    sign_up(&mut client, "parallel@example.org").await;
    let guess = |password: &'static str| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let status = client.sign_in(sign_in("parallel@example.org", password)).await.unwrap_err();
            (status.code(), reason(&status), status.message().to_owned())
        })
    };
    let mut wrong: Vec<_> = (0..20).map(|_| guess("a wrong one")).collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let right = guess(PASSWORD);
    wrong.extend((0..5).map(|_| guess("a wrong one")));
    let right = right.await.unwrap();
    assert_eq!(right.1, "TOO_MANY_ATTEMPTS");
    let mut told_wrong = 0;
    for answer in wrong {
        let answer = answer.await.unwrap();
        if answer.1 == "CREDENTIALS_WRONG" {
            told_wrong += 1;
        } else {
            assert_eq!(answer, right);
        }
    }
    assert_eq!(told_wrong, 3, "beyond the limit wrong and right are told the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_address_takes_as_long_as_a_wrong_password() {
    let room = room().await.with("PASSWORD_MEMORY_KIB", 19_456).with("PASSWORD_PASSES", 4);
    let (_running, mut client) = start(&room).await;
    sign_up(&mut client, "clock@example.org").await;
    let mut shortest = [Duration::MAX; 2];
    for _ in 0..5 {
        for (email, shortest) in ["clock@example.org", "unknown@example.org"].into_iter().zip(&mut shortest) {
            let begun = Instant::now();
            assert_eq!(outcome(&mut client, email, "a wrong one").await, "CREDENTIALS_WRONG");
            *shortest = begun.elapsed().min(*shortest);
        }
    }
    // Without the stand-in's hash the second would take a tenth; the bound is wide because test machines are busy.
    assert!(shortest[1] * 2 > shortest[0] && shortest[0] * 2 > shortest[1], "{shortest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sign_ins_than_the_queue_takes_are_told_to_wait() {
    let room = room().await.with("PASSWORD_MEMORY_KIB", 19_456).with("PASSWORD_PASSES", 3).with("PASSWORD_QUEUE", 1);
    let (_running, mut client) = start(&room).await;
    sign_up(&mut client, "crowd@example.org").await;
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.sign_in(sign_in("crowd@example.org", PASSWORD)).await })
        })
        .collect();
    let (mut done, mut refused) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => done += 1,
            Err(status) => {
                assert_eq!(reason(&status), "OVERLOADED");
                assert!(status.get_details_retry_info().is_some());
                refused += 1;
            }
        }
    }
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
}
