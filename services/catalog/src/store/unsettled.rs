//! Tours whose departures do not follow their schedules and blackouts yet.

use chrono::NaiveDate;
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db};
use uuid::Uuid;

use crate::domain::{SupplierId, TourId};

/// Remembers one tour, for local dates, both included.
pub(crate) async fn add_tour(tx: &mut PgConnection, tour: TourId, dates: (NaiveDate, NaiveDate)) -> ApiResult<()> {
    sqlx::query(
        "INSERT INTO unsettled (tour_id, first_date, last_date) VALUES ($1, $2, $3)
         ON CONFLICT (tour_id) DO UPDATE SET first_date = least(unsettled.first_date, excluded.first_date),
                                             last_date = greatest(unsettled.last_date, excluded.last_date)",
    )
    .bind(tour.uuid())
    .bind(dates.0)
    .bind(dates.1)
    .execute(tx)
    .await?;
    Ok(())
}

/// Remembers all tours of a supplier.
pub(crate) async fn add_supplier(
    tx: &mut PgConnection,
    supplier: SupplierId,
    dates: (NaiveDate, NaiveDate),
) -> ApiResult<()> {
    sqlx::query(
        "INSERT INTO unsettled (tour_id, first_date, last_date)
         SELECT id, $2, $3 FROM tours WHERE supplier_id = $1 ORDER BY id
         ON CONFLICT (tour_id) DO UPDATE SET first_date = least(unsettled.first_date, excluded.first_date),
                                             last_date = greatest(unsettled.last_date, excluded.last_date)",
    )
    .bind(supplier.uuid())
    .bind(dates.0)
    .bind(dates.1)
    .execute(tx)
    .await?;
    Ok(())
}

/// Up to `limit` of them.
pub(crate) async fn some(db: &Db, limit: i64) -> ApiResult<Vec<TourId>> {
    let tours: Vec<Uuid> = sqlx::query_scalar("SELECT tour_id FROM unsettled ORDER BY tour_id LIMIT $1")
        .bind(limit)
        .fetch_all(db.pool())
        .await?;
    Ok(tours.into_iter().map(TourId::from_uuid).collect())
}

/// Forgets these tours: this transaction settles them. Returns the dates of those that were there.
pub(crate) async fn take(tx: &mut PgConnection, tours: &[TourId]) -> ApiResult<Vec<(TourId, NaiveDate, NaiveDate)>> {
    let taken: Vec<(Uuid, NaiveDate, NaiveDate)> =
        sqlx::query_as("DELETE FROM unsettled WHERE tour_id = ANY($1) RETURNING tour_id, first_date, last_date")
            .bind(tours.iter().map(|t| t.uuid()).collect::<Vec<_>>())
            .fetch_all(tx)
            .await?;
    Ok(taken.into_iter().map(|(tour, first, last)| (TourId::from_uuid(tour), first, last)).collect())
}
