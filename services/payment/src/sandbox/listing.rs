//! What the sandbox has for a period, page by page.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use tourmesh_kit::ApiError;
use uuid::Uuid;

use super::{Sandbox, intents::Intent, provider::unknown, webhooks};
use crate::{
    domain::{PaymentId, RefundId},
    provider::{ListedCharge, ListedRefund, Listing, Period, ProviderError, RefundStanding},
    store,
};

const PAGE: usize = 100;

#[derive(sqlx::FromRow)]
struct Charge {
    #[sqlx(flatten)]
    intent: Intent,
    created_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct Refund {
    key: Uuid,
    intent_key: Uuid,
    amount: Decimal,
    currency: String,
    created_at: DateTime<Utc>,
}

fn cursor(after: Option<&str>) -> Result<Option<Uuid>, ProviderError> {
    after.map(|id| id.parse().map_err(|_| ProviderError::Refused("not a place in the list".to_owned()))).transpose()
}

impl Sandbox {
    pub(super) async fn list_charges(
        &self,
        period: Period,
        after: Option<&str>,
    ) -> Result<Listing<ListedCharge>, ProviderError> {
        let rows: Vec<Charge> = sqlx::query_as(
            "SELECT id, key, amount, currency, method, manual_capture, status, decline_code, challenge, created_at
             FROM sandbox_intents
             WHERE created_at >= $1 AND created_at < $2
               AND ($3::uuid IS NULL OR (created_at, id) < (SELECT created_at, id FROM sandbox_intents WHERE id = $3))
             ORDER BY created_at DESC, id DESC LIMIT 100",
        )
        .bind(period.from)
        .bind(period.to)
        .bind(cursor(after)?)
        .fetch_all(self.db.pool())
        .await
        .map_err(|e| unknown(ApiError::from(e)))?;
        let next = rows.last().filter(|_| rows.len() == PAGE).map(|row| row.intent.id.to_string());
        let items = rows.into_iter().map(|Charge { intent, created_at }| {
            Ok(ListedCharge {
                key: Some(PaymentId::from_uuid(intent.key)),
                reference: webhooks::reference(intent.id),
                amount: store::money(intent.amount, &intent.currency).map_err(unknown)?,
                outcome: self.outcome(&intent)?,
                created_at,
            })
        });
        Ok(Listing { items: items.collect::<Result<_, ProviderError>>()?, next })
    }

    pub(super) async fn list_refunds(
        &self,
        period: Period,
        after: Option<&str>,
    ) -> Result<Listing<ListedRefund>, ProviderError> {
        let rows: Vec<Refund> = sqlx::query_as(
            "SELECT r.key, r.intent_key, r.amount, i.currency::text AS currency, r.created_at
             FROM sandbox_refunds r JOIN sandbox_intents i ON i.key = r.intent_key
             WHERE r.created_at >= $1 AND r.created_at < $2
               AND ($3::uuid IS NULL OR (r.created_at, r.key) < (SELECT created_at, key FROM sandbox_refunds WHERE key = $3))
             ORDER BY r.created_at DESC, r.key DESC LIMIT 100",
        )
        .bind(period.from)
        .bind(period.to)
        .bind(cursor(after)?)
        .fetch_all(self.db.pool())
        .await
        .map_err(|e| unknown(ApiError::from(e)))?;
        let next = rows.last().filter(|_| rows.len() == PAGE).map(|row| row.key.to_string());
        let items = rows.into_iter().map(|row| {
            Ok(ListedRefund {
                key: Some(RefundId::from_uuid(row.key)),
                payment: Some(PaymentId::from_uuid(row.intent_key)),
                attempt: 0,
                reference: format!("sbx_ref_{}", row.key.simple()),
                amount: store::money(row.amount, &row.currency).map_err(unknown)?,
                standing: RefundStanding::Settled,
                created_at: row.created_at,
            })
        });
        Ok(Listing { items: items.collect::<Result<_, ProviderError>>()?, next })
    }
}
