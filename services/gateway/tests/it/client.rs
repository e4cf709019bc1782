//! A plain HTTP/1.1 client.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

/// Sends one request; the head of the answer and its body as it comes.
pub(crate) async fn send(
    to: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response<Incoming> {
    let mut request = Request::builder().method(method).uri(format!("http://{to}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap()
}

/// The same, with the body read to its end.
pub(crate) async fn read(
    to: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let (head, body) = send(to, method, path, headers, body).await.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

/// A page as text.
pub(crate) async fn get(to: SocketAddr, path: &str) -> (u16, String) {
    let response = read(to, Method::GET, path, &[], "").await;
    (response.status().as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap())
}
