//! Suppliers.

use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db};
use uuid::Uuid;

use super::{entity::suppliers as rows, model};
use crate::domain::{SupplierId, supplier::Supplier};

/// All columns of the table, by name: a statement that says `*` fails in a running replica once a column is added.
macro_rules! columns {
    () => {
        "id, name, contact_email, country, version, created_at"
    };
}

fn read(row: rows::Model) -> Supplier {
    Supplier {
        id: SupplierId::from_uuid(row.id),
        name: row.name,
        contact_email: row.contact_email,
        country: row.country,
        version: row.version,
        created_at: row.created_at,
    }
}

pub(crate) async fn find(db: &Db, id: SupplierId) -> ApiResult<Option<Supplier>> {
    Ok(rows::Entity::find_by_id(id.uuid()).one(&db.orm()).await?.map(read))
}

/// Up to `limit` suppliers after the given name and id, by name.
pub(crate) async fn page(db: &Db, after: Option<(String, Uuid)>, limit: u64) -> ApiResult<Vec<Supplier>> {
    let mut query = rows::Entity::find().order_by_asc(rows::Column::Name).order_by_asc(rows::Column::Id).limit(limit);
    if let Some((name, id)) = after {
        let same_name = Condition::all().add(rows::Column::Name.eq(name.clone())).add(rows::Column::Id.gt(id));
        query = query.filter(Condition::any().add(rows::Column::Name.gt(name)).add(same_name));
    }
    Ok(query.all(&db.orm()).await?.into_iter().map(read).collect())
}

/// The supplier, locked until the transaction ends.
pub(crate) async fn lock(tx: &mut PgConnection, id: SupplierId) -> ApiResult<Option<Supplier>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM suppliers WHERE id = $1 FOR UPDATE"))
        .bind(id.uuid())
        .fetch_optional(tx)
        .await?;
    Ok(row.map(model).transpose()?.map(read))
}

/// There is such a supplier.
pub(crate) async fn exists(tx: &mut PgConnection, id: SupplierId) -> ApiResult<bool> {
    let found = sqlx::query("SELECT 1 FROM suppliers WHERE id = $1").bind(id.uuid()).fetch_optional(tx).await?;
    Ok(found.is_some())
}

/// Adds it; `false`: there is one with this id.
pub(crate) async fn insert(tx: &mut PgConnection, supplier: &Supplier) -> ApiResult<bool> {
    let done = sqlx::query(
        "INSERT INTO suppliers (id, name, contact_email, country, version, created_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(supplier.id.uuid())
    .bind(&supplier.name)
    .bind(&supplier.contact_email)
    .bind(&supplier.country)
    .bind(supplier.version)
    .bind(supplier.created_at)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn update(tx: &mut PgConnection, supplier: &Supplier) -> ApiResult<()> {
    sqlx::query("UPDATE suppliers SET name = $2, contact_email = $3, country = $4, version = $5 WHERE id = $1")
        .bind(supplier.id.uuid())
        .bind(&supplier.name)
        .bind(&supplier.contact_email)
        .bind(&supplier.country)
        .bind(supplier.version)
        .execute(tx)
        .await?;
    Ok(())
}
