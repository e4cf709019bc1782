//! What can go wrong here, and what callers are told.

use kit::{ApiError, ErrorReason};
use tourmesh_kit as kit;

/// A failure of this service.
#[derive(Debug, thiserror::Error)]
pub enum NotificationError {
    /// There is none, or it belongs to somebody else.
    #[error("there is no such delivery")]
    DeliveryNotFound,
    /// A kind that this version does not know.
    #[error("muted[{0}] is not a kind of message")]
    UnknownKind(usize),
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
            E::UnknownKind(index) => Self::field(format!("preferences.muted[{index}]"), "is not a kind of message"),
            E::Unreadable { .. } | E::EventIncomplete(_) => Self::internal(error),
        }
    }
}
