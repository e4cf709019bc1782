//! A call on its way through: found by its path, traced, bounded, handed to the role that owns it. Its messages are not
//! decoded, and who may call what is decided by the service itself.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use kit::{
    ApiError, ApiResult, ErrorReason, deadline,
    metrics::Metrics,
    rules::{MethodRule, Rules},
    server::code_name,
    shutdown::Shutdown,
    telemetry,
};
use tokio::sync::Semaphore;
use tonic::{Code, Status, body::Body};
use tourmesh_kit as kit;
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    Config,
    body::Ending,
    client::{self, Client, TRACEPARENT, TRACESTATE},
    request::{ARRIVAL, Arrivals},
    upstream::Upstream,
};

/// The trace of every answer, for support and for people who look it up.
pub const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What goes through. Everything else stays here: what only the mesh may set, cookies and the browser's own.
const FORWARDED: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::AUTHORIZATION,
    header::USER_AGENT,
    GRPC_TIMEOUT,
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("x-request-id"),
];

/// How much longer than the caller's deadline we wait for a service's own answer that the time has run out.
const GRACE: Duration = Duration::from_millis(200);
/// The longest that we wait for the beginning of an answer, whatever the caller says; services have the same.
const LONGEST: Duration = Duration::from_secs(60);

/// Hands calls on. Clones share everything.
#[derive(Debug, Clone)]
pub struct Proxy {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// By the gRPC service's full name.
    owners: HashMap<&'static str, Upstream>,
    metrics: Metrics,
    permits: Arc<Semaphore>,
    arrivals: Arrivals,
    upstream_time: Duration,
    shutdown: Shutdown,
}

impl Proxy {
    /// Finds the owner of each service of the API by its package: tourmesh.booking.v1 belongs to booking.
    pub fn new(upstreams: &[Upstream], config: &Config, metrics: Metrics, shutdown: Shutdown) -> Self {
        let owners = Rules::compiled().methods().filter_map(|method| {
            let role = role_of(method.service())?;
            let upstream = upstreams.iter().find(|u| u.role() == role)?;
            Some((method.service(), upstream.clone()))
        });
        let inner = Inner {
            owners: owners.collect(),
            metrics,
            permits: Arc::new(Semaphore::new(config.concurrency)),
            arrivals: Arrivals::new(),
            upstream_time: config.upstream_time,
            shutdown,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The services of a role, by their full names.
    pub fn services_of(&self, role: &str) -> impl Iterator<Item = &'static str> {
        self.inner.owners.iter().filter(move |(_, u)| u.role() == role).map(|(name, _)| *name)
    }

    /// Which method the path names.
    pub fn method(path: &str) -> Option<&'static MethodRule> {
        Rules::compiled().method(path)
    }

    /// Answers a call of a method that [`method`](Self::method) has found.
    pub async fn call(&self, method: &'static MethodRule, request: Request<Body>) -> Response<Body> {
        let begun = Instant::now();
        let name = method.path().trim_start_matches('/');
        let span = tracing::info_span!(
            "pass",
            otel.name = name,
            otel.kind = "server",
            otel.status_code = Empty,
            tourmesh.role = crate::ROLE,
            rpc.system.name = "grpc",
            rpc.method = name,
            rpc.response.status_code = Empty,
            tourmesh.reason = Empty,
            tourmesh.foreign_trace_id = Empty,
        );
        client::follow(&request, &span);
        let passed = self.pass(method, request, &span).instrument(span.clone()).await;
        let mut response = passed.unwrap_or_else(|error| span.in_scope(|| Status::from(error).into_http()));
        // The outcome that the caller sees; a call that fails at once answers by headers alone.
        let status = Status::from_header_map(response.headers());
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        span.record("rpc.response.status_code", code_name(code));
        if let Some(status) = status.filter(|s| s.code() != Code::Ok) {
            span.record("tourmesh.reason", kit::error::name(ApiError::of_status(&status).reason()));
            if matches!(code, Code::Internal | Code::Unavailable | Code::Unknown) {
                span.record("otel.status_code", "ERROR");
            }
        }
        add_trace_id(response.headers_mut(), &span);
        self.inner.metrics.server_call(method.service(), method.name(), code_name(code), begun.elapsed().as_secs_f64());
        response
    }

    async fn pass(
        &self,
        method: &'static MethodRule,
        request: Request<Body>,
        span: &Span,
    ) -> ApiResult<Response<Body>> {
        if let Some(refused) = refused(&request) {
            return Ok(refused);
        }
        let Some(upstream) = self.inner.owners.get(method.service()) else { return Err(unknown()) };
        let (parts, body) = request.into_parts();
        let Some(client) = parts.extensions.get::<Client>() else {
            return Err(ApiError::internal("a call came in past the connections"));
        };
        let begun = Instant::now();
        let given = parts.headers.get(GRPC_TIMEOUT).and_then(|v| v.to_str().ok()).and_then(deadline::parse);
        let at_most = given.map_or(self.inner.upstream_time, |given| given.min(LONGEST) + GRACE);
        let _place = client.call()?;
        let arrived = self.inner.arrivals.whole(body, given.unwrap_or(ARRIVAL)).await?;

        // Held until the answer begins, and not before the request is there: calls that wait for a service are the load.
        let Ok(_permit) = self.inner.permits.try_acquire() else {
            return Err(ApiError::overloaded(Duration::from_millis(100)));
        };
        // Streams last for hours, so they have a share of their own, which leaves room for all other calls.
        let places = if method.is_server_streaming() { Some((client.stream()?, upstream.stream()?)) } else { None };
        let (body, _room) = arrived.into_parts();
        let mut onward = Request::new(body);
        *onward.method_mut() = Method::POST;
        *onward.uri_mut() = parts.uri;
        *onward.headers_mut() = forwarded(parts.headers, span);
        match upstream.send(onward, at_most.saturating_sub(begun.elapsed())).await {
            Ok(mut response) => {
                // The connection is ours; what it was called is none of the client's business.
                for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                    response.headers_mut().remove(name);
                }
                if let Some(places) = places {
                    response = response.map(|body| Body::new(Ending::new(body, places, self.inner.shutdown.clone())));
                }
                Ok(response)
            }
            Err(error) => Err(error),
        }
    }
}

/// The role that owns a gRPC service, by its package: "tourmesh.<role>.v1.<Service>".
fn role_of(service: &str) -> Option<&str> {
    service.strip_prefix("tourmesh.")?.split('.').next()
}

/// What is no gRPC call although its path is one.
fn refused(request: &Request<Body>) -> Option<Response<Body>> {
    if request.method() != Method::POST {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return Some(response);
    }
    if !is_grpc(request.headers()) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        response
            .headers_mut()
            .insert("accept-post", HeaderValue::from_static("application/grpc, application/grpc-web"));
        return Some(response);
    }
    None
}

/// Only what may go through, and what is ours to say.
fn forwarded(mut from: HeaderMap, span: &Span) -> HeaderMap {
    let mut onward = HeaderMap::with_capacity(16);
    for name in FORWARDED {
        if let Some(value) = from.remove(&name) {
            onward.insert(name, value);
        }
    }
    onward.insert(header::TE, HeaderValue::from_static("trailers"));
    // Without tracing of our own the caller's trace goes through as it is.
    let own = telemetry::traceparent(span).and_then(|text| HeaderValue::try_from(text).ok());
    if let Some(value) = own.or_else(|| from.remove(TRACEPARENT)) {
        onward.insert(TRACEPARENT, value);
    }
    if let Some(value) = from.remove(TRACESTATE) {
        onward.insert(TRACESTATE, value);
    }
    onward
}

/// It is gRPC in one of its forms.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"))
}

/// It is one of the forms that browsers can send.
pub(crate) fn is_grpc_web(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc-web"))
}

/// Nobody knows the method.
pub(crate) fn unknown() -> ApiError {
    ApiError::new(ErrorReason::MethodUnknown, "no such method here")
}

/// The answer says which trace it belongs to.
pub(crate) fn add_trace_id(headers: &mut HeaderMap, span: &Span) {
    if let Some(value) = telemetry::trace_id(span).and_then(|id| HeaderValue::try_from(id).ok()) {
        headers.insert(TRACE_ID, value);
    }
}
