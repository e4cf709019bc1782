//! What can go wrong here, and what callers are told.

use kit::{ApiError, ErrorReason};
use tourmesh_kit as kit;

/// A failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum NotificationError {
    /// There is none, or it belongs to somebody else.
    #[error("there is no such delivery")]
    DeliveryNotFound,
    /// A link that was not made here, or was changed.
    #[error("the link was not made here, or is not complete")]
    LinkInvalid,
    /// The database holds what this version does not know.
    #[error("a stored {what} is {value:?}, which this version does not know")]
    Unreadable {
        /// Which column.
        what: &'static str,
        /// What it holds.
        value: String,
    },
    /// An event of another service lacks what it must have.
    #[error("an event lacks {0}")]
    EventIncomplete(&'static str),
}

impl From<NotificationError> for ApiError {
    fn from(error: NotificationError) -> Self {
        use NotificationError as E;
        match error {
            E::DeliveryNotFound => Self::new(ErrorReason::DeliveryNotFound, error.to_string()),
            E::LinkInvalid => Self::new(ErrorReason::SignatureInvalid, error.to_string()),
            E::Unreadable { .. } | E::EventIncomplete(_) => Self::internal(error),
        }
    }
}
