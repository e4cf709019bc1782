//! Events that a consumer could not handle: kept whole, with the reason, to be listed and replayed.

use async_nats::{HeaderMap, header, jetstream};

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
