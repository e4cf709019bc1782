//! What can go wrong here, and the one mapping to what callers see.

use std::time::Duration;

use kit::{ApiError, ErrorReason};
use tourmesh_kit as kit;

use crate::domain::user::{EmailTooLong, GrantsError};

/// A failure of a use case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Somebody has signed up with this address.
    #[error("there is an account with this e-mail; sign in")]
    EmailTaken,
    /// No such account, or not this password; which one is not told.
    #[error("wrong e-mail or password")]
    CredentialsWrong,
    /// There were too many wrong passwords, or too many sign-ups; closed for so long.
    #[error("too many attempts; wait as RetryInfo says")]
    TooManyAttempts(Duration),
    /// The refresh token is not good, whatever the reason.
    #[error("the session has ended; sign in again")]
    SessionEnded,
    /// No such user.
    #[error("no such user")]
    UserNotFound,
    /// No address that can be stored.
    #[error("the e-mail address {0}")]
    Email(#[from] EmailTooLong),
    /// These roles cannot be granted.
    #[error("the roles cannot be granted: {0}")]
    Grants(#[from] GrantsError),
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        let message = error.to_string();
        match error {
            IdentityError::EmailTaken => Self::new(ErrorReason::EmailTaken, message).violation("email", "is taken"),
            IdentityError::CredentialsWrong => Self::new(ErrorReason::CredentialsWrong, message),
            IdentityError::TooManyAttempts(wait) => Self::new(ErrorReason::TooManyAttempts, message).retry_after(wait),
            IdentityError::SessionEnded => Self::new(ErrorReason::SessionEnded, message),
            IdentityError::UserNotFound => Self::new(ErrorReason::UserNotFound, message),
            IdentityError::Email(problem) => Self::field("email", problem.to_string()),
            IdentityError::Grants(problem) => match problem {
                GrantsError::NoRole => Self::field("roles", problem.to_string()),
                GrantsError::NotForPeople(at) => Self::field(format!("roles[{at}]"), problem.to_string()),
                GrantsError::SupplierMissing | GrantsError::SupplierUnexpected => {
                    Self::field("supplier_id", problem.to_string())
                }
            },
        }
    }
}
