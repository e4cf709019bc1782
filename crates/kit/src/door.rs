//! The door of a role: what is refused before anything is looked at, so that a flood costs next to nothing.
//!
//! Under ten times the load that a role can bear nine calls of ten are refused, and what a refusal costs is taken from the
//! calls that were let in. So the door is asked first of all, and its answer is made once: no span, no body, no token, no
//! handler. Refusals are seen in the metrics, as every call.

use std::{fmt::Debug, time::Duration};

use http::{HeaderMap, Response};
use tonic::{Status, body::Body};

use crate::ApiError;

/// Decides who may come in.
pub trait Door: Debug + Send + Sync + 'static {
    /// What is answered to calls of this method, a path such as "/tourmesh.booking.v1.BookingService/CreateBooking",
    /// instead of letting them in. Every call of the role asks; nothing may wait here.
    fn refuses(&self, path: &str) -> Option<&Refusal>;
}

/// OVERLOADED with RetryInfo, ready to be sent.
#[derive(Debug)]
pub struct Refusal(HeaderMap);

impl Refusal {
    /// The refused may come back after so long.
    pub fn overloaded(retry_after: Duration) -> Self {
        Self(Status::from(ApiError::overloaded(retry_after)).into_http::<Body>().into_parts().0.headers)
    }

    pub(crate) fn answer(&self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        response.headers_mut().clone_from(&self.0);
        response
    }
}
