//! Resource pools: added, changed, listed. Booking counts what is held of them.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tourmesh::catalog::v1 as wire;
use tourmesh_kit::{ApiError, ApiResult, events::outbox, mask, page};
use uuid::Uuid;

use crate::{
    access::Reach,
    catalog::{Asked, Catalog, transaction},
    convert,
    domain::{PoolId, SupplierId, option::TourOption, pool, pool::ResourcePool},
    error::CatalogError,
    events,
    store::{pools, requests::Claim, suppliers},
    tours::optional_supplier,
};

/// The most of one supplier.
const MOST: i64 = 1000;

impl Catalog {
    pub(crate) async fn create_pool(&self, asked: Asked, new: wire::ResourcePool) -> ApiResult<ResourcePool> {
        let supplier = asked.reach.supplier(optional_supplier("pool.supplier_id", &new.supplier_id)?)?;
        let new = convert::read_pool(&new, PoolId::new(), supplier, asked.now)?;
        new.check()?;
        transaction!(self.db, [asked, new], |tx| {
            if suppliers::lock(tx, supplier).await?.is_none() {
                return Err(CatalogError::SupplierNotFound.into());
            }
            if let Claim::Done(id, _) = asked.request.claim(tx, new.id.uuid()).await? {
                return own(tx, asked.reach, PoolId::from_uuid(id)).await;
            }
            if pools::count(tx, supplier).await? >= MOST {
                return Err(ApiError::field("pool", format!("is one too many: a supplier has at most {MOST}")));
            }
            pools::insert(tx, &new).await?;
            outbox::append(tx, &[events::pool_created(&new)]).await?;
            Ok(new)
        })
    }

    pub(crate) async fn update_pool(
        &self,
        asked: Asked,
        id: PoolId,
        new: wire::ResourcePool,
        fields: Option<prost_types::FieldMask>,
    ) -> ApiResult<ResourcePool> {
        let fields = mask::fields(fields.as_ref(), &["name", "kind", "capacity"])?;
        transaction!(self.db, [asked, new, fields], |tx| {
            let before = own(tx, asked.reach, id).await?;
            if let Claim::Done(..) = asked.request.claim(tx, id.uuid()).await? {
                return Ok(before);
            }
            if new.version != 0 && new.version != before.version {
                return Err(CatalogError::ChangedMeanwhile.into());
            }
            let mut next = before.clone();
            for field in fields {
                match field {
                    "name" => new.name.trim().clone_into(&mut next.name),
                    "kind" => next.kind = convert::read_kind(new.kind)?,
                    _ => next.capacity = new.capacity,
                }
            }
            next.check()?;
            if next == before {
                return Ok(before);
            }
            next.version += 1;
            pools::update(tx, &next).await?;
            outbox::append(tx, &[events::pool_changed(&next)]).await?;
            Ok(next)
        })
    }

    pub(crate) async fn list_pools(
        &self,
        reach: Reach,
        request: &wire::ListResourcePoolsRequest,
    ) -> ApiResult<wire::ListResourcePoolsResponse> {
        let supplier = match (reach, optional_supplier("supplier_id", &request.supplier_id)?) {
            (Reach::Everything, None) => None,
            (reach, named) => Some(reach.supplier(named)?),
        };
        let filters = format!("ListResourcePools:{supplier:?}").into_bytes();
        let after: Option<(DateTime<Utc>, Uuid)> = page::read(&request.page_token, &filters)?;
        let size = page::size(request.page_size, 50, 200);
        let mut found = pools::page(&self.db, supplier, after, u64::from(size) + 1).await?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more);
        Ok(wire::ListResourcePoolsResponse {
            next_page_token: last.map(|p| page::token(&(p.created_at, p.id.uuid()), &filters)).unwrap_or_default(),
            pools: found.iter().map(convert::pool).collect(),
        })
    }
}

/// The pool, locked, if this caller may change it.
async fn own(tx: &mut PgConnection, reach: Reach, id: PoolId) -> ApiResult<ResourcePool> {
    let found = pools::lock(tx, id).await?;
    found.filter(|pool| reach.owns(pool.supplier)).ok_or_else(|| CatalogError::PoolNotFound.into())
}

/// An option may use these pools.
pub(crate) async fn check_uses(tx: &mut PgConnection, option: &TourOption, supplier: SupplierId) -> ApiResult<()> {
    if option.pools.is_empty() {
        return Ok(());
    }
    let ids: Vec<PoolId> = option.pools.iter().map(|one| one.pool).collect();
    Ok(pool::check_uses(option, supplier, &pools::find(tx, &ids).await?)?)
}
