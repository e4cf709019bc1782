//! What the sandbox tells by itself: signed JSON over HTTP, repeated with back-off until the answer is 2xx.
//!
//! The header `sandbox-signature` is in Stripe's form (see [`crate::provider::signature`]). An event is at least once and
//! in no particular order, as with any provider.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::Utc;
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use http::{Method, Request, Uri};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db, money::Money, shutdown::Shutdown};
use uuid::Uuid;

use super::{
    Sandbox,
    intents::{self, Intent},
};
use crate::{
    domain::{
        PaymentId, RefundId,
        payment::{Outcome, Standing},
    },
    provider::{About, ProviderEvent, RefundStanding, signature},
    store,
};

/// The header that carries the signature.
pub const SIGNATURE_HEADER: &str = "sandbox-signature";

/// The body of an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notice {
    /// "evt_…"; repeats have the same.
    pub id: String,
    /// Such as "payment.succeeded".
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    pub data: Data,
}

/// What an event is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Data {
    /// The sandbox's own id of the charge; empty for a refund.
    #[serde(default)]
    pub id: String,
    /// The key of the charge.
    pub key: String,
    /// The key of the refund, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_key: Option<String>,
    /// How much.
    pub amount: Decimal,
    /// ISO 4217.
    pub currency: String,
    /// Why a charge failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decline_code: Option<String>,
}

impl Notice {
    pub(crate) fn of_intent(intent: &Intent) -> Self {
        let kind = match intent.status.as_str() {
            "succeeded" => "payment.succeeded",
            "requires_capture" => "payment.authorized",
            "failed" => "payment.failed",
            "canceled" => "payment.canceled",
            _ => "payment.created",
        };
        Self::new(
            kind,
            Data {
                id: reference(intent.id),
                key: intent.key.to_string(),
                refund_key: None,
                amount: intent.amount,
                currency: intent.currency.clone(),
                decline_code: intent.decline_code.clone(),
            },
        )
    }

    pub(crate) fn of_refund(key: Uuid, intent: Uuid, amount: Money) -> Self {
        Self::new(
            "refund.succeeded",
            Data {
                id: String::new(),
                key: intent.to_string(),
                refund_key: Some(key.to_string()),
                amount: amount.amount(),
                currency: amount.currency().to_string(),
                decline_code: None,
            },
        )
    }

    fn new(kind: &str, data: Data) -> Self {
        Self { id: format!("evt_{}", Uuid::now_v7().simple()), kind: kind.to_owned(), data }
    }
}

/// The sandbox's id of a charge, as it is shown.
pub(crate) fn reference(id: Uuid) -> String {
    format!("sbx_{}", id.simple())
}

/// Reads a body whose signature fits; what it does not understand is of no concern.
pub(crate) fn read(body: &[u8]) -> ProviderEvent {
    let other = |id: String, kind: String| ProviderEvent { id, about: About::Other { kind } };
    let Ok(notice) = serde_json::from_slice::<Notice>(body) else {
        return other(String::new(), "malformed".to_owned());
    };
    let about = about(&notice);
    let Notice { id, kind, .. } = notice;
    about.map_or_else(|| other(id.clone(), kind), |about| ProviderEvent { id: id.clone(), about })
}

fn about(notice: &Notice) -> Option<About> {
    let data = &notice.data;
    let key = PaymentId::from_uuid(data.key.parse().ok()?);
    let standing = match notice.kind.as_str() {
        "payment.succeeded" => Standing::Captured { amount: store::money(data.amount, &data.currency).ok()? },
        "payment.authorized" => Standing::Authorized,
        "payment.failed" => Standing::Failed { decline_code: data.decline_code.clone().unwrap_or_default() },
        "payment.canceled" => Standing::Cancelled,
        "refund.succeeded" => {
            let refund = RefundId::from_uuid(data.refund_key.as_ref()?.parse().ok()?);
            return Some(About::Refund { key: refund, payment: key, attempt: 0, standing: RefundStanding::Settled });
        }
        _ => return None,
    };
    Some(About::Payment { key, outcome: Outcome { reference: Some(data.id.clone()), standing } })
}

/// Stores events to be sent, in the transaction of what they tell.
pub(crate) async fn enqueue(tx: &mut PgConnection, notices: &[Notice], delay_ms: i64) -> ApiResult<()> {
    if notices.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = notices.iter().map(|_| Uuid::now_v7()).collect();
    let bodies = notices.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    sqlx::query(
        "INSERT INTO sandbox_events (id, body, due_at)
         SELECT n.id, n.body, now() + make_interval(secs => $3 / 1000.0) FROM unnest($1::uuid[], $2::text[]) AS n (id, body)",
    )
    .bind(ids)
    .bind(bodies.map_err(tourmesh_kit::ApiError::internal)?)
    .bind(delay_ms)
    .execute(tx)
    .await?;
    Ok(())
}

/// Where events go.
pub trait Deliver: Send + Sync + 'static {
    /// Hands over one event; an error means that it comes again.
    fn deliver<'a>(&'a self, body: &'a str, signature: &'a str) -> BoxFuture<'a, Result<(), String>>;
}

/// Over HTTP/1.1 without TLS: the gateway is on the same private network.
#[derive(Debug)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    url: Uri,
}

impl Http {
    /// To this URL.
    pub fn new(url: Uri) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()), url }
    }
}

impl Deliver for Http {
    fn deliver<'a>(&'a self, body: &'a str, signature: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let request = Request::builder()
                .method(Method::POST)
                .uri(self.url.clone())
                .header("content-type", "application/json")
                .header(SIGNATURE_HEADER, signature)
                .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
                .map_err(|e| e.to_string())?;
            let answer = tokio::time::timeout(Duration::from_secs(5), self.client.request(request)).await;
            let answer = answer.map_err(|_| "no answer within 5 s".to_owned())?.map_err(|e| e.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(format!("answered {}", answer.status())) }
        })
    }
}

/// How long a taken event is left to whoever took it.
const LEASE: &str = "10 seconds";
const AT_ONCE: usize = 16;
/// What another replica left is found within this time.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const MOST: i64 = 256;

/// Decides slow charges and delivers events until shutdown. Several replicas share the work.
pub async fn run(sandbox: Sandbox, to: Arc<dyn Deliver>, shutdown: Shutdown) {
    while !shutdown.is_triggered() {
        let pause = match round(&sandbox, &*to, &shutdown).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, "the sandbox could not work on its events");
                LONGEST_PAUSE
            }
        };
        tokio::select! {
            () = shutdown.triggered() => return,
            // This process has something new; other replicas' work is found after the pause.
            () = sandbox.work.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Does what is due; answers how long there is nothing to do.
async fn round(sandbox: &Sandbox, to: &dyn Deliver, shutdown: &Shutdown) -> ApiResult<Duration> {
    while !shutdown.is_triggered() {
        let wait: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM least((SELECT min(settle_at) FROM sandbox_intents WHERE settle_at IS NOT NULL),
                                             (SELECT min(due_at) FROM sandbox_events)) - now())::float8",
        )
        .fetch_one(sandbox.db.pool())
        .await?;
        match wait.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            None if wait.is_none() => return Ok(LONGEST_PAUSE),
            Some(wait) if !wait.is_zero() => return Ok(wait.min(LONGEST_PAUSE)),
            // Zero, or before now.
            _ => {}
        }
        settle(&sandbox.db).await?;
        deliver(sandbox, to).await?;
    }
    Ok(Duration::ZERO)
}

async fn settle(db: &Db) -> ApiResult<()> {
    db.write(|tx| {
        Box::pin(async move {
            let settled = intents::settle_slow(tx).await?;
            let notices: Vec<_> = settled.iter().map(Notice::of_intent).collect();
            enqueue(tx, &notices, 0).await
        })
    })
    .await
}

async fn deliver(sandbox: &Sandbox, to: &dyn Deliver) -> ApiResult<()> {
    let due = take_due(&sandbox.db).await?;
    let secret = sandbox.config.secret.as_bytes();
    let results: Vec<(Uuid, Result<(), String>)> = stream::iter(due)
        .map(|(id, body)| async move {
            let signature = signature::sign(secret, body.as_bytes(), Utc::now());
            (id, to.deliver(&body, &signature).await)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (mut delivered, mut failed) = (Vec::new(), Vec::new());
    for (id, result) in results {
        match result {
            Ok(()) => delivered.push(id),
            Err(problem) => {
                tracing::debug!(problem, "a sandbox event was not delivered; it comes again");
                failed.push(id);
            }
        }
    }
    conclude(&sandbox.db, &delivered, &failed).await
}

async fn take_due(db: &Db) -> ApiResult<Vec<(Uuid, String)>> {
    let due = sqlx::query_as(
        "WITH due AS (SELECT id AS due_id FROM sandbox_events WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
         UPDATE sandbox_events SET due_at = now() + $2::text::interval FROM due WHERE id = due_id RETURNING id, body",
    )
    .bind(MOST)
    .bind(LEASE)
    .fetch_all(db.pool())
    .await?;
    Ok(due)
}

async fn conclude(db: &Db, delivered: &[Uuid], failed: &[Uuid]) -> ApiResult<()> {
    if !delivered.is_empty() {
        sqlx::query("DELETE FROM sandbox_events WHERE id = ANY($1)").bind(delivered).execute(db.pool()).await?;
    }
    if !failed.is_empty() {
        // Doubles from 250 ms to a minute, with up to a quarter of chance on top so that events do not march in step.
        sqlx::query(
            "UPDATE sandbox_events SET attempts = attempts + 1,
                 due_at = now() + least(interval '1 minute', interval '250 milliseconds' * power(2, least(attempts, 10)) * (1 + random() / 4))
             WHERE id = ANY($1)",
        )
        .bind(failed)
        .execute(db.pool())
        .await?;
    }
    Ok(())
}
