//! The seat inventory.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::ApiResult;
use uuid::Uuid;

use super::{corrupt, db_int, of_db_int, pools};
use crate::domain::{
    DepartureId, PoolId,
    offer::{Departure, DepartureState},
    pool::{Room, Seats, Share},
};

/// How many rows one statement writes.
const CHUNK: usize = 2_000;

/// Brings rows up to what the catalog says; an older version changes nothing. A lowered capacity never goes below what
/// is held: `capacity_wanted` remembers it, and [`release`] shrinks to it. What they share of pools is up to date then.
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
        let sharing = pools::share_options(tx, chunk.iter().map(|d| d.option)).await?;
        let capacities = chunk.iter().map(|d| db_int(d.capacity)).collect::<ApiResult<Vec<_>>>()?;
        let written: Vec<(Uuid, bool)> = sqlx::query_as(
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
             WHERE departures.version < excluded.version
             RETURNING id, pool_ids IS NOT NULL",
        )
        .bind(chunk.iter().map(|d| d.id.uuid()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|d| d.tour.uuid()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|d| d.option.uuid()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|d| d.supplier.uuid()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|d| d.starts_at).collect::<Vec<_>>())
        .bind(chunk.iter().map(|d| d.state.as_str()).collect::<Vec<_>>())
        .bind(capacities)
        .bind(chunk.iter().map(|d| d.version).collect::<Vec<_>>())
        .fetch_all(&mut *tx)
        .await?;
        if sharing || written.iter().any(|(_, shares)| *shares) {
            pools::bind(tx, &written.into_iter().map(|(id, _)| id).collect::<Vec<_>>()).await?;
        }
    }
    Ok(())
}

/// Gives seats back, with what they had of pools. The caller has locked the bookings; the departures are locked here, in
/// id order.
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
    let counts = seats.values().copied().map(db_int).collect::<ApiResult<Vec<_>>>()?;
    if ids.len() > 1 {
        lock_rows(tx, &ids).await?;
    }
    let done: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE departures d
         SET held = d.held - x.seats, capacity = greatest(d.capacity_wanted, d.held - x.seats)
         FROM unnest($1::uuid[], $2::int[]) x(id, seats) WHERE d.id = x.id AND d.pool_ids IS NULL RETURNING d.id",
    )
    .bind(&ids)
    .bind(counts)
    .fetch_all(&mut *tx)
    .await?;
    for id in done {
        seats.remove(&DepartureId::from_uuid(id));
    }
    // What is left shares pools.
    if !seats.is_empty() {
        lock_rows(tx, &seats.keys().map(|id| id.uuid()).collect::<Vec<_>>()).await?;
        pools::shift(tx, seats.into_iter().map(|(id, n)| (id, -i64::from(n)))).await?;
    }
    Ok(())
}

async fn lock_rows(tx: &mut PgConnection, ids: &[Uuid]) -> ApiResult<()> {
    sqlx::query("SELECT 1 FROM departures WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE")
        .bind(ids)
        .execute(tx)
        .await?;
    Ok(())
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    capacity: i32,
    held: i32,
    state: String,
    starts_at: DateTime<Utc>,
    pool_ids: Option<Vec<Uuid>>,
    pool_units: Option<Vec<i32>>,
    pool_seats: Option<Vec<i32>>,
    pool_first: Option<Vec<i32>>,
    pool_until: Option<Vec<i32>>,
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

impl Row {
    fn add_to(self, room: &mut Room) -> ApiResult<()> {
        let (id, seats) = seats_of(self.id, (self.capacity, self.held), &self.state, self.starts_at)?;
        room.departures.insert(id, seats);
        let units = self.pool_units.into_iter().flatten().zip(self.pool_seats.into_iter().flatten());
        let slots = self.pool_first.into_iter().flatten().zip(self.pool_until.into_iter().flatten());
        for ((pool, (units, seats)), (first, until)) in self.pool_ids.into_iter().flatten().zip(units).zip(slots) {
            let pool = PoolId::from_uuid(pool);
            let share = Share { pool, units: of_db_int(units)?, seats: of_db_int(seats)?, first, until };
            room.shares.entry(id).or_default().push(share);
        }
        Ok(())
    }
}

/// What there is of departures.
macro_rules! rows {
    ($lock:literal) => {
        concat!(
            "SELECT id, capacity, held, state, starts_at, pool_ids, pool_units, pool_seats, pool_first, pool_until
             FROM departures WHERE id = ANY($1)",
            $lock
        )
    };
}

fn room_of(rows: Vec<Row>) -> ApiResult<Room> {
    let mut room = Room::default();
    for row in rows {
        row.add_to(&mut room)?;
    }
    Ok(room)
}

/// Locks departures, in id order, with what they share, and reads what room there is; unknown ones are left out.
pub(crate) async fn lock(tx: &mut PgConnection, ids: &[DepartureId]) -> ApiResult<Room> {
    let rows: Vec<Row> = sqlx::query_as(rows!(" ORDER BY id FOR NO KEY UPDATE"))
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .fetch_all(&mut *tx)
        .await?;
    let mut room = room_of(rows)?;
    pools::lock_slots(tx, &mut room).await?;
    Ok(room)
}

/// What room departures have now; unknown ones are left out.
pub(crate) async fn room(connection: &mut PgConnection, ids: &[DepartureId]) -> ApiResult<Room> {
    let rows: Vec<Row> = sqlx::query_as(rows!(""))
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
    let mut room = room_of(rows)?;
    pools::read_slots(connection, &mut room).await?;
    Ok(room)
}

/// Takes seats of a departure that is locked and was found to have them; the guard is only the last defence.
pub(crate) async fn take(tx: &mut PgConnection, departure: DepartureId, seats: u32) -> ApiResult<()> {
    let done = sqlx::query(
        "UPDATE departures SET held = held + $2 WHERE id = $1 AND held + $2 <= capacity AND pool_ids IS NULL",
    )
    .bind(departure.uuid())
    .bind(db_int(seats)?)
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    pools::shift(tx, [(departure, i64::from(seats))]).await
}

/// Swaps seats of one departure for those of another. Both are locked, and found to allow it.
pub(crate) async fn swap(
    tx: &mut PgConnection,
    from: (DepartureId, u32),
    to: (DepartureId, u32),
    shared: bool,
) -> ApiResult<()> {
    if shared {
        // In one statement, because the one may have what the other needs.
        return pools::shift(tx, [(from.0, -i64::from(from.1)), (to.0, i64::from(to.1))]).await;
    }
    take(tx, to.0, to.1).await?;
    release(tx, [from]).await
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
