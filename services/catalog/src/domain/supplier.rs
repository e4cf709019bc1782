//! Who runs tours and is paid for them.

use chrono::{DateTime, Utc};

use super::SupplierId;

/// A supplier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Supplier {
    pub id: SupplierId,
    pub name: String,
    pub contact_email: String,
    /// ISO 3166-1 alpha-2, or empty.
    pub country: String,
    pub version: i64,
    pub created_at: DateTime<Utc>,
}
