//! A Stripe that fails when it is told to: PaymentIntents, refunds and idempotency keys as Stripe's documentation
//! describes them, in the shapes that `recorded.rs` holds, quick enough for thousands.
//!
//! The token says what happens to a payment: `pm_<answer>_<end>`. The answer is `ok` (at once), `lost` (the first call
//! never arrives), `deaf` (done, but nobody hears of it) or `late` (nobody hears of it, and it is decided later); the end
//! is `paid`, `declined` or `action` (a second step at a bank's page). New intents are found by search only after a while, as at Stripe.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tourmesh::payment::v1::{HandleProviderEventRequest, payment_service_client::PaymentServiceClient};
use tourmesh_payment::provider::signature;

use super::{WEBHOOK_SECRET, wire::form};

const SEARCH_LAG: Duration = Duration::from_millis(1500);
const LATE: Duration = Duration::from_millis(2500);
/// Longer than anybody waits for an answer in these tests.
const NEVER: Duration = Duration::from_secs(5);

/// What it remembers.
#[derive(Default)]
pub(crate) struct Memory {
    /// By Stripe's id.
    pub(crate) intents: HashMap<String, Intent>,
    /// Their ids by our payment, as the search finds them.
    found_by: HashMap<String, Vec<String>>,
    /// By Stripe's id.
    pub(crate) refunds: HashMap<String, Value>,
    /// Answers by idempotency key.
    kept: HashMap<String, (BTreeMap<String, String>, StatusCode, Value)>,
    /// Keys whose first call was lost.
    lost: HashSet<String>,
    /// With which keys each of our payments was asked for.
    pub(crate) keys: HashMap<String, HashSet<String>>,
    /// How refunds go: what is refused or fails at first, by what is left of it.
    pub(crate) refund_script: Vec<RefundScript>,
    /// Who is told by event before the creation is answered.
    listener: Option<PaymentServiceClient<Channel>>,
    /// How often that was so.
    pub(crate) told_first: usize,
}

/// What happens to the next refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefundScript {
    /// 400, nothing is done.
    Refuse,
    /// 500, nothing is done.
    Break,
    /// Accepted, `pending`.
    Pend,
    /// Accepted, `failed`.
    Fail,
}

/// A PaymentIntent.
#[derive(Clone)]
pub(crate) struct Intent {
    pub(crate) body: Value,
    made: Instant,
    /// How a late one ends.
    end: Option<Value>,
    /// How often money was taken.
    pub(crate) charged: usize,
}

impl Intent {
    /// Decides what is late, when its time has come.
    fn now(&mut self) -> &Value {
        if self.made.elapsed() >= LATE
            && let Some(end) = self.end.take()
        {
            self.settle(&end);
        }
        &self.body
    }

    fn settle(&mut self, end: &Value) {
        for (name, value) in end.as_object().unwrap() {
            self.body[name] = value.clone();
        }
        if end["status"] == "succeeded" {
            self.charged += 1;
        }
    }
}

/// The server.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) url: String,
    memory: Arc<Mutex<Memory>>,
}

fn number() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// The end that a token names, as the fields of an intent that change.
fn end(method: &str, manual: bool, amount: i64) -> Value {
    if method.ends_with("_action") {
        let page = json!({"type": "redirect_to_url", "redirect_to_url": {"url": "https://hooks.stripe.com/3ds/1"}});
        return json!({"status": "requires_action", "next_action": page});
    }
    match (method.ends_with("_declined"), manual) {
        (true, _) => json!({
            "status": "requires_payment_method",
            "last_payment_error": {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}
        }),
        (false, true) => json!({"status": "requires_capture", "amount_capturable": amount}),
        (false, false) => json!({"status": "succeeded", "amount_received": amount}),
    }
}

/// An event about an object, as Stripe sends it.
pub(crate) fn event(kind: &str, object: &Value) -> String {
    json!({
        "id": format!("evt_{}", number()),
        "object": "event",
        "api_version": tourmesh_payment::stripe::VERSION,
        "created": chrono::Utc::now().timestamp(),
        "data": {"object": object},
        "livemode": false,
        "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null},
        "type": kind,
    })
    .to_string()
}

/// The header for it.
pub(crate) fn signed(body: &str) -> String {
    signature::sign(WEBHOOK_SECRET.as_bytes(), body.as_bytes(), chrono::Utc::now())
}

/// An intent as it is when it has just been made.
pub(crate) fn intent(id: &str, payment: &str, amount: i64, currency: &str) -> Value {
    json!({
        "id": id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": 0,
        "capture_method": "automatic",
        "client_secret": format!("{id}_secret_{}", number()),
        "created": chrono::Utc::now().timestamp(),
        "currency": currency,
        "last_payment_error": null,
        "livemode": false,
        "metadata": {"payment_id": payment},
        "next_action": null,
        "status": "processing",
    })
}

impl Scripted {
    /// Starts it.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let scripted = Self { url, memory: Arc::default() };
        let app = Router::new()
            .route("/v1/payment_intents", post(create).get(list_intents))
            .route("/v1/payment_intents/search", get(search))
            .route("/v1/payment_intents/{id}", get(retrieve))
            .route("/v1/payment_intents/{id}/capture", post(capture))
            .route("/v1/payment_intents/{id}/cancel", post(cancel))
            .route("/v1/refunds", post(refund).get(list_refunds))
            .with_state(scripted.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        scripted
    }

    /// From now on an event tells of each new intent before the call that made it is answered.
    pub(crate) fn tell_first(&self, listener: PaymentServiceClient<Channel>) {
        self.memory().listener = Some(listener);
    }

    /// Everything that it remembers.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }
}

type Query2 = Query<BTreeMap<String, String>>;

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}

fn refusal(status: u16, kind: &str, code: &str, message: &str) -> (StatusCode, Value) {
    let body = json!({"error": {"type": kind, "code": code, "message": message}});
    (StatusCode::from_u16(status).unwrap(), body)
}

/// What a creation comes to: the answer, and whether anybody hears it.
fn made(stripe: &Scripted, key: String, wish: BTreeMap<String, String>) -> (StatusCode, Value, bool) {
    let method = wish["payment_method"].clone();
    let mut memory = stripe.memory();
    let payment = wish["metadata[payment_id]"].clone();
    memory.keys.entry(payment.clone()).or_default().insert(key.clone());
    if method.starts_with("pm_lost_") && memory.lost.insert(key.clone()) {
        return (StatusCode::GATEWAY_TIMEOUT, Value::Null, false);
    }
    match memory.kept.get(&key) {
        Some((first, status, body)) if *first == wish => return (*status, body.clone(), true),
        Some(_) => {
            let (status, body) = refusal(400, "idempotency_error", "", "Keys are for one request");
            return (status, body, true);
        }
        None => {}
    }
    let amount: i64 = wish["amount"].parse().unwrap();
    let body = intent(&format!("pi_{}", number()), &payment, amount, &wish["currency"]);
    let mut made = Intent { body, made: Instant::now(), end: None, charged: 0 };
    let end = end(&method, wish["capture_method"] == "manual", amount);
    let (status, told) = if method.starts_with("pm_late_") {
        made.end = Some(end);
        (StatusCode::OK, made.body.clone())
    } else {
        made.settle(&end);
        if method.ends_with("_declined") {
            let error = json!({"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
                "message": "Your card has insufficient funds.", "payment_intent": made.body});
            (StatusCode::PAYMENT_REQUIRED, json!({"error": error}))
        } else {
            (StatusCode::OK, made.body.clone())
        }
    };
    memory.kept.insert(key, (wish, status, told.clone()));
    let id = made.body["id"].as_str().unwrap().to_owned();
    memory.found_by.entry(payment).or_default().push(id.clone());
    memory.intents.insert(id, made);
    (status, told, !method.starts_with("pm_deaf_") && !method.starts_with("pm_late_"))
}

async fn create(State(stripe): State<Scripted>, headers: HeaderMap, body: Bytes) -> Response {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let (status, body, heard) = made(&stripe, key, form(&body));
    let listener = stripe.memory().listener.clone();
    if let Some(mut listener) = listener {
        let kind = if body["status"] == "succeeded" { "succeeded" } else { "amount_capturable_updated" };
        let body = event(&format!("payment_intent.{kind}"), &body);
        let signature = signed(&body);
        let told = HandleProviderEventRequest { provider: "stripe".into(), body: body.into(), signature };
        assert!(listener.handle_provider_event(told).await.unwrap().into_inner().applied);
        stripe.memory().told_first += 1;
    }
    if !heard {
        tokio::time::sleep(NEVER).await;
    }
    answer(status, &body)
}

async fn retrieve(State(stripe): State<Scripted>, Path(id): Path<String>) -> Response {
    match stripe.memory().intents.get_mut(&id) {
        Some(intent) => answer(StatusCode::OK, intent.now()),
        None => {
            let (status, body) = refusal(404, "invalid_request_error", "resource_missing", "No such payment_intent");
            answer(status, &body)
        }
    }
}

async fn search(State(stripe): State<Scripted>, Query(query): Query2) -> Response {
    let payment = query["query"].strip_prefix("metadata['payment_id']:'").unwrap().trim_end_matches('\'').to_owned();
    let mut memory = stripe.memory();
    let ids = memory.found_by.get(&payment).cloned().unwrap_or_default();
    let mut found = Vec::new();
    for id in ids {
        let intent = memory.intents.get_mut(&id).filter(|intent| intent.made.elapsed() >= SEARCH_LAG);
        found.extend(intent.map(|intent| intent.now().clone()));
    }
    answer(StatusCode::OK, &json!({"object": "search_result", "data": found, "has_more": false}))
}

fn page(mut all: Vec<Value>, query: &BTreeMap<String, String>) -> Response {
    let bound = |name: &str, other: i64| query.get(name).map_or(other, |text| text.parse().unwrap());
    let (from, to) = (bound("created[gte]", 0), bound("created[lt]", i64::MAX));
    all.retain(|item| (from..to).contains(&item["created"].as_i64().unwrap()));
    all.sort_by_key(|item| std::cmp::Reverse(item["id"].as_str().unwrap().to_owned()));
    let after = query.get("starting_after");
    let from = after.map_or(0, |id| all.iter().position(|item| item["id"] == id.as_str()).unwrap() + 1);
    let limit: usize = query.get("limit").map_or(10, |text| text.parse().unwrap());
    assert!(limit <= 100, "Stripe gives at most 100");
    let has_more = all.len() > from + limit;
    let data: Vec<_> = all.into_iter().skip(from).take(limit).collect();
    answer(StatusCode::OK, &json!({"object": "list", "data": data, "has_more": has_more}))
}

async fn list_intents(State(stripe): State<Scripted>, Query(query): Query2) -> Response {
    let all = stripe.memory().intents.values_mut().map(|i| i.now().clone()).collect();
    page(all, &query)
}

async fn list_refunds(State(stripe): State<Scripted>, Query(query): Query2) -> Response {
    let mut all: Vec<_> = stripe.memory().refunds.values().cloned().collect();
    if let Some(intent) = query.get("payment_intent") {
        all.retain(|refund| refund["payment_intent"] == intent.as_str());
    }
    page(all, &query)
}

fn turn(stripe: &Scripted, id: &str, from: &[&str], change: impl FnOnce(&mut Intent)) -> Response {
    let mut memory = stripe.memory();
    let Some(intent) = memory.intents.get_mut(id) else { return StatusCode::NOT_FOUND.into_response() };
    if !from.iter().any(|status| intent.now()["status"] == *status) {
        let code = "payment_intent_unexpected_state";
        let (status, body) = refusal(400, "invalid_request_error", code, "This PaymentIntent has another status");
        return answer(status, &body);
    }
    change(intent);
    answer(StatusCode::OK, &intent.body)
}

async fn capture(State(stripe): State<Scripted>, Path(id): Path<String>) -> Response {
    turn(&stripe, &id, &["requires_capture"], |intent| {
        let amount = intent.body["amount"].clone();
        intent.settle(&json!({"status": "succeeded", "amount_received": amount, "amount_capturable": 0}));
    })
}

async fn cancel(State(stripe): State<Scripted>, Path(id): Path<String>) -> Response {
    turn(&stripe, &id, &["requires_payment_method", "requires_capture", "requires_action"], |intent| {
        intent.settle(&json!({"status": "canceled", "next_action": null}));
    })
}

async fn refund(State(stripe): State<Scripted>, headers: HeaderMap, body: Bytes) -> Response {
    let (wish, key) = (form(&body), headers["idempotency-key"].to_str().unwrap().to_owned());
    let mut memory = stripe.memory();
    if let Some((first, status, body)) = memory.kept.get(&key) {
        assert_eq!(first, &wish, "a key is for one request");
        return answer(*status, body);
    }
    let script = memory.refund_script.pop();
    let (status, body) = match script {
        Some(RefundScript::Refuse) => {
            refusal(400, "invalid_request_error", "charge_disputed", "This charge has been charged back")
        }
        // Not kept: it did not get as far as the endpoint.
        Some(RefundScript::Break) => return StatusCode::BAD_GATEWAY.into_response(),
        _ => {
            let status = match script {
                Some(RefundScript::Pend) => "pending",
                Some(RefundScript::Fail) => "failed",
                _ => "succeeded",
            };
            let id = format!("re_{}", number());
            let names = ["payment_id", "refund_id", "attempt"];
            let metadata: BTreeMap<_, _> = names.map(|name| (name, wish[&format!("metadata[{name}]")].clone())).into();
            let intent = &memory.intents[&wish["payment_intent"]].body;
            let body = json!({
                "id": id, "object": "refund", "amount": wish["amount"].parse::<i64>().unwrap(),
                "created": chrono::Utc::now().timestamp(), "currency": intent["currency"], "metadata": metadata,
                "payment_intent": wish["payment_intent"], "reason": null, "status": status,
                "failure_reason": (status == "failed").then_some("expired_or_canceled_card"),
            });
            memory.refunds.insert(id, body.clone());
            (StatusCode::OK, body)
        }
    };
    memory.kept.insert(key, (wish, status, body.clone()));
    answer(status, &body)
}
