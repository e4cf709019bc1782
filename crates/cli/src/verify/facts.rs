//! What the databases say, read once per look.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use rust_decimal::Decimal;
use sqlx::{FromRow, PgPool};
use tourmesh_kit::{config::Env, db::Db};
use uuid::Uuid;

/// A departure's seats, and those of its bookings and of the moves to it.
#[derive(FromRow)]
pub struct Seats {
    pub id: Uuid,
    pub capacity: i32,
    pub held: i32,
    pub booked: i64,
}

/// What is held of a pool in one slot, and what the seats of its departures need.
#[derive(FromRow)]
pub struct PoolSlot {
    pub pool_id: Uuid,
    pub slot: i32,
    pub capacity: i32,
    pub held: i32,
    pub needed: i64,
}

/// A booking.
#[derive(FromRow)]
pub struct Booking {
    pub id: Uuid,
    pub state: String,
    pub total: Decimal,
    pub currency: String,
    pub pay_on_arrival: bool,
    pub payment_id: Option<Uuid>,
    pub paid: Decimal,
    pub refund: Option<Decimal>,
    pub changes: i32,
    pub moves: i32,
    pub confirmed: bool,
    pub redeemed_items: i64,
    /// Young enough for its events to be in the outbox still.
    pub recent: bool,
}

impl Booking {
    /// It needs a payment before it can be confirmed.
    pub fn must_be_paid(&self) -> bool {
        !self.pay_on_arrival && !self.total.is_zero()
    }
}

/// A payment, and what the provider has taken for it.
#[derive(FromRow)]
pub struct Payment {
    pub id: Uuid,
    pub booking_id: Uuid,
    /// The move that it is for; empty: the booking itself.
    pub purpose: String,
    pub state: String,
    pub captured: Decimal,
    pub refunded: Decimal,
    pub returned: Decimal,
    pub currency: String,
    /// Charges that the sandbox provider made under this payment's key. What other providers have done is not to be seen
    /// from here: `tourmesh payments reconcile` asks them, and here our own word counts.
    pub charges: i64,
    /// What the sandbox provider gave back.
    pub given_back: Option<Decimal>,
    /// What the ledger has under the provider's clearing account.
    pub cleared: Option<Decimal>,
    /// What the ledger owes of it: to the supplier for itself and for its taxes, and to the platform.
    pub owed: Option<Decimal>,
    /// What the customer's account is off: it has bought what it has paid.
    pub unsettled: Option<Decimal>,
    pub recent: bool,
}

/// A move of a booking that has to be paid for.
#[derive(FromRow)]
pub struct Move {
    pub id: Uuid,
    pub booking_id: Uuid,
    pub state: String,
    pub difference: Decimal,
    pub payment_id: Option<Uuid>,
    pub recent: bool,
}

/// A party on a waiting list.
#[derive(FromRow)]
pub struct Waiting {
    pub id: Uuid,
    pub offered: bool,
    pub left: bool,
    pub recent: bool,
}

/// A promo code, alone or with one customer: how often it says that it is used, and the bookings that use it.
#[derive(FromRow)]
pub struct Promo {
    pub id: Uuid,
    pub customer_id: Option<Uuid>,
    pub uses: i32,
    pub most: Option<i32>,
    pub bookings: i64,
}

/// The events of one subject.
#[derive(FromRow)]
pub struct Told {
    pub kind: String,
    pub subject_id: String,
    pub ids: Vec<Uuid>,
}

/// Everything that the promises are about.
pub struct Facts {
    pub seats: Vec<Seats>,
    pub pool_slots: Vec<PoolSlot>,
    pub bookings: HashMap<Uuid, Booking>,
    pub payments: Vec<Payment>,
    pub waiting: Vec<Waiting>,
    pub moves: Vec<Move>,
    pub promos: Vec<Promo>,
    /// Ledger transactions: how many, and those that do not balance.
    pub ledger: i64,
    pub unbalanced: Vec<Uuid>,
    pub booking_events: Vec<Told>,
    pub payment_events: Vec<Told>,
    /// Per role: events that are not published yet.
    pub unpublished: Vec<(&'static str, i64)>,
    /// Event ids that took effect, per consumer.
    pub heard: HashMap<String, HashSet<Uuid>>,
    /// Per booking: how many confirmations were made, and how many of them were sent.
    pub confirmations: HashMap<Uuid, (i64, i64)>,
    /// Requests that are stored more than once.
    pub repeated_requests: Vec<String>,
    pub requests: i64,
}

/// The outbox keeps two weeks; younger rows must have all their events.
const RECENT: &str = "interval '13 days'";

/// A role's database, which answers.
async fn database(env: &Env, role: &'static str) -> anyhow::Result<PgPool> {
    let pool = Db::of_env(&env.for_role(role))?.pool().clone();
    pool.acquire().await.with_context(|| {
        format!("the database of {role} does not answer: is this mesh running (`tourmesh up`, same data directory)?")
    })?;
    Ok(pool)
}

impl Facts {
    /// Reads all databases.
    pub async fn read(env: &Env) -> anyhow::Result<Self> {
        let booking = database(env, "booking").await?;
        let payment = database(env, "payment").await?;
        let notification = database(env, "notification").await?;

        let seats = sqlx::query_as(
            "SELECT d.id, d.capacity, d.held, coalesce(b.seats, 0) AS booked
             FROM departures d LEFT JOIN (
                 SELECT departure_id, sum(seats) AS seats FROM (
                     SELECT departure_id, seats FROM bookings WHERE state IN ('ON_HOLD', 'CONFIRMED', 'REDEEMED')
                     UNION ALL SELECT departure_id, seats FROM moves WHERE state = 'OPEN') x
                 GROUP BY departure_id
             ) b ON b.departure_id = d.id
             WHERE d.held <> 0 OR b.seats IS NOT NULL",
        );
        let seats = seats.fetch_all(&booking).await.context("cannot read the seats")?;
        let pool_slots = sqlx::query_as(
            "WITH booked AS (
                 SELECT departure_id, sum(seats) AS held FROM (
                     SELECT departure_id, seats FROM bookings WHERE state IN ('ON_HOLD', 'CONFIRMED', 'REDEEMED')
                     UNION ALL SELECT departure_id, seats FROM moves WHERE state = 'OPEN') x GROUP BY 1
             ), needed AS (
                 SELECT p.pool_id, n.slot, sum(p.units * ((b.held + p.seats - 1) / p.seats))::bigint AS units
                 FROM booked b JOIN departures d ON d.id = b.departure_id,
                      unnest(d.pool_ids, d.pool_units, d.pool_seats, d.pool_first, d.pool_until)
                      p(pool_id, units, seats, first, until), generate_series(p.first, p.until - 1) n(slot)
                 GROUP BY 1, 2
             )
             SELECT pool_id, slot, coalesce(s.capacity, 0) AS capacity, coalesce(s.held, 0) AS held,
                    coalesce(n.units, 0) AS needed
             FROM pool_slots s FULL JOIN needed n USING (pool_id, slot)
             WHERE s.held <> 0 OR n.units IS NOT NULL",
        );
        let pool_slots = pool_slots.fetch_all(&booking).await.context("cannot read the resource pools")?;
        let bookings: Vec<Booking> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT b.id, b.state, b.total, b.currency, b.pay_on_arrival, b.payment_id, b.paid, b.refund, b.changes, b.moves,
                    b.confirmed_at IS NOT NULL AS confirmed, b.created_at > now() - {RECENT} AS recent,
                    (SELECT count(*) FROM unit_items i WHERE i.booking_id = b.id AND i.redeemed_at IS NOT NULL) AS redeemed_items
             FROM bookings b"
        )))
        .fetch_all(&booking)
        .await
        .context("cannot read the bookings")?;
        let waiting = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT id, booking_id IS NOT NULL AS offered, state = 'LEFT' AS left, created_at > now() - {RECENT} AS recent
             FROM waiting"
        )));
        let waiting = waiting.fetch_all(&booking).await.context("cannot read the waiting lists")?;
        let moves = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT id, booking_id, state, difference, payment_id, created_at > now() - {RECENT} AS recent FROM moves"
        )));
        let moves = moves.fetch_all(&booking).await.context("cannot read the moves")?;
        let promos = sqlx::query_as(
            "WITH live AS (
                 SELECT promo_id, customer_id, count(*) AS n FROM bookings
                 WHERE promo_id IS NOT NULL AND (state = 'ON_HOLD' OR confirmed_at IS NOT NULL) GROUP BY 1, 2)
             SELECT p.id, NULL::uuid AS customer_id, p.uses, p.max_uses AS most,
                    coalesce((SELECT sum(l.n) FROM live l WHERE l.promo_id = p.id), 0)::bigint AS bookings
             FROM promo_codes p
             UNION ALL
             SELECT p.id, coalesce(c.customer_id, l.customer_id), coalesce(c.uses, 0), p.max_uses_per_customer,
                    coalesce(l.n, 0)
             FROM promo_customers c FULL JOIN live l USING (promo_id, customer_id)
             JOIN promo_codes p ON p.id = coalesce(c.promo_id, l.promo_id)
             WHERE p.max_uses_per_customer IS NOT NULL",
        );
        let promos = promos.fetch_all(&booking).await.context("cannot read the promo codes")?;
        let payments = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT p.id, p.booking_id, p.purpose, p.state, p.captured, p.refunded, p.returned, p.currency,
                    p.created_at > now() - {RECENT} AS recent,
                    CASE WHEN p.provider = 'sandbox' THEN coalesce(s.charges, 0)
                         ELSE (p.state = 'CAPTURED')::int::bigint END AS charges,
                    CASE WHEN p.provider = 'sandbox' THEN r.given_back ELSE p.returned END AS given_back,
                    l.cleared, l.owed, l.unsettled
             FROM payments p
             LEFT JOIN (SELECT key, count(*) AS charges FROM sandbox_intents WHERE status = 'succeeded' GROUP BY key) s
               ON s.key = p.id
             LEFT JOIN (SELECT intent_key, sum(amount) AS given_back FROM sandbox_refunds GROUP BY intent_key) r
               ON r.intent_key = p.id
             LEFT JOIN (SELECT payment_id, sum(amount) FILTER (WHERE account LIKE 'provider:%') AS cleared,
                               -sum(amount) FILTER (WHERE account LIKE 'supplier:%' OR account LIKE 'taxes:%'
                                                       OR account = 'platform:commission') AS owed,
                               sum(amount) FILTER (WHERE account LIKE 'customer:%') AS unsettled
                        FROM ledger_entries WHERE kind IN ('capture', 'refund') GROUP BY payment_id) l
               ON l.payment_id = p.id"
        )))
        .fetch_all(&payment)
        .await
        .context("cannot read the payments")?;
        let ledger =
            sqlx::query_scalar("SELECT count(DISTINCT transaction_id) FROM ledger_entries").fetch_one(&payment).await?;
        let unbalanced = sqlx::query_scalar(
            "SELECT transaction_id FROM ledger_entries GROUP BY transaction_id, currency HAVING sum(amount) <> 0",
        );
        let unbalanced = unbalanced.fetch_all(&payment).await?;

        let mut unpublished = Vec::new();
        let mut heard: HashMap<String, HashSet<Uuid>> = HashMap::new();
        for role in ["catalog", "booking", "payment", "notification", "identity"] {
            let pool = database(env, role).await?;
            let waiting = sqlx::query_scalar("SELECT count(*) FROM outbox_waiting").fetch_one(&pool).await;
            unpublished.push((role, waiting.with_context(|| format!("cannot read the outbox of {role}"))?));
            let rows: Vec<(String, Uuid)> =
                sqlx::query_as("SELECT consumer, event_id FROM inbox").fetch_all(&pool).await?;
            for (consumer, id) in rows {
                heard.entry(consumer).or_default().insert(id);
            }
            pool.close().await;
        }
        let confirmations: Vec<(Uuid, i64, i64)> = sqlx::query_as(
            "SELECT booking_id, count(*), count(*) FILTER (WHERE state = 'SENT') FROM deliveries
             WHERE kind = 'BOOKING_CONFIRMED' AND resend_of IS NULL AND booking_id IS NOT NULL GROUP BY booking_id",
        )
        .fetch_all(&notification)
        .await
        .context("cannot read the deliveries")?;
        let repeated_requests = sqlx::query_scalar(
            "SELECT customer_id || ' ' || request_id FROM bookings GROUP BY customer_id, request_id HAVING count(*) > 1",
        )
        .fetch_all(&booking)
        .await?;
        let requests = sqlx::query_scalar("SELECT (SELECT count(*) FROM bookings) + (SELECT count(*) FROM requests)");
        let facts = Self {
            seats,
            pool_slots,
            bookings: bookings.into_iter().map(|b| (b.id, b)).collect(),
            payments,
            waiting,
            moves,
            promos,
            ledger,
            unbalanced,
            booking_events: told(&booking).await?,
            payment_events: told(&payment).await?,
            unpublished,
            heard,
            confirmations: confirmations.into_iter().map(|(id, made, sent)| (id, (made, sent))).collect(),
            repeated_requests,
            requests: requests.fetch_one(&booking).await?,
        };
        for pool in [booking, payment, notification] {
            pool.close().await;
        }
        Ok(facts)
    }
}

async fn told(pool: &PgPool) -> anyhow::Result<Vec<Told>> {
    let told = sqlx::query_as(
        "SELECT regexp_replace(type, '^.*[.]', '') AS kind, split_part(subject, '.', 4) AS subject_id, array_agg(id) AS ids
         FROM outbox GROUP BY 1, 2",
    );
    told.fetch_all(pool).await.context("cannot read the outbox")
}
