//! E-mail: composed once, handed over by SMTP or as a file.
//!
//! A message that was handed over but could not be marked (the process died between the two) is handed over again. A
//! file then replaces itself, because its name is the delivery's id. For SMTP this gap cannot be closed by the sender;
//! it is the time of one database write, and the repeated e-mail has the same Message-ID, date and content, by which
//! many mail systems drop the second copy.

mod compose;
mod file;
mod smtp;

use std::time::Duration;

pub use compose::{Letter, compose};
use lettre::Message;

use crate::{
    config::Route,
    domain::{DeliveryId, retry::Failure},
};

/// Handing over failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SendError {
    /// What kind of failure it was.
    pub failure: Failure,
    /// For the delivery's `error`.
    pub text: String,
}

impl SendError {
    /// The text may come from a stranger's server, and goes to the database: one bounded line.
    fn new(failure: Failure, text: impl AsRef<str>) -> Self {
        let text = text.as_ref().chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { failure, text }
    }
}

/// Makes sure of what was handed over, before it is marked as sent.
pub async fn settle(route: &Route) {
    if let Route::File(dir) = route
        && let Err(error) = file::settle(dir).await
    {
        // The files themselves are safe; a file system that cannot do more is no reason to write them again.
        tracing::debug!(%error, "the directory of e-mails could not be synchronized");
    }
}

/// Hands a message over, within the time.
///
/// # Errors
/// When it was not accepted, or not in time; then it is unknown whether it was.
pub async fn hand_over(route: &Route, id: DeliveryId, message: Message, at_most: Duration) -> Result<(), SendError> {
    let work = async {
        match route {
            Route::Smtp(client) => smtp::send(client, message).await,
            Route::File(dir) => file::write(dir, id, message).await,
            Route::Null => Ok(()),
        }
    };
    match tokio::time::timeout(at_most, work).await {
        Ok(result) => result,
        Err(_) => Err(SendError::new(Failure::Unreachable, format!("no answer within {} s", at_most.as_secs()))),
    }
}
