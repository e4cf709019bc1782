//! Resource pools.

use chrono::{DateTime, Utc};
use tourmesh::catalog::v1 as wire;
use tourmesh_kit::time;

use super::{Read, invalid};
use crate::domain::{
    PoolId, SupplierId,
    pool::{PoolUse, ResourceKind, ResourcePool},
};

/// A new pool of a supplier.
pub(crate) fn read_pool(
    pool: &wire::ResourcePool,
    id: PoolId,
    supplier: SupplierId,
    now: DateTime<Utc>,
) -> Read<ResourcePool> {
    Ok(ResourcePool {
        id,
        supplier,
        name: pool.name.trim().to_owned(),
        kind: read_kind(pool.kind)?,
        capacity: pool.capacity,
        slot_minutes: if pool.slot_minutes == 0 { 15 } else { pool.slot_minutes },
        version: 1,
        created_at: now,
    })
}

pub(crate) fn read_kind(kind: i32) -> Read<ResourceKind> {
    ResourceKind::of_number(kind).ok_or_else(|| invalid("pool.kind", "must be a known kind"))
}

/// What an option uses.
pub(crate) fn read_pool_uses(uses: &[wire::PoolUse]) -> Read<Vec<PoolUse>> {
    let read = |(i, one): (usize, &wire::PoolUse)| {
        let pool = one.pool_id.parse();
        let pool = pool.map_err(|_| invalid(&format!("option.pools[{i}].pool_id"), "must be the id of a pool"))?;
        Ok(PoolUse { pool, units: one.units.max(1), seats: one.seats.max(1) })
    };
    uses.iter().enumerate().map(read).collect()
}

pub(crate) fn pool_use(one: &PoolUse) -> wire::PoolUse {
    wire::PoolUse { pool_id: one.pool.to_string(), units: one.units, seats: one.seats }
}

pub(crate) fn pool(pool: &ResourcePool) -> wire::ResourcePool {
    wire::ResourcePool {
        id: pool.id.to_string(),
        supplier_id: pool.supplier.to_string(),
        name: pool.name.clone(),
        kind: pool.kind.number().into(),
        capacity: pool.capacity,
        slot_minutes: pool.slot_minutes,
        version: pool.version,
        created_at: Some(time::to_wire(pool.created_at)),
    }
}
