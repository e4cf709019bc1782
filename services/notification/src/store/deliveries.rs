//! Deliveries: made once, repeated on request, listed.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use kit::{ApiResult, idempotency::RequestKey};
use sea_orm::{
    ColumnTrait as _, DatabaseConnection, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use serde_json::Value;
use sqlx::PgConnection;
use tourmesh_kit as kit;
use uuid::Uuid;

use super::{
    delivery::{self, columns},
    outcomes::Due,
};
use crate::{
    domain::{
        BookingId, DeliveryId, UserId,
        message::{Channel, Kind, Language, State},
    },
    error::NotificationError,
};

/// A message that is to be kept.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// How it travels.
    pub channel: Channel,
    /// What it is about.
    pub kind: Kind,
    /// What it tells, such as `bkg_…:confirmed`; a person hears each thing once on each channel.
    pub topic: String,
    /// Which event asked for it; `None`: the clock did.
    pub event: Option<Uuid>,
    /// To whom.
    pub user: UserId,
    /// About which booking.
    pub booking: Option<BookingId>,
    /// In which language.
    pub language: Language,
    /// Where it goes: an e-mail address, a telephone number, a push subscription.
    pub to: String,
    /// The booking, if it is about one.
    pub facts: Option<Value>,
    /// What belongs to this message alone.
    pub detail: Value,
    /// It is not wanted.
    pub suppressed: bool,
    /// Not before this time; `None`: now.
    pub not_before: Option<DateTime<Utc>>,
    /// The span of the event.
    pub traceparent: Option<String>,
}

impl NewDelivery {
    fn email(&self) -> Option<&str> {
        Some(self.to.as_str()).filter(|_| self.channel == Channel::Email)
    }
    fn address(&self) -> Option<&str> {
        Some(self.to.as_str()).filter(|_| self.channel != Channel::Email)
    }
    fn state(&self) -> State {
        if self.suppressed { State::Suppressed } else { State::Pending }
    }
}

/// Keeps messages that were not kept before; a sender takes them when they are due.
///
/// # Errors
/// When the database refuses.
pub async fn add(tx: &mut PgConnection, new: &[NewDelivery]) -> ApiResult<()> {
    let leases = vec![None; new.len()];
    add_leased(tx, new, &leases).await.map(drop)
}

/// Keeps messages that were not kept before. Those with a lease are taken already, for so long, by who adds them; tells
/// which of all were not kept before, by their place among the new.
///
/// # Errors
/// When the database refuses.
pub async fn add_leased(
    tx: &mut PgConnection,
    new: &[NewDelivery],
    leases: &[Option<Duration>],
) -> ApiResult<HashMap<usize, Due>> {
    if new.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = new.iter().map(|_| DeliveryId::new().uuid()).collect();
    let kept: Vec<Kept> = sqlx::query_as(
        "INSERT INTO deliveries (id, channel, kind, topic, event_id, user_id, booking_id, language, email, address,
                                 booking, detail, state, due_at, attempts, priority, traceparent)
         SELECT id, channel, kind, topic, event_id, user_id, booking_id, language, email, address, booking, detail, state,
                CASE WHEN state = 'PENDING' THEN coalesce(now() + lease * interval '1 millisecond', not_before, now()) END,
                CASE WHEN lease IS NULL THEN 0 ELSE 1 END, priority, traceparent
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::uuid[], $8::text[],
                     $9::text[], $10::text[], $11::jsonb[], $12::jsonb[], $13::text[], $14::timestamptz[],
                     $15::smallint[], $16::text[], $17::bigint[])
              AS new (id, channel, kind, topic, event_id, user_id, booking_id, language, email, address, booking, detail,
                      state, not_before, priority, traceparent, lease)
         ON CONFLICT (channel, topic) DO NOTHING
         RETURNING id, created_at, due_at,
                   CASE WHEN attempts > 0 AND channel = 'EMAIL' THEN
                       (SELECT a.reason FROM dead_addresses a WHERE a.address = lower(email)) END AS barred",
    )
    .bind(&ids)
    .bind(new.iter().map(|d| d.channel.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.kind.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.topic.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.event).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.user.uuid()).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.booking.map(BookingId::uuid)).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.language.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(NewDelivery::email).collect::<Vec<_>>())
    .bind(new.iter().map(NewDelivery::address).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.facts.clone()).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.detail.clone()).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.state().as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.not_before).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.kind.priority()).collect::<Vec<_>>())
    .bind(new.iter().map(|d| d.traceparent.as_deref()).collect::<Vec<_>>())
    .bind(leases.iter().map(|l| l.map(|l| i64::try_from(l.as_millis()).unwrap_or(i64::MAX))).collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    let places: HashMap<Uuid, usize> = ids.into_iter().zip(0..).collect();
    let kept = kept.into_iter().filter_map(|kept| {
        let at = *places.get(&kept.id)?;
        let due = Due { barred: kept.barred.clone(), row: kept.row(new.get(at)?, leases.get(at)?.is_some()) };
        Some((at, due))
    });
    Ok(kept.collect())
}

/// What the database made of a new message.
#[derive(Debug, sqlx::FromRow)]
struct Kept {
    id: Uuid,
    created_at: DateTime<Utc>,
    due_at: Option<DateTime<Utc>>,
    barred: Option<String>,
}

impl Kept {
    fn row(self, new: &NewDelivery, taken: bool) -> delivery::Model {
        delivery::Model {
            id: self.id,
            channel: new.channel.as_str().to_owned(),
            kind: new.kind.as_str().to_owned(),
            topic: new.topic.clone(),
            event_id: new.event,
            resend_of: None,
            user_id: new.user.uuid(),
            booking_id: new.booking.map(BookingId::uuid),
            language: Some(new.language.as_str().to_owned()),
            email: new.email().map(str::to_owned),
            booking: new.facts.clone(),
            detail: new.detail.clone(),
            state: new.state().as_str().to_owned(),
            due_at: self.due_at,
            attempts: i32::from(taken),
            error: String::new(),
            subject: String::new(),
            created_at: self.created_at,
            sent_at: None,
            traceparent: new.traceparent.clone(),
            requested_by: None,
            request_id: None,
            request_hash: None,
            priority: new.kind.priority(),
            address: new.address().map(str::to_owned),
        }
    }
}

/// Takes back the reminders of these bookings that have not gone out.
///
/// # Errors
/// When the database refuses.
pub async fn withdraw_reminders(tx: &mut PgConnection, bookings: &[BookingId]) -> ApiResult<()> {
    if bookings.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE deliveries SET state = 'SUPPRESSED', due_at = NULL, error = 'the booking changed before it was sent'
         WHERE booking_id = ANY($1) AND kind = 'DEPARTURE_REMINDER' AND state = 'PENDING'",
    )
    .bind(bookings.iter().map(|b| b.uuid()).collect::<Vec<_>>())
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
) -> ApiResult<delivery::Model> {
    let id = DeliveryId::new();
    let made: Option<delivery::Model> = sqlx::query_as(concat!(
        "INSERT INTO deliveries AS d (id, channel, kind, topic, resend_of, user_id, booking_id, language, email, address,
                                 booking, detail, state, due_at, priority, traceparent, requested_by, request_id, request_hash)
         SELECT $1, channel, kind, $2, id, user_id, booking_id, language, email, address, booking, detail, 'PENDING',
                now(), 0, $3, $4, $5, $6
         FROM deliveries WHERE id = $7
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
    .bind(of.uuid())
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(made) = made {
        // Staff knows better than the list of addresses that bounced.
        sqlx::query("DELETE FROM dead_addresses WHERE address = lower($1)").bind(&made.email).execute(tx).await?;
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

/// Which deliveries are looked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// One person's, or (`None`) everybody's.
    pub user: Option<UserId>,
    /// About one booking.
    pub booking: Option<BookingId>,
    /// In these states; none: in all.
    pub states: Vec<State>,
}

/// A page of deliveries, newest first.
///
/// # Errors
/// When the database does not answer.
pub async fn page(
    orm: &DatabaseConnection,
    filter: &Filter,
    after: Option<Uuid>,
    size: u64,
) -> ApiResult<Vec<delivery::Model>> {
    let mut query = delivery::Entity::find().order_by_desc(delivery::Column::Id).limit(size);
    if let Some(user) = filter.user {
        query = query.filter(delivery::Column::UserId.eq(user.uuid()));
    }
    if let Some(booking) = filter.booking {
        query = query.filter(delivery::Column::BookingId.eq(booking.uuid()));
    }
    if !filter.states.is_empty() {
        query = query.filter(delivery::Column::State.is_in(filter.states.iter().map(|s| s.as_str())));
    }
    if let Some(after) = after {
        query = query.filter(delivery::Column::Id.lt(after));
    }
    Ok(query.all(orm).await?)
}
