//! The connections to one role: plain HTTP/2, opened on demand, as many as the calls need.
//!
//! A gRPC server lets one connection carry so many calls at once (often 100), and watching a departure holds one for
//! hours: so a role has a growing set of connections, and each call takes the one that carries least. A connection that
//! a server retires is replaced, and what was not yet sent on it is sent on the next one.

mod address;
mod connection;
mod pool;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use kit::{ApiError, ApiResult, ErrorReason, telemetry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tourmesh_kit as kit;
use tower::Service;

pub use address::Address;
use pool::Pool;

use crate::body::Keeping;

/// One role as the gateway reaches it. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Upstream {
    role: &'static str,
    pool: Arc<Pool>,
    streams: Arc<Semaphore>,
}

impl Upstream {
    /// The role at this address, with so many streams at once; nothing is connected yet.
    pub fn new(role: &'static str, address: Address, streams: usize) -> Self {
        Self { role, pool: Arc::new(Pool::new(address)), streams: Arc::new(Semaphore::new(streams)) }
    }

    /// A place for one more stream that stays open, until it ends.
    ///
    /// # Errors
    /// OVERLOADED.
    pub fn stream(&self) -> ApiResult<OwnedSemaphorePermit> {
        self.streams.clone().try_acquire_owned().map_err(|_| ApiError::overloaded(Duration::from_secs(5)))
    }

    /// Its name.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// Sends a request and waits for the head of its answer; the bodies flow through. Only the path of the URI counts.
    ///
    /// # Errors
    /// DEPENDENCY_UNAVAILABLE when the role cannot be reached or breaks off, DEADLINE_EXCEEDED.
    pub async fn send(&self, request: Request<Body>, at_most: Duration) -> Result<Response<Body>, ApiError> {
        let sent = tokio::time::timeout(at_most, self.pool.send(request)).await;
        match sent {
            Ok(Ok((response, load))) => Ok(response.map(|body| Body::new(Keeping::new(body, load)))),
            Ok(Err(error)) => Err(ApiError::unavailable(self.role, error)),
            Err(_) => Err(ApiError::new(
                ErrorReason::DeadlineExceeded,
                format!("{} did not begin its answer in time; repeat with the same request_id", self.role),
            )),
        }
    }

    /// For generated clients, for the gateway's own calls: the current span is their parent.
    pub fn client(&self, at_most: Duration) -> UpstreamClient {
        UpstreamClient { upstream: self.clone(), at_most }
    }
}

/// What generated clients call a role through.
#[derive(Debug, Clone)]
pub struct UpstreamClient {
    upstream: Upstream,
    at_most: Duration,
}

impl Service<Request<Body>> for UpstreamClient {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let UpstreamClient { upstream, at_most } = self.clone();
        if let Some(value) = telemetry::traceparent(&tracing::Span::current())
            && let Ok(value) = HeaderValue::try_from(value)
        {
            request.headers_mut().insert("traceparent", value);
        }
        if let Ok(value) = HeaderValue::try_from(format!("{}m", at_most.as_millis().min(99_999_999))) {
            request.headers_mut().insert("grpc-timeout", value);
        }
        Box::pin(async move {
            let sent = upstream.send(request, at_most).await;
            Ok(sent.unwrap_or_else(|error| Status::from(error).into_http()))
        })
    }
}
