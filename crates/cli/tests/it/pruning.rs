//! What every service forgets by itself (`tourmesh_kit::pruning`) it finds by an index, and may delete.

use tourmesh_kit::{
    db::{Db, Schema},
    pruning::Pruning,
};
use tourmesh_testkit::World;

const SCHEMAS: [(&str, &Schema); 5] = [
    ("catalog", &tourmesh_catalog::SCHEMA),
    ("booking", &tourmesh_booking::SCHEMA),
    ("payment", &tourmesh_payment::SCHEMA),
    ("notification", &tourmesh_notification::SCHEMA),
    ("identity", &tourmesh_identity::SCHEMA),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_service_forgets_old_requests_and_finds_them_by_an_index() {
    for (role, schema) in SCHEMAS {
        let room = World::get().await.room(role, schema).await;
        let pool = room.pool().await;
        let indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'requests' AND indexdef LIKE '%(created_at)'";
        let indexes: i64 = sqlx::query_scalar(indexes).fetch_one(&pool).await.unwrap();
        assert_eq!(indexes, 1, "{role}");
        sqlx::query(
            "INSERT INTO requests (caller, method, request_id, hash, subject, created_at)
             SELECT 'usr_1', 'Method', 'r-' || age, sha256(''), gen_random_uuid(), now() - age * interval '1 day'
             FROM unnest(ARRAY[29, 31]) AS age",
        )
        .execute(&pool)
        .await
        .unwrap();
        // With the rights of the running service.
        let db = Db::of_env(&room.env()).unwrap();
        assert!(!Pruning::of_env(&room.env()).unwrap().bite(&db).await.unwrap());
        let left: Vec<String> = sqlx::query_scalar("SELECT request_id FROM requests").fetch_all(&pool).await.unwrap();
        assert_eq!(left, ["r-29"], "{role}");
    }
}
