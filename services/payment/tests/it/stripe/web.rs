//! HTTP for tests: a form goes there, JSON comes back.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use super::KEY;

/// Calls, with the key; no connection outlives the runtime of the test that made it.
pub(crate) async fn call(method: Method, url: &str, form: impl Into<Bytes>) -> (StatusCode, Bytes) {
    static NOTHING: LazyLock<HttpConnector> = LazyLock::new(HttpConnector::new);
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(NOTHING.clone());
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::<Bytes>::new(form.into()))
        .unwrap();
    let answer = client.request(request).await.unwrap();
    let status = answer.status();
    (status, answer.into_body().collect().await.unwrap().to_bytes())
}

/// The same, when it must succeed.
pub(crate) async fn json(method: Method, url: &str, form: &str) -> Value {
    let (status, body) = call(method, url, form.to_owned()).await;
    assert!(status.is_success(), "{url}: {status} {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap_or(Value::Null)
}
