//! Refunds that were given up, with what staff needs to decide.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{ApiResult, db::Db};
use uuid::Uuid;

use super::money;
use crate::domain::{BookingId, CustomerId, PaymentId, RefundId, SupplierId, payment::Refund};

/// A refund with its payment.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) refund: Refund,
    pub(crate) booking: BookingId,
    pub(crate) customer: CustomerId,
    pub(crate) supplier: SupplierId,
    pub(crate) provider: String,
    pub(crate) reference: Option<String>,
    pub(crate) reason: String,
    pub(crate) problem: String,
    pub(crate) given_up_at: Option<DateTime<Utc>>,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    payment_id: Uuid,
    amount: Decimal,
    currency: String,
    settled: bool,
    booking_id: Uuid,
    customer_id: Uuid,
    supplier_id: Uuid,
    provider: String,
    provider_reference: Option<String>,
    reason: String,
    last_problem: Option<String>,
    refused: bool,
    attempt: i32,
    given_up_at: Option<DateTime<Utc>>,
}

impl Row {
    fn into_failed(self) -> ApiResult<Failed> {
        let refund = Refund {
            id: RefundId::from_uuid(self.id),
            payment: PaymentId::from_uuid(self.payment_id),
            amount: money(self.amount, &self.currency)?,
            settled: self.settled,
            attempt: self.attempt,
            refused: self.refused,
        };
        Ok(Failed {
            refund,
            booking: BookingId::from_uuid(self.booking_id),
            customer: CustomerId::from_uuid(self.customer_id),
            supplier: SupplierId::from_uuid(self.supplier_id),
            provider: self.provider,
            reference: self.provider_reference,
            reason: self.reason,
            problem: self.last_problem.unwrap_or_default(),
            given_up_at: self.given_up_at,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.payment_id, r.amount, p.currency::text AS currency, r.settled_at IS NOT NULL AS settled, p.booking_id,
                    p.customer_id, p.supplier_id, p.provider, p.provider_reference, r.reason, r.last_problem, r.refused,
                    r.attempt, r.given_up_at
             FROM refunds r JOIN payments p ON p.id = r.payment_id ",
            $rest
        )
    };
}

/// Those that were given up, newest first, before (older than) this one.
pub(crate) async fn list(db: &Db, before: Option<Uuid>, most: i64) -> ApiResult<Vec<Failed>> {
    let rows: Vec<Row> = sqlx::query_as(select!(
        "WHERE r.given_up_at IS NOT NULL AND ($1::uuid IS NULL OR r.id < $1) ORDER BY r.id DESC LIMIT $2"
    ))
    .bind(before)
    .bind(most)
    .fetch_all(db.pool())
    .await?;
    rows.into_iter().map(Row::into_failed).collect()
}

/// One refund, locked.
pub(crate) async fn lock(tx: &mut PgConnection, id: RefundId) -> ApiResult<Option<Failed>> {
    let row: Option<Row> =
        sqlx::query_as(select!("WHERE r.id = $1 FOR UPDATE OF r")).bind(id.uuid()).fetch_optional(tx).await?;
    row.map(Row::into_failed).transpose()
}

/// Puts it back to work; answers which attempt it is now.
pub(crate) async fn again(tx: &mut PgConnection, id: RefundId, grace: TimeDelta) -> ApiResult<i32> {
    let attempt = sqlx::query_scalar(
        "UPDATE refunds SET attempt = attempt + CASE WHEN refused THEN 1 ELSE 0 END, refused = false, given_up_at = NULL,
                            failures = 0, attempts = 0, check_at = now() + make_interval(secs => $2 / 1000.0)
         WHERE id = $1 RETURNING attempt",
    )
    .bind(id.uuid())
    .bind(grace.num_milliseconds())
    .fetch_one(tx)
    .await?;
    Ok(attempt)
}
