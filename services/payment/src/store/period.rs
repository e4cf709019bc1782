//! What we have for a period, for reconciliation. Ids begin with the time at which they were made, so the primary keys
//! find it, and no further index makes every payment dearer.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use sea_orm::entity::prelude::*;
use sqlx::FromRow;
use tourmesh_kit::{ApiResult, db::Db};
use uuid::Uuid;

use super::{
    money,
    payments::{Column, Entity, Model},
};
use crate::{
    domain::{
        PaymentId, RefundId,
        payment::{Payment, Refund},
    },
    provider::Period,
};

/// A refund of ours.
#[derive(Debug, Clone)]
pub(crate) struct OwnRefund {
    pub(crate) refund: Refund,
    pub(crate) given_up: bool,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) id: RefundId,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    payment_id: Uuid,
    amount: Decimal,
    currency: String,
    settled: bool,
    given_up: bool,
    attempt: i32,
    refused: bool,
    created_at: DateTime<Utc>,
}

impl Row {
    fn into_own(self) -> ApiResult<OwnRefund> {
        let id = RefundId::from_uuid(self.id);
        let amount = money(self.amount, &self.currency)?;
        let Self { settled, attempt, refused, given_up, created_at, .. } = self;
        let payment = PaymentId::from_uuid(self.payment_id);
        let refund = Refund { id, payment, amount, settled, attempt, refused };
        Ok(OwnRefund { refund, given_up, created_at, id })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.payment_id, r.amount, p.currency::text AS currency, r.settled_at IS NOT NULL AS settled,
                    r.given_up_at IS NOT NULL AS given_up, r.attempt, r.refused, r.created_at
             FROM refunds r JOIN payments p ON p.id = r.payment_id ",
            $rest
        )
    };
}

/// The first ids of a period and after it, with room for clocks that differ.
fn bounds(period: Period) -> (Uuid, Uuid) {
    let first = |at: DateTime<Utc>| {
        let millis = u128::try_from(at.timestamp_millis()).unwrap_or_default();
        Uuid::from_u128(millis << 80)
    };
    let room = TimeDelta::hours(1);
    (first(period.from - room), first(period.to + room))
}

/// The payments that were opened in a period.
pub(crate) async fn payments(db: &Db, provider: &str, period: Period) -> ApiResult<Vec<Payment>> {
    let (first, last) = bounds(period);
    let query = Entity::find()
        .filter(Column::Id.gte(first))
        .filter(Column::Id.lt(last))
        .filter(Column::Provider.eq(provider))
        .filter(Column::CreatedAt.gte(period.from))
        .filter(Column::CreatedAt.lt(period.to));
    query.all(&db.orm()).await?.into_iter().map(Model::into_domain).collect()
}

/// The payments of these ids.
pub(crate) async fn payments_of(db: &Db, ids: &[Uuid]) -> ApiResult<Vec<Payment>> {
    let mut found = Vec::new();
    // A statement has room for 65,535 values.
    for ids in ids.chunks(10_000) {
        let rows = Entity::find().filter(Column::Id.is_in(ids.iter().copied())).all(&db.orm()).await?;
        found.extend(rows);
    }
    found.into_iter().map(Model::into_domain).collect()
}

/// The refunds that were wanted in a period.
pub(crate) async fn refunds(db: &Db, provider: &str, period: Period) -> ApiResult<Vec<OwnRefund>> {
    let (first, last) = bounds(period);
    let rows: Vec<Row> = sqlx::query_as(select!(
        "WHERE r.id >= $4 AND r.id < $5 AND p.provider = $1 AND r.created_at >= $2 AND r.created_at < $3"
    ))
    .bind(provider)
    .bind(period.from)
    .bind(period.to)
    .bind(first)
    .bind(last)
    .fetch_all(db.pool())
    .await?;
    rows.into_iter().map(Row::into_own).collect()
}

/// The refunds of these ids.
pub(crate) async fn refunds_of(db: &Db, ids: &[Uuid]) -> ApiResult<Vec<OwnRefund>> {
    let rows: Vec<Row> = sqlx::query_as(select!("WHERE r.id = ANY($1)")).bind(ids).fetch_all(db.pool()).await?;
    rows.into_iter().map(Row::into_own).collect()
}
