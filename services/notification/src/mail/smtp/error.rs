//! What goes wrong with a mail server, and what that means for the message.

use std::{error::Error as _, io};

use lettre::transport::smtp;

use crate::{courier::SendError, domain::retry::Failure};

/// The reply codes that refuse us rather than the message (RFC 4954, RFC 5321): not signed in, wrong password, TLS
/// wanted. The message is as good as before; somebody has to mend the settings.
const OUR_FAULT: &[u16] = &[454, 530, 534, 535, 538];
/// "I am about to close this connection" (RFC 5321).
const CLOSING: u16 = 421;

/// A message was not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum SmtpError {
    /// The server refused, or cannot be understood, or has gone.
    #[error(transparent)]
    Told(#[from] smtp::Error),
    /// It cannot be reached.
    #[error("the mail server cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
    /// It never takes such a message.
    #[error("the mail server {0}")]
    Unable(&'static str),
    /// It said what nobody says here.
    #[error("the mail server answered {0} to {1}")]
    Strange(u16, &'static str),
}

impl SmtpError {
    /// The code of its refusal.
    pub(super) fn refusal(&self) -> Option<u16> {
        match self {
            Self::Told(error) => error.status().map(u16::from),
            Self::Unreachable(_) | Self::Unable(_) | Self::Strange(..) => None,
        }
    }

    /// The connection is of no use any more, whatever the message.
    pub(super) fn ends_the_connection(&self) -> bool {
        match self {
            Self::Told(_) => self.refusal().is_none_or(|code| code == CLOSING),
            Self::Unreachable(_) | Self::Strange(..) => true,
            Self::Unable(_) => false,
        }
    }

    fn failure(&self) -> Failure {
        match self {
            Self::Unable(_) => Failure::Permanent,
            Self::Told(_) if self.refusal().is_some_and(|c| OUR_FAULT.contains(&c)) => Failure::Unreachable,
            Self::Told(error) if error.is_permanent() => Failure::Permanent,
            Self::Told(error) if error.is_transient() => Failure::Busy,
            Self::Told(_) | Self::Unreachable(_) | Self::Strange(..) => Failure::Unreachable,
        }
    }

    /// The error and what led to it.
    fn text(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(source) = next {
            let more = source.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            next = source.source();
        }
        text
    }
}

impl From<SmtpError> for SendError {
    fn from(error: SmtpError) -> Self {
        Self::new(error.failure(), error.text())
    }
}
