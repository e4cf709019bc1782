//! HTTP out of the mesh: to telephone companies, to the makers of browsers, to webhooks.
//!
//! Redirects are never followed, answers are read to a bound, and connections to what users named go through
//! [`guard`], which looks at the very addresses that are connected to.

pub mod guard;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use url::Url;

use guard::{Guard, Guarded};

/// So much of an answer is kept.
const ANSWER: usize = 2_000;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The beginning of the body; what is no text is replaced.
    pub body: String,
    /// The header `Retry-After`, when it is a number of seconds.
    pub retry_after: Option<Duration>,
}

/// There was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The address may not be called.
    #[error("refused: {0}")]
    Refused(String),
    /// Nobody answered.
    #[error("{0}")]
    Unreachable(String),
}

/// A client. Clones share connections.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector<Guarded>>, Full<Bytes>>,
    guard: Guard,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Http {
    /// Calls what the guard lets through.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(guard: Guard) -> Result<Self, rustls::Error> {
        let mut tcp = HttpConnector::new_with_resolver(Guarded(guard.clone()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(5)));
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|e| rustls::Error::General(e.to_string()))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(4)
            .build(tls);
        Ok(Self { client, guard })
    }

    /// Who may be called.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Posts a body, within the time.
    ///
    /// # Errors
    /// When the address may not be called or nobody answers.
    pub async fn post(
        &self,
        url: &Url,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        at_most: Duration,
    ) -> Result<Answer, HttpError> {
        // Names are looked at when they are resolved; addresses are looked at here.
        self.guard.check(url).map_err(HttpError::Refused)?;
        let failed = |e: &dyn std::error::Error| unreachable(e);
        let mut request = Request::builder().method(Method::POST).uri(url.as_str());
        if let Some(all) = request.headers_mut() {
            all.insert(header::USER_AGENT, HeaderValue::from_static("tourmesh"));
            all.extend(headers);
        }
        let request = request.body(Full::new(body)).map_err(|e| failed(&e))?;
        let work = async {
            let response = self.client.request(request).await.map_err(|e| failed(&e))?;
            let (head, body) = response.into_parts();
            // Who sends more than is wanted is not waited for.
            let body = match Limited::new(body, 64 * 1024).collect().await {
                Ok(body) => body.to_bytes(),
                Err(_) => Bytes::new(),
            };
            let body = String::from_utf8_lossy(body.get(..ANSWER.min(body.len())).unwrap_or_default()).into_owned();
            Ok(Answer { status: head.status.as_u16(), body, retry_after: retry_after(&head.headers) })
        };
        match tokio::time::timeout(at_most, work).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Unreachable(format!("no answer within {} s", at_most.as_secs()))),
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(86_400)))
}

/// The innermost reason says most; a refusal of the guard is one.
fn unreachable(error: &dyn std::error::Error) -> HttpError {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(refused) = source.downcast_ref::<std::io::Error>().filter(|e| guard::is_refusal(e)) {
            return HttpError::Refused(refused.to_string());
        }
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    HttpError::Unreachable(text)
}
