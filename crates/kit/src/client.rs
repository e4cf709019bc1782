//! Calls to other services: token, trace and deadline go along, and what may be repeated is repeated once, carefully.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use tonic::{
    Code, Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::Service;
use tracing::Instrument as _;

use crate::{
    auth::ServiceTokens,
    config::{ConfigError, Env, Setting},
    deadline,
    metrics::Metrics,
    rules::Rules,
    server::code_name,
    telemetry,
};

/// How long a call between services may take when the caller's own deadline leaves more.
const MOST: Duration = Duration::from_secs(5);
/// A retry costs ten tokens and a success gives one back: retries stay below a tenth of the calls.
const RETRY_COST: i64 = 10;
const BUDGET: i64 = 100;

/// A connection to another role that is made on first use, and made again when it breaks.
///
/// # Errors
/// When the setting is not a URL.
pub fn connect_lazily(env: &Env, setting: &Setting) -> Result<Channel, ConfigError> {
    let url: String = env.get(setting)?;
    let endpoint = Endpoint::from_shared(url)
        .map_err(|e| env.error(setting, &format!("is not a URL such as http://127.0.0.1:50051: {e}")))?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .user_agent(concat!("tourmesh/", env!("CARGO_PKG_VERSION")))
        .map_err(|e| env.error(setting, &e.to_string()))?
        .connect_lazy())
}

/// What a service calls another one through; generated clients take it in place of a channel.
#[derive(Clone, Debug)]
pub struct MeshChannel {
    channel: Channel,
    tokens: ServiceTokens,
    metrics: Metrics,
    budget: Arc<AtomicI64>,
}

impl MeshChannel {
    /// Calls over this connection, as the role of these tokens.
    pub fn new(channel: Channel, tokens: ServiceTokens, metrics: Metrics) -> Self {
        Self { channel, tokens, metrics, budget: Arc::new(AtomicI64::new(BUDGET)) }
    }

    async fn call(mut self, request: Request<Body>) -> Result<Response<Body>, tonic::transport::Error> {
        let (mut parts, body) = request.into_parts();
        let rule = Rules::compiled().method(parts.uri.path());
        let (service, method) = rule.map_or(("", ""), |r| (r.service(), r.name()));
        let span = tracing::info_span!(
            "call",
            otel.name = parts.uri.path().trim_start_matches('/'),
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            rpc.system.name = "grpc",
            rpc.method = parts.uri.path().trim_start_matches('/'),
            rpc.response.status_code = tracing::field::Empty,
        );
        let timeout = deadline::remaining(MOST);
        if timeout.is_zero() {
            return Ok(Status::deadline_exceeded("the caller's time has run out").into_http());
        }
        let headers = &mut parts.headers;
        if let Ok(token) = self.tokens.token()
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}"))
        {
            value.set_sensitive(true);
            headers.insert(http::header::AUTHORIZATION, value);
        }
        if let Some(value) = telemetry::traceparent(&span).and_then(|t| HeaderValue::from_str(&t).ok()) {
            headers.insert("traceparent", value);
        }
        // `Endpoint::timeout` would not be sent; the header is what makes the deadline travel.
        if let Ok(value) = HeaderValue::from_str(&format!("{}u", timeout.as_micros().clamp(1, 99_999_999))) {
            headers.insert("grpc-timeout", value);
        }
        let repeatable = rule.is_some_and(|r| r.is_repeatable() && !r.is_server_streaming());
        let bytes = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(status) => return Ok(status.into_http()),
        };
        let begun = std::time::Instant::now();
        let attempt = async {
            let mut tries = 0;
            loop {
                tries += 1;
                let mut request = Request::new(Body::new(Full::new(bytes.clone())));
                *request.method_mut() = parts.method.clone();
                *request.uri_mut() = parts.uri.clone();
                *request.version_mut() = parts.version;
                *request.headers_mut() = parts.headers.clone();
                futures_util::future::poll_fn(|cx| self.channel.poll_ready(cx)).await?;
                let result = self.channel.call(request).await;
                let unreachable = match &result {
                    Ok(response) => {
                        Status::from_header_map(response.headers()).is_some_and(|s| s.code() == Code::Unavailable)
                    }
                    Err(_) => true,
                };
                if !unreachable {
                    self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |b| Some((b + 1).min(BUDGET))).ok();
                    return result;
                }
                let paid = repeatable
                    && tries < 3
                    && self
                        .budget
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |b| {
                            (b >= RETRY_COST).then_some(b - RETRY_COST)
                        })
                        .is_ok();
                if !paid {
                    return result;
                }
                // Jitter keeps the callers of one broken server from coming back together.
                tokio::time::sleep(Duration::from_millis(rand::random_range(10..=50) << tries)).await;
            }
        };
        let result = tokio::time::timeout(timeout, attempt.instrument(span.clone())).await;
        let result =
            result.unwrap_or_else(|_| Ok(Status::deadline_exceeded("the service did not answer in time").into_http()));
        let code = match &result {
            Ok(response) => Status::from_header_map(response.headers()).map_or(Code::Ok, |s| s.code()),
            Err(_) => Code::Unavailable,
        };
        span.record("rpc.response.status_code", code_name(code));
        if code != Code::Ok {
            span.record("otel.status_code", "ERROR");
        }
        self.metrics.client_call(service, method, code_name(code), begun.elapsed().as_secs_f64());
        result
    }
}

impl Service<Request<Body>> for MeshChannel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Readiness is awaited per attempt, inside the call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().call(request))
    }
}
