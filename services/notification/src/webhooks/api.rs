//! WebhookService: thin handlers. What belongs to others is not there.

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use kit::{
    ApiError, ApiResult, ErrorReason,
    auth::Principal,
    db::Db,
    idempotency::{RequestKey, remember},
    page, time,
};
use prost::Message as _;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use tourmesh::{
    notification::v1::{self as wire, webhook_service_server::WebhookService},
    options::v1::Role,
};
use tourmesh_kit as kit;
use url::Url;
use uuid::Uuid;

use super::keys::Keys;
use crate::{
    domain::{BookingId, EndpointId, MessageId, SupplierId, UserId, message::Language, webhook},
    out::guard::Guard,
    store::{
        requests,
        webhook_messages::{self, Attempt, Logged},
        webhooks::{self, Endpoint, NewEndpoint, Owner},
    },
};

/// The service's API.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// The database.
    pub db: Db,
    /// Which URLs may be given.
    pub guard: Guard,
    /// Seal the secrets.
    pub keys: Keys,
}

/// Who calls: whose endpoints these are, and whether those of others are shown too.
#[derive(Debug, Clone)]
struct Caller {
    owner: Owner,
    staff: bool,
    scope: String,
}

impl Caller {
    fn of<T>(request: &Request<T>) -> ApiResult<Self> {
        let principal = Principal::of(request.extensions());
        let owner = match principal.supplier_id() {
            Some(supplier) => Owner::Supplier(supplier.parse::<SupplierId>().map_err(ApiError::internal)?.uuid()),
            None => {
                let user = principal.user_id().unwrap_or_default().parse::<UserId>().map_err(ApiError::internal)?;
                Owner::Customer(user.uuid())
            }
        };
        Ok(Self { owner, staff: principal.has(Role::Staff), scope: principal.scope() })
    }

    fn owns(&self, endpoint: &Endpoint) -> bool {
        self.staff || self.owner == endpoint.owner()
    }

    async fn lock(&self, tx: &mut PgConnection, id: EndpointId) -> ApiResult<Endpoint> {
        webhooks::lock(tx, id).await?.filter(|e| self.owns(e)).ok_or_else(not_found)
    }
}

fn not_found() -> ApiError {
    ApiError::new(ErrorReason::WebhookNotFound, "there is no such endpoint")
}

/// An endpoint for its owner.
pub(super) fn shown(row: &Endpoint) -> wire::WebhookEndpoint {
    let owner_id = match row.owner() {
        Owner::Supplier(id) => SupplierId::from_uuid(id).to_string(),
        Owner::Customer(id) => UserId::from_uuid(id).to_string(),
    };
    wire::WebhookEndpoint {
        id: EndpointId::from_uuid(row.id).to_string(),
        owner_id,
        url: row.url.clone(),
        events: row.events.clone(),
        enabled: row.enabled,
        disabled_reason: row.disabled_reason.clone(),
        contact_email: row.contact_email.clone(),
        failing_since: row.failing_since.map(time::to_wire),
        created_at: Some(time::to_wire(row.created_at)),
    }
}

fn logged(row: Logged, tries: &[Attempt]) -> wire::WebhookMessage {
    use wire::WebhookMessageState as S;
    let of_this = tries.iter().filter(|t| t.message_id == row.id);
    let skipped = of_this.clone().count().saturating_sub(20);
    wire::WebhookMessage {
        id: MessageId::from_uuid(row.id).to_string(),
        r#type: row.kind,
        booking_id: BookingId::from_uuid(row.booking_id).to_string(),
        state: match row.state.as_str() {
            "PENDING" => S::Pending,
            "DELIVERED" => S::Delivered,
            "FAILED" => S::Failed,
            _ => S::Missed,
        }
        .into(),
        attempts: of_this
            .skip(skipped)
            .map(|t| wire::WebhookAttempt {
                at: Some(time::to_wire(t.at)),
                status: t.status.into(),
                error: t.error.clone(),
                millis: t.millis,
            })
            .collect(),
        created_at: Some(time::to_wire(row.created_at)),
        due_at: row.due_at.map(time::to_wire),
        body: row.body,
    }
}

fn new_secret() -> Vec<u8> {
    rand::random::<[u8; 32]>().to_vec()
}

impl Hooks {
    /// As its owner sees it, who is shown it once.
    fn secret_of(&self, row: &Endpoint) -> ApiResult<String> {
        Ok(webhook::secret_text(&self.keys.open(row.id, &row.secret, row.sealed)?))
    }

    fn wanted(&self, owner: Owner, request: &wire::CreateWebhookEndpointRequest) -> ApiResult<NewEndpoint> {
        let url = Url::parse(&request.url).map_err(|e| ApiError::field("url", format!("is no URL: {e}")))?;
        self.guard.check(&url).map_err(|why| ApiError::field("url", why))?;
        let mut events = request.events.clone();
        events.sort_unstable();
        events.dedup();
        if let Some(unknown) = events.iter().position(|e| !webhook::EVENTS.contains(&e.as_str())) {
            return Err(ApiError::field(
                format!("events[{unknown}]"),
                format!("must be one of {}", webhook::EVENTS.join(", ")),
            ));
        }
        let id = EndpointId::new();
        Ok(NewEndpoint {
            id,
            owner,
            url: url.into(),
            events,
            secret: self.keys.close(id.uuid(), &new_secret())?,
            contact_email: request.contact_email.clone(),
            language: Language::of_str(&request.language).unwrap_or(Language::En),
        })
    }
}

#[tonic::async_trait]
impl WebhookService for Hooks {
    async fn create_webhook_endpoint(
        &self,
        request: Request<wire::CreateWebhookEndpointRequest>,
    ) -> Result<Response<wire::CreateWebhookEndpointResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let new = self.wanted(caller.owner, &request)?;
        let key = RequestKey::of(&request.request_id, &format!("CreateWebhookEndpoint:{}", caller.scope), &request);
        #[expect(clippy::disallowed_methods, reason = "not on the way from a booking to its message")]
        let write = self.db.write(move |tx| {
            let (new, scope, key) = (new.clone(), caller.scope.clone(), key.clone());
            async move { webhooks::add(tx, &new, &scope, &key).await }.boxed()
        });
        let too_many = || ApiError::field("url", format!("there are {} endpoints already", webhooks::MOST));
        let row = write.await?.ok_or_else(too_many)?;
        let secret = self.secret_of(&row)?;
        Ok(Response::new(wire::CreateWebhookEndpointResponse { endpoint: Some(shown(&row)), secret }))
    }

    async fn list_webhook_endpoints(
        &self,
        request: Request<wire::ListWebhookEndpointsRequest>,
    ) -> Result<Response<wire::ListWebhookEndpointsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let rows = webhooks::list(self.db.pool(), (!caller.staff).then_some(caller.owner)).await?;
        let endpoints = rows.iter().filter(|row| caller.owns(row)).map(shown).collect();
        Ok(Response::new(wire::ListWebhookEndpointsResponse { endpoints }))
    }

    async fn switch_webhook_endpoint(
        &self,
        request: Request<wire::SwitchWebhookEndpointRequest>,
    ) -> Result<Response<wire::SwitchWebhookEndpointResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = EndpointId::of_field("endpoint_id", &request.endpoint_id)?;
        let key = RequestKey::of(&request.request_id, &format!("SwitchWebhookEndpoint:{}", caller.scope), &request);
        #[expect(clippy::disallowed_methods, reason = "not on the way from a booking to its message")]
        let write = self.db.write(move |tx| {
            let (caller, key) = (caller.clone(), key.clone());
            async move {
                let row = caller.lock(tx, id).await?;
                let new = remember(tx, &caller.scope, "SwitchWebhookEndpoint", &key, row.id).await?;
                if new && row.enabled != request.enabled {
                    webhooks::switch(tx, row.id, request.enabled, "").await?;
                }
                caller.lock(tx, id).await
            }
            .boxed()
        });
        let row = write.await?;
        Ok(Response::new(wire::SwitchWebhookEndpointResponse { endpoint: Some(shown(&row)) }))
    }

    async fn rotate_webhook_secret(
        &self,
        request: Request<wire::RotateWebhookSecretRequest>,
    ) -> Result<Response<wire::RotateWebhookSecretResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = EndpointId::of_field("endpoint_id", &request.endpoint_id)?;
        let key = RequestKey::of(&request.request_id, &format!("RotateWebhookSecret:{}", caller.scope), &request);
        let keys = self.keys.clone();
        #[expect(clippy::disallowed_methods, reason = "not on the way from a booking to its message")]
        let write = self.db.write(move |tx| {
            let (caller, key, keys) = (caller.clone(), key.clone(), keys.clone());
            async move {
                let row = caller.lock(tx, id).await?;
                if remember(tx, &caller.scope, "RotateWebhookSecret", &key, row.id).await? {
                    // It may be plain still, or sealed under another key.
                    let old = keys.close(row.id, &keys.open(row.id, &row.secret, row.sealed)?)?;
                    webhooks::rotate(tx, row.id, &keys.close(row.id, &new_secret())?, &old).await?;
                }
                caller.lock(tx, id).await
            }
            .boxed()
        });
        let secret = self.secret_of(&write.await?)?;
        Ok(Response::new(wire::RotateWebhookSecretResponse { secret }))
    }

    async fn delete_webhook_endpoint(
        &self,
        request: Request<wire::DeleteWebhookEndpointRequest>,
    ) -> Result<Response<wire::DeleteWebhookEndpointResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = EndpointId::of_field("endpoint_id", &request.endpoint_id)?;
        let key = RequestKey::of(&request.request_id, &format!("DeleteWebhookEndpoint:{}", caller.scope), &request);
        #[expect(clippy::disallowed_methods, reason = "not on the way from a booking to its message")]
        let write = self.db.write(move |tx| {
            let (caller, key) = (caller.clone(), key.clone());
            async move {
                if remember(tx, &caller.scope, "DeleteWebhookEndpoint", &key, id.uuid()).await? {
                    let row = caller.lock(tx, id).await?;
                    webhooks::remove(tx, row.id).await?;
                }
                Ok(())
            }
            .boxed()
        });
        write.await?;
        Ok(Response::new(wire::DeleteWebhookEndpointResponse {}))
    }

    async fn list_webhook_messages(
        &self,
        request: Request<wire::ListWebhookMessagesRequest>,
    ) -> Result<Response<wire::ListWebhookMessagesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = EndpointId::of_field("endpoint_id", &request.endpoint_id)?;
        let booking = match request.booking_id.as_str() {
            "" => None,
            text => Some(BookingId::of_field("booking_id", text)?.uuid()),
        };
        let shape = wire::ListWebhookMessagesRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let filters = [b"ListWebhookMessages".as_slice(), &shape.encode_to_vec()].concat();
        let after: Option<(DateTime<Utc>, Uuid)> = page::read(&request.page_token, &filters)?;
        let mut connection = self.db.pool().acquire().await.map_err(ApiError::from)?;
        caller.lock(&mut connection, id).await?;
        drop(connection);
        let size = page::size(request.page_size, 20, 100);
        let (mut rows, tries) = webhook_messages::page(self.db.pool(), id, booking, after, i64::from(size) + 1).await?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let next_page_token = match rows.last() {
            Some(last) if more => page::token(&(last.created_at, last.id), &filters),
            _ => String::new(),
        };
        let messages = rows.into_iter().map(|row| logged(row, &tries)).collect();
        Ok(Response::new(wire::ListWebhookMessagesResponse { messages, next_page_token }))
    }

    async fn replay_webhook_messages(
        &self,
        request: Request<wire::ReplayWebhookMessagesRequest>,
    ) -> Result<Response<wire::ReplayWebhookMessagesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = EndpointId::of_field("endpoint_id", &request.endpoint_id)?;
        let one = match request.message_id.as_str() {
            "" => None,
            text => Some(MessageId::of_field("message_id", text)?),
        };
        let key = RequestKey::of(&request.request_id, &format!("ReplayWebhookMessages:{}", caller.scope), &request);
        #[expect(clippy::disallowed_methods, reason = "not on the way from a booking to its message")]
        let write = self.db.write(move |tx| {
            let (caller, key) = (caller.clone(), key.clone());
            async move {
                caller.lock(tx, id).await?;
                let (scope, method) = (caller.scope.as_str(), "ReplayWebhookMessages");
                if !remember(tx, scope, method, &key, id.uuid()).await? {
                    return requests::answered(tx, scope, method, &key).await;
                }
                let messages = i32::try_from(webhook_messages::replay(tx, id, one).await?).unwrap_or(i32::MAX);
                requests::answer(tx, scope, method, &key, messages).await?;
                Ok(messages)
            }
            .boxed()
        });
        Ok(Response::new(wire::ReplayWebhookMessagesResponse { messages: write.await? }))
    }
}
