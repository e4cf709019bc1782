//! The ids of this service, and those that are derived instead of drawn.

use chrono::NaiveDateTime;
use sha2::{Digest as _, Sha256};
use tourmesh_kit::define_id;
use uuid::Uuid;

define_id!(
    /// Who runs tours.
    SupplierId,
    "sup"
);
define_id!(
    /// A tour.
    TourId,
    "tour"
);
define_id!(
    /// A way to take a tour.
    OptionId,
    "opt"
);
define_id!(
    /// A rhythm of departures.
    ScheduleId,
    "sch"
);
define_id!(
    /// One start of an option.
    DepartureId,
    "dep"
);

define_id!(
    /// A range of dates without departures.
    BlackoutId,
    "blk"
);
define_id!(
    /// A tax of a country.
    TaxRuleId,
    "tax"
);
define_id!(
    /// What several tours share.
    PoolId,
    "pool"
);

impl DepartureId {
    /// The id of the departure of an option at a local time: an option starts at most once at a time, so the two say
    /// which departure it is, on every machine and however often it is made.
    pub(crate) fn at(option: OptionId, local_start: NaiveDateTime) -> Self {
        Self::from_uuid(derived("departure", &format!("{option}@{}", local_start.format("%Y-%m-%dT%H:%M"))))
    }
}

/// A UUIDv8 (RFC 9562: custom content) from what an entity is: the first 122 bits of a SHA-256.
pub(crate) fn derived(kind: &str, key: &str) -> Uuid {
    let hash = Sha256::new().chain_update(kind).chain_update([0]).chain_update(key).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_id_is_a_valid_uuid_and_always_the_same() {
        let id = derived("tour", "208");
        assert_eq!(id, derived("tour", "208"));
        assert_ne!(id, derived("option", "208"));
        assert_eq!(id.get_version_num(), 8);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
    }
}
