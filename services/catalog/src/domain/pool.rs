//! What several tours of a supplier share: guides, vehicles, equipment.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::{PoolId, SupplierId, numbered, option::TourOption};
use crate::error::CatalogError;

numbered!(
    /// What a pool is made of.
    ResourceKind { Guide = 1, Vehicle = 2, Equipment = 3, Room = 4, Other = 5 }
);

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResourcePool {
    pub id: PoolId,
    pub supplier: SupplierId,
    pub name: String,
    pub kind: ResourceKind,
    /// How many units there are at any time.
    pub capacity: i32,
    /// Departures have units for whole slots of so many minutes, counted from midnight UTC.
    pub slot_minutes: i32,
    pub version: i64,
    pub created_at: DateTime<Utc>,
}

/// What departures of an option use: `units` for every `seats` seats that are held, begun ones in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolUse {
    pub pool: PoolId,
    pub units: i32,
    pub seats: i32,
}

/// The most slots that a departure may take of one pool: each of them is written when seats are held.
const MOST_SLOTS: i32 = 1_000;

impl ResourcePool {
    /// The rules that no single field can tell.
    pub(crate) fn check(&self) -> Result<(), CatalogError> {
        let mut wrong = Vec::new();
        let mut refuse = |field: &str, problem: &str| wrong.push((format!("pool.{field}"), problem.to_owned()));
        if self.name.is_empty() {
            refuse("name", "must be set");
        }
        if self.slot_minutes < 5 || 1440 % self.slot_minutes != 0 {
            refuse("slot_minutes", "must be at least 5, and a whole number of slots must make a day");
        }
        if wrong.is_empty() { Ok(()) } else { Err(CatalogError::Invalid(wrong)) }
    }
}

/// An option uses each pool once, pools of its own supplier, and not in too many slots; `pools` are those that there are.
pub(crate) fn check_uses(
    option: &TourOption,
    supplier: SupplierId,
    pools: &[ResourcePool],
) -> Result<(), CatalogError> {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (i, one) in option.pools.iter().enumerate() {
        let mut refuse = |problem: &str| wrong.push((format!("option.pools[{i}].pool_id"), problem.to_owned()));
        if !seen.insert(one.pool) {
            refuse("appears twice");
        }
        match pools.iter().find(|pool| pool.id == one.pool && pool.supplier == supplier) {
            None => refuse("is no pool of the tour's supplier"),
            Some(pool) if option.duration_minutes / pool.slot_minutes >= MOST_SLOTS => {
                refuse("has slots that are too small for such a long tour");
            }
            Some(_) => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(CatalogError::Invalid(wrong)) }
}
