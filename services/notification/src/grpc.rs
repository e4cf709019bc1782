//! NotificationService: who may see what, and thin handlers.

use chrono::Duration;
use futures_util::FutureExt as _;
use kit::{ApiError, ApiResult, auth::Principal, db::Db, idempotency::RequestKey, page, telemetry};
use prost::Message as _;
use tonic::{Request, Response, Status};
use tourmesh::{
    notification::v1::{
        GetPreferencesRequest, GetPreferencesResponse, ListDeliveriesRequest, ListDeliveriesResponse,
        ResendDeliveryRequest, ResendDeliveryResponse, SetPreferencesRequest, SetPreferencesResponse,
        notification_service_server::NotificationService,
    },
    options::v1::Role,
};
use tourmesh_kit as kit;
use uuid::Uuid;

use crate::{
    convert,
    domain::{BookingId, DeliveryId, UserId},
    steps::Step,
    store::{deliveries, preferences},
};

/// The service's API.
#[derive(Debug, Clone)]
pub struct Api {
    /// The database.
    pub db: Db,
    /// How long a repeated message waits for an unknown booking.
    pub patience: Duration,
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
        let mut rows = deliveries::page(&self.db.orm(), whose, booking, after, size as u64 + 1).await?;
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

    async fn resend_delivery(
        &self,
        request: Request<ResendDeliveryRequest>,
    ) -> Result<Response<ResendDeliveryResponse>, Status> {
        let scope = Principal::of(request.extensions()).scope();
        let request = request.into_inner();
        let of = DeliveryId::of_field("delivery_id", &request.delivery_id)?;
        let key = RequestKey::of(&request.request_id, &format!("ResendDelivery:{scope}"), &request);
        let traceparent = telemetry::traceparent(&tracing::Span::current());
        let patience = self.patience;
        let write = self.db.step(Step::Resend, move |tx| {
            let (scope, key, traceparent) = (scope.clone(), key.clone(), traceparent.clone());
            async move { deliveries::repeat(tx, of, &scope, &key, traceparent.as_deref(), patience).await }.boxed()
        });
        let row = write.await?;
        let delivery = convert::delivery_to_wire(&row).map_err(ApiError::from)?;
        Ok(Response::new(ResendDeliveryResponse { delivery: Some(delivery) }))
    }
}
