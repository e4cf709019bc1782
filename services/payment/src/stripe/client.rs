//! HTTP as Stripe speaks it: forms in, JSON out, one kind of error body.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::de::DeserializeOwned;

use super::{VERSION, shapes::Refusal, shapes::RefusalError};
use crate::provider::ProviderError;

/// The most that is read of an answer; a page of a hundred intents has a tenth of it.
const LARGEST_ANSWER: usize = 4 << 20;
const CONNECT: Duration = Duration::from_secs(3);
/// Kept below the time after which servers usually close what is idle.
const IDLE: Duration = Duration::from_secs(20);

/// Calls Stripe.
pub(super) struct Api {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    authorization: HeaderValue,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base).finish_non_exhaustive()
    }
}

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody knows whether it was done.
    Unknown(String),
    /// Stripe says no, and has done nothing.
    Refused(StatusCode, Box<RefusalError>),
}

impl Failure {
    /// As the trait wants it, when there is nothing better to be made of it.
    pub(super) fn plain(self) -> ProviderError {
        match self {
            Self::Unknown(why) => ProviderError::Unknown(why),
            Self::Refused(status, error) => ProviderError::Refused(told(status, &error)),
        }
    }
}

/// A refusal for our log. The message about a wrong key shows parts of it, so it is left out.
pub(super) fn told(status: StatusCode, error: &RefusalError) -> String {
    let code = error.code.as_deref().unwrap_or(&error.kind);
    let message = error.message.as_deref().filter(|_| !is_about_us(status)).unwrap_or_default();
    format!("{} {code} {message}", status.as_u16()).trim_end().to_owned()
}

/// Our key is wrong, or may not do this: a setting, not this call.
pub(super) fn is_about_us(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

impl Api {
    pub(super) fn new(base: &str, key: &str) -> Result<Self, String> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|e| format!("there is no TLS: {e}"))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| "the key cannot be sent".to_owned())?;
        authorization.set_sensitive(true);
        Ok(Self { client, base: base.to_owned(), authorization })
    }

    /// Reads something.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Failure> {
        let query = form(query);
        let mark = if query.is_empty() { "" } else { "?" };
        match self.send(Method::GET, &format!("{path}{mark}{query}"), None, None).await {
            // A question that we may not ask has no answer; that the settings are wrong says nothing about its subject.
            Err(Failure::Refused(status, error)) if is_about_us(status) => Err(Failure::Unknown(told(status, &error))),
            answer => answer,
        }
    }

    /// Does something; with a key Stripe does it once and remembers the answer.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        key: Option<&str>,
    ) -> Result<T, Failure> {
        self.send(Method::POST, path, Some(form(fields)), key).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        form: Option<String>,
        key: Option<&str>,
    ) -> Result<T, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(USER_AGENT, concat!("tourmesh/", env!("CARGO_PKG_VERSION")))
            .header("stripe-version", VERSION);
        if form.is_some() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let body = Full::new(Bytes::from(form.unwrap_or_default()));
        let request = request.body(body).map_err(|e| Failure::Unknown(e.to_string()))?;
        let answer = self.client.request(request).await.map_err(|e| Failure::Unknown(causes(&e)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
        let body = body.map_err(|e| Failure::Unknown(format!("the answer broke off: {e}")))?.to_bytes();
        read(status, &body)
    }
}

/// What an answer says. Of everything that is neither a result nor a clear refusal the outcome is unknown: 409 (the same
/// key is being worked on), 429 (too many calls) and all of 5xx.
fn read<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, Failure> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|e| Failure::Unknown(format!("an answer of another shape: {e}")));
    }
    let clear = status.is_client_error()
        && !matches!(status, StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) if clear => Err(Failure::Refused(status, Box::new(refusal.error))),
        // Not Stripe's form: something in between has answered.
        _ => Err(Failure::Unknown(format!("answered {status}"))),
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The error with what is behind it; hyper's own text says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, body: &str) -> ProviderError {
        read::<serde_json::Value>(StatusCode::from_u16(status).unwrap(), body.as_bytes()).unwrap_err().plain()
    }

    #[test]
    fn only_stripes_own_clear_refusal_is_one() {
        let body = r#"{"error":{"type":"invalid_request_error","code":"amount_too_small","message":"Too small."}}"#;
        assert_eq!(outcome(400, body), ProviderError::Refused("400 amount_too_small Too small.".into()));
        for status in [408, 409, 429, 500, 502, 503] {
            assert!(matches!(outcome(status, body), ProviderError::Unknown(_)), "{status}");
        }
        for strange in ["<html>Bad request</html>", "", "{}", "[]"] {
            assert!(matches!(outcome(400, strange), ProviderError::Unknown(_)), "{strange}");
            assert!(matches!(outcome(302, strange), ProviderError::Unknown(_)), "{strange}");
        }
        assert!(matches!(read::<Vec<u8>>(StatusCode::OK, b"{}"), Err(Failure::Unknown(_))));
    }

    #[test]
    fn a_wrong_key_is_not_repeated_in_what_we_log() {
        let body =
            r#"{"error":{"type":"invalid_request_error","message":"Invalid API Key provided: sk_test_***hunter2"}}"#;
        let ProviderError::Refused(why) = outcome(401, body) else { panic!("refused") };
        assert_eq!(why, "401 invalid_request_error");
    }
}
