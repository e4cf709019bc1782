//! What a killed process leaves behind, and a new one settles.

use sqlx::PgPool;
use tourmesh::payment::v1::PaymentState;
use uuid::Uuid;

use crate::shop::{Shop, eur, room, wish};

/// The row of step 1: stored, and then the process ended.
async fn leave_pending(pool: &PgPool, method: &str) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO payments (id, booking_id, customer_id, supplier_id, state, amount, currency, provider, payment_method,
                               return_url, manual_capture, caller, request_id, request_hash, created_at, check_at)
         VALUES ($1, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'PENDING', 100, 'EUR', 'sandbox', $2, '', false,
                 'service:booking', $1::text, '', now(), now())",
    )
    .bind(id)
    .bind(method)
    .execute(pool)
    .await
    .unwrap();
    id
}

/// What the provider had done before the answer was lost.
async fn leave_charge(pool: &PgPool, key: Uuid, status: &str) {
    sqlx::query(
        "INSERT INTO sandbox_intents (id, key, amount, currency, method, manual_capture, status, decline_code)
         VALUES (gen_random_uuid(), $1, 100, 'EUR', 'card_ok', false, $2, CASE $2 WHEN 'failed' THEN 'card_declined' END)",
    )
    .bind(key)
    .bind(status)
    .execute(pool)
    .await
    .unwrap();
}

fn wire(key: Uuid) -> String {
    format!("pay_{}", key.simple())
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_that_a_crash_left_open_are_settled_and_charged_once() {
    let room = room().await;
    let pool = room.pool().await;
    // Before the call: the provider has never heard of it.
    let unheard = leave_pending(&pool, "card_ok").await;
    let unheard_declined = leave_pending(&pool, "card_declined").await;
    let unheard_slow = leave_pending(&pool, "card_timeout").await;
    let unheard_action = leave_pending(&pool, "card_action").await;
    // After the call: it was done, and nobody here knows.
    let done = leave_pending(&pool, "card_ok").await;
    leave_charge(&pool, done, "succeeded").await;
    let failed = leave_pending(&pool, "card_ok").await;
    leave_charge(&pool, failed, "failed").await;
    let shop = Shop::in_room(room).await;
    for key in [unheard, unheard_slow, done] {
        shop.becomes(&wire(key), PaymentState::Captured).await;
    }
    for key in [unheard_declined, failed] {
        let payment = shop.becomes(&wire(key), PaymentState::Failed).await;
        assert_eq!(payment.decline_code, "card_declined");
    }
    shop.becomes(&wire(unheard_action), PaymentState::RequiresAction).await;
    assert_eq!(shop.count("SELECT count(*) FROM sandbox_intents").await, 6);
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_and_a_capture_that_a_crash_left_open_are_done() {
    let shop = Shop::open().await;
    let paid = shop.paid().await;
    let mut manual = wish("card_ok");
    manual.manual_capture = true;
    let reserved = shop.create(manual).await.unwrap();
    let Shop { room, running, pool, .. } = shop;
    running.stop().await;
    sqlx::query("UPDATE payments SET refunded = 30, version = version + 1 WHERE state = 'CAPTURED'")
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO refunds (id, payment_id, amount, reason, caller, request_id, request_hash, check_at, created_at)
         SELECT gen_random_uuid(), id, 30, '', 'service:booking', 'r1', '', now(), now() FROM payments WHERE state = 'CAPTURED'",
    )
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query("UPDATE payments SET capture_wanted = true, check_at = now() WHERE state = 'AUTHORIZED'")
        .execute(&pool)
        .await
        .unwrap();
    let shop = Shop::in_room(room).await;
    shop.becomes(&reserved.id, PaymentState::Captured).await;
    tourmesh_testkit::eventually(|| async {
        shop.count("SELECT count(*) FROM refunds WHERE settled_at IS NULL").await == 0
    })
    .await;
    let after = shop.get(&paid.id).await;
    assert_eq!(after.refunded, eur(30, 0));
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_loses_nothing() {
    let shop = Shop::open().await;
    // The wishes end at many moments: before the row, before the charge, before the answer.
    for n in 0..60 {
        let patience = std::time::Duration::from_micros(500 * n);
        let _ = tokio::time::timeout(patience, shop.create(wish("card_ok"))).await;
    }
    assert!(shop.count("SELECT count(*) FROM payments").await > 0);
    tourmesh_testkit::eventually(|| async {
        shop.count("SELECT count(*) FROM payments WHERE state <> 'CAPTURED'").await == 0
    })
    .await;
    shop.audit().await;
}
