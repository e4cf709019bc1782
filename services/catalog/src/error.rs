//! What can go wrong in the catalog, and what the caller is told.

use tourmesh_kit::{ApiError, ErrorReason, money::MoneyError};

use crate::domain::pricing::UnitType;

/// A refusal of the catalog's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CatalogError {
    #[error("there is no such supplier")]
    SupplierNotFound,
    #[error("there is no such tour")]
    TourNotFound,
    #[error("there is no such option")]
    OptionNotFound,
    #[error("there is no such schedule")]
    ScheduleNotFound,
    #[error("there is no such tax rule")]
    TaxRuleNotFound,
    #[error("there is no such resource pool")]
    PoolNotFound,
    #[error("there is no such departure")]
    DepartureNotFound,
    #[error("the tour is not on sale")]
    TourNotPublished,
    #[error("an archived tour is off sale for good")]
    TourArchived,
    #[error("the tour lacks what a tour on sale needs")]
    TourIncomplete(Vec<(String, String)>),
    #[error("the departure is closed for sale")]
    DepartureClosed,
    #[error("the departure was cancelled")]
    DepartureCancelled,
    #[error("the departure has started")]
    DepartureInPast,
    #[error("{0:?} is not sold for this departure")]
    UnitNotSold(UnitType),
    #[error("a party of {seats} seats is not taken: {least} to {most}")]
    PartySize { seats: i32, least: i32, most: i32 },
    #[error("it was changed meanwhile: read it again, then decide")]
    ChangedMeanwhile,
    #[error("all prices of a tour are in its currency")]
    CurrencyMismatch { field: String },
    #[error("a tour with its options must not have more than 900 KiB")]
    TourTooLarge { field: &'static str },
    #[error("the request is not valid")]
    Invalid(Vec<(String, String)>),
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl CatalogError {
    /// One field is not valid.
    pub(crate) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid(vec![(field.into(), problem.into())])
    }
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        use CatalogError as C;
        use ErrorReason as R;
        let message = error.to_string();
        let reason = match &error {
            C::SupplierNotFound => R::SupplierNotFound,
            C::TourNotFound => R::TourNotFound,
            C::OptionNotFound => R::OptionNotFound,
            C::ScheduleNotFound => R::ScheduleNotFound,
            C::DepartureNotFound => R::DepartureNotFound,
            C::TaxRuleNotFound => R::TaxRuleNotFound,
            C::PoolNotFound => R::PoolNotFound,
            C::TourNotPublished | C::TourArchived => R::TourNotPublished,
            C::TourIncomplete(_) => R::TourIncomplete,
            C::DepartureClosed => R::DepartureClosed,
            C::DepartureCancelled => R::DepartureCancelled,
            C::DepartureInPast => R::DepartureInPast,
            C::UnitNotSold(_) => R::UnitNotSold,
            C::PartySize { .. } => R::PartySize,
            C::ChangedMeanwhile => R::ChangedMeanwhile,
            C::CurrencyMismatch { .. } => R::CurrencyMismatch,
            C::TourTooLarge { .. } => R::MessageTooLarge,
            C::Invalid(_) => R::FieldInvalid,
            C::Money(_) => R::Internal,
        };
        match error {
            C::Invalid(violations) => Self::fields(violations),
            C::TourIncomplete(missing) => missing
                .into_iter()
                .fold(Self::new(reason, message), |error, (field, problem)| error.violation(field, problem)),
            C::CurrencyMismatch { field } => Self::new(reason, message).violation(field, "is not the tour's currency"),
            C::TourTooLarge { field } => Self::new(reason, message).violation(field, "must be shorter"),
            C::PartySize { seats, least, most } => {
                Self::new(reason, message).with("seats", seats).with("min_party", least).with("max_party", most)
            }
            // A sum that overflows cannot come from valid prices and quantities.
            C::Money(source) => Self::internal(source),
            _ => Self::new(reason, message),
        }
    }
}
