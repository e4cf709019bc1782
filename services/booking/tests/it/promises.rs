//! What has to be true after every test, however wild: as `tourmesh verify` checks it.

use uuid::Uuid;

use crate::scene::Scene;

impl Scene {
    /// Seats and events, as `tourmesh verify` checks them (promises 1 and 6).
    pub(crate) async fn promises_hold(&self) {
        let broken: Vec<(Uuid, i32, i32, i64)> = sqlx::query_as(
            "SELECT d.id, d.capacity, d.held, coalesce(sum(b.seats), 0)::bigint
             FROM departures d LEFT JOIN (
                 SELECT departure_id, seats FROM bookings WHERE state IN ('ON_HOLD', 'CONFIRMED', 'REDEEMED')
                 UNION ALL SELECT departure_id, seats FROM moves WHERE state = 'OPEN') b ON b.departure_id = d.id
             GROUP BY d.id HAVING d.held <> coalesce(sum(b.seats), 0) OR d.held > d.capacity",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(broken.is_empty(), "held is not the seats of the bookings, or more than the capacity: {broken:?}");
        let broken: Vec<(Uuid, String, String)> = sqlx::query_as(
            "WITH told AS (
                 SELECT split_part(subject, '.', 4) AS booking, split_part(subject, '.', 3) AS verb, count(*) AS n
                 FROM outbox WHERE subject LIKE 'booking.booking.%' GROUP BY 1, 2),
             due AS (
                 SELECT id, state, 'held' AS verb, 1 AS n FROM bookings
                 UNION ALL SELECT id, state, 'confirmed', 1 FROM bookings WHERE confirmed_at IS NOT NULL
                 UNION ALL SELECT id, state, 'cancelled', 1 FROM bookings WHERE state = 'CANCELLED'
                 UNION ALL SELECT id, state, 'changed', changes FROM bookings WHERE changes > 0
                 UNION ALL SELECT id, state, 'rescheduled', moves FROM bookings WHERE moves > 0
                 UNION ALL SELECT id, state, 'expired', 1 FROM bookings WHERE state = 'EXPIRED'
                 UNION ALL SELECT booking_id, '', 'redeemed', count(*) FROM unit_items
                           WHERE redeemed_at IS NOT NULL GROUP BY booking_id
                 UNION ALL SELECT booking_id, '', 'refunding', count(*) FROM refund_tasks
                           WHERE cause = 'LATE' GROUP BY booking_id)
             SELECT coalesce(due.id, replace(split_part(told.booking, '_', 2), '-', '')::uuid), due.state::text,
                    coalesce(due.verb, told.verb)
             FROM due FULL JOIN told
               ON told.booking = 'bkg_' || replace(due.id::text, '-', '') AND told.verb = due.verb
             WHERE due.n IS DISTINCT FROM told.n",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(broken.is_empty(), "a change of state has not exactly one event: {broken:?}");
        let broken: Vec<(String, i64)> = sqlx::query_as(
            "WITH told AS (SELECT subject, count(*) AS n FROM outbox WHERE subject LIKE 'booking.waiting.%' GROUP BY 1),
             due AS (
                 SELECT 'booking.waiting.joined.wtg_' || replace(id::text, '-', '') AS subject FROM waiting
                 UNION ALL SELECT 'booking.waiting.offered.wtg_' || replace(id::text, '-', '') FROM waiting
                           WHERE booking_id IS NOT NULL
                 UNION ALL SELECT 'booking.waiting.left.wtg_' || replace(id::text, '-', '') FROM waiting
                           WHERE state = 'LEFT')
             SELECT coalesce(due.subject, told.subject), coalesce(told.n, 0) FROM due FULL JOIN told USING (subject)
             WHERE told.n IS DISTINCT FROM 1 OR due.subject IS NULL",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(broken.is_empty(), "a change of a waiting list has not exactly one event: {broken:?}");
        let broken: Vec<(String, i64)> = sqlx::query_as(
            "WITH told AS (SELECT subject, count(*) AS n FROM outbox WHERE subject LIKE 'booking.move.%' GROUP BY 1),
             due AS (
                 SELECT 'booking.move.begun.mov_' || replace(id::text, '-', '') AS subject FROM moves
                 UNION ALL SELECT 'booking.move.ended.mov_' || replace(id::text, '-', '') FROM moves
                           WHERE state NOT IN ('OPEN', 'DONE'))
             SELECT coalesce(due.subject, told.subject), coalesce(told.n, 0) FROM due FULL JOIN told USING (subject)
             WHERE told.n IS DISTINCT FROM 1 OR due.subject IS NULL",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(broken.is_empty(), "a change of a move has not exactly one event: {broken:?}");
        let broken: Vec<(Uuid, String)> = sqlx::query_as(
            "WITH parts AS (
                 SELECT booking_id, payment_id, difference AS captured FROM moves WHERE state = 'DONE'
                 UNION ALL
                 SELECT id, payment_id, paid - coalesce((SELECT sum(m.difference) FROM moves m
                                                         WHERE m.booking_id = b.id AND m.state = 'DONE'), 0)
                 FROM bookings b WHERE paid > 0),
             held AS (SELECT payment_id, sum(captured) AS captured FROM parts GROUP BY 1)
             SELECT t.payment_id, sum(t.amount)::text FROM refund_tasks t LEFT JOIN held USING (payment_id)
             WHERE t.cause <> 'LATE' GROUP BY t.payment_id, held.captured
             HAVING sum(t.amount) > coalesce(held.captured, 0)",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(broken.is_empty(), "a payment gives more back than it took: {broken:?}");
        let broken: Vec<(Uuid, i32, i64)> = sqlx::query_as(
            "SELECT b.id, b.seats, sum(i.seats) FROM bookings b JOIN unit_items i ON i.booking_id = b.id
             WHERE b.state IN ('ON_HOLD', 'CONFIRMED', 'REDEEMED') AND i.cancelled_at IS NULL
             GROUP BY b.id HAVING b.seats <> sum(i.seats)",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(broken.is_empty(), "a booking takes other seats than its guests: {broken:?}");
        let broken: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT b.id, b.state FROM bookings b
             WHERE coalesce(b.refund, 0) <> (SELECT coalesce(sum(t.amount), 0) FROM refund_tasks t
                                             WHERE t.booking_id = b.id AND t.cause <> 'LATE')",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(broken.is_empty(), "what is due is not what goes back: {broken:?}");
        let broken: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT b.id, b.state FROM bookings b JOIN unit_items i ON i.booking_id = b.id
             WHERE i.cancelled_at IS NULL OR i.cancelled_at = b.cancelled_at
                   OR b.paid > 0 AND i.cancelled_at >= b.confirmed_at
             GROUP BY b.id HAVING b.total <> sum(i.price)",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(broken.is_empty(), "a booking costs something else than its guests: {broken:?}");
        let broken: Vec<(String, i32, i64)> = sqlx::query_as(
            "WITH live AS (SELECT promo_id, customer_id FROM bookings
                           WHERE promo_id IS NOT NULL AND (state = 'ON_HOLD' OR confirmed_at IS NOT NULL)),
                  counted AS (
                 SELECT p.code, p.uses, (SELECT count(*) FROM live l WHERE l.promo_id = p.id) AS n FROM promo_codes p
                 UNION ALL
                 SELECT p.code, c.uses, (SELECT count(*) FROM live l
                                         WHERE l.promo_id = c.promo_id AND l.customer_id = c.customer_id)
                 FROM promo_customers c JOIN promo_codes p ON p.id = c.promo_id)
             SELECT code, uses, n FROM counted WHERE uses <> n",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(broken.is_empty(), "the uses of a promo code are not its bookings: {broken:?}");
        let broken: Vec<(Uuid, i32, i32, i32, i64)> = sqlx::query_as(
            "WITH booked AS (
                 SELECT departure_id, sum(seats) AS held FROM (
                     SELECT departure_id, seats FROM bookings WHERE state IN ('ON_HOLD', 'CONFIRMED', 'REDEEMED')
                     UNION ALL SELECT departure_id, seats FROM moves WHERE state = 'OPEN') x GROUP BY 1),
             due AS (
                 SELECT p.pool_id, n.slot, sum(p.units * ((b.held + p.seats - 1) / p.seats))::bigint AS units
                 FROM booked b JOIN departures d ON d.id = b.departure_id,
                      unnest(d.pool_ids, d.pool_units, d.pool_seats, d.pool_first, d.pool_until)
                      p(pool_id, units, seats, first, until), generate_series(p.first, p.until - 1) n(slot)
                 GROUP BY 1, 2)
             SELECT pool_id, slot, coalesce(s.capacity, 0), coalesce(s.held, 0), coalesce(due.units, 0)
             FROM pool_slots s FULL JOIN due USING (pool_id, slot)
             WHERE s.held IS DISTINCT FROM coalesce(due.units, 0) OR s.held > s.capacity",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(broken.is_empty(), "what is held of a pool is not what its departures need: {broken:?}");
    }
}
