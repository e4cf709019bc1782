//! Suppliers: who may be added, changed and listed.

use tourmesh::catalog::v1 as wire;
use tourmesh_kit::{ApiError, ApiResult, mask, page};
use uuid::Uuid;

use crate::{
    access::Reach,
    catalog::{Asked, Catalog, transaction},
    convert,
    domain::{SupplierId, supplier::Supplier},
    error::CatalogError,
    store::{requests::Claim, suppliers},
};

impl Catalog {
    pub(crate) async fn create_supplier(&self, asked: Asked, new: wire::Supplier) -> ApiResult<Supplier> {
        check(&new, &["name", "contact_email"])?;
        let supplier = Supplier {
            id: SupplierId::new(),
            name: new.name,
            contact_email: new.contact_email,
            country: new.country,
            version: 1,
            created_at: asked.now,
        };
        transaction!(self.db, [asked, supplier], |tx| {
            match asked.request.claim(tx, supplier.id.uuid()).await? {
                Claim::New => {
                    suppliers::insert(tx, &supplier).await?;
                    Ok(supplier)
                }
                Claim::Done(id, _) => locked(tx, SupplierId::from_uuid(id)).await,
            }
        })
    }

    pub(crate) async fn update_supplier(
        &self,
        asked: Asked,
        id: SupplierId,
        new: wire::Supplier,
        fields: Option<prost_types::FieldMask>,
    ) -> ApiResult<Supplier> {
        let fields = mask::fields(fields.as_ref(), &["name", "contact_email", "country"])?;
        check(&new, &fields)?;
        transaction!(self.db, [asked, new, fields], |tx| {
            let supplier = locked(tx, id).await?;
            if !asked.reach.owns(id) {
                return Err(CatalogError::SupplierNotFound.into());
            }
            if let Claim::Done(..) = asked.request.claim(tx, id.uuid()).await? {
                return Ok(supplier);
            }
            convert::check_etag(&new.etag, supplier.version)?;
            let mut next = supplier.clone();
            for field in fields {
                match field {
                    "name" => next.name.clone_from(&new.name),
                    "contact_email" => next.contact_email.clone_from(&new.contact_email),
                    _ => next.country.clone_from(&new.country),
                }
            }
            if next != supplier {
                next.version += 1;
                suppliers::update(tx, &next).await?;
            }
            Ok(next)
        })
    }

    pub(crate) async fn list_suppliers(
        &self,
        reach: Reach,
        request: &wire::ListSuppliersRequest,
    ) -> ApiResult<wire::ListSuppliersResponse> {
        if let Reach::Own(own) = reach {
            let supplier = suppliers::find(&self.db, own).await?;
            let suppliers = supplier.iter().map(convert::supplier).collect();
            return Ok(wire::ListSuppliersResponse { suppliers, next_page_token: String::new() });
        }
        if reach == Reach::OnSale {
            return Ok(wire::ListSuppliersResponse::default());
        }
        let filters = b"ListSuppliers";
        let after: Option<(String, Uuid)> = page::read(&request.page_token, filters)?;
        let size = page::size(request.page_size, 50, 100);
        let mut found = suppliers::page(&self.db, after, u64::from(size) + 1).await?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more);
        Ok(wire::ListSuppliersResponse {
            next_page_token: last.map(|s| page::token(&(&s.name, s.id.uuid()), filters)).unwrap_or_default(),
            suppliers: found.iter().map(convert::supplier).collect(),
        })
    }
}

/// A supplier has a name and an address; here those of these fields that are given.
fn check(new: &wire::Supplier, fields: &[&str]) -> ApiResult<()> {
    let given = [("name", &new.name), ("contact_email", &new.contact_email)];
    let empty = given.into_iter().filter(|(name, text)| fields.contains(name) && text.trim().is_empty());
    let problems: Vec<_> = empty.map(|(name, _)| (format!("supplier.{name}"), "must be set".to_owned())).collect();
    if problems.is_empty() { Ok(()) } else { Err(ApiError::fields(problems)) }
}

async fn locked(tx: &mut sqlx::PgConnection, id: SupplierId) -> ApiResult<Supplier> {
    suppliers::lock(tx, id).await?.ok_or_else(|| ApiError::from(CatalogError::SupplierNotFound))
}
