//! A client's connection: what it holds of what all share, and what is believed of what it says.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderName, Request};
use kit::{ApiError, ApiResult, telemetry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tourmesh_kit as kit;
use tracing::Span;

use crate::config::{Config, Trust};

/// The W3C header that says whose child a call is.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Its companion.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// One connection of a client; every request that came on it carries a clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    trusted: bool,
}

/// The trace that a stranger says its call belongs to.
#[derive(Debug, Clone)]
struct ForeignTrace(String);

impl Client {
    pub(crate) fn new(config: &Config, peer: IpAddr) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(config.calls_per_connection)),
            streams: Arc::new(Semaphore::new(config.streams_per_connection)),
            trusted: is_trusted(config.trust, peer),
        }
    }

    /// Puts its mark on a request. A stranger's trace is none of ours: whoever decides about the parent decides about
    /// sampling, and may mix its calls into other people's traces.
    pub(crate) fn mark<B>(&self, request: &mut Request<B>) {
        if !self.trusted {
            let parent = request.headers_mut().remove(TRACEPARENT);
            request.headers_mut().remove(TRACESTATE);
            if let Some(id) = parent.as_ref().and_then(|v| v.to_str().ok()).and_then(trace_id) {
                request.extensions_mut().insert(ForeignTrace(id.to_owned()));
            }
        }
        request.extensions_mut().insert(self.clone());
    }

    /// A place for one more call, until its answer begins.
    ///
    /// # Errors
    /// OVERLOADED.
    pub(crate) fn call(&self) -> ApiResult<OwnedSemaphorePermit> {
        self.calls.clone().try_acquire_owned().map_err(|_| ApiError::overloaded(Duration::from_millis(100)))
    }

    /// A place for one more stream, until it ends.
    ///
    /// # Errors
    /// OVERLOADED.
    pub(crate) fn stream(&self) -> ApiResult<OwnedSemaphorePermit> {
        self.streams.clone().try_acquire_owned().map_err(|_| ApiError::overloaded(Duration::from_secs(1)))
    }
}

/// Makes a span the child of the caller's, or notes the trace of a stranger in `tourmesh.foreign_trace_id`.
pub(crate) fn follow<B>(request: &Request<B>, span: &Span) {
    if let Some(parent) = request.headers().get(TRACEPARENT).and_then(|v| v.to_str().ok()) {
        telemetry::set_parent(span, parent);
    }
    if let Some(ForeignTrace(id)) = request.extensions().get() {
        span.record("tourmesh.foreign_trace_id", id);
    }
}

fn is_trusted(trust: Trust, peer: IpAddr) -> bool {
    match trust {
        Trust::Always => true,
        Trust::Loopback => peer.to_canonical().is_loopback(),
        Trust::Never => false,
    }
}

/// The trace id of a `traceparent`: its second part, 32 hexadecimal digits.
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_on_this_machine_is_believed_and_a_stranger_is_not() {
        for (peer, near) in [("127.0.0.1", true), ("::1", true), ("::ffff:127.0.0.1", true), ("10.0.0.7", false)] {
            let peer = peer.parse().unwrap();
            assert_eq!(is_trusted(Trust::Loopback, peer), near, "{peer}");
            assert!(is_trusted(Trust::Always, peer) && !is_trusted(Trust::Never, peer));
        }
    }

    #[test]
    fn only_what_looks_like_a_trace_id_is_noted() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id));
        for nonsense in ["", "00", "00-short-00f067aa0ba902b7-01", &format!("00-{}-1", "x".repeat(32))] {
            assert_eq!(trace_id(nonsense), None);
        }
    }
}
