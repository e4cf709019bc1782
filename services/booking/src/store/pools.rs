//! Resource pools: what the catalog says of them, and the slots that departures share. Units are held and freed by the
/// statements that hold and free the seats: here, and in [`holds`](super::holds).
use std::collections::BTreeMap;

use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{ApiError, ApiResult};
use uuid::Uuid;

use super::{db_int, guard, of_db_int};
use crate::domain::{
    DepartureId, OptionId, PoolId,
    pool::{OptionPools, Pool, Room, Slot},
};

/// Adds pools that are not known; the capacity of those that are follows by [`resize`].
pub(crate) async fn know(tx: &mut PgConnection, pools: &[Pool]) -> ApiResult<()> {
    let pools = newest(pools);
    if pools.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO pools (id, capacity, slot_minutes, version)
         SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::bigint[]) ON CONFLICT DO NOTHING",
    )
    .bind(pools.keys().map(|id| id.uuid()).collect::<Vec<_>>())
    .bind(pools.values().map(|pool| db_int(pool.capacity)).collect::<ApiResult<Vec<_>>>()?)
    .bind(pools.values().map(|pool| db_int(pool.slot_minutes)).collect::<ApiResult<Vec<_>>>()?)
    .bind(pools.values().map(|pool| pool.version).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// Brings the capacities of known pools up to what the catalog says; an older version changes nothing. What is held stays
/// held: a slot shrinks as its units come back.
pub(crate) async fn resize(tx: &mut PgConnection, pools: &[Pool]) -> ApiResult<()> {
    for pool in newest(pools).into_values() {
        let changed = sqlx::query("UPDATE pools SET capacity = $2, version = $3 WHERE id = $1 AND version < $3")
            .bind(pool.id.uuid())
            .bind(db_int(pool.capacity)?)
            .bind(pool.version)
            .execute(&mut *tx)
            .await?;
        if changed.rows_affected() == 0 {
            continue;
        }
        sqlx::query(
            "WITH locked AS MATERIALIZED (
                 SELECT pool_id, slot, held FROM pool_slots WHERE pool_id = $1 ORDER BY slot FOR NO KEY UPDATE)
             UPDATE pool_slots s SET capacity_wanted = $2, capacity = greatest($2, l.held)
             FROM locked l WHERE s.pool_id = l.pool_id AND s.slot = l.slot",
        )
        .bind(pool.id.uuid())
        .bind(db_int(pool.capacity)?)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// The newest of each, in the order in which they are locked.
fn newest(pools: &[Pool]) -> BTreeMap<PoolId, &Pool> {
    let mut newest: BTreeMap<PoolId, &Pool> = BTreeMap::new();
    for pool in pools {
        let known = newest.entry(pool.id).or_insert(pool);
        if known.version < pool.version {
            *known = pool;
        }
    }
    newest
}

/// Brings what departures of options use up to what the catalog says; an older version changes nothing. The seats that are
/// held already take their units then, also where there are not enough: that was sold before.
pub(crate) async fn assign(tx: &mut PgConnection, options: &[OptionPools]) -> ApiResult<()> {
    let mut newest: BTreeMap<OptionId, &OptionPools> = BTreeMap::new();
    for option in options {
        let known = newest.entry(option.option).or_insert(option);
        if known.version < option.version {
            *known = option;
        }
    }
    for option in newest.into_values() {
        let uses = &option.uses;
        let changed = sqlx::query(
            "INSERT INTO option_pools (option_id, version, duration_minutes, pool_ids, units, seats)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (option_id) DO UPDATE SET version = excluded.version,
                 duration_minutes = excluded.duration_minutes, pool_ids = excluded.pool_ids, units = excluded.units,
                 seats = excluded.seats
             WHERE option_pools.version < excluded.version",
        )
        .bind(option.option.uuid())
        .bind(option.version)
        .bind(option.duration_minutes)
        .bind(uses.iter().map(|one| one.pool.uuid()).collect::<Vec<_>>())
        .bind(uses.iter().map(|one| db_int(one.units)).collect::<ApiResult<Vec<_>>>()?)
        .bind(uses.iter().map(|one| db_int(one.seats)).collect::<ApiResult<Vec<_>>>()?)
        .execute(&mut *tx)
        .await?;
        if changed.rows_affected() == 0 {
            continue;
        }
        // Those that are over stay as they were.
        let departures: Vec<Uuid> = if uses.is_empty() {
            sqlx::query_scalar(
                "SELECT id FROM departures WHERE option_id = $1 AND pool_ids IS NOT NULL AND starts_at > now()
                 ORDER BY id FOR NO KEY UPDATE",
            )
            .bind(option.option.uuid())
            .fetch_all(&mut *tx)
            .await?
        } else {
            sqlx::query_scalar(
                "SELECT id FROM departures WHERE tour_id = $1 AND option_id = $2 AND starts_at > now()
                 ORDER BY id FOR NO KEY UPDATE",
            )
            .bind(option.tour.uuid())
            .bind(option.option.uuid())
            .fetch_all(&mut *tx)
            .await?
        };
        bind(tx, &departures).await?;
    }
    Ok(())
}

/// Shares the lock of the options that departures are added to, so that nobody changes what they use meanwhile; true: some
/// use pools.
pub(super) async fn share_options(tx: &mut PgConnection, options: impl Iterator<Item = OptionId>) -> ApiResult<bool> {
    let mut ids: Vec<Uuid> = options.map(|id| id.uuid()).collect();
    ids.sort_unstable();
    ids.dedup();
    // Of two that add the row of an option the second may see neither its own nor the other's at first.
    for _ in 0..3 {
        let (found, sharing): (i64, bool) = sqlx::query_as(
            "WITH new AS (
                 INSERT INTO option_pools (option_id) SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING RETURNING 1
             ), old AS (
                 SELECT pool_ids FROM option_pools WHERE option_id = ANY($1) ORDER BY option_id FOR SHARE
             )
             SELECT (SELECT count(*) FROM new) + (SELECT count(*) FROM old),
                    EXISTS (SELECT FROM old WHERE cardinality(pool_ids) > 0)",
        )
        .bind(&ids)
        .fetch_one(&mut *tx)
        .await?;
        if usize::try_from(found).is_ok_and(|found| found == ids.len()) {
            return Ok(sharing);
        }
    }
    Err(ApiError::unavailable("the inventory of an option", "its row is being written"))
}

/// Brings what departures share up to what their options use: the slots are there, and their seats have their units. The
/// departures and their options are locked.
pub(super) async fn bind(tx: &mut PgConnection, departures: &[Uuid]) -> ApiResult<()> {
    if departures.is_empty() {
        return Ok(());
    }
    let wanted: i64 = sqlx::query_scalar(
        "SELECT count(DISTINCT p.id) FROM departures d JOIN option_pools o ON o.option_id = d.option_id,
                unnest(o.pool_ids) p(id) WHERE d.id = ANY($1)",
    )
    .bind(departures)
    .fetch_one(&mut *tx)
    .await?;
    let there = sqlx::query(
        "SELECT 1 FROM pools WHERE id IN (
             SELECT unnest(o.pool_ids) FROM departures d JOIN option_pools o ON o.option_id = d.option_id
             WHERE d.id = ANY($1))
         ORDER BY id FOR SHARE",
    )
    .bind(departures)
    .execute(&mut *tx)
    .await?;
    if i64::try_from(there.rows_affected()).ok() != Some(wanted) {
        // The catalog has told it before; whoever takes that is not done yet.
        return Err(ApiError::unavailable("the inventory of a pool", "the pool is not known yet"));
    }
    sqlx::query(
        "INSERT INTO pool_slots (pool_id, slot, capacity_wanted, capacity)
         SELECT DISTINCT p.id, s.slot, p.capacity, p.capacity
         FROM departures d JOIN option_pools o ON o.option_id = d.option_id, unnest(o.pool_ids) u(pool_id)
         JOIN pools p ON p.id = u.pool_id, LATERAL (SELECT extract(epoch FROM d.starts_at)::bigint / 60 AS starts) t,
         generate_series((t.starts / p.slot_minutes)::int,
                         ((t.starts + greatest(o.duration_minutes, 1) - 1) / p.slot_minutes)::int) s(slot)
         WHERE d.id = ANY($1) ORDER BY 1, 2 ON CONFLICT DO NOTHING",
    )
    .bind(departures)
    .execute(&mut *tx)
    .await?;
    // What they shared goes back and what they share is taken, in one statement: most of it is the same.
    sqlx::query(
        "WITH new AS MATERIALIZED (
             SELECT d.id, d.held, d.pool_ids AS old_ids, d.pool_units AS old_units, d.pool_seats AS old_seats,
                    d.pool_first AS old_first, d.pool_until AS old_until, n.*
             FROM departures d, LATERAL (
                 SELECT array_agg(p.id ORDER BY p.id) AS ids, array_agg(u.units ORDER BY p.id) AS units,
                        array_agg(u.seats ORDER BY p.id) AS seats,
                        array_agg((t.starts / p.slot_minutes)::int ORDER BY p.id) AS first,
                        array_agg(((t.starts + greatest(o.duration_minutes, 1) - 1) / p.slot_minutes)::int + 1
                                  ORDER BY p.id) AS until
                 FROM option_pools o, unnest(o.pool_ids, o.units, o.seats) u(pool_id, units, seats)
                 JOIN pools p ON p.id = u.pool_id,
                 LATERAL (SELECT extract(epoch FROM d.starts_at)::bigint / 60 AS starts) t
                 WHERE o.option_id = d.option_id) n
             WHERE d.id = ANY($1)
         ), shares AS (
             SELECT -1 AS sign, held, p.* FROM new, unnest(old_ids, old_units, old_seats, old_first, old_until)
                                                    p(pool_id, units, seats, first, until) WHERE held > 0
             UNION ALL
             SELECT 1, held, p.* FROM new, unnest(ids, units, seats, first, until)
                                           p(pool_id, units, seats, first, until) WHERE held > 0
         ), needs AS MATERIALIZED (
             SELECT p.pool_id, s.slot, sum(p.sign * p.units * ((p.held + p.seats - 1) / p.seats))::int AS more
             FROM shares p, generate_series(p.first, p.until - 1) s(slot) GROUP BY 1, 2
         ), slots AS MATERIALIZED (
             SELECT s.pool_id, s.slot, s.capacity_wanted, s.held, n.more
             FROM needs n JOIN pool_slots s ON s.pool_id = n.pool_id AND s.slot = n.slot
             ORDER BY s.pool_id, s.slot FOR NO KEY UPDATE OF s
         ), moved AS (
             UPDATE pool_slots s SET held = l.held + l.more, capacity = greatest(l.capacity_wanted, l.held + l.more)
             FROM slots l WHERE s.pool_id = l.pool_id AND s.slot = l.slot AND l.more <> 0
         )
         UPDATE departures d SET pool_ids = n.ids, pool_units = n.units, pool_seats = n.seats, pool_first = n.first,
                                 pool_until = n.until
         FROM new n WHERE d.id = n.id
              AND (d.pool_ids, d.pool_units, d.pool_seats, d.pool_first, d.pool_until)
                  IS DISTINCT FROM (n.ids, n.units, n.seats, n.first, n.until)",
    )
    .bind(departures)
    .execute(tx)
    .await?;
    Ok(())
}

/// Departures with the seats that they are to get or, below zero, to give back; and what that makes of each slot that
/// they share, locked in order. The first two parameters are the departures and these seats.
macro_rules! shared {
    ($columns:literal) => {
        concat!(
            "WITH locked AS MATERIALIZED (
                 SELECT d.id, d.capacity, d.held, d.state, d.starts_at, x.seats, d.pool_ids, d.pool_units, d.pool_seats,
                        d.pool_first, d.pool_until",
            $columns,
            "    FROM unnest($1::uuid[], $2::int[]) x(id, seats) JOIN departures d ON d.id = x.id
                 ORDER BY d.id FOR NO KEY UPDATE OF d
             ), needs AS MATERIALIZED (
                 SELECT p.pool_id, s.slot,
                        sum(p.units * ((l.held + l.seats + p.seats - 1) / p.seats - (l.held + p.seats - 1) / p.seats))::int
                        AS more
                 FROM locked l, unnest(l.pool_ids, l.pool_units, l.pool_seats, l.pool_first, l.pool_until)
                                p(pool_id, units, seats, first, until), generate_series(p.first, p.until - 1) s(slot)
                 GROUP BY 1, 2
             ), slots AS MATERIALIZED (
                 SELECT s.pool_id, s.slot, s.capacity, s.capacity_wanted, s.held, n.more
                 FROM needs n JOIN pool_slots s ON s.pool_id = n.pool_id AND s.slot = n.slot
                 ORDER BY s.pool_id, s.slot FOR NO KEY UPDATE OF s
             )"
        )
    };
}
pub(super) use shared;

/// Changes what is held of departures and of the slots that they share, in one statement. The departures are locked.
pub(super) async fn shift(
    tx: &mut PgConnection,
    changes: impl IntoIterator<Item = (DepartureId, i64)>,
) -> ApiResult<()> {
    let (mut ids, mut seats) = (Vec::new(), Vec::new());
    for (departure, n) in changes {
        ids.push(departure.uuid());
        seats.push(i32::try_from(n).map_err(ApiError::internal)?);
    }
    let (departures, slots): (i64, bool) = sqlx::query_as(concat!(
        shared!(", d.capacity_wanted "),
        ", seated AS (
             UPDATE departures d SET held = l.held + l.seats, capacity = greatest(l.capacity_wanted, l.held + l.seats)
             FROM locked l WHERE d.id = l.id AND (l.seats <= 0 OR l.held + l.seats <= l.capacity) RETURNING 1
         ), used AS (
             UPDATE pool_slots s SET held = l.held + l.more, capacity = greatest(l.capacity_wanted, l.held + l.more)
             FROM slots l
             WHERE s.pool_id = l.pool_id AND s.slot = l.slot AND (l.more <= 0 OR l.held + l.more <= l.capacity) RETURNING 1
         )
         SELECT (SELECT count(*) FROM seated), (SELECT count(*) FROM used) = (SELECT count(*) FROM needs)"
    ))
    .bind(&ids)
    .bind(seats)
    .fetch_one(tx)
    .await?;
    guard(departures.unsigned_abs(), ids.len(), "departures")?;
    if slots { Ok(()) } else { Err(ApiError::internal("the slots of a pool are not those that were decided on")) }
}

#[derive(FromRow)]
struct SlotRow {
    pool_id: Uuid,
    slot: i32,
    capacity: i32,
    held: i32,
}

macro_rules! slots {
    ($lock:literal) => {
        concat!(
            "SELECT s.pool_id, s.slot, s.capacity, s.held
             FROM unnest($1::uuid[], $2::int[]) x(pool_id, slot)
             JOIN pool_slots s ON s.pool_id = x.pool_id AND s.slot = x.slot",
            $lock
        )
    };
}

fn keys(room: &Room) -> (Vec<Uuid>, Vec<i32>) {
    let keys: std::collections::BTreeSet<(PoolId, i32)> = room.slots_needed().collect();
    keys.into_iter().map(|(pool, slot)| (pool.uuid(), slot)).unzip()
}

fn add(rows: Vec<SlotRow>, room: &mut Room) -> ApiResult<()> {
    for row in rows {
        let slot = Slot { capacity: of_db_int(row.capacity)?, held: of_db_int(row.held)?.into() };
        room.slots.insert((PoolId::from_uuid(row.pool_id), row.slot), slot);
    }
    Ok(())
}

/// Reads the slots that locked departures share, and locks them, in order.
pub(super) async fn lock_slots(tx: &mut PgConnection, room: &mut Room) -> ApiResult<()> {
    if !room.is_shared() {
        return Ok(());
    }
    let (pools, numbers) = keys(room);
    let rows = sqlx::query_as(slots!(" ORDER BY s.pool_id, s.slot FOR NO KEY UPDATE OF s"));
    add(rows.bind(pools).bind(numbers).fetch_all(tx).await?, room)
}

/// Reads the slots that departures share.
pub(super) async fn read_slots(connection: &mut PgConnection, room: &mut Room) -> ApiResult<()> {
    if !room.is_shared() {
        return Ok(());
    }
    let (pools, numbers) = keys(room);
    add(sqlx::query_as(slots!("")).bind(pools).bind(numbers).fetch_all(connection).await?, room)
}
