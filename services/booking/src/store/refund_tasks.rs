//! Money that has to go back, until Payment has taken it over.

use std::collections::HashSet;

use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{
    ApiError, ApiResult,
    money::{Currency, Money},
};
use uuid::Uuid;

use super::moves;
use crate::domain::{BookingId, PaymentId, booking::Booking, refund};

/// Why money goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Captured without a hold to confirm.
    Late,
    /// The booking was cancelled.
    Cancelled,
    /// Some of its guests were, by the change that made this version.
    Left(i64),
    /// It costs less where it was moved to, by the change that made this version.
    Moved(i64),
}

/// One refund.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) booking: BookingId,
    pub(crate) payment: PaymentId,
    pub(crate) amount: Money,
    pub(crate) reason: Reason,
}

impl Task {
    /// What Payment deduplicates by: the same reason is the same refund, whoever asks and how often.
    pub(crate) fn request_id(&self) -> String {
        match self.reason {
            Reason::Late => format!("late.{}", self.payment),
            // Each payment of the booking gives its part back.
            Reason::Cancelled => format!("cancelled.{}", self.payment),
            Reason::Moved(version) => format!("moved.{}.{version}", self.payment),
            Reason::Left(version) => format!("left.{}.{version}", self.payment),
        }
    }
}

/// What has to be given back of what a booking has paid, spread over its payments: the last one first. The booking is
/// locked, and every refund before this one has its tasks.
pub(crate) async fn of_booking(
    tx: &mut PgConnection,
    booking: &Booking,
    amount: Money,
    reason: Reason,
) -> ApiResult<Vec<Task>> {
    let Some(payment) = booking.payment.filter(|_| amount.is_positive()) else { return Ok(Vec::new()) };
    let task = |payment, amount| Task { booking: booking.id, payment, amount, reason };
    if booking.moves == 0 {
        return Ok(vec![task(payment, amount)]);
    }
    let kept = moves::kept(tx, booking.id, amount.currency()).await?;
    let parts = refund::spread(amount, &kept).map_err(ApiError::internal)?;
    let parts = parts.ok_or_else(|| ApiError::internal(format!("{} cannot give {amount} back", booking.id)))?;
    Ok(parts.into_iter().map(|(payment, part)| task(payment, part)).collect())
}

/// Adds tasks; returns the request ids of those that were not there before.
pub(crate) async fn add(tx: &mut PgConnection, tasks: &[Task]) -> ApiResult<HashSet<String>> {
    if tasks.is_empty() {
        return Ok(HashSet::new());
    }
    let new: Vec<String> = sqlx::query_scalar(
        "INSERT INTO refund_tasks (id, booking_id, payment_id, amount, currency, cause, request_id)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::numeric[], $5::text[], $6::text[], $7::text[])
         ON CONFLICT (request_id) DO NOTHING RETURNING request_id",
    )
    .bind(tasks.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(tasks.iter().map(|t| t.booking.uuid()).collect::<Vec<_>>())
    .bind(tasks.iter().map(|t| t.payment.uuid()).collect::<Vec<_>>())
    .bind(tasks.iter().map(|t| t.amount.amount()).collect::<Vec<_>>())
    .bind(tasks.iter().map(|t| t.amount.currency().to_string()).collect::<Vec<_>>())
    .bind(
        tasks
            .iter()
            .map(|t| match t.reason {
                Reason::Late => "LATE",
                Reason::Cancelled | Reason::Left(_) => "CANCELLED",
                Reason::Moved(_) => "MOVED",
            })
            .collect::<Vec<_>>(),
    )
    .bind(tasks.iter().map(Task::request_id).collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    Ok(new.into_iter().collect())
}

/// A task that somebody is at.
#[derive(Debug, Clone)]
pub(crate) struct Leased {
    pub(crate) id: Uuid,
    pub(crate) booking: BookingId,
    pub(crate) payment: PaymentId,
    pub(crate) amount: Money,
    pub(crate) cause: String,
    pub(crate) request_id: String,
    pub(crate) tries: i32,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    booking_id: Uuid,
    payment_id: Uuid,
    amount: Decimal,
    currency: String,
    cause: String,
    request_id: String,
    tries: i32,
}

/// Whether a task is due.
pub(crate) async fn any_due(connection: &mut PgConnection) -> ApiResult<bool> {
    let found =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM refund_tasks WHERE done_at IS NULL AND next_try_at <= now())");
    Ok(found.fetch_one(connection).await?)
}

/// Takes tasks that are due for half a minute: nobody else is at them meanwhile, and whoever dies over them only delays
/// them.
pub(crate) async fn lease(tx: &mut PgConnection, most: i64) -> ApiResult<Vec<Leased>> {
    let rows: Vec<Row> = sqlx::query_as(
        "UPDATE refund_tasks SET next_try_at = now() + interval '30 seconds', tries = tries + 1
         WHERE id IN (SELECT id FROM refund_tasks WHERE done_at IS NULL AND next_try_at <= now()
                      ORDER BY next_try_at LIMIT $1 FOR UPDATE SKIP LOCKED)
         RETURNING id, booking_id, payment_id, amount, currency, cause, request_id, tries",
    )
    .bind(most)
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            let currency: Currency = row.currency.parse().map_err(ApiError::internal)?;
            Ok(Leased {
                id: row.id,
                booking: BookingId::from_uuid(row.booking_id),
                payment: PaymentId::from_uuid(row.payment_id),
                amount: Money::new(row.amount.normalize(), currency),
                cause: row.cause,
                request_id: row.request_id,
                tries: row.tries,
            })
        })
        .collect()
}

/// Payment has taken it over.
pub(crate) async fn done(tx: &mut PgConnection, id: Uuid) -> ApiResult<()> {
    sqlx::query("UPDATE refund_tasks SET done_at = now(), last_error = NULL WHERE id = $1")
        .bind(id)
        .execute(tx)
        .await?;
    Ok(())
}

/// It failed and is tried again later.
pub(crate) async fn failed(tx: &mut PgConnection, id: Uuid, error: &str, wait_seconds: i32) -> ApiResult<()> {
    sqlx::query(
        "UPDATE refund_tasks SET next_try_at = now() + $2 * interval '1 second', last_error = $3 WHERE id = $1",
    )
    .bind(id)
    .bind(wait_seconds)
    .bind(error)
    .execute(tx)
    .await?;
    Ok(())
}
