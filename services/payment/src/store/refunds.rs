//! The table of refunds.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{ApiResult, db::Db, idempotency::RequestKey};
use uuid::Uuid;

use super::money;
use crate::{
    domain::{PaymentId, RefundId, payment::Refund},
    provider::{Charge, RefundOrder},
};

#[derive(FromRow)]
struct Row {
    id: Uuid,
    payment_id: Uuid,
    amount: Decimal,
    currency: String,
    settled_at: Option<DateTime<Utc>>,
    request_hash: Vec<u8>,
    attempt: i32,
    refused: bool,
}

impl Row {
    fn into_domain(self) -> ApiResult<Refund> {
        Ok(Refund {
            id: RefundId::from_uuid(self.id),
            payment: PaymentId::from_uuid(self.payment_id),
            amount: money(self.amount, &self.currency)?,
            settled: self.settled_at.is_some(),
            attempt: self.attempt,
            refused: self.refused,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.payment_id, r.amount, p.currency, r.settled_at, r.request_hash, r.attempt,
                    r.refused
             FROM refunds r JOIN payments p ON p.id = r.payment_id ",
            $rest
        )
    };
}

/// The refund of this request, with the request's hash.
pub(crate) async fn of_request(tx: &mut PgConnection, caller: &str, id: &str) -> ApiResult<Option<(Refund, Vec<u8>)>> {
    let row: Option<Row> = sqlx::query_as(select!("WHERE r.caller = $1 AND r.request_id = $2"))
        .bind(caller)
        .bind(id)
        .fetch_optional(tx)
        .await?;
    row.map(|r| {
        let hash = r.request_hash.clone();
        Ok((r.into_domain()?, hash))
    })
    .transpose()
}

/// The refunds of these ids.
pub(crate) async fn find(tx: &mut PgConnection, ids: &[Uuid]) -> ApiResult<Vec<Refund>> {
    let rows: Vec<Row> = sqlx::query_as(select!("WHERE r.id = ANY($1)")).bind(ids).fetch_all(tx).await?;
    rows.into_iter().map(Row::into_domain).collect()
}

/// Inserts a refund that is not settled yet; false: there is one of the same request.
pub(crate) async fn insert(
    tx: &mut PgConnection,
    refund: &Refund,
    reason: &str,
    caller: &str,
    request: &RequestKey,
    grace: TimeDelta,
) -> ApiResult<bool> {
    let done = sqlx::query(
        "INSERT INTO refunds (id, payment_id, amount, reason, caller, request_id, request_hash, check_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8 / 1000.0), now())
         ON CONFLICT (caller, request_id) DO NOTHING",
    )
    .bind(refund.id.uuid())
    .bind(refund.payment.uuid())
    .bind(refund.amount.amount())
    .bind(reason)
    .bind(caller)
    .bind(&request.id)
    .bind(request.hash.as_slice())
    .bind(grace.num_milliseconds())
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Reserves money for a refund, unless it would be more than what is captured; false: it would.
pub(crate) async fn reserve(tx: &mut PgConnection, refund: &Refund) -> ApiResult<bool> {
    let done = sqlx::query(
        "UPDATE payments SET refunded = refunded + $2, version = version + 1
         WHERE id = $1 AND state = 'CAPTURED' AND refunded + $2 <= captured",
    )
    .bind(refund.payment.uuid())
    .bind(refund.amount.amount())
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Marks refunds as done, also those that were given up.
pub(crate) async fn settle(tx: &mut PgConnection, ids: &[Uuid]) -> ApiResult<()> {
    if !ids.is_empty() {
        sqlx::query(
            "UPDATE refunds SET settled_at = now(), check_at = NULL, given_up_at = NULL WHERE id = ANY($1) AND settled_at IS NULL",
        )
        .bind(ids)
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// Notes that nobody knows how a refund stands; after so many times it is given up. True: it is now.
pub(crate) async fn note_problem(db: &Db, id: RefundId, problem: &str, most: i32) -> ApiResult<bool> {
    let given_up = sqlx::query_scalar(
        "UPDATE refunds SET last_problem = left($2, 500), failures = failures + 1,
                            given_up_at = CASE WHEN failures + 1 >= $3 THEN now() END,
                            check_at = CASE WHEN failures + 1 >= $3 THEN NULL ELSE check_at END
         WHERE id = $1 AND settled_at IS NULL AND given_up_at IS NULL RETURNING given_up_at IS NOT NULL",
    )
    .bind(id.uuid())
    .bind(problem)
    .bind(most)
    .fetch_optional(db.pool())
    .await?;
    Ok(given_up.unwrap_or(false))
}

/// Notes that the provider has not done these attempts and never will, each with its words; also of what it had confirmed.
/// Their payments are locked.
pub(crate) async fn refuse(tx: &mut PgConnection, refused: &[(Uuid, String)]) -> ApiResult<()> {
    if refused.is_empty() {
        return Ok(());
    }
    let (ids, problems): (Vec<Uuid>, Vec<&str>) = refused.iter().map(|(id, why)| (*id, why.as_str())).unzip();
    sqlx::query(
        "UPDATE refunds r SET last_problem = left(n.problem, 500), given_up_at = coalesce(given_up_at, now()), refused = true,
                              check_at = NULL
         FROM unnest($1::uuid[], $2::text[]) AS n (id, problem) WHERE r.id = n.id",
    )
    .bind(ids)
    .bind(problems)
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes refunds that the provider has not confirmed and puts them off: ever longer, up to an hour.
pub(crate) async fn take_due(db: &Db, most: i64) -> ApiResult<Vec<(String, RefundOrder)>> {
    #[derive(FromRow)]
    struct Due {
        id: Uuid,
        payment_id: Uuid,
        amount: Decimal,
        currency: String,
        provider: String,
        provider_reference: Option<String>,
        attempt: i32,
    }
    let rows: Vec<Due> = sqlx::query_as(
        "WITH due AS (SELECT id FROM refunds WHERE check_at <= now() ORDER BY check_at LIMIT $1 FOR UPDATE SKIP LOCKED)
         UPDATE refunds r SET attempts = attempts + 1,
                              check_at = now() + least(interval '1 hour', interval '3 seconds' * power(2, least(attempts, 12)))
         FROM due, payments p WHERE r.id = due.id AND p.id = r.payment_id
         RETURNING r.id, r.payment_id, r.amount, p.currency, p.provider, p.provider_reference, r.attempt",
    )
    .bind(most)
    .fetch_all(db.pool())
    .await?;
    rows.into_iter()
        .map(|d| {
            let charge = Charge { key: PaymentId::from_uuid(d.payment_id), reference: d.provider_reference };
            let amount = money(d.amount, &d.currency)?;
            Ok((d.provider, RefundOrder { key: RefundId::from_uuid(d.id), charge, amount, attempt: d.attempt }))
        })
        .collect()
}
