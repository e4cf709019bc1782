//! Answers on their way through: ended when we stop, never collected, and holding what they take until they have passed.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use kit::{ApiError, ErrorReason, shutdown::Shutdown};
use tonic::{Status, body::Body};
use tourmesh_kit as kit;

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
pub(crate) struct Ending<K> {
    inner: Body,
    /// Its places among the streams.
    _kept: K,
    /// `None`: has said so.
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<K> Ending<K> {
    pub(crate) fn new(inner: Body, kept: K, shutdown: Shutdown) -> Self {
        Self { inner, _kept: kept, stop: Some(Box::pin(async move { shutdown.triggered().await })) }
    }
}

impl<K: Unpin> http_body::Body for Ending<K> {
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
