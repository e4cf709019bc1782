//! What the catalog says of resource pools.

use tourmesh::catalog::v1 as catalog;
use tourmesh_kit::{ApiError, ApiResult};

use super::foreign;
use crate::domain::{
    offer::Departure,
    pool::{OptionPools, Pool, PoolUse},
};

/// A pool of the catalog.
pub(crate) fn pool(wire: &catalog::ResourcePool) -> ApiResult<Pool> {
    Ok(Pool {
        id: foreign(&wire.id)?,
        capacity: number(wire.capacity)?,
        slot_minutes: number(wire.slot_minutes)?.max(1),
        version: wire.version,
    })
}

/// What departures of an option use.
pub(crate) fn of_option(wire: &catalog::Option) -> ApiResult<OptionPools> {
    Ok(OptionPools {
        option: foreign(&wire.id)?,
        tour: foreign(&wire.tour_id)?,
        version: wire.version,
        duration_minutes: wire.duration_minutes,
        uses: wire.pools.iter().map(pool_use).collect::<ApiResult<_>>()?,
    })
}

/// The same, as an offer of one of them tells it.
pub(super) fn of_offer(wire: &catalog::Offer, departure: &Departure) -> ApiResult<OptionPools> {
    Ok(OptionPools {
        option: departure.option,
        tour: departure.tour,
        version: wire.option_version,
        duration_minutes: wire.departure.as_ref().map(|d| d.duration_minutes).unwrap_or_default(),
        uses: wire.pool_uses.iter().map(pool_use).collect::<ApiResult<_>>()?,
    })
}

fn pool_use(wire: &catalog::PoolUse) -> ApiResult<PoolUse> {
    Ok(PoolUse { pool: foreign(&wire.pool_id)?, units: number(wire.units)?.max(1), seats: number(wire.seats)?.max(1) })
}

fn number(number: i32) -> ApiResult<u32> {
    u32::try_from(number).map_err(ApiError::internal)
}
