//! An outside client: everything it knows is the gateway's URL, and it speaks gRPC-Web as a browser would.

use std::time::Duration;

use anyhow::Context as _;
use http::{Request, Uri};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;
use tonic_web::GrpcWebClientLayer;
use tourmesh::{
    booking::v1::booking_service_client::BookingServiceClient,
    catalog::v1::catalog_service_client::CatalogServiceClient,
    identity::v1::identity_service_client::IdentityServiceClient,
    notification::v1::notification_service_client::NotificationServiceClient,
    payment::v1::sandbox_service_client::SandboxServiceClient,
};
use tourmesh_kit::telemetry;
use tower::{ServiceBuilder, util::BoxCloneSyncService};

/// gRPC-Web over HTTP/1.1.
type Web = BoxCloneSyncService<Request<Body>, http::Response<Body>, hyper_util::client::legacy::Error>;

/// One call of a service's method: `call!(visitor, booking.get_booking, &request)`.
macro_rules! call {
    ($visitor:expr, $service:ident.$method:ident, $request:expr) => {
        $visitor.call($request, |request| {
            let mut client = $visitor.$service();
            async move { client.$method(request).await }
        })
    };
}
pub(crate) use call;

/// Who talks to a gateway, and as whom.
#[derive(Clone)]
pub struct Visitor {
    web: Web,
    gateway: Uri,
    token: Option<String>,
    /// How long a call is repeated, with the same content, while the mesh does not answer; zero: not at all.
    patience: Duration,
}

impl Visitor {
    /// Nobody yet.
    pub fn at(gateway: &str, patience: Duration) -> anyhow::Result<Self> {
        let gateway: Uri =
            gateway.parse().with_context(|| format!("{gateway} is not a URL such as http://127.0.0.1:8080"))?;
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(Duration::from_secs(2)));
        let client = Client::builder(TokioExecutor::new()).build(http);
        let web = ServiceBuilder::new()
            .map_response(|response: http::Response<_>| response.map(Body::new))
            .layer(GrpcWebClientLayer::new())
            .service(client);
        Ok(Self { web: BoxCloneSyncService::new(web), gateway, token: None, patience })
    }

    /// The same with an access token.
    pub fn with_token(&self, token: String) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// Tours.
    pub fn catalog(&self) -> CatalogServiceClient<Web> {
        CatalogServiceClient::with_origin(self.web.clone(), self.gateway.clone())
    }
    /// Bookings.
    pub fn booking(&self) -> BookingServiceClient<Web> {
        BookingServiceClient::with_origin(self.web.clone(), self.gateway.clone())
    }
    /// Accounts.
    pub fn identity(&self) -> IdentityServiceClient<Web> {
        IdentityServiceClient::with_origin(self.web.clone(), self.gateway.clone())
    }
    /// The bank's page of the sandbox provider.
    pub fn sandbox(&self) -> SandboxServiceClient<Web> {
        SandboxServiceClient::with_origin(self.web.clone(), self.gateway.clone())
    }
    /// Messages.
    pub fn notification(&self) -> NotificationServiceClient<Web> {
        NotificationServiceClient::with_origin(self.web.clone(), self.gateway.clone())
    }

    /// Makes one call: with the token, the trace, a deadline, and patience.
    pub async fn call<M, T, F, Fut>(&self, message: &M, send: F) -> Result<T, Status>
    where
        M: Clone,
        F: Fn(tonic::Request<M>) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let begun = tokio::time::Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let mut request = tonic::Request::new(message.clone());
            request.set_timeout(Duration::from_secs(10));
            if let Some(token) = self.token.as_ref().and_then(|t| format!("Bearer {t}").parse().ok()) {
                request.metadata_mut().insert("authorization", token);
            }
            if let Some(parent) = telemetry::traceparent(&tracing::Span::current()).and_then(|t| t.parse().ok()) {
                request.metadata_mut().insert("traceparent", parent);
            }
            let answer = tokio::time::timeout(Duration::from_secs(12), send(request)).await;
            match answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer"))) {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if is_passing(&status) && begun.elapsed() < self.patience => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
                Err(status) => return Err(status),
            }
        }
    }
}

/// It may go better with the next try: the same request_id makes the repeat harmless.
pub fn is_passing(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => true,
        Code::ResourceExhausted => status.get_details_error_info().is_none_or(|info| info.reason == "OVERLOADED"),
        // A connection that broke in the middle of an answer.
        Code::Internal => status.get_details_error_info().is_none(),
        _ => false,
    }
}
