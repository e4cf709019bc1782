//! Ids: UUIDv7 made by the application, one newtype per entity, prefixed wherever people or the wire see them.

use uuid::Uuid;

/// The text is not an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be \"{prefix}_\" and 32 lower-case hexadecimal digits")]
pub struct IdError {
    /// What it should have started with.
    pub prefix: &'static str,
}

/// Reads `prefix_` and 32 lower-case hexadecimal digits.
///
/// # Errors
/// When the text has any other form; upper case is refused so that an id has one spelling.
pub fn parse(prefix: &'static str, text: &str) -> Result<Uuid, IdError> {
    let error = IdError { prefix };
    let digits = text.strip_prefix(prefix).and_then(|t| t.strip_prefix('_')).ok_or_else(|| error.clone())?;
    if digits.len() != 32 || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(error);
    }
    Uuid::try_parse(digits).map_err(|_| error)
}

/// Defines the id of one entity: `define_id!(/// A booking. BookingId, "bkg");`
///
/// The type is a `Uuid` in the database (`.uuid()`, `from_uuid`) and `bkg_<32 hex digits>` in text (`Display`,
/// `FromStr`, serde is left out on purpose: the wire is protobuf).
#[macro_export]
macro_rules! define_id {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[allow(unreachable_pub, reason = "whether the id is public is up to the module that defines it")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(::uuid::Uuid);

        #[allow(unreachable_pub, dead_code, reason = "whether the id is public is up to the module that defines it")]
        impl $name {
            /// What its text starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new one, unique and sorted by time of making.
            #[allow(clippy::new_without_default, reason = "two defaults would not be equal")]
            pub fn new() -> Self {
                Self(::uuid::Uuid::now_v7())
            }
            /// As the database has it.
            pub const fn from_uuid(uuid: ::uuid::Uuid) -> Self {
                Self(uuid)
            }
            /// For the database.
            pub const fn uuid(self) -> ::uuid::Uuid {
                self.0
            }
            /// Reads a request's field; the error names it.
            ///
            /// # Errors
            /// FIELD_INVALID when the text is not such an id.
            pub fn of_field(field: &str, text: &str) -> $crate::ApiResult<Self> {
                text.parse::<Self>().map_err(|e| $crate::ApiError::field(field, e.to_string()))
            }
        }
        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(self, f)
            }
        }
        impl ::std::str::FromStr for $name {
            type Err = $crate::id::IdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::id::parse($prefix, text).map(Self)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    define_id!(
        /// A test's id.
        TourId,
        "tour"
    );

    #[test]
    fn an_id_reads_what_it_writes_and_nothing_else() {
        let id = TourId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        let hex = "0123456789abcdef0123456789abcdef";
        assert!(format!("tour_{hex}").parse::<TourId>().is_ok());
        for wrong in
            ["", "tour_", hex, &format!("dep_{hex}"), &format!("tour_{}", hex.to_uppercase()), &format!("tour_{hex}0")]
        {
            assert!(wrong.parse::<TourId>().is_err(), "{wrong}");
        }
    }
}
