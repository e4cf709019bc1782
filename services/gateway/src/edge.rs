//! What comes in on the one port, and where it goes: gRPC, gRPC-Web in both forms, health, reflection, pages.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use tonic::{Status, body::Body, service::Routes};
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer as _, Service, ServiceExt as _};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, Cors, CorsLayer};

use crate::{
    config::Origins,
    proxy::{self, Proxy, TRACE_ID},
};

/// How long browsers remember what they may send.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3600);

/// Everything behind the port. Clones share it.
#[derive(Clone)]
pub struct Edge {
    rooms: Rooms,
    /// The way of browsers: their rules first, then gRPC-Web becomes gRPC.
    browsers: Cors<GrpcWebOnly>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("proxy", &self.rooms.proxy).finish_non_exhaustive()
    }
}

impl Edge {
    /// Puts the parts together.
    pub fn new(proxy: Proxy, own: Routes, pages: Router, origins: &Origins) -> Self {
        let rooms = Rooms { proxy, own: own.prepare(), pages };
        let web = GrpcWebLayer::new().layer(rooms.clone());
        let browsers = cors(origins).layer(GrpcWebOnly { web, other: rooms.clone() });
        Self { rooms, browsers }
    }

    /// Answers whatever comes in.
    pub async fn answer(self, request: Request<Body>) -> Response<Body> {
        let headers = request.headers();
        let answered = if headers.contains_key(header::ORIGIN) || proxy::is_grpc_web(headers) {
            self.browsers.oneshot(request).await
        } else {
            // The short way of gRPC clients.
            Ok(self.rooms.answer(request).await)
        };
        match answered {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Which pages may call, what they may send, and what of the answer they may read.
fn cors(origins: &Origins) -> CorsLayer {
    let origins = match origins {
        Origins::Any => AllowOrigin::from(Any),
        Origins::These(list) => AllowOrigin::list(list.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        // A bare `*` would leave out `authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            HeaderName::from_static("grpc-status"),
            HeaderName::from_static("grpc-message"),
            HeaderName::from_static("grpc-status-details-bin"),
            TRACE_ID,
        ])
        .max_age(PREFLIGHT_AGE)
}

/// The rooms behind the edge, by path.
#[derive(Clone)]
struct Rooms {
    proxy: Proxy,
    /// What the gateway answers itself: health and reflection.
    own: Routes,
    pages: Router,
}

impl Rooms {
    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let grpc = proxy::is_grpc(request.headers());
        if grpc && request.version() < Version::HTTP_2 && request.extensions().get::<OfBrowser>().is_none() {
            return plain(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2; over HTTP/1.1 use gRPC-Web\n");
        }
        if let Some(method) = Proxy::method(path) {
            return self.proxy.call(method, request).await;
        }
        let answered = if path.starts_with("/grpc.health.") || path.starts_with("/grpc.reflection.") {
            self.own.oneshot(request).await
        } else if grpc {
            Ok(Status::from(proxy::unknown()).into_http())
        } else {
            self.pages.oneshot(request.map(axum::body::Body::new)).await.map(|response| response.map(Body::new))
        };
        match answered {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

impl Service<Request<Body>> for Rooms {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let rooms = self.clone();
        Box::pin(async move { Ok(rooms.answer(request).await) })
    }
}

/// Marks a request that was gRPC-Web: it is gRPC now, whatever HTTP it came in on.
#[derive(Debug, Clone, Copy)]
struct OfBrowser;

/// gRPC-Web through its translation, everything else past it: the translation refuses plain HTTP/1.1.
#[derive(Clone)]
struct GrpcWebOnly {
    web: GrpcWebService<Rooms>,
    other: Rooms,
}

impl Service<Request<Body>> for GrpcWebOnly {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if proxy::is_grpc_web(request.headers()) {
            request.extensions_mut().insert(OfBrowser);
            Box::pin(self.web.call(request))
        } else {
            self.other.call(request)
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
