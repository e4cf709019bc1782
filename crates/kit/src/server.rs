//! The server side of every role: one path from the socket to the handler, read top to bottom in `Edge::answer`.
//!
//! Door, trace, metrics, panic, deadline, body, load, token, access rule, field rules, handler: in this order, so that whatever
//! goes wrong inside is seen outside, and what is cheap to refuse is refused before anything is paid for it.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{Request, Response, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::{net::TcpListener, sync::Semaphore, time::Instant};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::{Layer, Service, ServiceExt as _};
use tracing::Instrument as _;

use crate::{
    ApiError, ApiResult, ErrorReason,
    auth::{Principal, Verifier},
    config::Setting,
    deadline,
    door::Door,
    metrics::Metrics,
    rules::{Access, MethodRule, Rules},
    telemetry,
};

/// The largest request.
pub const MAX_REQUEST: usize = 256 * 1024;
/// How many calls one connection carries at once. Few would make a flood wait in front of the door, where nobody tells it
/// to come back, and with it those who only want to pay for what they hold.
pub const CALLS_PER_CONNECTION: u32 = 1_000;
/// How long a call may take when the caller does not say.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(20);
/// How long a caller may take to send its request.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Never longer than this, whatever the caller says.
const LONGEST_DEADLINE: Duration = Duration::from_secs(60);

/// Where a role listens for gRPC.
pub const LISTEN: Setting = Setting::optional("LISTEN", "Address and port for gRPC, such as 0.0.0.0:50051.");
/// Where a role listens for health and metrics.
pub const METRICS_LISTEN: Setting =
    Setting::optional("METRICS_LISTEN", "Address and port for /healthz, /readyz and /metrics; not set: none.");
/// How much a role takes at once.
pub const CONCURRENCY: Setting =
    Setting::new("CONCURRENCY", "2000", "How many calls are handled at once; more are refused with OVERLOADED.");

/// What every role can set.
pub const SETTINGS: &[Setting] = &[LISTEN, METRICS_LISTEN, CONCURRENCY];

/// The sockets of a role, bound by whoever starts it, so that a port in use is said before anything runs.
#[derive(Debug)]
pub struct Listeners {
    /// gRPC.
    pub grpc: TcpListener,
    /// Health and metrics over HTTP.
    pub metrics: Option<TcpListener>,
}

/// Everything around the handlers.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Whose it is.
    pub role: &'static str,
    /// Verifies tokens.
    pub verifier: Verifier,
    /// Counts calls.
    pub metrics: Metrics,
    /// One permit per call that is being handled.
    pub permits: Arc<Semaphore>,
    /// Who is let in at all; `None`: everybody.
    pub door: Option<Arc<dyn Door>>,
}

impl Layer<Routes> for Edge {
    type Service = EdgeService;
    fn layer(&self, inner: Routes) -> EdgeService {
        EdgeService { edge: self.clone(), inner }
    }
}

/// The handlers behind their [`Edge`].
#[derive(Clone, Debug)]
pub struct EdgeService {
    edge: Edge,
    inner: Routes,
}

impl Service<Request<Body>> for EdgeService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let edge = self.edge.clone();
        let inner = self.inner.clone();
        Box::pin(async move { Ok(edge.answer(inner, request).await) })
    }
}

impl Edge {
    async fn answer(self, inner: Routes, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let Some(rule) = Rules::compiled().method(path) else {
            if is_infrastructure(path) {
                return plain(inner, request).await;
            }
            let error = ApiError::new(ErrorReason::MethodUnknown, "no such method here");
            return Status::from(error).into_http();
        };
        let begun = std::time::Instant::now();
        // 0. Door: in a flood this is all that most calls see.
        if let Some(refusal) = self.door.as_deref().and_then(|door| door.refuses(path)) {
            self.count(rule, Code::ResourceExhausted, begun);
            return refusal.answer();
        }
        // 1. Trace: the caller's span is the parent of ours.
        let span = tracing::info_span!(
            "serve",
            otel.name = path.trim_start_matches('/'),
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            tourmesh.role = self.role,
            rpc.system.name = "grpc",
            rpc.method = path.trim_start_matches('/'),
            rpc.response.status_code = tracing::field::Empty,
            tourmesh.reason = tracing::field::Empty,
        );
        if let Some(parent) = request.headers().get("traceparent").and_then(|v| v.to_str().ok()) {
            telemetry::set_parent(&span, parent);
        }
        let response = self.guarded(rule, inner, request).instrument(span.clone()).await;
        // 2. Metrics: the outcome that the caller sees. A unary handler that failed answers by headers alone.
        let status = Status::from_header_map(response.headers());
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        span.record("rpc.response.status_code", code_name(code));
        if let Some(status) = status.filter(|s| s.code() != Code::Ok) {
            let reason = ApiError::of_status(&status).reason();
            span.record("tourmesh.reason", crate::error::name(reason));
            if matches!(code, Code::Internal | Code::Unavailable | Code::Unknown) {
                span.record("otel.status_code", "ERROR");
            }
        }
        self.count(rule, code, begun);
        response
    }

    fn count(&self, rule: &MethodRule, code: Code, begun: std::time::Instant) {
        self.metrics.server_call(rule.service(), rule.name(), code_name(code), begun.elapsed().as_secs_f64());
    }

    async fn guarded(&self, rule: &'static MethodRule, inner: Routes, request: Request<Body>) -> Response<Body> {
        // 3. Panic: one bad call must not take the connection with it.
        let work = AssertUnwindSafe(self.within_limits(rule, inner, request)).catch_unwind();
        match work.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => Status::from(error).into_http(),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                Status::from(ApiError::internal(format!("a handler panicked: {text}"))).into_http()
            }
        }
    }

    async fn within_limits(
        &self,
        rule: &'static MethodRule,
        inner: Routes,
        request: Request<Body>,
    ) -> ApiResult<Response<Body>> {
        // 4. Deadline: what the caller gave, known to everything below.
        let given = request.headers().get("grpc-timeout").and_then(|v| v.to_str().ok()).and_then(deadline::parse);
        let timeout = given.unwrap_or(DEFAULT_DEADLINE).min(LONGEST_DEADLINE);
        let until = Instant::now() + timeout;
        // 5. Body: all of it, before anything is set aside for the call; else a caller that sends its bytes one by one
        // would hold a place for as long as it likes. Client streams have no place in this API yet.
        let (request, message) = match rule.is_client_streaming() {
            true => (request, None),
            false => tokio::time::timeout(BODY_TIME.min(timeout), read(request)).await.map_err(|_| late())??,
        };
        // 6. Load: who cannot be handled now is told at once, while telling is cheap.
        let Ok(_permit) = self.permits.clone().try_acquire_owned() else {
            return Err(ApiError::overloaded(Duration::from_millis(100)));
        };
        // Boxed, because each layer above holds what it awaits, and moves it there, in its whole size.
        let work = deadline::within(until, Box::pin(self.allowed(rule, inner, request, message)));
        match tokio::time::timeout_at(until, work).await {
            Ok(result) => result,
            Err(_) => Err(late()),
        }
    }

    async fn allowed(
        &self,
        rule: &'static MethodRule,
        inner: Routes,
        mut request: Request<Body>,
        message: Option<Bytes>,
    ) -> ApiResult<Response<Body>> {
        // 7. Token: none is fine for public methods, a bad one never is.
        let token = request.headers().get(header::AUTHORIZATION).map(|v| v.to_str().unwrap_or_default());
        let principal = match token {
            None => Arc::new(Principal::Anonymous),
            Some(value) => {
                let token = value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer "));
                let token = token.ok_or_else(|| {
                    ApiError::new(ErrorReason::TokenInvalid, "the authorization header must be \"Bearer <token>\"")
                })?;
                self.verifier.verify(token).await?
            }
        };
        // 8. Access rule of the method.
        if !rule.access().allows(principal.roles()) {
            return Err(match (&*principal, rule.access()) {
                (Principal::Anonymous, Access::Roles(_)) => {
                    ApiError::new(ErrorReason::TokenMissing, "this method needs a token; sign in")
                }
                _ => ApiError::new(ErrorReason::RoleMissing, "the caller's roles do not allow this method"),
            });
        }
        request.extensions_mut().insert(principal);
        // 9. Field rules of the message, on its bytes.
        if let Some(message) = message {
            rule.validate(&message)?;
        }
        // 10. The handler, unless the time has run out already: what is not begun is surely not done.
        if deadline::remaining(LONGEST_DEADLINE).is_zero() {
            return Err(late());
        }
        Ok(plain(inner, request).await)
    }
}

async fn plain(inner: Routes, request: Request<Body>) -> Response<Body> {
    match inner.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn late() -> ApiError {
    ApiError::new(
        ErrorReason::DeadlineExceeded,
        "the time that the caller gave has run out; repeat with the same request_id",
    )
}

/// Health and reflection are there for everybody who reaches the port.
fn is_infrastructure(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/") || path.starts_with("/grpc.reflection.v1")
}

/// Reads the one message of a unary request and puts it back; the message without its frame comes along.
async fn read(request: Request<Body>) -> ApiResult<(Request<Body>, Option<Bytes>)> {
    let too_large = || {
        ApiError::new(
            ErrorReason::MessageTooLarge,
            format!("the message is larger than the limit of {MAX_REQUEST} bytes"),
        )
    };
    let malformed = |what: &str| {
        ApiError::new(ErrorReason::MalformedRequest, format!("the request is not one gRPC message: {what}"))
    };
    let (parts, body) = request.into_parts();
    if body.size_hint().lower() > (MAX_REQUEST + 5) as u64 {
        return Err(too_large());
    }
    let frame: Bytes = match Limited::new(body, MAX_REQUEST + 5).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(too_large()),
        // The caller went away or broke its stream; nobody reads this answer.
        Err(_) => return Err(malformed("the stream broke off")),
    };
    let Some((head, message)) = frame.split_at_checked(5) else { return Err(malformed("it is cut short")) };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if head[0] != 0 {
        return Err(malformed("compression is not supported"));
    }
    if length > MAX_REQUEST {
        return Err(too_large());
    }
    if length != message.len() {
        return Err(malformed("its length is not what it says"));
    }
    let message = frame.slice(5..);
    Ok((Request::from_parts(parts, Body::new(Full::new(frame))), Some(message)))
}

/// A gRPC code as telemetry names it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
