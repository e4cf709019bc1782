//! What a tour is and what may become of it: pure types and rules, without clock, randomness, database or wire.

pub(crate) mod blackout;
pub(crate) mod departure;
pub(crate) mod geo;
pub(crate) mod ids;
pub(crate) mod local_time;
pub(crate) mod option;
pub(crate) mod pool;
pub(crate) mod pricing;
pub(crate) mod recurrence;
pub(crate) mod schedule;
pub(crate) mod settle;
pub(crate) mod supplier;
pub(crate) mod tax_rule;
pub(crate) mod text;
pub(crate) mod tour;

pub(crate) use ids::{BlackoutId, PoolId, TaxRuleId};
pub use ids::{DepartureId, OptionId, ScheduleId, SupplierId, TourId};

/// An enum whose numbers are those of the API, which are also those of the database.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum $name { $($(#[$vmeta])* $variant = $number),+ }

        impl $name {
            /// `None` for a number that stands for nothing.
            pub(crate) fn of_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
            /// As the API and the database have it.
            pub(crate) const fn number(self) -> i16 {
                self as i16
            }
        }
    };
}
pub(crate) use numbered;
