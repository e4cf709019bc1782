//! Schedules.

use chrono::NaiveDate;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db};
use uuid::Uuid;

use super::{corrupt, documents, entity::schedules as rows, model};
use crate::domain::{
    OptionId, ScheduleId, TourId,
    recurrence::Recurrence,
    schedule::{Rhythm, Schedule, Weekdays},
};

/// All columns of the table, by name: a statement that says `*` fails in a running replica once a column is added.
macro_rules! columns {
    () => {
        "id, option_id, tour_id, weekdays, start_times, start_date, end_date, capacity, blackout_dates, recurrence, \
         extra_dates, effective_from, superseded_from, filled_until, created_at"
    };
}

fn read(row: rows::Model) -> ApiResult<Schedule> {
    let id = ScheduleId::from_uuid(row.id);
    let rhythm = if row.recurrence.is_empty() {
        Rhythm::Weekly(Weekdays(u8::try_from(row.weekdays).map_err(|_| corrupt("set of weekdays", id))?))
    } else {
        let rule = Recurrence::parse(&row.recurrence, row.start_date);
        Rhythm::Rule(rule.map_err(|_| corrupt("recurrence rule", id))?)
    };
    Ok(Schedule {
        id,
        option: OptionId::from_uuid(row.option_id),
        tour: TourId::from_uuid(row.tour_id),
        rhythm,
        start_times: documents::read_times(row.start_times).ok_or_else(|| corrupt("start time", id))?,
        start_date: row.start_date,
        end_date: row.end_date,
        capacity: row.capacity,
        except_dates: documents::read_dates(row.blackout_dates).ok_or_else(|| corrupt("date", id))?,
        extra_dates: documents::read_dates(row.extra_dates).ok_or_else(|| corrupt("date", id))?,
        effective_from: row.effective_from.unwrap_or(row.start_date),
        superseded_from: row.superseded_from,
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

pub(crate) async fn find(tx: &mut PgConnection, id: ScheduleId) -> ApiResult<Option<Schedule>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM schedules WHERE id = $1"))
        .bind(id.uuid())
        .fetch_optional(tx)
        .await?;
    row.map(|row| read(model(row)?)).transpose()
}

/// One that must be there.
pub(crate) async fn get(tx: &mut PgConnection, id: Uuid) -> ApiResult<Schedule> {
    let id = ScheduleId::from_uuid(id);
    find(tx, id).await?.ok_or_else(|| corrupt("place among the schedules", id))
}

/// The schedules of these tours, oldest first; their tours are locked.
pub(crate) async fn of_tours(tx: &mut PgConnection, tours: &[TourId]) -> ApiResult<Vec<Schedule>> {
    let rows =
        sqlx::query(concat!("SELECT ", columns!(), " FROM schedules WHERE tour_id = ANY($1) ORDER BY created_at, id"))
            .bind(tours.iter().map(|t| t.uuid()).collect::<Vec<_>>())
            .fetch_all(tx)
            .await?;
    rows.into_iter().map(|row| read(model(row)?)).collect()
}

/// From this local date on another schedule counts.
pub(crate) async fn supersede(tx: &mut PgConnection, id: ScheduleId, from: NaiveDate) -> ApiResult<()> {
    sqlx::query("UPDATE schedules SET superseded_from = $2 WHERE id = $1")
        .bind(id.uuid())
        .bind(from)
        .execute(tx)
        .await?;
    Ok(())
}

/// Up to `limit` tours that are not archived and have a schedule whose departures end before the given date, the most
/// urgent first.
pub(crate) async fn tours_to_fill(db: &Db, until: NaiveDate, limit: i64) -> ApiResult<Vec<TourId>> {
    let tours = sqlx::query_scalar(
        "SELECT s.tour_id FROM schedules s JOIN tours t ON t.id = s.tour_id
         WHERE s.filled_until < $1 AND (s.end_date IS NULL OR s.end_date > s.filled_until)
               AND (s.superseded_from IS NULL OR s.superseded_from > s.filled_until + 1) AND t.state <> 3
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
    let found = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM schedules
         WHERE tour_id = ANY($1) AND filled_until < $2 AND (end_date IS NULL OR end_date > filled_until)
               AND (superseded_from IS NULL OR superseded_from > filled_until + 1)
         ORDER BY id FOR UPDATE"
    ))
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
                                blackout_dates, recurrence, extra_dates, effective_from, superseded_from, filled_until,
                                created_at)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::jsonb[], $6::date[], $7::date[],
                              $8::integer[], $9::jsonb[], $10::text[], $11::jsonb[], $12::date[], $13::date[],
                              $14::date[], $15::timestamptz[])
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(column(schedules, |s| s.id.uuid()))
    .bind(column(schedules, |s| s.option.uuid()))
    .bind(column(schedules, |s| s.tour.uuid()))
    .bind(column(schedules, |s| match &s.rhythm {
        Rhythm::Weekly(days) => i16::from(days.0),
        Rhythm::Rule(_) => 0,
    }))
    .bind(column(schedules, |s| documents::times(&s.start_times)))
    .bind(column(schedules, |s| s.start_date))
    .bind(column(schedules, |s| s.end_date))
    .bind(column(schedules, |s| s.capacity))
    .bind(column(schedules, |s| documents::dates(&s.except_dates)))
    .bind(column(schedules, |s| match &s.rhythm {
        Rhythm::Weekly(_) => String::new(),
        Rhythm::Rule(rule) => rule.text().to_owned(),
    }))
    .bind(column(schedules, |s| documents::dates(&s.extra_dates)))
    .bind(column(schedules, |s| s.effective_from))
    .bind(column(schedules, |s| s.superseded_from))
    .bind(column(schedules, |s| s.filled_until))
    .bind(column(schedules, |s| s.created_at))
    .execute(tx)
    .await?;
    Ok(())
}
