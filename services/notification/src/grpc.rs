//! NotificationService: who may see what, and thin handlers.

use futures_util::FutureExt as _;
use kit::{
    ApiError, ApiResult,
    auth::Principal,
    db::Db,
    events::outbox,
    idempotency::{RequestKey, remember},
    page, telemetry,
};
use prost::Message as _;
use tonic::{Request, Response, Status};
use tourmesh::{
    notification::v1::{
        AddPushSubscriptionRequest, AddPushSubscriptionResponse, GetPreferencesRequest, GetPreferencesResponse,
        GetPushKeyRequest, GetPushKeyResponse, ListDeliveriesRequest, ListDeliveriesResponse,
        RemovePushSubscriptionRequest, RemovePushSubscriptionResponse, ReportBounceRequest, ReportBounceResponse,
        ResendDeliveryRequest, ResendDeliveryResponse, SetPreferencesRequest, SetPreferencesResponse,
        UnsubscribeRequest, UnsubscribeResponse, notification_service_server::NotificationService,
    },
    options::v1::Role,
};
use tourmesh_kit as kit;
use url::Url;
use uuid::Uuid;

use crate::{
    convert,
    domain::{BookingId, DeliveryId, UserId, bounce},
    error::NotificationError,
    events,
    links::Links,
    out::guard::Guard,
    steps::Step,
    store::{
        bounces,
        deliveries::{self, Filter},
        preferences, push,
    },
};

/// The service's API.
#[derive(Debug, Clone)]
pub struct Api {
    /// The database.
    pub db: Db,
    /// Reads the links in messages.
    pub links: Links,
    /// Our key towards browsers; empty: there are no push messages.
    pub push_key: String,
    /// Where push messages may go.
    pub guard: Guard,
}

/// The person that calls. The access rules let nobody else in.
fn caller<T>(request: &Request<T>) -> ApiResult<(UserId, &Principal)> {
    let principal = Principal::of(request.extensions());
    let user = principal.user_id().unwrap_or_default().parse().map_err(ApiError::internal)?;
    Ok((user, principal))
}

#[tonic::async_trait]
impl NotificationService for Api {
    async fn get_preferences(
        &self,
        request: Request<GetPreferencesRequest>,
    ) -> Result<Response<GetPreferencesResponse>, Status> {
        let (user, _) = caller(&request)?;
        let stored = preferences::of_user(&self.db.orm(), user).await?;
        Ok(Response::new(GetPreferencesResponse { preferences: Some(convert::preferences_to_wire(&stored)) }))
    }

    async fn set_preferences(
        &self,
        request: Request<SetPreferencesRequest>,
    ) -> Result<Response<SetPreferencesResponse>, Status> {
        let (user, principal) = caller(&request)?;
        let scope = principal.scope();
        let request = request.into_inner();
        let key = RequestKey::of(&request.request_id, &format!("SetPreferences:{scope}"), &request);
        let wanted = convert::preferences_of_wire(&request.preferences.unwrap_or_default())?;
        let write = self.db.step(Step::SetPreferences, move |tx| {
            let (scope, key, wanted) = (scope.clone(), key.clone(), wanted.clone());
            async move { preferences::replace(tx, &scope, &key, user, &wanted).await }.boxed()
        });
        let stored = write.await?;
        Ok(Response::new(SetPreferencesResponse { preferences: Some(convert::preferences_to_wire(&stored)) }))
    }

    async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Result<Response<ListDeliveriesResponse>, Status> {
        let (user, principal) = caller(&request)?;
        let whose = (!principal.has(Role::Staff)).then_some(user);
        let request = request.into_inner();
        let booking = match request.booking_id.as_str() {
            "" => None,
            id => Some(BookingId::of_field("booking_id", id)?),
        };
        let shape = ListDeliveriesRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let filters = [b"ListDeliveries".as_slice(), &shape.encode_to_vec()].concat();
        let after: Option<Uuid> = page::read(&request.page_token, &filters)?;
        let size = page::size(request.page_size, 20, 100) as usize;
        // One more than asked tells whether there is a next page.
        let filter = Filter { user: whose, booking, states: convert::states_of_wire(&request.states)? };
        let mut rows = deliveries::page(&self.db.orm(), &filter, after, size as u64 + 1).await?;
        let more = rows.len() > size;
        rows.truncate(size);
        let next_page_token = match rows.last() {
            Some(last) if more => page::token(&last.id, &filters),
            _ => String::new(),
        };
        let deliveries =
            rows.iter().map(convert::delivery_to_wire).collect::<Result<_, _>>().map_err(ApiError::from)?;
        Ok(Response::new(ListDeliveriesResponse { deliveries, next_page_token }))
    }

    async fn unsubscribe(&self, request: Request<UnsubscribeRequest>) -> Result<Response<UnsubscribeResponse>, Status> {
        let request = request.into_inner();
        let read = self.links.read(&request.token).ok_or(NotificationError::LinkInvalid);
        let (user, channel, kind) = read.map_err(ApiError::from)?;
        if !request.only_show {
            #[expect(clippy::disallowed_methods, reason = "not on the way from a booking to its message")]
            let write =
                self.db.write(move |tx| async move { preferences::mute(tx, user, channel, kind).await }.boxed());
            write.await?;
        }
        let (channel, kind) = (convert::channel_to_wire(channel).into(), convert::kind_to_wire(kind).into());
        Ok(Response::new(UnsubscribeResponse { channel, kind }))
    }

    async fn get_push_key(&self, _: Request<GetPushKeyRequest>) -> Result<Response<GetPushKeyResponse>, Status> {
        Ok(Response::new(GetPushKeyResponse { public_key: self.push_key.clone() }))
    }

    async fn add_push_subscription(
        &self,
        request: Request<AddPushSubscriptionRequest>,
    ) -> Result<Response<AddPushSubscriptionResponse>, Status> {
        let (user, scope) = (caller(&request)?.0, Principal::of(request.extensions()).scope());
        let request = request.into_inner();
        let key = RequestKey::of(&request.request_id, &format!("AddPushSubscription:{scope}"), &request);
        let new = convert::subscription_of_wire(&request)?;
        let url = Url::parse(&new.endpoint).map_err(|e| ApiError::field("endpoint", format!("is no URL: {e}")))?;
        self.guard.check(&url).map_err(|why| ApiError::field("endpoint", why))?;
        #[expect(clippy::disallowed_methods, reason = "not on the way from a booking to its message")]
        let write = self.db.write(move |tx| {
            let (new, scope, key) = (new.clone(), scope.clone(), key.clone());
            async move {
                if remember(tx, &scope, "AddPushSubscription", &key, user.uuid()).await? {
                    push::add(tx, user, &new).await?;
                }
                Ok(())
            }
            .boxed()
        });
        write.await?;
        Ok(Response::new(AddPushSubscriptionResponse {}))
    }

    async fn remove_push_subscription(
        &self,
        request: Request<RemovePushSubscriptionRequest>,
    ) -> Result<Response<RemovePushSubscriptionResponse>, Status> {
        let (user, scope) = (caller(&request)?.0, Principal::of(request.extensions()).scope());
        let request = request.into_inner();
        let key = RequestKey::of(&request.request_id, &format!("RemovePushSubscription:{scope}"), &request);
        let endpoint = request.endpoint;
        #[expect(clippy::disallowed_methods, reason = "not on the way from a booking to its message")]
        let write = self.db.write(move |tx| {
            let (endpoint, scope, key) = (endpoint.clone(), scope.clone(), key.clone());
            async move {
                if remember(tx, &scope, "RemovePushSubscription", &key, user.uuid()).await? {
                    push::remove(tx, user, &endpoint).await?;
                }
                Ok(())
            }
            .boxed()
        });
        write.await?;
        Ok(Response::new(RemovePushSubscriptionResponse {}))
    }

    async fn report_bounce(
        &self,
        request: Request<ReportBounceRequest>,
    ) -> Result<Response<ReportBounceResponse>, Status> {
        let scope = Principal::of(request.extensions()).scope();
        let request = request.into_inner();
        let key = RequestKey::of(&request.request_id, &format!("ReportBounce:{scope}"), &request);
        let message = String::from_utf8_lossy(&request.message).into_owned();
        let read = bounce::read(&message).map_err(|e| match e {
            bounce::Unreadable::NoFailure => ApiError::field("message", "is no report of a failed delivery"),
            bounce::Unreadable::NotOurs => NotificationError::DeliveryNotFound.into(),
        })?;
        #[expect(clippy::disallowed_methods, reason = "not on the way from a booking to its message")]
        let write = self.db.write(move |tx| {
            let (read, scope, key) = (read.clone(), scope.clone(), key.clone());
            async move {
                // A repeat finds what the first one did; other content under its id is refused.
                remember(tx, &scope, "ReportBounce", &key, read.delivery.uuid()).await?;
                let (row, news) = bounces::bounced(tx, read.delivery, &read.reason)
                    .await?
                    .ok_or(NotificationError::DeliveryNotFound)?;
                if news {
                    outbox::append(tx, &events::ended(&row)?.into_iter().collect::<Vec<_>>()).await?;
                    if let Some(email) = row.email.as_deref().filter(|_| read.dead) {
                        bounces::bury(tx, email, &read.reason).await?;
                    }
                }
                Ok(row)
            }
            .boxed()
        });
        let row = write.await?;
        let delivery = Some(convert::delivery_to_wire(&row).map_err(ApiError::from)?);
        Ok(Response::new(ReportBounceResponse { delivery }))
    }

    async fn resend_delivery(
        &self,
        request: Request<ResendDeliveryRequest>,
    ) -> Result<Response<ResendDeliveryResponse>, Status> {
        let scope = Principal::of(request.extensions()).scope();
        let request = request.into_inner();
        let of = DeliveryId::of_field("delivery_id", &request.delivery_id)?;
        let key = RequestKey::of(&request.request_id, &format!("ResendDelivery:{scope}"), &request);
        let traceparent = telemetry::traceparent(&tracing::Span::current());
        let write = self.db.step(Step::Resend, move |tx| {
            let (scope, key, traceparent) = (scope.clone(), key.clone(), traceparent.clone());
            async move { deliveries::repeat(tx, of, &scope, &key, traceparent.as_deref()).await }.boxed()
        });
        let row = write.await?;
        let delivery = convert::delivery_to_wire(&row).map_err(ApiError::from)?;
        Ok(Response::new(ResendDeliveryResponse { delivery: Some(delivery) }))
    }
}
