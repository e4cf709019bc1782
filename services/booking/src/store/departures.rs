//! The seat inventory.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait as _, DatabaseConnection, EntityTrait as _, QueryFilter as _};
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::ApiResult;
use uuid::Uuid;

use super::{corrupt, db_int, entities::departure, guard, of_db_int};
use crate::domain::{
    DepartureId,
    hold::Seats,
    offer::{Departure, DepartureState},
};

/// How many rows one statement writes.
const CHUNK: usize = 2_000;

/// Brings rows up to what the catalog says; an older version changes nothing. A lowered capacity never goes below what
/// is held: `capacity_wanted` remembers it, and [`release`] shrinks to it.
pub(crate) async fn upsert(tx: &mut PgConnection, departures: &[Departure]) -> ApiResult<()> {
    // One row a departure, the newest, in id order: that is the order in which rows are locked everywhere.
    let mut newest: BTreeMap<DepartureId, &Departure> = BTreeMap::new();
    for departure in departures {
        let known = newest.entry(departure.id).or_insert(departure);
        if known.version < departure.version {
            *known = departure;
        }
    }
    let rows: Vec<&Departure> = newest.into_values().collect();
    for chunk in rows.chunks(CHUNK) {
        let capacities = chunk.iter().map(|d| db_int(d.capacity)).collect::<ApiResult<Vec<_>>>()?;
        sqlx::query(
            "INSERT INTO departures
                 (id, tour_id, option_id, supplier_id, starts_at, state, capacity_wanted, capacity, version, calling_off)
             SELECT x.*, x.state = 'CANCELLED' FROM (
                 SELECT id, tour_id, option_id, supplier_id, starts_at, state, capacity, capacity AS wanted, version
                 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::text[], $7::int[],
                             $8::bigint[])
                      AS u(id, tour_id, option_id, supplier_id, starts_at, state, capacity, version)) x
             ON CONFLICT (id) DO UPDATE SET
                 starts_at = excluded.starts_at,
                 state = excluded.state,
                 calling_off = departures.calling_off OR excluded.state = 'CANCELLED' AND departures.state <> 'CANCELLED',
                 capacity_wanted = excluded.capacity_wanted,
                 capacity = greatest(excluded.capacity_wanted, departures.held),
                 version = excluded.version
             WHERE departures.version < excluded.version",
        )
        .bind(chunk.iter().map(|d| d.id.uuid()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|d| d.tour.uuid()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|d| d.option.uuid()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|d| d.supplier.uuid()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|d| d.starts_at).collect::<Vec<_>>())
        .bind(chunk.iter().map(|d| d.state.as_str()).collect::<Vec<_>>())
        .bind(capacities)
        .bind(chunk.iter().map(|d| d.version).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// Gives seats back. The caller has locked the bookings; the departures are locked here, in id order.
pub(crate) async fn release(
    tx: &mut PgConnection,
    freed: impl IntoIterator<Item = (DepartureId, u32)>,
) -> ApiResult<()> {
    let mut seats: BTreeMap<DepartureId, u32> = BTreeMap::new();
    for (departure, n) in freed {
        *seats.entry(departure).or_default() += n;
    }
    if seats.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = seats.keys().map(|id| id.uuid()).collect();
    let seats = seats.into_values().map(db_int).collect::<ApiResult<Vec<_>>>()?;
    if ids.len() > 1 {
        sqlx::query("SELECT 1 FROM departures WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE")
            .bind(&ids)
            .execute(&mut *tx)
            .await?;
    }
    let done = sqlx::query(
        "UPDATE departures d
         SET held = d.held - x.seats, capacity = greatest(d.capacity_wanted, d.held - x.seats)
         FROM unnest($1::uuid[], $2::int[]) x(id, seats) WHERE d.id = x.id",
    )
    .bind(&ids)
    .bind(seats)
    .execute(tx)
    .await?;
    guard(done.rows_affected(), ids.len(), "departures")
}

#[derive(FromRow)]
struct Locked {
    id: Uuid,
    capacity: i32,
    held: i32,
    state: String,
    starts_at: DateTime<Utc>,
}

/// The seats of a departure, of what the columns say.
pub(super) fn seats_of(
    id: Uuid,
    (capacity, held): (i32, i32),
    state: &str,
    starts_at: DateTime<Utc>,
) -> ApiResult<(DepartureId, Seats)> {
    let seats = Seats {
        capacity: of_db_int(capacity)?,
        held: of_db_int(held)?,
        state: DepartureState::of_text(state).ok_or_else(|| corrupt("departure state"))?,
        starts_at,
    };
    Ok((DepartureId::from_uuid(id), seats))
}

/// Locks departures, in id order, and reads their seats; unknown ones are left out.
pub(crate) async fn lock(tx: &mut PgConnection, ids: &[DepartureId]) -> ApiResult<BTreeMap<DepartureId, Seats>> {
    let rows: Vec<Locked> = sqlx::query_as(
        "SELECT id, capacity, held, state, starts_at FROM departures WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
    )
    .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(|r| seats_of(r.id, (r.capacity, r.held), &r.state, r.starts_at)).collect()
}

/// Takes seats of a departure that is locked and was found to have them; the guard is only the last defence.
pub(crate) async fn take(tx: &mut PgConnection, departure: DepartureId, seats: u32) -> ApiResult<()> {
    let done = sqlx::query("UPDATE departures SET held = held + $2 WHERE id = $1 AND held + $2 <= capacity")
        .bind(departure.uuid())
        .bind(db_int(seats)?)
        .execute(tx)
        .await?;
    guard(done.rows_affected(), 1, "departures")
}

/// The seats of departures, now; unknown ones are left out.
pub(crate) async fn seats(orm: &DatabaseConnection, ids: &[DepartureId]) -> ApiResult<BTreeMap<DepartureId, Seats>> {
    let rows =
        departure::Entity::find().filter(departure::Column::Id.is_in(ids.iter().map(|id| id.uuid()))).all(orm).await?;
    rows.into_iter().map(|r| seats_of(r.id, (r.capacity, r.held), &r.state, r.starts_at)).collect()
}

/// A departure that was called off and may still have bookings to cancel.
pub(crate) async fn calling_off(connection: &mut PgConnection) -> ApiResult<Option<DepartureId>> {
    let id: Option<Uuid> = sqlx::query_scalar("SELECT id FROM departures WHERE calling_off ORDER BY id LIMIT 1")
        .fetch_optional(connection)
        .await?;
    Ok(id.map(DepartureId::from_uuid))
}

/// Ends the calling off of a departure that has no booking left to cancel, and no move to it.
pub(crate) async fn called_off(tx: &mut PgConnection, departure: DepartureId) -> ApiResult<()> {
    sqlx::query(
        "UPDATE departures SET calling_off = false WHERE id = $1 AND NOT EXISTS (
             SELECT 1 FROM bookings WHERE departure_id = $1 AND state IN ('ON_HOLD', 'CONFIRMED'))
         AND NOT EXISTS (SELECT 1 FROM moves WHERE departure_id = $1 AND state = 'OPEN')",
    )
    .bind(departure.uuid())
    .execute(tx)
    .await?;
    Ok(())
}
