//! Blackouts.

use chrono::{DateTime, NaiveDate, Utc};
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db};
use uuid::Uuid;

use super::{entity::blackouts as rows, model};
use crate::domain::{
    BlackoutId, SupplierId, TourId,
    blackout::{Blackout, Blackouts},
    tour::Tour,
};

/// All columns of the table, by name: a statement that says `*` fails in a running replica once a column is added.
macro_rules! columns {
    () => {
        "id, supplier_id, tour_id, first_date, last_date, reason, created_at, deleted_at"
    };
}

fn read(row: rows::Model) -> Blackout {
    Blackout {
        id: BlackoutId::from_uuid(row.id),
        supplier: SupplierId::from_uuid(row.supplier_id),
        tour: row.tour_id.map(TourId::from_uuid),
        first_date: row.first_date,
        last_date: row.last_date,
        reason: row.reason,
        created_at: row.created_at,
    }
}

/// Which blackouts are listed.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub supplier: Option<SupplierId>,
    /// Only those of this tour, and those of its supplier.
    pub tour: Option<TourId>,
    /// Only those that last until this date or longer.
    pub from: Option<NaiveDate>,
    pub after: Option<(NaiveDate, Uuid)>,
    pub limit: u64,
}

/// A page of blackouts by first date.
pub(crate) async fn page(db: &Db, wanted: Wanted) -> ApiResult<Vec<Blackout>> {
    let mut all = Condition::all().add(rows::Column::DeletedAt.is_null());
    if let Some(supplier) = wanted.supplier {
        all = all.add(rows::Column::SupplierId.eq(supplier.uuid()));
    }
    if let Some(tour) = wanted.tour {
        all = all.add(Condition::any().add(rows::Column::TourId.is_null()).add(rows::Column::TourId.eq(tour.uuid())));
    }
    if let Some(from) = wanted.from {
        all = all.add(rows::Column::LastDate.gte(from));
    }
    if let Some((date, id)) = wanted.after {
        let same = Condition::all().add(rows::Column::FirstDate.eq(date)).add(rows::Column::Id.gt(id));
        all = all.add(Condition::any().add(rows::Column::FirstDate.gt(date)).add(same));
    }
    let query = rows::Entity::find()
        .filter(all)
        .order_by_asc(rows::Column::FirstDate)
        .order_by_asc(rows::Column::Id)
        .limit(wanted.limit);
    Ok(query.all(&db.orm()).await?.into_iter().map(read).collect())
}

/// The blackout, whether it was deleted or not, and whether it was; locked until the transaction ends.
pub(crate) async fn lock(tx: &mut PgConnection, id: Uuid) -> ApiResult<Option<(Blackout, bool)>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM blackouts WHERE id = $1 FOR UPDATE"))
        .bind(id)
        .fetch_optional(tx)
        .await?;
    let row: Option<rows::Model> = row.map(model).transpose()?;
    Ok(row.map(|row| {
        let deleted = row.deleted_at.is_some();
        (read(row), deleted)
    }))
}

/// Those that may concern these tours from a date on.
pub(crate) async fn of_tours<'a>(
    tx: &mut PgConnection,
    tours: impl IntoIterator<Item = &'a Tour>,
    now: DateTime<Utc>,
) -> ApiResult<Blackouts> {
    let (ids, suppliers): (Vec<_>, Vec<_>) =
        tours.into_iter().map(|tour| (tour.id.uuid(), tour.supplier.uuid())).unzip();
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM blackouts
         WHERE deleted_at IS NULL AND supplier_id = ANY($1) AND (tour_id IS NULL OR tour_id = ANY($2))
               AND last_date >= $3"
    ))
    .bind(suppliers)
    .bind(ids)
    // The earliest local date on earth.
    .bind((now - chrono::TimeDelta::hours(12)).date_naive())
    .fetch_all(tx)
    .await?;
    Ok(Blackouts(rows.into_iter().map(|row| Ok(read(model(row)?))).collect::<ApiResult<_>>()?))
}

/// How many of a supplier are not over yet.
pub(crate) async fn count(tx: &mut PgConnection, supplier: SupplierId, now: DateTime<Utc>) -> ApiResult<i64> {
    let count = sqlx::query_scalar(
        "SELECT count(*) FROM blackouts WHERE supplier_id = $1 AND deleted_at IS NULL AND last_date >= $2",
    )
    .bind(supplier.uuid())
    .bind((now - chrono::TimeDelta::hours(12)).date_naive())
    .fetch_one(tx)
    .await?;
    Ok(count)
}

pub(crate) async fn insert(tx: &mut PgConnection, blackout: &Blackout) -> ApiResult<()> {
    sqlx::query(
        "INSERT INTO blackouts (id, supplier_id, tour_id, first_date, last_date, reason, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(blackout.id.uuid())
    .bind(blackout.supplier.uuid())
    .bind(blackout.tour.map(TourId::uuid))
    .bind(blackout.first_date)
    .bind(blackout.last_date)
    .bind(&blackout.reason)
    .bind(blackout.created_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends it; the row stays.
pub(crate) async fn delete(tx: &mut PgConnection, id: BlackoutId, now: DateTime<Utc>) -> ApiResult<()> {
    sqlx::query("UPDATE blackouts SET deleted_at = $2 WHERE id = $1").bind(id.uuid()).bind(now).execute(tx).await?;
    Ok(())
}
