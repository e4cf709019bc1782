//! Resource pools.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db};
use uuid::Uuid;

use super::{corrupt, entity::resource_pools as rows, model};
use crate::domain::{
    PoolId, SupplierId,
    pool::{ResourceKind, ResourcePool},
};

/// All columns of the table, by name: a statement that says `*` fails in a running replica once a column is added.
macro_rules! columns {
    () => {
        "id, supplier_id, name, kind, capacity, slot_minutes, version, created_at"
    };
}

fn read(row: rows::Model) -> ApiResult<ResourcePool> {
    let id = PoolId::from_uuid(row.id);
    Ok(ResourcePool {
        id,
        supplier: SupplierId::from_uuid(row.supplier_id),
        name: row.name,
        kind: ResourceKind::of_number(row.kind.into()).ok_or_else(|| corrupt("kind", id))?,
        capacity: row.capacity,
        slot_minutes: row.slot_minutes,
        version: row.version,
        created_at: row.created_at,
    })
}

/// A page of the pools of a supplier, or of all, oldest first.
pub(crate) async fn page(
    db: &Db,
    supplier: Option<SupplierId>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: u64,
) -> ApiResult<Vec<ResourcePool>> {
    let mut all = Condition::all();
    if let Some(supplier) = supplier {
        all = all.add(rows::Column::SupplierId.eq(supplier.uuid()));
    }
    if let Some((created_at, id)) = after {
        let same = Condition::all().add(rows::Column::CreatedAt.eq(created_at)).add(rows::Column::Id.gt(id));
        all = all.add(Condition::any().add(rows::Column::CreatedAt.gt(created_at)).add(same));
    }
    let query = rows::Entity::find()
        .filter(all)
        .order_by_asc(rows::Column::CreatedAt)
        .order_by_asc(rows::Column::Id)
        .limit(limit);
    query.all(&db.orm()).await?.into_iter().map(read).collect()
}

/// The pools of these ids as they are now.
pub(crate) async fn of_ids(db: &Db, ids: &BTreeSet<PoolId>) -> ApiResult<HashMap<PoolId, ResourcePool>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let query = rows::Entity::find().filter(rows::Column::Id.is_in(ids.iter().map(|id| id.uuid())));
    let found = query.all(&db.orm()).await?.into_iter().map(|row| Ok((PoolId::from_uuid(row.id), read(row)?)));
    found.collect()
}

/// The pools of these ids, as this transaction sees them.
pub(crate) async fn find(tx: &mut PgConnection, ids: &[PoolId]) -> ApiResult<Vec<ResourcePool>> {
    let rows = sqlx::query(concat!("SELECT ", columns!(), " FROM resource_pools WHERE id = ANY($1)"))
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .fetch_all(tx)
        .await?;
    rows.into_iter().map(|row| read(model(row)?)).collect()
}

/// The pool, locked until the transaction ends.
pub(crate) async fn lock(tx: &mut PgConnection, id: PoolId) -> ApiResult<Option<ResourcePool>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM resource_pools WHERE id = $1 FOR UPDATE"))
        .bind(id.uuid())
        .fetch_optional(tx)
        .await?;
    row.map(|row| read(model(row)?)).transpose()
}

/// How many a supplier has.
pub(crate) async fn count(tx: &mut PgConnection, supplier: SupplierId) -> ApiResult<i64> {
    let count = sqlx::query_scalar("SELECT count(*) FROM resource_pools WHERE supplier_id = $1")
        .bind(supplier.uuid())
        .fetch_one(tx)
        .await?;
    Ok(count)
}

pub(crate) async fn insert(tx: &mut PgConnection, pool: &ResourcePool) -> ApiResult<()> {
    sqlx::query(
        "INSERT INTO resource_pools (id, supplier_id, name, kind, capacity, slot_minutes, version, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(pool.id.uuid())
    .bind(pool.supplier.uuid())
    .bind(&pool.name)
    .bind(pool.kind.number())
    .bind(pool.capacity)
    .bind(pool.slot_minutes)
    .bind(pool.version)
    .bind(pool.created_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes what may change of a pool.
pub(crate) async fn update(tx: &mut PgConnection, pool: &ResourcePool) -> ApiResult<()> {
    sqlx::query("UPDATE resource_pools SET name = $2, kind = $3, capacity = $4, version = $5 WHERE id = $1")
        .bind(pool.id.uuid())
        .bind(&pool.name)
        .bind(pool.kind.number())
        .bind(pool.capacity)
        .bind(pool.version)
        .execute(tx)
        .await?;
    Ok(())
}
