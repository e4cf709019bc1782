//! Request bodies, read whole before their calls count.
//!
//! A call that is handed on takes a place among all calls, and a client that sends a head and then nothing would keep it
//! for nothing. All requests of the API are single messages of bounded size, so they can be awaited here, outside, where
//! slowness costs its client alone: a place on its own connection, and bounded time.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use kit::{ApiError, ApiResult, ErrorReason, server::MAX_REQUEST};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tourmesh_kit as kit;

/// How long a request may take to arrive.
pub(crate) const ARRIVAL: Duration = Duration::from_secs(5);
/// A gRPC frame's head stands before the message.
const LARGEST: usize = MAX_REQUEST + 5;
/// So much of each request is not counted: no ordinary one has to hope for room.
const ORDINARY: usize = 16 * 1024;
/// How much of all requests together is kept beyond that.
const ROOM: usize = 64 << 20;

/// The memory for requests that arrive. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals(Arc<Semaphore>);

/// A request that is there, and its share of the memory.
#[derive(Debug)]
pub(crate) struct Arrived {
    message: Bytes,
    room: Option<OwnedSemaphorePermit>,
}

impl Arrived {
    /// As it is sent on; the share of the memory is free when the second part is dropped.
    pub(crate) fn into_parts(self) -> (Body, Option<OwnedSemaphorePermit>) {
        (Body::new(Full::new(self.message)), self.room)
    }
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }

    /// Waits until the request is there.
    ///
    /// # Errors
    /// MESSAGE_TOO_LARGE, DEADLINE_EXCEEDED, OVERLOADED, MALFORMED_REQUEST when it breaks off.
    pub(crate) async fn whole(&self, body: Body, at_most: Duration) -> ApiResult<Arrived> {
        // What says that it is far too large is not even begun; gRPC-Web text may be a third longer than its message.
        if body.size_hint().lower() > 2 * LARGEST as u64 {
            return Err(too_large());
        }
        tokio::time::timeout(at_most.min(ARRIVAL), self.read(body)).await.unwrap_or_else(|_| {
            Err(ApiError::new(ErrorReason::DeadlineExceeded, "the request did not arrive in time; repeat it"))
        })
    }

    async fn read(&self, mut body: Body) -> ApiResult<Arrived> {
        // Nearly always it is one piece, which is not copied.
        let (mut first, mut more) = (Bytes::new(), BytesMut::new());
        let mut length = 0;
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let broken = |e| ApiError::new(ErrorReason::MalformedRequest, "the request broke off").caused_by(e);
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            let counted = |length: usize| length.saturating_sub(ORDINARY);
            let before = counted(length);
            length += data.len();
            if length > LARGEST {
                return Err(too_large());
            }
            let beyond = u32::try_from(counted(length) - before).map_err(|_| too_large())?;
            if beyond > 0 {
                let overloaded = |_| ApiError::overloaded(Duration::from_secs(1));
                let taken = self.0.clone().try_acquire_many_owned(beyond).map_err(overloaded)?;
                match &mut room {
                    Some(room) => room.merge(taken),
                    None => room = Some(taken),
                }
            }
            if first.is_empty() {
                first = data;
            } else {
                if more.is_empty() {
                    more.extend_from_slice(&first);
                }
                more.extend_from_slice(&data);
            }
        }
        Ok(Arrived { message: if more.is_empty() { first } else { more.freeze() }, room })
    }
}

fn too_large() -> ApiError {
    ApiError::new(ErrorReason::MessageTooLarge, format!("the message is larger than the limit of {MAX_REQUEST} bytes"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use kit::rules::Rules;

    use super::*;

    fn pieces(count: usize, size: usize) -> Body {
        let pieces = (0..count).map(move |_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; size]))));
        Body::new(StreamBody::new(stream::iter(pieces)))
    }

    #[test]
    fn every_request_of_the_api_is_one_message() {
        assert!(Rules::compiled().methods().all(|m| !m.is_client_streaming()));
    }

    #[tokio::test]
    async fn pieces_become_one_and_its_room_comes_back() {
        let arrivals = Arrivals::new();
        let arrived = arrivals.whole(pieces(40, 1000), ARRIVAL).await.unwrap();
        assert_eq!(arrivals.0.available_permits(), ROOM - (40_000 - ORDINARY));
        let (body, room) = arrived.into_parts();
        assert_eq!(body.collect().await.unwrap().to_bytes(), vec![7; 40_000]);
        drop(room);
        assert_eq!(arrivals.0.available_permits(), ROOM);
    }

    #[tokio::test]
    async fn too_much_too_slow_and_no_room_are_told_apart() {
        let arrivals = Arrivals::new();
        let reason = async |body, time| arrivals.whole(body, time).await.unwrap_err().reason();
        assert_eq!(reason(pieces(300, 1024), ARRIVAL).await, ErrorReason::MessageTooLarge);
        let endless = Body::new(StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>().boxed()));
        assert_eq!(reason(endless, Duration::from_millis(20)).await, ErrorReason::DeadlineExceeded);
        let _all = arrivals.0.clone().try_acquire_many_owned(u32::try_from(ROOM).unwrap()).unwrap();
        assert_eq!(reason(pieces(17, 1024), ARRIVAL).await, ErrorReason::Overloaded);
        assert!(arrivals.whole(pieces(16, 1024), ARRIVAL).await.is_ok(), "an ordinary request needs no room");
    }
}
