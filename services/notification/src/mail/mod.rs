//! E-mail: composed once, handed over by SMTP or as a file.
//!
//! A message that was handed over but could not be marked (the process died between the two) is handed over again. A
//! file then replaces itself, because its name is the delivery's id. For SMTP this gap cannot be closed by the sender;
//! it is the time of one database write, and the repeated e-mail has the same Message-ID, date and content, by which
//! many mail systems drop the second copy.

mod compose;
mod enclosed;
mod encoding;
mod file;
pub mod smtp;

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
pub use compose::{LARGEST, Letter, compose};
pub use enclosed::Enclosed;
use lettre::Message;

use crate::{
    config::Route,
    courier::SendError,
    domain::{DeliveryId, retry::Failure},
};

/// For pictures in previews.
pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
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
            Route::Smtp(client) => client.send(&message).await,
            Route::File(dir) => file::write(dir, id, message).await,
            Route::Null => Ok(()),
        }
    };
    match tokio::time::timeout(at_most, work).await {
        Ok(result) => result,
        Err(_) => Err(SendError::new(Failure::Unreachable, format!("no answer within {} s", at_most.as_secs()))),
    }
}
