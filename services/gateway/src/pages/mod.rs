//! What plain HTTP clients find: liveness and readiness, the webhooks of payment providers, the sandbox's bank page, the
//! public keys of access tokens, where unsubscribe links lead.

mod answer;
mod challenges;
mod keys;
mod unsubscribe;
mod webhooks;

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use kit::server::MAX_REQUEST;
use serde_json::json;
use tourmesh::{
    identity::v1::identity_service_client::IdentityServiceClient,
    notification::v1::notification_service_client::NotificationServiceClient,
    payment::v1::{payment_service_client::PaymentServiceClient, sandbox_service_client::SandboxServiceClient},
};
use tourmesh_kit as kit;
use tracing::{Instrument as _, field::Empty};

use crate::{
    client,
    health::MeshHealth,
    proxy,
    upstream::{Upstream, UpstreamClient},
};

/// How long our own calls may take: providers give up after ten to thirty seconds.
const PATIENCE: Duration = Duration::from_secs(9);

/// What the pages need.
#[derive(Clone)]
struct Room {
    payments: PaymentServiceClient<UpstreamClient>,
    sandbox: SandboxServiceClient<UpstreamClient>,
    identity: IdentityServiceClient<UpstreamClient>,
    notifications: NotificationServiceClient<UpstreamClient>,
}

/// The pages. They answer 503 where they need a role that is not there.
pub fn router(health: MeshHealth, upstreams: &[Upstream]) -> Router {
    let plain = Router::new()
        .route("/", get(front))
        .route("/style.css", get(style))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(health);
    let of = |role| upstreams.iter().find(|u| u.role() == role).map(|u| u.client(PATIENCE));
    let (Some(client), Some(identity), Some(notification)) = (of("payment"), of("identity"), of("notification")) else {
        return plain;
    };
    let room = Room {
        payments: PaymentServiceClient::new(client.clone()),
        sandbox: SandboxServiceClient::new(client),
        identity: IdentityServiceClient::new(identity),
        notifications: NotificationServiceClient::new(notification),
    };
    let traced = Router::new()
        .merge(webhooks::router())
        .merge(challenges::router())
        .merge(keys::router())
        .merge(unsubscribe::router())
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .route_layer(middleware::from_fn(trace))
        .with_state(room);
    plain.merge(traced)
}

/// What is here.
async fn front() -> Response {
    const PAGE: &str = include_str!("front.html");
    page(StatusCode::OK, PAGE.to_owned())
}

/// How the few pages look.
async fn style() -> Response {
    const STYLE: &str = include_str!("style.css");
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=3600")], STYLE)
        .into_response()
}

/// The mesh as seen from here: ready when every role is.
async fn ready(State(health): State<MeshHealth>) -> Response {
    let states = health.states();
    let ready = health.is_serving();
    let upstreams: serde_json::Map<_, _> =
        states.into_iter().map(|(role, state)| (role.to_owned(), state.text().into())).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "upstreams": upstreams }))).into_response()
}

/// An HTML page that runs no script, sends its forms to us alone, and is shown in nobody's frame.
fn page(status: StatusCode, html: String) -> Response {
    const POLICY: &str =
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `title` and `body` are ours; what came from outside was escaped on its way in.
fn document(language: &str, title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
}

/// A span around what calls into the mesh, and its trace id on the answer.
async fn trace(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!(
        "page",
        otel.name = format!("{} {route}", request.method()),
        otel.kind = "server",
        otel.status_code = Empty,
        tourmesh.role = crate::ROLE,
        http.request.method = request.method().as_str(),
        http.route = route,
        http.response.status_code = Empty,
        tourmesh.foreign_trace_id = Empty,
    );
    client::follow(&request, &span);
    let mut response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    proxy::add_trace_id(response.headers_mut(), &span);
    response
}
