//! The tables of disputes and of what is booked of them.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{ApiError, ApiResult, db::Db};
use uuid::Uuid;

use super::money;
use crate::domain::{
    DisputeId, PaymentId,
    dispute::{Dispute, State},
};

#[derive(FromRow)]
struct Row {
    id: Uuid,
    payment_id: Uuid,
    reference: String,
    amount: Decimal,
    withdrawn: Decimal,
    currency: String,
    reason: String,
    status: String,
    state: String,
    evidence_by: Option<DateTime<Utc>>,
    told_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    booked: Vec<String>,
}

impl Row {
    fn into_domain(self) -> ApiResult<Dispute> {
        let state = State::of_str(&self.state);
        Ok(Dispute {
            id: DisputeId::from_uuid(self.id),
            payment: PaymentId::from_uuid(self.payment_id),
            reference: self.reference,
            amount: money(self.amount, &self.currency)?,
            withdrawn: money(self.withdrawn, &self.currency)?,
            reason: self.reason,
            status: self.status,
            state: state
                .ok_or_else(|| ApiError::internal(format!("a dispute has the unknown state {}", self.state)))?,
            evidence_by: self.evidence_by,
            told_at: self.told_at,
            created_at: self.created_at,
            booked: self.booked.into_iter().collect(),
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.payment_id, d.reference, d.amount, d.withdrawn, d.currency::text AS currency, d.reason, d.status,
                    d.state, d.evidence_by, d.told_at, d.created_at,
                    ARRAY(SELECT m.reference FROM dispute_movements m WHERE m.dispute_id = d.id) AS booked
             FROM disputes d ",
            $rest
        )
    };
}

/// The disputes of these payments, which are locked.
pub(crate) async fn of_payments(tx: &mut PgConnection, payments: &[Uuid]) -> ApiResult<Vec<Dispute>> {
    let rows: Vec<Row> = sqlx::query_as(select!("WHERE d.payment_id = ANY($1)")).bind(payments).fetch_all(tx).await?;
    rows.into_iter().map(Row::into_domain).collect()
}

/// Stores what disputes have become, new ones too, and under which of their movements something is booked.
pub(crate) async fn save(
    tx: &mut PgConnection,
    disputes: &[&Dispute],
    booked: &[(DisputeId, String, Uuid)],
) -> ApiResult<()> {
    // They are few, and each is of another day.
    for dispute in disputes {
        sqlx::query(
            "INSERT INTO disputes (id, payment_id, reference, amount, withdrawn, currency, reason, status, state, evidence_by,
                                   told_at, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (id) DO UPDATE SET withdrawn = excluded.withdrawn, status = excluded.status, state = excluded.state,
                                            evidence_by = excluded.evidence_by, told_at = excluded.told_at",
        )
        .bind(dispute.id.uuid())
        .bind(dispute.payment.uuid())
        .bind(&dispute.reference)
        .bind(dispute.amount.amount())
        .bind(dispute.withdrawn.amount())
        .bind(dispute.amount.currency().as_str())
        .bind(&dispute.reason)
        .bind(&dispute.status)
        .bind(dispute.state.as_str())
        .bind(dispute.evidence_by)
        .bind(dispute.told_at)
        .bind(dispute.created_at)
        .execute(&mut *tx)
        .await?;
    }
    for (dispute, reference, cause) in booked {
        sqlx::query("INSERT INTO dispute_movements (cause, dispute_id, reference) VALUES ($1, $2, $3)")
            .bind(cause)
            .bind(dispute.uuid())
            .bind(reference)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// Before (older than) this one, newest first.
pub(crate) async fn list(db: &Db, open_only: bool, before: Option<Uuid>, most: i64) -> ApiResult<Vec<Dispute>> {
    let rows: Vec<Row> = sqlx::query_as(select!(
        "WHERE (NOT $1 OR d.state = 'OPEN') AND ($2::uuid IS NULL OR d.id < $2) ORDER BY d.id DESC LIMIT $3"
    ))
    .bind(open_only)
    .bind(before)
    .bind(most)
    .fetch_all(db.pool())
    .await?;
    rows.into_iter().map(Row::into_domain).collect()
}
