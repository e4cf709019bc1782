//! E-mails to a mail server, over connections that stay open between them.
//!
//! lettre writes and reads SMTP; connections are opened and kept here, because its own pool costs more than the e-mails:
//! - Content leaves in two writes. With Nagle's algorithm on, which lettre does not turn off, the second one waits 40 ms
//!   for the acknowledgement of the first.
//! - Each use of a kept connection begins with a NOOP, and each command waits for the reply to the one before: five round
//!   trips for an e-mail. It is two here where the server takes commands in a row (RFC 2920), as nearly all do.
//! - A conversation that is given up in the middle, for want of time, leaves a connection behind on which a reply is yet to
//!   come, and lettre uses it again: from then on each e-mail would be told the reply to another one.

mod connection;
mod error;
mod server;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kit::shutdown::Shutdown;
use lettre::Message;
use tourmesh_kit as kit;

pub use self::server::{Server, ServerError};
use self::{
    connection::{Connection, Failed},
    error::SmtpError,
};
use crate::courier::SendError;

/// A connection that was idle for so long is asked whether it is still there.
const DOUBTFUL: Duration = Duration::from_secs(2);
/// So long an idle connection is kept; servers give up after some minutes.
const KEPT: Duration = Duration::from_secs(60);

/// A mail server, and connections to it. Clones share them.
#[derive(Clone, Debug)]
pub struct Smtp {
    server: Arc<Server>,
    idle: Arc<Mutex<Vec<Idle>>>,
}

/// A connection on which nothing is under way.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Smtp {
    /// Opens connections as they are needed: as many as e-mails are sent at the same time.
    pub fn new(server: Server) -> Self {
        Self { server: Arc::new(server), idle: Arc::default() }
    }

    /// Sends a message. A connection is kept only when all replies have been read: whoever stops waiting closes it, and
    /// cannot know whether the message was accepted.
    ///
    /// # Errors
    /// When it was not accepted.
    pub async fn send(&self, message: &Message) -> Result<(), SendError> {
        let content = message.formatted();
        // Servers close what is idle without a word. Nothing of the message was given then: it begins anew.
        while let Some(mut connection) = self.reused().await {
            match connection.deliver(message.envelope(), &content).await {
                Err(Failed { error, begun: false }) if error.ends_the_connection() => {
                    tracing::debug!(%error, "the mail server had closed a connection");
                }
                told => return Ok(self.end(connection, told).await?),
            }
        }
        let mut connection = self.server.connect().await?;
        let told = connection.deliver(message.envelope(), &content).await;
        Ok(self.end(connection, told).await?)
    }

    /// A connection that is there as far as one can know.
    async fn reused(&self) -> Option<Connection> {
        loop {
            let Idle { mut connection, since } = self.idle().pop()?;
            if since.elapsed() < DOUBTFUL || (since.elapsed() < KEPT && connection.answers().await) {
                return Some(connection);
            }
        }
    }

    async fn end(&self, mut connection: Connection, told: Result<(), Failed>) -> Result<(), SmtpError> {
        let usable = match &told {
            Ok(()) => true,
            // A refusal ends the message, not the connection.
            Err(Failed { error, .. }) => !error.ends_the_connection() && connection.reset().await,
        };
        if usable {
            self.idle().push(Idle { connection, since: Instant::now() });
        }
        told.map_err(|failed| failed.error)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes leave on connections that are not needed any more, and in the end on all.
    pub async fn tend(self, shutdown: Shutdown) {
        while shutdown.sleep(KEPT / 2).await {
            self.leave(KEPT / 2).await;
        }
        self.leave(Duration::ZERO).await;
    }

    async fn leave(&self, idle_for: Duration) {
        let old: Vec<Idle> = self.idle().extract_if(.., |idle| idle.since.elapsed() >= idle_for).collect();
        futures_util::future::join_all(old.into_iter().map(|idle| idle.connection.leave())).await;
    }
}
