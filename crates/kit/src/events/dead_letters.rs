//! Events that a consumer could not handle: kept whole, with the reason, to be listed and replayed.

use async_nats::{HeaderMap, header, jetstream};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Broker;
use crate::{ApiError, ApiResult};

/// The domain of the stream that keeps them; the subjects are `deadletter.<consumer>`.
pub const DOMAIN: &str = "deadletter";

/// Keeps a message that a consumer gives up.
///
/// # Errors
/// DEPENDENCY_UNAVAILABLE; the message is to be delivered again then.
pub async fn store(broker: &Broker, consumer: &str, message: &jetstream::Message, reason: &str) -> ApiResult<()> {
    broker.stream(DOMAIN).await?;
    let mut headers = HeaderMap::new();
    // Only what belongs to the event: the broker's own headers (a batch, an expected sequence) would steer this publish.
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        let text: &str = name.as_ref();
        if text.starts_with("ce-") || text == "traceparent" {
            values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
        }
    }
    let sequence = message.info().map_or(0, |i| i.stream_sequence);
    headers.insert(header::NATS_MESSAGE_ID, format!("{consumer}:{sequence}"));
    headers.insert("Tourmesh-Subject", broker.bare(message.subject.as_str()));
    headers.insert("Tourmesh-Consumer", consumer);
    // A header holds one line.
    headers.insert("Tourmesh-Reason", reason.replace(['\r', '\n'], " "));
    let stored = broker
        .jetstream()
        .publish_with_headers(broker.subject(&format!("{DOMAIN}.{consumer}")), headers, message.payload.clone())
        .await;
    let lost = |e| ApiError::unavailable("the event broker", e);
    stored.map_err(lost)?.await.map_err(lost)?;
    Ok(())
}

/// An event that was given up.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its number in the stream of dead letters.
    pub sequence: u64,
    /// Who gave it up.
    pub consumer: String,
    /// Its subject, `<domain>.<entity>.<verb>.<id>`.
    pub subject: String,
    /// The full name of its message.
    pub kind: String,
    /// Why.
    pub reason: String,
    /// When it was given up.
    pub time: DateTime<Utc>,
    /// The message.
    pub payload: Vec<u8>,
    headers: HeaderMap,
}

/// All that are kept, oldest first, from this number on and at most so many.
///
/// # Errors
/// DEPENDENCY_UNAVAILABLE.
pub async fn list(broker: &Broker, from: u64, most: usize) -> ApiResult<Vec<DeadLetter>> {
    let mut stream = broker.stream(DOMAIN).await?;
    let state = stream.info().await.map_err(|e| ApiError::unavailable("the event broker", e))?.state.clone();
    let mut found = Vec::new();
    for sequence in from.max(state.first_sequence)..=state.last_sequence {
        if found.len() >= most || state.messages == 0 {
            break;
        }
        // One that was replayed leaves a gap.
        if let Ok(message) = stream.get_raw_message(sequence).await {
            let get = |name: &str| message.headers.get(name).map(|v| v.as_str().to_owned()).unwrap_or_default();
            found.push(DeadLetter {
                sequence,
                consumer: get("Tourmesh-Consumer"),
                subject: get("Tourmesh-Subject"),
                kind: get("ce-type"),
                reason: get("Tourmesh-Reason"),
                time: DateTime::from_timestamp(message.time.unix_timestamp(), 0).unwrap_or_default(),
                payload: message.payload.to_vec(),
                headers: message.headers.clone(),
            });
        }
    }
    Ok(found)
}

/// Publishes it once more under its subject and forgets it. Consumers that handled it before are not bothered: it keeps its
/// id, and their inboxes know it.
///
/// # Errors
/// DEPENDENCY_UNAVAILABLE; it is kept then.
pub async fn replay(broker: &Broker, letter: &DeadLetter) -> ApiResult<()> {
    let lost = |e| ApiError::unavailable("the event broker", e);
    let mut headers = HeaderMap::new();
    for (name, values) in letter.headers.iter() {
        let text: &str = name.as_ref();
        if text.starts_with("ce-") || text == "traceparent" {
            values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
        }
    }
    // A message id of its own: under the old one the stream might take it for a repetition.
    headers.insert(header::NATS_MESSAGE_ID, Uuid::now_v7().to_string());
    let subject = broker.subject(&letter.subject);
    let sent = broker.jetstream().publish_with_headers(subject, headers, letter.payload.clone().into()).await;
    sent.map_err(lost)?.await.map_err(lost)?;
    let stream = broker.stream(DOMAIN).await?;
    stream.delete_message(letter.sequence).await.map_err(|e| ApiError::unavailable("the event broker", e))?;
    Ok(())
}
