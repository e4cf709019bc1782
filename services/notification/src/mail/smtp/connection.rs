//! One connection, and one message on it.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use lettre::{
    address::Envelope,
    transport::smtp::{
        self,
        client::AsyncSmtpConnection,
        commands::{Data, Mail, Noop, Quit, Rcpt, Rset},
        extension::{Extension, MailBodyParameter, MailParameter},
        response::{Response, Severity},
    },
};

use super::error::SmtpError;

/// So long is waited for a word about the connection itself: one that is lost in the network has no end of its own.
const A_WORD: Duration = Duration::from_secs(1);

/// An open connection, signed in. Between two calls every reply has been read; a call that is dropped in the middle
/// must take the connection along.
pub(super) struct Connection {
    smtp: AsyncSmtpConnection,
    /// The server takes commands in a row (RFC 2920).
    in_a_row: bool,
    /// The server waits for content that nobody gives.
    stuck: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("in_a_row", &self.in_a_row).finish_non_exhaustive()
    }
}

/// A message was not accepted.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: SmtpError,
    /// Its content was given: without a reply nobody knows whether it is accepted.
    pub(super) begun: bool,
}

impl Connection {
    pub(super) fn new(smtp: AsyncSmtpConnection, in_a_row: bool) -> Self {
        Self { smtp, in_a_row, stuck: false }
    }

    /// Hands a message over.
    pub(super) async fn deliver(&mut self, envelope: &Envelope, content: &[u8]) -> Result<(), Failed> {
        self.announce(envelope, content).await.map_err(|error| Failed { error, begun: false })?;
        self.give(content).await.map_err(|error| Failed { error, begun: true })
    }

    /// From whom, to whom, and that its content comes now.
    async fn announce(&mut self, envelope: &Envelope, content: &[u8]) -> Result<(), SmtpError> {
        let [to] = envelope.to() else { return Err(SmtpError::Unable("gets messages to one reader each")) };
        let mail = Mail::new(envelope.from().cloned(), self.parameters(envelope, content)?);
        let to = Rcpt::new(to.clone(), Vec::new());
        if !self.in_a_row {
            self.smtp.command(mail).await?;
            self.smtp.command(to).await?;
            return expected(&self.smtp.command(Data).await?, Severity::PositiveIntermediate, "DATA");
        }
        // Each command has a reply of its own, whatever was said to the one before. All are read, and the first refusal is
        // the reason; the others only say that something was missing.
        let mail = reply(self.smtp.command(format!("{mail}{to}{Data}")).await)?;
        let to = reply(self.smtp.read_response().await)?;
        let data = reply(self.smtp.read_response().await)?;
        // A server may ask for the content although it refused the reader. Whatever is sent now is content.
        self.stuck = data.is_ok();
        mail?;
        to?;
        expected(&data?, Severity::PositiveIntermediate, "DATA")?;
        self.stuck = false;
        Ok(())
    }

    /// What is not ASCII needs a server that takes it (RFC 6152, RFC 6531).
    fn parameters(&self, envelope: &Envelope, content: &[u8]) -> Result<Vec<MailParameter>, SmtpError> {
        let can = |extension| self.smtp.server_info().supports_feature(extension);
        let mut parameters = Vec::new();
        let mut addresses = envelope.from().into_iter().chain(envelope.to());
        if !addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
            if !can(Extension::SmtpUtfEight) {
                return Err(SmtpError::Unable("takes no addresses with letters beyond ASCII"));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !content.is_ascii() {
            if !can(Extension::EightBitMime) {
                return Err(SmtpError::Unable("takes no content with letters beyond ASCII"));
            }
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        Ok(parameters)
    }

    async fn give(&mut self, content: &[u8]) -> Result<(), SmtpError> {
        let told = match std::str::from_utf8(content) {
            Ok(text) => self.smtp.command(Content(text)).await?,
            Err(_) => self.smtp.message(content).await?,
        };
        expected(&told, Severity::PositiveCompletion, "the content")
    }

    /// Whether the server still answers.
    pub(super) async fn answers(&mut self) -> bool {
        tokio::time::timeout(A_WORD, self.smtp.command(Noop)).await.is_ok_and(|told| told.is_ok())
    }

    /// After a refusal: whether the next message can begin.
    pub(super) async fn reset(&mut self) -> bool {
        !self.stuck && tokio::time::timeout(A_WORD, self.smtp.command(Rset)).await.is_ok_and(|told| told.is_ok())
    }

    /// Takes leave, as the protocol wants.
    pub(super) async fn leave(mut self) {
        drop(tokio::time::timeout(A_WORD, self.smtp.command(Quit)).await);
    }
}

/// Tells a refusal, which is a reply, from a failure of the connection.
fn reply(told: Result<Response, smtp::Error>) -> Result<Result<Response, smtp::Error>, SmtpError> {
    match told {
        Err(error) if error.status().is_none() => Err(error.into()),
        told => Ok(told),
    }
}

fn expected(told: &Response, severity: Severity, to: &'static str) -> Result<(), SmtpError> {
    let code = told.code();
    if code.severity == severity { Ok(()) } else { Err(SmtpError::Strange(code.into(), to)) }
}

/// A message with its end: one write. A point at the beginning of a line is doubled, because one alone is the end
/// (RFC 5321, 4.5.2).
struct Content<'a>(&'a str);

impl Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest.starts_with('.') {
            f.write_str(".")?;
        }
        while let Some(at) = rest.find("\r\n.") {
            let (line, more) = rest.split_at(at + 3);
            f.write_str(line)?;
            f.write_str(".")?;
            rest = more;
        }
        f.write_str(rest)?;
        f.write_str(if self.0.is_empty() || self.0.ends_with("\r\n") { ".\r\n" } else { "\r\n.\r\n" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a server reads: lines until a point alone.
    fn read(wire: &str) -> String {
        let mut lines = wire.split_inclusive("\r\n");
        let mut text = String::new();
        for line in lines.by_ref() {
            if line == ".\r\n" {
                break;
            }
            text.push_str(line.strip_prefix('.').unwrap_or(line));
        }
        assert_eq!(lines.next(), None, "nothing comes after the end");
        text
    }

    proptest! {
        #[test]
        fn a_server_reads_what_was_written(lines in proptest::collection::vec("[.a\r\n]{0,5}(\r\n)?", 0..8)) {
            let text: String = lines.concat();
            let ended = if text.is_empty() || text.ends_with("\r\n") { text.clone() } else { format!("{text}\r\n") };
            prop_assert_eq!(read(&Content(&text).to_string()), ended);
        }
    }
}
