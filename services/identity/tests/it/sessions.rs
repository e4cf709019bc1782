//! Refresh tokens: one use each, and what a second use does.

use tonic::Code;
use tourmesh::identity::v1::{RefreshRequest, RefreshResponse, SignOutRequest};
use tourmesh_identity::sessions::prune_once;
use tourmesh_kit::db::Db;
use tourmesh_testkit::reason;

use crate::{Client, PASSWORD, room, sign_in, sign_up, start};

async fn refresh(client: &mut Client, token: &str) -> Result<RefreshResponse, tonic::Status> {
    client.refresh(RefreshRequest { refresh_token: token.to_owned() }).await.map(tonic::Response::into_inner)
}

async fn ended(client: &mut Client, token: &str) -> bool {
    let refused = refresh(client, token).await.unwrap_err();
    (refused.code(), reason(&refused).as_str()) == (Code::Unauthenticated, "SESSION_ENDED")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_use_ends_the_session_for_both_and_no_other_session() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let first = sign_up(&mut client, "reuse@example.org").await.tokens.unwrap();
    let other = client.sign_in(sign_in("reuse@example.org", PASSWORD)).await.unwrap().into_inner().tokens.unwrap();

    let second = refresh(&mut client, &first.refresh_token).await.unwrap().tokens.unwrap();
    assert_ne!(first.refresh_token, second.refresh_token);
    assert_eq!(first.refresh_expires_at, second.refresh_expires_at, "refreshing does not prolong a session");
    let third = refresh(&mut client, &second.refresh_token).await.unwrap().tokens.unwrap();
    // The thief comes back with what it copied.
    assert!(ended(&mut client, &first.refresh_token).await);
    assert!(ended(&mut client, &third.refresh_token).await, "the robbed one has to sign in again");
    assert!(refresh(&mut client, &other.refresh_token).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_uses_at_once_at_most_one_succeeds_and_the_session_ends() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let token = sign_up(&mut client, "double@example.org").await.tokens.unwrap().refresh_token;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (mut client, token) = (client.clone(), token.clone());
            tokio::spawn(async move { refresh(&mut client, &token).await })
        })
        .collect();
    let mut next = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Ok(answer) => next.push(answer.tokens.unwrap().refresh_token),
            Err(status) => assert_eq!(reason(&status), "SESSION_ENDED"),
        }
    }
    assert_eq!(next.len(), 1);
    assert!(ended(&mut client, &next[0]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_session_and_twice_is_once() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let token = sign_up(&mut client, "out@example.org").await.tokens.unwrap().refresh_token;
    for _ in 0..2 {
        client.sign_out(SignOutRequest { refresh_token: token.clone() }).await.unwrap();
    }
    assert!(ended(&mut client, &token).await);
    client.sign_out(SignOutRequest { refresh_token: "never was one".to_owned() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_runs_out_and_an_unknown_token_is_none() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let token = sign_up(&mut client, "old@example.org").await.tokens.unwrap().refresh_token;
    sqlx::query(
        "UPDATE sessions SET created_at = now() - interval '31 days', expires_at = now() - interval '1 second'",
    )
    .execute(&room.pool().await)
    .await
    .unwrap();
    assert!(ended(&mut client, &token).await);
    assert!(ended(&mut client, "rt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_lets_nobody_in() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let token = sign_up(&mut client, "stored@example.org").await.tokens.unwrap().refresh_token;
    let pool = room.pool().await;
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT t::text FROM refresh_tokens t UNION ALL SELECT s::text FROM sessions s
         UNION ALL SELECT u::text FROM users u UNION ALL SELECT encode(payload, 'escape') FROM outbox",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(rows.len() >= 4);
    let secret = token.trim_start_matches("rt_");
    assert!(rows.iter().all(|row| !row.contains(secret) && !row.contains(PASSWORD)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_run_out_is_removed_and_nothing_else() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let pool = room.pool().await;
    let old = sign_up(&mut client, "pruned@example.org").await.tokens.unwrap().refresh_token;
    refresh(&mut client, &old).await.unwrap();
    client.sign_in(sign_in("pruned@example.org", "a wrong one")).await.unwrap_err();
    let out = "UPDATE sessions SET created_at = now() - interval '31 days', expires_at = now() - interval '1 second'";
    sqlx::query(out).execute(&pool).await.unwrap();
    sqlx::query("UPDATE attempts SET ends_at = now()").execute(&pool).await.unwrap();
    let living = client.sign_in(sign_in("pruned@example.org", PASSWORD)).await.unwrap().into_inner().tokens.unwrap();

    prune_once(&Db::of_env(&room.env()).unwrap()).await.unwrap();
    let left: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM refresh_tokens), (SELECT count(*) FROM attempts)",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(left, (1, 1, 0));
    assert!(refresh(&mut client, &living.refresh_token).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_refreshed_without_end() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let token = sign_up(&mut client, "endless@example.org").await.tokens.unwrap().refresh_token;
    sqlx::query("UPDATE sessions SET refreshes = 9999").execute(&room.pool().await).await.unwrap();
    let last = refresh(&mut client, &token).await.unwrap().tokens.unwrap().refresh_token;
    assert!(ended(&mut client, &last).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_a_newer_version_adds_disturbs_no_replica_that_runs() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let mut token = sign_up(&mut client, "rolling@example.org").await.tokens.unwrap().refresh_token;
    for round in 0..6 {
        // Prepared in the first rounds, on whichever connections.
        if round == 3 {
            for table in ["users", "sessions", "refresh_tokens", "attempts", "requests", "signing_keys"] {
                let sql = format!("ALTER TABLE {table} ADD COLUMN of_tomorrow text");
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&room.pool().await).await.unwrap();
            }
        }
        token = refresh(&mut client, &token).await.unwrap().tokens.unwrap().refresh_token;
        client.sign_in(sign_in("rolling@example.org", PASSWORD)).await.unwrap();
        client.sign_in(sign_in("rolling@example.org", "a wrong one")).await.unwrap_err();
    }
}
