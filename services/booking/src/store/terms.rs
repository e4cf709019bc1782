//! The terms under which something is sold, as they were frozen: kept once, and never changed.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{ApiResult, tax::Tax};
use uuid::Uuid;

use crate::domain::{
    OptionId, SupplierId, TourId,
    offer::{Terms, Text},
    refund::{RefundPolicy, Tier},
};

/// The columns, with the id as `terms_id`.
#[derive(FromRow)]
pub(super) struct Row {
    pub(super) terms_id: Uuid,
    supplier_id: Uuid,
    tour_id: Uuid,
    option_id: Uuid,
    tour_title_en: String,
    tour_title_fr: String,
    option_title_en: String,
    option_title_fr: String,
    local_start: String,
    time_zone: String,
    starts_at: DateTime<Utc>,
    duration_minutes: i32,
    hold_seconds: i32,
    refund_hours: Vec<i32>,
    refund_percents: Vec<i32>,
    tax_names: Vec<String>,
    tax_percents: Vec<Decimal>,
    tax_included: Vec<bool>,
}

impl Row {
    pub(super) fn terms(self) -> Terms {
        let tiers = self.refund_hours.into_iter().zip(self.refund_percents);
        let taxes = self.tax_names.into_iter().zip(self.tax_percents).zip(self.tax_included);
        let tax = |((name, percent), included): ((String, Decimal), bool)| Tax {
            name,
            percent: percent.normalize(),
            included,
        };
        Terms {
            id: self.terms_id,
            supplier: SupplierId::from_uuid(self.supplier_id),
            tour: TourId::from_uuid(self.tour_id),
            option: OptionId::from_uuid(self.option_id),
            tour_title: Text { en: self.tour_title_en, fr: self.tour_title_fr },
            option_title: Text { en: self.option_title_en, fr: self.option_title_fr },
            local_start: self.local_start,
            time_zone: self.time_zone,
            starts_at: self.starts_at,
            duration_minutes: self.duration_minutes,
            hold_seconds: self.hold_seconds,
            refund_policy: RefundPolicy {
                tiers: tiers.map(|(hours_before, percent)| Tier { hours_before, percent }).collect(),
            },
            taxes: taxes.map(tax).collect(),
        }
    }
}

/// Terms by their ids.
pub(crate) async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> ApiResult<HashMap<Uuid, Arc<Terms>>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id AS terms_id, supplier_id, tour_id, option_id, tour_title_en, tour_title_fr, option_title_en,
                option_title_fr, local_start, time_zone, starts_at, duration_minutes, hold_seconds, refund_hours,
                refund_percents, tax_names, tax_percents, tax_included
         FROM terms WHERE id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.terms_id, Arc::new(row.terms()))).collect())
}

/// Keeps terms, once.
pub(crate) async fn keep(tx: &mut PgConnection, terms: &Terms) -> ApiResult<()> {
    sqlx::query(
        "INSERT INTO terms (id, supplier_id, tour_id, option_id, tour_title_en, tour_title_fr, option_title_en,
                            option_title_fr, local_start, time_zone, starts_at, duration_minutes, hold_seconds,
                            refund_hours, refund_percents, tax_names, tax_percents, tax_included)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) ON CONFLICT (id) DO NOTHING",
    )
    .bind(terms.id)
    .bind(terms.supplier.uuid())
    .bind(terms.tour.uuid())
    .bind(terms.option.uuid())
    .bind(&terms.tour_title.en)
    .bind(&terms.tour_title.fr)
    .bind(&terms.option_title.en)
    .bind(&terms.option_title.fr)
    .bind(&terms.local_start)
    .bind(&terms.time_zone)
    .bind(terms.starts_at)
    .bind(terms.duration_minutes)
    .bind(terms.hold_seconds)
    .bind(terms.refund_policy.tiers.iter().map(|t| t.hours_before).collect::<Vec<_>>())
    .bind(terms.refund_policy.tiers.iter().map(|t| t.percent).collect::<Vec<_>>())
    .bind(terms.taxes.iter().map(|t| t.name.as_str()).collect::<Vec<_>>())
    .bind(terms.taxes.iter().map(|t| t.percent).collect::<Vec<_>>())
    .bind(terms.taxes.iter().map(|t| t.included).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}
