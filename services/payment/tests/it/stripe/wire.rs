//! The wire to localstripe, with what Stripe's documentation says and localstripe leaves out:
//!
//! - `Idempotency-Key`: the first answer to a key is kept and given again; the key with other content is refused
//!   (docs.stripe.com/api/idempotent_requests);
//! - the search by metadata, and the filter `created` of lists;
//! - a refund of more than what is left of a charge is refused.
//!
//! It writes down every call, and it can lose answers: what is paid with `pm_silent` is paid as with `pm_card_visa`, and
//! nobody hears of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};

use super::web;

/// A call as it came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) form: BTreeMap<String, String>,
    pub(crate) headers: HeaderMap,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

type Kept = HashMap<String, ((String, Bytes), (StatusCode, Bytes))>;

/// Stands before localstripe.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) url: String,
    pub(crate) calls: Arc<Mutex<Vec<Call>>>,
    target: String,
    /// Also the lock that lets one creation through at a time, as the same key twice at once would need.
    kept: Arc<tokio::sync::Mutex<Kept>>,
}

pub(crate) fn form(bytes: &[u8]) -> BTreeMap<String, String> {
    form_urlencoded::parse(bytes).into_owned().collect()
}

fn refusal(code: &str, message: &str) -> (StatusCode, Bytes) {
    let body = json!({"error": {"type": "invalid_request_error", "code": code, "message": message}});
    (StatusCode::BAD_REQUEST, body.to_string().into())
}

impl Wire {
    /// A wire to localstripe at this address.
    pub(crate) async fn to(address: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let wire = Self { url, calls: Arc::default(), target: format!("http://{address}"), kept: Arc::default() };
        let app = Router::new().fallback(pass).with_state(wire.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        wire
    }

    async fn there(&self, method: Method, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        web::call(method, &format!("{}{path}", self.target), body).await
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let (status, body) = self.there(Method::GET, &format!("{path}{mark}limit=1000"), Bytes::new()).await;
        assert!(status.is_success(), "{path}: {status}");
        serde_json::from_slice::<Value>(&body).unwrap()["data"].as_array().unwrap().clone()
    }

    async fn search(&self, query: &str) -> (StatusCode, Bytes) {
        let (name, value) = query.strip_prefix("metadata['").unwrap().split_once("']:'").unwrap();
        let value = value.trim_end_matches('\'');
        let mut found = self.list("/v1/payment_intents").await;
        found.retain(|intent| intent["metadata"][name] == value);
        let page = json!({"object": "search_result", "data": found, "has_more": false});
        (StatusCode::OK, page.to_string().into())
    }

    async fn created(&self, path: &str, query: &BTreeMap<String, String>) -> (StatusCode, Bytes) {
        let bound = |name: &str| query.get(name).map(|text| text.parse::<i64>().unwrap());
        let (from, to) = (bound("created[gte]").unwrap_or(0), bound("created[lt]").unwrap_or(i64::MAX));
        let mut all = self.list(path).await;
        all.retain(|item| (from..to).contains(&item["created"].as_i64().unwrap()));
        (StatusCode::OK, json!({"object": "list", "data": all, "has_more": false}).to_string().into())
    }

    /// Whether more would go back than came in.
    async fn too_much(&self, wish: &BTreeMap<String, String>) -> bool {
        let intent = &wish["payment_intent"];
        let (_, body) = self.there(Method::GET, &format!("/v1/payment_intents/{intent}"), Bytes::new()).await;
        let charged = serde_json::from_slice::<Value>(&body).unwrap()["amount"].as_i64().unwrap();
        let refunds = self.list(&format!("/v1/refunds?payment_intent={intent}")).await;
        let back: i64 = refunds.iter().map(|refund| refund["amount"].as_i64().unwrap()).sum();
        back + wish["amount"].parse::<i64>().unwrap() > charged
    }

    async fn create(&self, call: &Call, key: &str, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        let mut kept = self.kept.lock().await;
        let content = (path.to_owned(), body.clone());
        if let Some((first, answer)) = kept.get(key) {
            if *first == content {
                return answer.clone();
            }
            let message =
                "Keys for idempotent requests can only be used with the same parameters they were first used with.";
            let body = json!({"error": {"type": "idempotency_error", "message": message}});
            return (StatusCode::BAD_REQUEST, body.to_string().into());
        }
        let answer = if call.path == "/v1/refunds" && self.too_much(&call.form).await {
            refusal("charge_already_refunded", "Refund amount is greater than unrefunded amount on charge")
        } else {
            let body = String::from_utf8(body.to_vec()).unwrap().replace("pm_silent", "pm_card_visa");
            self.there(Method::POST, path, body.into()).await
        };
        kept.insert(key.to_owned(), (content, answer.clone()));
        answer
    }
}

async fn pass(State(wire): State<Wire>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let call = Call { method, path: uri.path().to_owned(), form: form(&body), headers };
    wire.calls.lock().unwrap().push(call.clone());
    let path = uri.path_and_query().unwrap().as_str();
    let query = form(uri.query().unwrap_or_default().as_bytes());
    let answer = match (&call.method, call.path.as_str()) {
        (&Method::GET, "/v1/payment_intents/search") => wire.search(&query["query"]).await,
        (&Method::GET, list) if query.contains_key("created[gte]") => wire.created(list, &query).await,
        (&Method::POST, _) => match call.header("idempotency-key").map(str::to_owned) {
            Some(key) => wire.create(&call, &key, path, body).await,
            None => wire.there(Method::POST, path, body).await,
        },
        _ => wire.there(call.method.clone(), path, body).await,
    };
    if call.form.get("payment_method").is_some_and(|method| method == "pm_silent") {
        std::future::pending::<()>().await;
    }
    (answer.0, [("content-type", "application/json")], answer.1).into_response()
}
