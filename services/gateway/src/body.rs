//! Bodies on their way through: counted as they pass, ended when we stop, never collected.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use kit::{ApiError, ErrorReason, shutdown::Shutdown};
use tonic::{Status, body::Body};
use tourmesh_kit as kit;

/// Whether a request body was larger than it may be. Shared between the body and whoever waits for the answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct TooLarge(Arc<AtomicBool>);

impl TooLarge {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request body that breaks off when more passes than `left`.
pub(crate) struct Counted {
    inner: Body,
    left: usize,
    too_large: TooLarge,
}

impl Counted {
    pub(crate) fn new(inner: Body, limit: usize, too_large: TooLarge) -> Self {
        Self { inner, left: limit, too_large }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            match self.left.checked_sub(data.len()) {
                Some(left) => self.left = left,
                None => {
                    self.too_large.0.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(Status::resource_exhausted("the request is too large"))));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // A body that was translated from gRPC-Web text still tells its length in base64, and a wrong content-length
        // breaks the call: better none.
        SizeHint::default()
    }
}

/// A response body that keeps something alive until it has passed.
pub(crate) struct Keeping<K> {
    inner: hyper::body::Incoming,
    _kept: K,
}

impl<K> Keeping<K> {
    pub(crate) fn new(inner: hyper::body::Incoming, kept: K) -> Self {
        Self { inner, _kept: kept }
    }
}

impl<K: Unpin> http_body::Body for Keeping<K> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The answer of a streaming method, which may be open for hours: it ends in order when the gateway stops, so that the
/// client comes back, to another replica, and the stop does not have to wait.
pub(crate) struct Ending {
    inner: Body,
    /// `None`: has said so.
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Ending {
    pub(crate) fn new(inner: Body, shutdown: Shutdown) -> Self {
        Self { inner, stop: Some(Box::pin(async move { shutdown.triggered().await })) }
    }
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(stop) = &mut self.stop else { return Poll::Ready(None) };
        if stop.as_mut().poll(cx).is_pending() {
            return Pin::new(&mut self.inner).poll_frame(cx);
        }
        self.stop = None;
        let error = ApiError::new(ErrorReason::DependencyUnavailable, "the gateway is stopping; ask again");
        let mut trailers = HeaderMap::new();
        Poll::Ready(match Status::from(error).add_header(&mut trailers) {
            Ok(()) => Some(Ok(Frame::trailers(trailers))),
            Err(status) => Some(Err(status)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stop.is_none() || self.inner.is_end_stream()
    }
}
