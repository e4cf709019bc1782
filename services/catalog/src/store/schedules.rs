//! Schedules.

use chrono::NaiveDate;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db};
use uuid::Uuid;

use super::{corrupt, documents, entity::schedules as rows, model};
use crate::domain::{
    OptionId, ScheduleId, TourId,
    schedule::{Schedule, Weekdays},
};

fn read(row: rows::Model) -> ApiResult<Schedule> {
    let id = ScheduleId::from_uuid(row.id);
    Ok(Schedule {
        id,
        option: OptionId::from_uuid(row.option_id),
        tour: TourId::from_uuid(row.tour_id),
        weekdays: Weekdays(u8::try_from(row.weekdays).map_err(|_| corrupt("set of weekdays", id))?),
        start_times: documents::read_times(row.start_times).ok_or_else(|| corrupt("start time", id))?,
        start_date: row.start_date,
        end_date: row.end_date,
        capacity: row.capacity,
        blackout_dates: documents::read_dates(row.blackout_dates).ok_or_else(|| corrupt("blackout date", id))?,
        filled_until: row.filled_until,
        created_at: row.created_at,
    })
}

/// The schedules of an option, oldest first.
pub(crate) async fn of_option(db: &Db, option: OptionId) -> ApiResult<Vec<Schedule>> {
    let query = rows::Entity::find()
        .filter(rows::Column::OptionId.eq(option.uuid()))
        .order_by_asc(rows::Column::CreatedAt)
        .order_by_asc(rows::Column::Id);
    query.all(&db.orm()).await?.into_iter().map(read).collect()
}

pub(crate) async fn get(tx: &mut PgConnection, id: Uuid) -> ApiResult<Schedule> {
    read(model(sqlx::query("SELECT * FROM schedules WHERE id = $1").bind(id).fetch_one(tx).await?)?)
}

/// Up to `limit` tours that are not archived and have a schedule whose departures end before the given date, the most
/// urgent first.
pub(crate) async fn tours_to_fill(db: &Db, until: NaiveDate, limit: i64) -> ApiResult<Vec<TourId>> {
    let tours = sqlx::query_scalar(
        "SELECT s.tour_id FROM schedules s JOIN tours t ON t.id = s.tour_id
         WHERE s.filled_until < $1 AND (s.end_date IS NULL OR s.end_date > s.filled_until) AND t.state <> 3
         GROUP BY s.tour_id ORDER BY min(s.filled_until), s.tour_id LIMIT $2",
    )
    .bind(until)
    .bind(limit)
    .fetch_all(db.pool())
    .await?;
    Ok(tours.into_iter().map(TourId::from_uuid).collect())
}

/// The schedules of these tours that end before the given date, locked.
pub(crate) async fn lock_unfilled(
    tx: &mut PgConnection,
    tours: &[TourId],
    until: NaiveDate,
) -> ApiResult<Vec<Schedule>> {
    let found = sqlx::query(
        "SELECT * FROM schedules
         WHERE tour_id = ANY($1) AND filled_until < $2 AND (end_date IS NULL OR end_date > filled_until)
         ORDER BY id FOR UPDATE",
    )
    .bind(tours.iter().map(|t| t.uuid()).collect::<Vec<_>>())
    .bind(until)
    .fetch_all(tx)
    .await?;
    found.into_iter().map(|row| read(model(row)?)).collect()
}

/// Remembers how far the departures of these schedules go.
pub(crate) async fn filled(tx: &mut PgConnection, until: &[(ScheduleId, NaiveDate)]) -> ApiResult<()> {
    sqlx::query(
        "UPDATE schedules s SET filled_until = f.until FROM unnest($1::uuid[], $2::date[]) AS f(id, until)
         WHERE s.id = f.id",
    )
    .bind(until.iter().map(|(id, _)| id.uuid()).collect::<Vec<_>>())
    .bind(until.iter().map(|(_, date)| *date).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// Adds those that are not there.
pub(crate) async fn insert(tx: &mut PgConnection, schedules: &[Schedule]) -> ApiResult<()> {
    fn column<T>(schedules: &[Schedule], get: impl Fn(&Schedule) -> T) -> Vec<T> {
        schedules.iter().map(get).collect()
    }
    sqlx::query(
        "INSERT INTO schedules (id, option_id, tour_id, weekdays, start_times, start_date, end_date, capacity,
                                blackout_dates, filled_until, created_at)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::jsonb[], $6::date[], $7::date[],
                              $8::integer[], $9::jsonb[], $10::date[], $11::timestamptz[])
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(column(schedules, |s| s.id.uuid()))
    .bind(column(schedules, |s| s.option.uuid()))
    .bind(column(schedules, |s| s.tour.uuid()))
    .bind(column(schedules, |s| i16::from(s.weekdays.0)))
    .bind(column(schedules, |s| documents::times(&s.start_times)))
    .bind(column(schedules, |s| s.start_date))
    .bind(column(schedules, |s| s.end_date))
    .bind(column(schedules, |s| s.capacity))
    .bind(column(schedules, |s| documents::dates(&s.blackout_dates)))
    .bind(column(schedules, |s| s.filled_until))
    .bind(column(schedules, |s| s.created_at))
    .execute(tx)
    .await?;
    Ok(())
}
