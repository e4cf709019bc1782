//! Departures.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDateTime, Utc};
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db};
use uuid::Uuid;

use super::{corrupt, entity::departures as rows, model};
use crate::domain::{
    DepartureId, OptionId, ScheduleId, SupplierId, TourId,
    departure::{Departure, DepartureState},
};

/// All columns of the table, by name: a statement that says `*` fails in a running replica once a column is added.
macro_rules! columns {
    () => {
        "id, tour_id, option_id, supplier_id, schedule_id, local_start, time_zone, starts_at, duration_minutes, capacity, \
         state, withdrawn, version"
    };
}

pub(super) fn read(row: rows::Model) -> ApiResult<Departure> {
    let id = DepartureId::from_uuid(row.id);
    Ok(Departure {
        id,
        tour: TourId::from_uuid(row.tour_id),
        option: OptionId::from_uuid(row.option_id),
        supplier: SupplierId::from_uuid(row.supplier_id),
        schedule: row.schedule_id.map(ScheduleId::from_uuid),
        local_start: row.local_start,
        time_zone: row.time_zone.parse().map_err(|_| corrupt("time zone", id))?,
        starts_at: row.starts_at,
        duration_minutes: row.duration_minutes,
        capacity: row.capacity,
        state: DepartureState::of_number(row.state.into()).ok_or_else(|| corrupt("state", id))?,
        withdrawn: row.withdrawn,
        version: row.version,
    })
}

/// Which departures of a tour are listed.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub tour: TourId,
    pub option: Option<OptionId>,
    /// Starting after this instant.
    pub later_than: Option<DateTime<Utc>>,
    /// Local times: from this one on, and before that one.
    pub local: (Option<NaiveDateTime>, Option<NaiveDateTime>),
    pub after: Option<(DateTime<Utc>, Uuid)>,
    pub limit: u64,
}

/// A page of a tour's departures, soonest first.
pub(crate) async fn page(db: &Db, wanted: Wanted) -> ApiResult<Vec<Departure>> {
    let mut all = Condition::all().add(rows::Column::TourId.eq(wanted.tour.uuid()));
    if let Some(option) = wanted.option {
        all = all.add(rows::Column::OptionId.eq(option.uuid()));
    }
    if let Some(instant) = wanted.later_than {
        all = all.add(rows::Column::StartsAt.gt(instant));
    }
    if let Some(from) = wanted.local.0 {
        all = all.add(rows::Column::LocalStart.gte(from));
    }
    if let Some(before) = wanted.local.1 {
        all = all.add(rows::Column::LocalStart.lt(before));
    }
    if let Some((starts_at, id)) = wanted.after {
        let same_time = Condition::all().add(rows::Column::StartsAt.eq(starts_at)).add(rows::Column::Id.gt(id));
        all = all.add(Condition::any().add(rows::Column::StartsAt.gt(starts_at)).add(same_time));
    }
    let query = rows::Entity::find()
        .filter(all)
        .order_by_asc(rows::Column::StartsAt)
        .order_by_asc(rows::Column::Id)
        .limit(wanted.limit);
    query.all(&db.orm()).await?.into_iter().map(read).collect()
}

/// The departure, locked until the transaction ends, behind its tour: that is the order in which all that changes departures
/// locks them, and the tour's calendar is written with them.
pub(crate) async fn lock(tx: &mut PgConnection, id: DepartureId) -> ApiResult<Option<Departure>> {
    sqlx::query("SELECT FROM tours WHERE id = (SELECT tour_id FROM departures WHERE id = $1) FOR NO KEY UPDATE")
        .bind(id.uuid())
        .execute(&mut *tx)
        .await?;
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM departures WHERE id = $1 FOR UPDATE"))
        .bind(id.uuid())
        .fetch_optional(tx)
        .await?;
    row.map(|row| read(model(row)?)).transpose()
}

/// Adds those that are not there, and returns them in the given order.
pub(crate) async fn insert(tx: &mut PgConnection, mut departures: Vec<Departure>) -> ApiResult<Vec<Departure>> {
    fn column<T>(departures: &[Departure], get: impl Fn(&Departure) -> T) -> Vec<T> {
        departures.iter().map(get).collect()
    }
    if departures.is_empty() {
        return Ok(departures);
    }
    let added: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO departures (id, tour_id, option_id, supplier_id, schedule_id, local_start, time_zone, starts_at,
                                 duration_minutes, capacity, state, version)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::timestamp[], $7::text[],
                              $8::timestamptz[], $9::integer[], $10::integer[], $11::smallint[], $12::bigint[])
         ON CONFLICT DO NOTHING
         RETURNING id",
    )
    .bind(column(&departures, |d| d.id.uuid()))
    .bind(column(&departures, |d| d.tour.uuid()))
    .bind(column(&departures, |d| d.option.uuid()))
    .bind(column(&departures, |d| d.supplier.uuid()))
    .bind(column(&departures, |d| d.schedule.map(ScheduleId::uuid)))
    .bind(column(&departures, |d| d.local_start))
    .bind(column(&departures, |d| d.time_zone.name()))
    .bind(column(&departures, |d| d.starts_at))
    .bind(column(&departures, |d| d.duration_minutes))
    .bind(column(&departures, |d| d.capacity))
    .bind(column(&departures, |d| d.state.number()))
    .bind(column(&departures, |d| d.version))
    .fetch_all(tx)
    .await?;
    // Two rows of one statement may be the same departure (a skipped local time that meets another one).
    let mut added: HashSet<Uuid> = added.into_iter().collect();
    departures.retain(|d| added.remove(&d.id.uuid()));
    Ok(departures)
}

/// The departures of a tour between two local times (the second excluded) that have not started and are not called off,
/// locked.
pub(crate) async fn lock_between(
    tx: &mut PgConnection,
    tour: TourId,
    local: (NaiveDateTime, NaiveDateTime),
    now: DateTime<Utc>,
) -> ApiResult<Vec<Departure>> {
    let between = concat!(
        "SELECT ",
        columns!(),
        " FROM departures
         WHERE tour_id = $1 AND local_start >= $2 AND local_start < $3 AND starts_at > $4 AND state <> 3
         ORDER BY id FOR UPDATE"
    );
    let rows = sqlx::query(between).bind(tour.uuid()).bind(local.0).bind(local.1).bind(now).fetch_all(tx).await?;
    rows.into_iter().map(|row| read(model(row)?)).collect()
}

/// Writes what may change of departures.
pub(crate) async fn update(tx: &mut PgConnection, departures: &[Departure]) -> ApiResult<()> {
    fn column<T>(departures: &[Departure], get: impl Fn(&Departure) -> T) -> Vec<T> {
        departures.iter().map(get).collect()
    }
    sqlx::query(
        "UPDATE departures d
         SET schedule_id = n.schedule, capacity = n.capacity, state = n.state, withdrawn = n.withdrawn,
             version = n.version
         FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::smallint[], $5::boolean[], $6::bigint[])
              AS n(id, schedule, capacity, state, withdrawn, version)
         WHERE d.id = n.id",
    )
    .bind(column(departures, |d| d.id.uuid()))
    .bind(column(departures, |d| d.schedule.map(ScheduleId::uuid)))
    .bind(column(departures, |d| d.capacity))
    .bind(column(departures, |d| d.state.number()))
    .bind(column(departures, |d| d.withdrawn))
    .bind(column(departures, |d| d.version))
    .execute(tx)
    .await?;
    Ok(())
}
