//! Tax rules.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use serde::Deserialize;
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db, tax::Tax};
use uuid::Uuid;

use super::{entity::tax_rules as rows, model};
use crate::domain::{TaxRuleId, tax_rule::TaxRule};

/// All columns of the table, by name: a statement that says `*` fails in a running replica once a column is added.
macro_rules! columns {
    () => {
        "id, country, name, percent, included, valid_from, valid_until, created_at, deleted_at"
    };
}

/// A tax as the statement that reads an offer brings it.
#[derive(Deserialize)]
pub(super) struct TaxDoc {
    name: String,
    percent: rust_decimal::Decimal,
    included: bool,
}

impl TaxDoc {
    pub(super) fn tax(self) -> Tax {
        Tax { name: self.name, percent: self.percent.normalize(), included: self.included }
    }
}

fn read(row: rows::Model) -> TaxRule {
    TaxRule {
        id: TaxRuleId::from_uuid(row.id),
        country: row.country,
        tax: Tax { name: row.name, percent: row.percent.normalize(), included: row.included },
        valid_from: row.valid_from,
        valid_until: row.valid_until,
        created_at: row.created_at,
    }
}

/// A page of rules by country, oldest first.
pub(crate) async fn page(
    db: &Db,
    country: &str,
    after: Option<(String, DateTime<Utc>, Uuid)>,
    limit: u64,
) -> ApiResult<Vec<TaxRule>> {
    let mut all = Condition::all().add(rows::Column::DeletedAt.is_null());
    if !country.is_empty() {
        all = all.add(rows::Column::Country.eq(country));
    }
    if let Some((country, at, id)) = after {
        let same_country = || Condition::all().add(rows::Column::Country.eq(country.as_str()));
        let same_time = same_country().add(rows::Column::CreatedAt.eq(at)).add(rows::Column::Id.gt(id));
        let later = same_country().add(rows::Column::CreatedAt.gt(at));
        all = all.add(Condition::any().add(rows::Column::Country.gt(country.as_str())).add(later).add(same_time));
    }
    let query = rows::Entity::find()
        .filter(all)
        .order_by_asc(rows::Column::Country)
        .order_by_asc(rows::Column::CreatedAt)
        .order_by_asc(rows::Column::Id)
        .limit(limit);
    Ok(query.all(&db.orm()).await?.into_iter().map(read).collect())
}

/// Keeps others from changing the rules of a country until the transaction ends.
pub(crate) async fn lock_country(tx: &mut PgConnection, country: &str) -> ApiResult<()> {
    sqlx::query(
        "INSERT INTO tax_countries (country, changes) VALUES ($1, 1)
         ON CONFLICT (country) DO UPDATE SET changes = tax_countries.changes + 1",
    )
    .bind(country)
    .execute(tx)
    .await?;
    Ok(())
}

/// The rule, whether it was deleted or not, and whether it was.
pub(crate) async fn find(tx: &mut PgConnection, id: TaxRuleId) -> ApiResult<Option<(TaxRule, bool)>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM tax_rules WHERE id = $1"))
        .bind(id.uuid())
        .fetch_optional(tx)
        .await?;
    let row: Option<rows::Model> = row.map(model).transpose()?;
    Ok(row.map(|row| {
        let deleted = row.deleted_at.is_some();
        (read(row), deleted)
    }))
}

/// The rules of a country that were not deleted.
pub(crate) async fn of_country(tx: &mut PgConnection, country: &str) -> ApiResult<Vec<TaxRule>> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM tax_rules WHERE country = $1 AND deleted_at IS NULL ORDER BY created_at, id"
    ))
    .bind(country)
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(|row| Ok(read(model(row)?))).collect()
}

/// Adds the rule, or puts it in the place of the one with its id.
pub(crate) async fn set(tx: &mut PgConnection, rule: &TaxRule) -> ApiResult<()> {
    sqlx::query(
        "INSERT INTO tax_rules (id, country, name, percent, included, valid_from, valid_until, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, percent = excluded.percent, included = excluded.included,
             valid_from = excluded.valid_from, valid_until = excluded.valid_until",
    )
    .bind(rule.id.uuid())
    .bind(&rule.country)
    .bind(&rule.tax.name)
    .bind(rule.tax.percent)
    .bind(rule.tax.included)
    .bind(rule.valid_from)
    .bind(rule.valid_until)
    .bind(rule.created_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends it; the row stays.
pub(crate) async fn delete(tx: &mut PgConnection, id: TaxRuleId, now: DateTime<Utc>) -> ApiResult<()> {
    sqlx::query("UPDATE tax_rules SET deleted_at = $2 WHERE id = $1").bind(id.uuid()).bind(now).execute(tx).await?;
    Ok(())
}
