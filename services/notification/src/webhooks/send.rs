//! Sends messages to programs: many endpoints at once, few of them to the same one, so that one that sleeps holds up
//! nobody else.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::Utc;
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, header};
use kit::{
    ApiResult,
    db::Db,
    events::{Event, outbox},
    shutdown::Shutdown,
};
use rand::RngExt as _;
use sqlx::PgConnection;
use tokio::{task::JoinSet, time::Instant};
use tourmesh::notification::v1::WebhookEndpointDisabled;
use tourmesh_kit as kit;
use url::Url;
use uuid::Uuid;

use super::{api, keys::Keys};
use crate::{
    domain::{
        EndpointId, MessageId, UserId,
        facts::Detail,
        message::{Channel, Kind, Language},
        webhook,
    },
    out::{Answer, Http, HttpError},
    store::{
        deliveries::{self, NewDelivery},
        webhook_messages::{self, Taken, Tried},
        webhooks,
    },
};

/// How often due messages are looked for without a wake-up.
const POLL: Duration = Duration::from_millis(500);
/// How many are under way at once, in all and to one endpoint.
const TOGETHER: usize = 64;
const EACH: usize = 8;
/// An endpoint that has not answered by then has not answered.
const PATIENCE: Duration = Duration::from_secs(15);
const LEASE: Duration = Duration::from_secs(60);

/// Who calls endpoints.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The database.
    pub db: Db,
    /// Calls nobody inside of our network.
    pub http: Http,
    /// Open the secrets.
    pub keys: Keys,
    /// The pauses after each failure.
    pub pauses: Arc<[Duration]>,
    /// An endpoint of which every try failed for so long is switched off.
    pub disable_after: chrono::Duration,
}

impl Caller {
    /// Sends until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        let mut under_way: JoinSet<Uuid> = JoinSet::new();
        let mut busy: HashMap<Uuid, usize> = HashMap::new();
        while !shutdown.is_triggered() {
            let full: Vec<Uuid> = busy.iter().filter(|(_, n)| **n >= EACH).map(|(id, _)| *id).collect();
            let free = i64::try_from(TOGETHER - under_way.len()).unwrap_or_default();
            let each = i64::try_from(EACH).unwrap_or(1);
            let taken = webhook_messages::take(self.db.pool(), free, each, &full, LEASE).await;
            let taken = taken.unwrap_or_else(|error| {
                tracing::debug!(%error, "due webhook messages could not be read");
                Vec::new()
            });
            let idle = taken.is_empty();
            for message in taken {
                *busy.entry(message.endpoint_id).or_default() += 1;
                under_way.spawn(self.clone().deliver(message));
            }
            // Places are free as soon as one has ended; nothing to do: until something is committed or due.
            tokio::select! {
                Some(ended) = under_way.join_next() => if let Ok(endpoint) = ended { release(&mut busy, endpoint) },
                () = self.db.committed(POLL), if idle || under_way.len() >= TOGETHER => {}
                () = std::future::ready(()), if !idle && under_way.len() < TOGETHER => {}
            }
            while let Some(Ok(endpoint)) = under_way.try_join_next() {
                release(&mut busy, endpoint);
            }
        }
        // What is under way has its own time limit; its outcome is worth waiting for.
        let _ = tokio::time::timeout(PATIENCE, async { while under_way.join_next().await.is_some() {} }).await;
    }

    /// One try of one message, written down.
    async fn deliver(self, message: Taken) -> Uuid {
        let (endpoint, begun) = (message.endpoint_id, Instant::now());
        let outcome = self.call(&message).await;
        let millis = i32::try_from(begun.elapsed().as_millis()).unwrap_or(i32::MAX);
        let attempt = u32::try_from(message.attempts).unwrap_or(1);
        let (status, error, asked) = match outcome {
            Ok(Answer { status: 200..=299, .. }) => (200, String::new(), None),
            Ok(Answer { status, body, retry_after }) => {
                let what = if (300..400).contains(&status) { "redirects are not followed" } else { body.trim() };
                (status, format!("{status} {what}"), retry_after)
            }
            Err(error) => (0, error.to_string(), None),
        };
        let jitter = rand::rng().random_range(0..=1000);
        let error: String = error.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
        let again = if error.is_empty() { None } else { webhook::pause(&self.pauses, attempt, asked, jitter) };
        let tried = Tried {
            id: message.id,
            endpoint,
            attempt: message.attempts,
            status: i16::try_from(status).unwrap_or_default(),
            error,
            millis,
            again,
        };
        let disable_after = self.disable_after;
        let mut tries = 0;
        loop {
            let tried = tried.clone();
            #[expect(clippy::disallowed_methods, reason = "not on the way from a booking to its message")]
            let written = self.db.write(move |tx| {
                let tried = tried.clone();
                async move { write_down(tx, &tried, disable_after).await }.boxed()
            });
            match written.await {
                Ok(()) => return endpoint,
                Err(error) if tries >= 20 => {
                    tracing::warn!(%error, "the outcome of a webhook message could not be written down");
                    return endpoint;
                }
                Err(_) => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    async fn call(&self, message: &Taken) -> Result<Answer, HttpError> {
        let refused = |e: &dyn std::fmt::Display| HttpError::Refused(e.to_string());
        let url = Url::parse(&message.url).map_err(|e| refused(&e))?;
        let (id, now) = (MessageId::from_uuid(message.id).to_string(), Utc::now().timestamp());
        let open = |stored: &Vec<u8>| self.keys.open(message.endpoint_id, stored, message.sealed);
        let secrets: Result<Vec<_>, _> =
            std::iter::once(&message.secret).chain(&message.old_secret).map(open).collect();
        // Nothing goes out unsigned. The owner sees in the log that it is on our side.
        let secrets = secrets.map_err(|error| {
            tracing::error!(%error, endpoint = %message.endpoint_id, "a webhook cannot be signed");
            refused(&"it could not be signed")
        })?;
        let signatures = webhook::signatures(secrets.iter().map(Vec::as_slice), &id, now, &message.body);
        let value = |text: String| HeaderValue::from_str(&text).map_err(|e| refused(&e));
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (HeaderName::from_static("webhook-id"), value(id)?),
            (HeaderName::from_static("webhook-timestamp"), value(now.to_string())?),
            (HeaderName::from_static("webhook-signature"), value(signatures)?),
        ];
        self.http.post(&url, headers, Bytes::from(message.body.clone()), PATIENCE).await
    }
}

fn release(busy: &mut HashMap<Uuid, usize>, endpoint: Uuid) {
    if let Some(count) = busy.get_mut(&endpoint) {
        *count -= 1;
        if *count == 0 {
            busy.remove(&endpoint);
        }
    }
}

async fn write_down(tx: &mut PgConnection, tried: &Tried, disable_after: chrono::Duration) -> ApiResult<()> {
    webhook_messages::mark(tx, tried).await?;
    if tried.error.is_empty() {
        return Ok(());
    }
    let Some(endpoint) = webhooks::lock(tx, EndpointId::from_uuid(tried.endpoint)).await? else { return Ok(()) };
    let for_long = endpoint.failing_since.is_some_and(|since| Utc::now() - since >= disable_after);
    // "Gone" is what an endpoint says that wants nothing any more.
    if !endpoint.enabled || !(for_long || tried.status == 410) {
        return Ok(());
    }
    let reason = if tried.status == 410 {
        "410 Gone".to_owned()
    } else {
        format!("every try failed for {} hours; the last one: {}", disable_after.num_hours(), tried.error)
    };
    webhooks::switch(tx, endpoint.id, false, &reason).await?;
    let detail = Detail { endpoint: endpoint.url.clone(), reason: reason.clone(), ..Detail::default() };
    let notice = NewDelivery {
        channel: Channel::Email,
        kind: Kind::WebhookDisabled,
        topic: format!("{}:disabled:{}", EndpointId::from_uuid(endpoint.id), Utc::now().timestamp()),
        event: None,
        user: UserId::from_uuid(endpoint.owner_id),
        booking: None,
        language: Language::of_str(&endpoint.language).unwrap_or(Language::En),
        to: endpoint.contact_email.clone(),
        facts: None,
        detail: serde_json::to_value(detail).map_err(kit::ApiError::internal)?,
        suppressed: false,
        not_before: None,
        traceparent: None,
    };
    deliveries::add(tx, &[notice]).await?;
    let id = EndpointId::from_uuid(endpoint.id);
    let mut shown = api::shown(&endpoint);
    (shown.enabled, shown.disabled_reason) = (false, reason);
    let event = WebhookEndpointDisabled { endpoint: Some(shown) };
    outbox::append(tx, &[Event::new(format!("notification.webhook.disabled.{id}"), &event)]).await
}
