//! What happened, told exactly once: outbox, relay, JetStream, inbox.
//!
//! A service appends [`Event`]s to its [`outbox`] in the transaction of the change. The [`relay`] publishes them to the
//! service's stream, in order, at least once. A [`consumer`] hands them to a handler in batches, in one transaction with
//! the inbox rows that make the effect happen once. What cannot be handled goes to the [`dead_letters`] and holds nobody
//! up. Postgres is the truth; the stream can be rebuilt from the outbox.
//!
//! On the wire an event is CloudEvents 1.0 in binary mode over NATS: `ce-id`, `ce-type` (the protobuf message's full
//! name), `ce-source`, `ce-time`, and W3C `traceparent`; the payload is the protobuf message.

pub mod broker;
pub mod consumer;
mod cursor;
pub mod dead_letters;
pub mod outbox;
pub mod relay;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use prost::{Message, Name};
use uuid::Uuid;

pub use broker::Broker;
pub use consumer::{Consumer, Handler, Interest};

use crate::{ApiError, ApiResult, telemetry};

/// Something that happened, on its way to the outbox.
#[derive(Debug, Clone)]
pub struct Event {
    /// UUIDv7; the message id that the broker deduplicates by, and the key of every inbox.
    pub id: Uuid,
    /// The full name of the protobuf message.
    pub kind: String,
    /// `<domain>.<entity>.<verb>.<id>`.
    pub subject: String,
    /// The protobuf message.
    pub payload: Vec<u8>,
    /// The span in which it happened.
    pub traceparent: Option<String>,
}

impl Event {
    /// An event that happened in the current span.
    pub fn new<M: Message + Name>(subject: impl Into<String>, message: &M) -> Self {
        Self {
            id: Uuid::now_v7(),
            kind: M::full_name(),
            subject: subject.into(),
            payload: message.encode_to_vec(),
            traceparent: telemetry::traceparent(&tracing::Span::current()),
        }
    }
}

/// An event that came in.
#[derive(Debug, Clone)]
pub struct Received {
    /// The publisher's id.
    pub id: Uuid,
    /// The full name of the protobuf message.
    pub kind: String,
    /// `<domain>.<entity>.<verb>.<id>`.
    pub subject: String,
    /// The protobuf message.
    pub payload: Bytes,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// The span of its handling, a child of the span in which it happened. Make follow-up events inside of it
    /// (`received.span.in_scope(|| Event::new(…))`), so that one trace follows the whole story.
    pub span: tracing::Span,
}

impl Received {
    /// It is this message.
    pub fn is<M: Name>(&self) -> bool {
        self.kind == M::full_name()
    }

    /// Reads it as this message; `None` when it is another one.
    ///
    /// # Errors
    /// INTERNAL when the bytes are not the message that they say they are.
    pub fn decode<M: Message + Name + Default>(&self) -> ApiResult<Option<M>> {
        if !self.is::<M>() {
            return Ok(None);
        }
        M::decode(self.payload.clone()).map(Some).map_err(ApiError::internal)
    }
}
