//! A database of an earlier version, with bookings in it, becomes one of this version.

use sqlx::Executor as _;

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_schema_with_bookings_in_every_state_becomes_the_last_one() {
    let scene = Scene::new().await;
    let mut connection = scene.pool.acquire().await.unwrap();
    // A schema of its own: the room's tables are of this version already.
    connection.execute("CREATE SCHEMA earlier; SET search_path TO earlier").await.unwrap();
    let [first, later @ ..] = tourmesh_booking::SCHEMA.steps else { panic!("there are no steps") };
    connection.execute(first.sql).await.unwrap();
    connection
        .execute(
            "INSERT INTO bookings (id, customer_id, supplier_id, departure_id, terms_id, state, seats, currency, total,
                                   pay_on_arrival, contact_name, contact_email, contact_language, request_id,
                                   request_hash, payment_id, refund, created_at, hold_expires_at, confirmed_at,
                                   cancelled_at)
             SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), state,
                    1, 'EUR', total, arrival, 'A', 'a@b', 'en', 'r', decode(repeat('00', 32), 'hex'),
                    CASE WHEN paid THEN gen_random_uuid() END, refund, now(),
                    CASE WHEN state = 'ON_HOLD' THEN now() END, CASE WHEN sold THEN now() END,
                    CASE WHEN state = 'CANCELLED' THEN now() END
             FROM (VALUES ('ON_HOLD', 10, false, true, false, NULL::numeric),
                          ('CONFIRMED', 10, false, true, true, NULL),
                          ('CONFIRMED', 10, true, false, true, NULL),
                          ('CONFIRMED', 0, false, false, true, NULL),
                          ('REDEEMED', 10, false, true, true, NULL),
                          ('EXPIRED', 10, false, true, false, NULL),
                          ('CANCELLED', 10, false, true, true, 5),
                          ('CANCELLED', 10, false, false, false, 0))
                  b(state, total, arrival, paid, sold, refund);
             INSERT INTO unit_items (booking_id, position, id, unit, seats, price)
             SELECT id, 0, gen_random_uuid(), 1, 1, total FROM bookings;",
        )
        .await
        .unwrap();
    for step in later {
        connection.execute(step.sql).await.unwrap_or_else(|e| panic!("{}: {e}", step.name));
    }
    // What was sold for money here was paid; who was cancelled is so as a guest, too.
    let (paid, gone): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM bookings WHERE paid = total AND paid > 0),
                (SELECT count(*) FROM unit_items WHERE cancelled_at IS NOT NULL)",
    )
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    assert_eq!((paid, gone), (3, 2));
}
