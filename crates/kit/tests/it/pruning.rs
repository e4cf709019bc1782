//! What is past its time is deleted, bite by bite, and nothing else.

use tourmesh_kit::{
    db::{Db, Schema, Step},
    pruning::Pruning,
};
use tourmesh_testkit::{Room, World};

use crate::SCHEMA;

/// A service that remembers requests, in the form that kit knows.
const REMEMBERING: Schema = Schema {
    steps: &[Step {
        version: 100,
        name: "requests",
        sql: "CREATE TABLE requests (caller text NOT NULL, method text NOT NULL, request_id text NOT NULL,
                                     created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (caller, method, request_id));
              CREATE INDEX requests_age ON requests (created_at)",
    }],
    restrict: "",
};

/// So many requests of so many days ago.
async fn remember(room: &Room, days: i32, count: i32) {
    let insert = "INSERT INTO requests SELECT 'usr_1', 'Method', $1 || '-' || n, now() - make_interval(days => $1)
                  FROM generate_series(1, $2) AS n";
    sqlx::query(insert).bind(days).bind(count).execute(&room.pool().await).await.unwrap();
}

async fn left(room: &Room) -> Vec<(i64, String)> {
    let left = "SELECT count(*), split_part(request_id, '-', 1) FROM requests GROUP BY 2 ORDER BY 2";
    sqlx::query_as(left).fetch_all(&room.pool().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_forgotten_after_their_time_a_bite_at_a_time_and_no_sooner() {
    let room = World::get().await.room("kit", &REMEMBERING).await;
    remember(&room, 29, 3).await;
    remember(&room, 31, 6_000).await;
    // With the rights of a running service.
    let db = Db::of_env(&room.env()).unwrap();
    let pruning = Pruning::of_env(&room.env()).unwrap();
    assert!(pruning.bite(&db).await.unwrap(), "there is more");
    assert_eq!(left(&room).await, [(3, "29".to_owned()), (1_000, "31".to_owned())]);
    assert!(!pruning.bite(&db).await.unwrap());
    assert_eq!(left(&room).await, [(3, "29".to_owned())]);
    // As long as the operator says.
    let longer = Pruning::of_env(&room.with("REQUEST_RETENTION_DAYS", 60).env()).unwrap();
    remember(&room, 45, 1).await;
    longer.bite(&db).await.unwrap();
    assert_eq!(left(&room).await.len(), 2);
    for wrong in ["0", "3651", "soon"] {
        let error = Pruning::of_env(&room.with("REQUEST_RETENTION_DAYS", wrong).env()).unwrap_err().to_string();
        assert!(error.contains("REQUEST_RETENTION_DAYS"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn published_events_and_old_effects_go_and_what_waits_to_be_published_stays() {
    // A service without requests is pruned as well.
    let room = World::get().await.room("kit", &SCHEMA).await;
    let pool = room.pool().await;
    for statement in [
        "INSERT INTO outbox (id, type, subject, payload, created_at)
         SELECT gen_random_uuid(), 't', 's', '', now() - make_interval(days => d) FROM unnest(ARRAY[20, 15, 13, 15]) AS d",
        // The last one is old, and not published yet.
        "UPDATE outbox_cursor SET head = (SELECT max(seq) - 1 FROM outbox)",
        "INSERT INTO inbox SELECT 'c', gen_random_uuid(), now() - make_interval(days => d) FROM unnest(ARRAY[15, 13]) AS d",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let db = Db::of_env(&room.env()).unwrap();
    assert!(!Pruning::of_env(&room.env()).unwrap().bite(&db).await.unwrap());
    let counts =
        "SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM outbox_waiting), (SELECT count(*) FROM inbox)";
    let left: (i64, i64, i64) = sqlx::query_as(counts).fetch_one(&pool).await.unwrap();
    assert_eq!(left, (2, 1, 1));
}
