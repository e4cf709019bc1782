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

/// The departure, locked until the transaction ends.
pub(crate) async fn lock(tx: &mut PgConnection, id: DepartureId) -> ApiResult<Option<Departure>> {
    let row =
        sqlx::query("SELECT * FROM departures WHERE id = $1 FOR UPDATE").bind(id.uuid()).fetch_optional(tx).await?;
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

/// Writes what may change of a departure.
pub(crate) async fn update(tx: &mut PgConnection, departure: &Departure) -> ApiResult<()> {
    sqlx::query("UPDATE departures SET capacity = $2, state = $3, version = $4 WHERE id = $1")
        .bind(departure.id.uuid())
        .bind(departure.capacity)
        .bind(departure.state.number())
        .bind(departure.version)
        .execute(tx)
        .await?;
    Ok(())
}
