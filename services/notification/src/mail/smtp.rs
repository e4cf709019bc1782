//! E-mails to a mail server.

use std::error::Error as _;

use lettre::{AsyncTransport as _, Message, transport::smtp};

use crate::{config::Smtp, courier::SendError, domain::retry::Failure};

/// The reply codes that refuse us rather than the message (RFC 4954, RFC 5321): not signed in, wrong password, TLS
/// wanted. The message is as good as before; somebody has to mend the settings.
const OUR_FAULT: &[u16] = &[454, 530, 534, 535, 538];

pub(super) async fn send(client: &Smtp, message: Message) -> Result<(), SendError> {
    match client.send(message).await {
        Ok(_) => Ok(()),
        Err(error) => Err(SendError::new(kind(&error), text(&error))),
    }
}

fn kind(error: &smtp::Error) -> Failure {
    let code = error.status().map(u16::from);
    if code.is_some_and(|c| OUR_FAULT.contains(&c)) {
        Failure::Unreachable
    } else if error.is_permanent() {
        Failure::Permanent
    } else if error.is_transient() {
        Failure::Busy
    } else {
        Failure::Unreachable
    }
}

/// The error and what led to it.
fn text(error: &smtp::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}
