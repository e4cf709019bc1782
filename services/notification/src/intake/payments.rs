//! What payments tell.

use std::collections::HashMap;

use chrono::Utc;
use kit::{ApiError, ApiResult, events::Received};
use sqlx::PgConnection;
use tourmesh::payment::v1::PaymentFailed;
use tourmesh_kit as kit;

use super::{Intake, Known, News};
use crate::{
    convert,
    domain::{BookingId, PaymentId, UserId, facts::Detail, message::Kind},
    error::NotificationError,
    store::{bookings, deliveries, preferences, push},
};

impl Intake {
    pub(super) async fn payments(&self, tx: &mut PgConnection, events: &[Received]) -> ApiResult<()> {
        let mut failed = Vec::new();
        for event in events {
            let Some(PaymentFailed { payment }) = event.decode::<PaymentFailed>()? else { continue };
            let payment = payment.ok_or(NotificationError::EventIncomplete("payment"))?;
            let booking = convert::id_of_event(&payment.booking_id)?;
            let user: UserId = payment.customer_id.parse().map_err(ApiError::internal)?;
            let id: PaymentId = payment.id.parse().map_err(ApiError::internal)?;
            let amount = payment.amount.as_ref().ok_or(NotificationError::EventIncomplete("payment.amount"))?;
            let amount = Some(convert::amount_of_wire(amount)?);
            let detail = Detail { amount, decline_code: payment.decline_code, ..Detail::default() };
            failed.push(News {
                kind: Kind::PaymentFailed,
                topic: format!("{id}:failed"),
                event: Some(event),
                user,
                booking,
                known: None,
                detail,
            });
        }
        let ids: Vec<BookingId> = failed.iter().map(|f| f.booking).collect();
        let known = bookings::lock(tx, &ids).await?;
        let users: Vec<UserId> = failed.iter().map(|f| f.user).collect();
        let wishes = preferences::of_users(tx, &users).await?;
        let browsers = if self.push { push::of_users(tx, &users).await? } else { HashMap::new() };
        let mut new = Vec::new();
        for news in &mut failed {
            let wish = wishes.get(&news.user).cloned().unwrap_or_default();
            let row = known.get(&news.booking.uuid());
            news.known =
                row.and_then(|row| Known::of_stored(row.language.as_deref(), row.email.clone(), row.facts.clone()));
            let browsers = browsers.get(&news.user).map(Vec::as_slice).unwrap_or_default();
            new.extend(self.messages(news, &wish, browsers, Utc::now())?);
        }
        deliveries::add(tx, &new, self.patience).await
    }
}
