//! Whom this very object is shown to; which roles may call a method at all is decided before, from the proto.

use tourmesh_kit::auth::{Principal, Role};

use crate::{
    domain::{
        SupplierId,
        tour::{Tour, TourState},
    },
    error::CatalogError,
};

/// How much of the catalog a caller reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Staff, and the services of the mesh.
    Everything,
    /// Somebody who works for this supplier.
    Own(SupplierId),
    /// Everybody else.
    OnSale,
}

impl Reach {
    /// What this caller reaches.
    pub(crate) fn of(principal: &Principal) -> Self {
        if principal.is_service() || principal.has(Role::Staff) {
            return Self::Everything;
        }
        principal.supplier_id().and_then(|id| id.parse().ok()).map_or(Self::OnSale, Self::Own)
    }

    /// It may change what belongs to this supplier.
    pub(crate) fn owns(self, supplier: SupplierId) -> bool {
        self == Self::Everything || self == Self::Own(supplier)
    }

    /// It may see the tour.
    pub(crate) fn sees(self, tour: &Tour) -> bool {
        tour.state == TourState::Published || self.owns(tour.supplier)
    }

    /// The supplier that a request is about: the one that it names, or the caller's own when it names none.
    pub(crate) fn supplier(self, named: Option<SupplierId>) -> Result<SupplierId, CatalogError> {
        match (self, named) {
            (Self::Everything, None) => Err(CatalogError::field("supplier_id", "must be set")),
            (Self::Own(own), None) => Ok(own),
            (_, Some(named)) if self.owns(named) => Ok(named),
            _ => Err(CatalogError::SupplierNotFound),
        }
    }
}
