//! Deliveries: made once, addressed when the booking is known, repeated on request, listed.

use chrono::Duration;
use kit::{ApiResult, idempotency::RequestKey};
use sea_orm::{
    ColumnTrait as _, DatabaseConnection, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use serde_json::Value;
use sqlx::PgConnection;
use tourmesh_kit as kit;
use uuid::Uuid;

use super::delivery::{self, columns};
use crate::{
    domain::{
        BookingId, DeliveryId, UserId,
        message::{Kind, Language, State},
    },
    error::NotificationError,
};

/// A message that is to be kept.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// What it is about.
    pub kind: Kind,
    /// What it tells, such as `bkg_…:confirmed`; a person hears each thing once.
    pub topic: String,
    /// Which event asked for it.
    pub event: Uuid,
    /// To whom.
    pub user: UserId,
    /// About which booking.
    pub booking: BookingId,
    /// In which language and where to; `None` until the booking is known.
    pub address: Option<(Language, String)>,
    /// The booking; there when the address is.
    pub facts: Option<Value>,
    /// What belongs to this message alone.
    pub detail: Value,
    /// It is not wanted.
    pub suppressed: bool,
    /// The span of the event.
    pub traceparent: Option<String>,
}

/// Keeps messages that were not kept before. One without an address waits for it `patience` long, and is given up then.
///
/// # Errors
/// When the database refuses.
pub async fn add(tx: &mut PgConnection, new: &[NewDelivery], patience: Duration) -> ApiResult<()> {
    if new.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = new.iter().map(|_| DeliveryId::new().uuid()).collect();
    let kinds: Vec<&str> = new.iter().map(|d| d.kind.as_str()).collect();
    let topics: Vec<&str> = new.iter().map(|d| d.topic.as_str()).collect();
    let events: Vec<Uuid> = new.iter().map(|d| d.event).collect();
    let users: Vec<Uuid> = new.iter().map(|d| d.user.uuid()).collect();
    let bookings: Vec<Uuid> = new.iter().map(|d| d.booking.uuid()).collect();
    let languages: Vec<Option<&str>> = new.iter().map(|d| d.address.as_ref().map(|(l, _)| l.as_str())).collect();
    let emails: Vec<Option<&str>> = new.iter().map(|d| d.address.as_ref().map(|(_, e)| e.as_str())).collect();
    let facts: Vec<Option<Value>> = new.iter().map(|d| d.facts.clone()).collect();
    let details: Vec<Value> = new.iter().map(|d| d.detail.clone()).collect();
    let state = |d: &NewDelivery| if d.suppressed { State::Suppressed } else { State::Pending };
    let states: Vec<&str> = new.iter().map(|d| state(d).as_str()).collect();
    let traceparents: Vec<Option<&str>> = new.iter().map(|d| d.traceparent.as_deref()).collect();
    sqlx::query(
        "INSERT INTO deliveries (id, kind, topic, event_id, user_id, booking_id, language, email, booking, detail, state,
                                 due_at, traceparent)
         SELECT id, kind, topic, event_id, user_id, booking_id, language, email, booking, detail, state,
                CASE WHEN state = 'PENDING' THEN now() + CASE WHEN email IS NULL THEN $13 * interval '1 second' ELSE '0' END END,
                traceparent
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[],
                     $9::jsonb[], $10::jsonb[], $11::text[], $12::text[])
              AS new (id, kind, topic, event_id, user_id, booking_id, language, email, booking, detail, state, traceparent)
         ON CONFLICT (channel, topic) DO NOTHING",
    )
    .bind(ids)
    .bind(kinds)
    .bind(topics)
    .bind(events)
    .bind(users)
    .bind(bookings)
    .bind(languages)
    .bind(emails)
    .bind(facts)
    .bind(details)
    .bind(states)
    .bind(traceparents)
    .bind(patience.num_seconds())
    .execute(tx)
    .await?;
    Ok(())
}

/// Addresses the messages that waited for these bookings to become known.
///
/// # Errors
/// When the database refuses.
pub async fn address(tx: &mut PgConnection, bookings: &[BookingId]) -> ApiResult<()> {
    let ids: Vec<Uuid> = bookings.iter().map(|b| b.uuid()).collect();
    sqlx::query(
        "UPDATE deliveries d SET email = b.email, booking = b.facts, due_at = now(),
                language = coalesce((SELECT p.language FROM preferences p WHERE p.user_id = d.user_id), b.language)
         FROM bookings b
         WHERE b.id = d.booking_id AND b.facts IS NOT NULL
           AND d.booking_id = ANY($1) AND d.email IS NULL AND d.state = 'PENDING'",
    )
    .bind(ids)
    .execute(tx)
    .await?;
    Ok(())
}

/// Asks for a message to be sent again, once per request: a new delivery that goes where the old one went.
///
/// # Errors
/// DELIVERY_NOT_FOUND, REQUEST_ID_REUSED, or when the database refuses.
pub async fn repeat(
    tx: &mut PgConnection,
    of: DeliveryId,
    caller: &str,
    key: &RequestKey,
    traceparent: Option<&str>,
    patience: Duration,
) -> ApiResult<delivery::Model> {
    let id = DeliveryId::new();
    let made: Option<delivery::Model> = sqlx::query_as(concat!(
        "INSERT INTO deliveries AS d (id, channel, kind, topic, resend_of, user_id, booking_id, language, email, booking, detail,
                                 state, due_at, traceparent, requested_by, request_id, request_hash)
         SELECT $1, channel, kind, $2, id, user_id, booking_id, language, email, booking, detail, 'PENDING',
                now() + CASE WHEN email IS NULL THEN $7 * interval '1 second' ELSE '0' END, $3, $4, $5, $6
         FROM deliveries WHERE id = $8
         ON CONFLICT (requested_by, request_id) WHERE request_id IS NOT NULL DO NOTHING
         RETURNING ",
        columns!(),
    ))
    .bind(id.uuid())
    .bind(format!("{id}:resent"))
    .bind(traceparent)
    .bind(caller)
    .bind(&key.id)
    .bind(key.hash.as_slice())
    .bind(patience.num_seconds())
    .bind(of.uuid())
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(made) = made {
        return Ok(made);
    }
    // Either it was asked for before, or there is nothing to repeat.
    let before: Option<delivery::Model> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM deliveries d WHERE d.requested_by = $1 AND d.request_id = $2"
    ))
    .bind(caller)
    .bind(&key.id)
    .fetch_optional(tx)
    .await?;
    let before = before.ok_or(NotificationError::DeliveryNotFound)?;
    key.check(before.request_hash.as_deref().unwrap_or_default())?;
    Ok(before)
}

/// A page of deliveries, newest first: one person's or (`None`) everybody's, about one booking or all.
///
/// # Errors
/// When the database does not answer.
pub async fn page(
    orm: &DatabaseConnection,
    user: Option<UserId>,
    booking: Option<BookingId>,
    after: Option<Uuid>,
    size: u64,
) -> ApiResult<Vec<delivery::Model>> {
    let mut query = delivery::Entity::find().order_by_desc(delivery::Column::Id).limit(size);
    if let Some(user) = user {
        query = query.filter(delivery::Column::UserId.eq(user.uuid()));
    }
    if let Some(booking) = booking {
        query = query.filter(delivery::Column::BookingId.eq(booking.uuid()));
    }
    if let Some(after) = after {
        query = query.filter(delivery::Column::Id.lt(after));
    }
    Ok(query.all(orm).await?)
}
