//! What is consumed: bookings and failed payments become deliveries. What is published: that they were sent or given up.

use chrono::Duration;
use futures_util::{FutureExt as _, future::BoxFuture};
use kit::{
    ApiError, ApiResult,
    events::{Consumer, Event, Handler, Received},
    telemetry,
};
use serde_json::Value;
use sqlx::PgConnection;
use tourmesh::{
    booking::v1::{BookingCancelled, BookingConfirmed, BookingHeld},
    notification::v1::{DeliveryFailed, DeliverySent},
    payment::v1::PaymentFailed,
};
use tourmesh_kit as kit;

use crate::{
    convert,
    domain::{
        BookingId, PaymentId, UserId,
        facts::Detail,
        message::{Kind, Language, Preferences, State},
    },
    error::NotificationError,
    store::{bookings, bookings::Snapshot, deliveries, deliveries::NewDelivery, delivery, preferences},
};

/// Where bookings come from.
pub const BOOKINGS: Consumer = Consumer {
    name: "notification-bookings",
    domain: "booking",
    subjects: &["booking.booking.held.*", "booking.booking.confirmed.*", "booking.booking.cancelled.*"],
};
/// Where failed payments come from.
pub const PAYMENTS: Consumer =
    Consumer { name: "notification-payments", domain: "payment", subjects: &["payment.payment.failed.*"] };

/// Turns events into deliveries.
#[derive(Debug, Clone, Copy)]
pub struct Intake {
    /// How long a message waits for its booking to become known.
    pub patience: Duration,
}

/// Bookings: every event brings the newest snapshot; a confirmation and a cancellation are told.
#[derive(Debug, Clone, Copy)]
pub struct OfBookings(pub Intake);

/// Failed payments. They come from another stream than the bookings, and so sometimes before the booking is known: the
/// message is kept then, and addressed when the booking comes.
#[derive(Debug, Clone, Copy)]
pub struct OfPayments(pub Intake);

impl Handler for OfBookings {
    fn handle<'a>(&'a self, tx: &'a mut PgConnection, events: &'a [Received]) -> BoxFuture<'a, ApiResult<()>> {
        self.0.bookings(tx, events).boxed()
    }
}

impl Handler for OfPayments {
    fn handle<'a>(&'a self, tx: &'a mut PgConnection, events: &'a [Received]) -> BoxFuture<'a, ApiResult<()>> {
        self.0.payments(tx, events).boxed()
    }
}

/// What one event about a booking says.
struct Told<'a> {
    event: &'a Received,
    snapshot: Snapshot,
    /// What is to be told; `None`: nothing.
    message: Option<(Kind, Detail)>,
}

impl Intake {
    async fn bookings(&self, tx: &mut PgConnection, events: &[Received]) -> ApiResult<()> {
        let told = events.iter().filter_map(|e| read_booking(e).transpose()).collect::<ApiResult<Vec<_>>>()?;
        let snapshots: Vec<Snapshot> = told.iter().map(|t| t.snapshot.clone()).collect();
        bookings::keep(tx, &snapshots).await?;
        let users: Vec<UserId> = told.iter().map(|t| t.snapshot.user).collect();
        let wishes = preferences::of_users(tx, &users).await?;
        let mut new = Vec::new();
        for Told { event, snapshot, message } in &told {
            let Some((kind, detail)) = message else { continue };
            let wish = wishes.get(&snapshot.user).cloned().unwrap_or_default();
            let verb = match kind {
                Kind::BookingCancelled => "cancelled",
                _ => "confirmed",
            };
            new.push(NewDelivery {
                kind: *kind,
                topic: format!("{}:{verb}", snapshot.id),
                event: event.id,
                user: snapshot.user,
                booking: snapshot.id,
                address: Some((wish.language_or(snapshot.language), snapshot.email.clone())),
                facts: Some(json(&snapshot.facts)?),
                detail: json(detail)?,
                suppressed: !wish.want(*kind),
                traceparent: telemetry::traceparent(&event.span),
            });
        }
        deliveries::add(tx, &new, self.patience).await?;
        let known: Vec<BookingId> = told.iter().map(|t| t.snapshot.id).collect();
        deliveries::address(tx, &known).await
    }

    async fn payments(&self, tx: &mut PgConnection, events: &[Received]) -> ApiResult<()> {
        let mut failed = Vec::new();
        for event in events {
            let Some(PaymentFailed { payment }) = event.decode::<PaymentFailed>()? else { continue };
            let payment = payment.ok_or(NotificationError::EventIncomplete("payment"))?;
            let booking = convert::id_of_event(&payment.booking_id)?;
            let user: UserId = payment.customer_id.parse().map_err(ApiError::internal)?;
            let id: PaymentId = payment.id.parse().map_err(ApiError::internal)?;
            let amount = payment.amount.as_ref().ok_or(NotificationError::EventIncomplete("payment.amount"))?;
            let amount = Some(convert::amount_of_wire(amount)?);
            failed.push((
                event,
                id,
                booking,
                user,
                Detail { amount, decline_code: payment.decline_code, ..Detail::default() },
            ));
        }
        let ids: Vec<BookingId> = failed.iter().map(|(_, _, booking, ..)| *booking).collect();
        let known = bookings::lock(tx, &ids).await?;
        let users: Vec<UserId> = failed.iter().map(|(_, _, _, user, _)| *user).collect();
        let wishes = preferences::of_users(tx, &users).await?;
        let mut new = Vec::new();
        for (event, payment, booking, user, detail) in &failed {
            let wish = wishes.get(user).cloned().unwrap_or_default();
            let row = known.get(&booking.uuid());
            new.push(NewDelivery {
                kind: Kind::PaymentFailed,
                topic: format!("{payment}:failed"),
                event: event.id,
                user: *user,
                booking: *booking,
                address: row.and_then(|r| address(r, &wish)),
                facts: row.and_then(|r| r.facts.clone()),
                detail: json(detail)?,
                suppressed: !wish.want(Kind::PaymentFailed),
                traceparent: telemetry::traceparent(&event.span),
            });
        }
        deliveries::add(tx, &new, self.patience).await
    }
}

fn address(known: &bookings::Known, wish: &Preferences) -> Option<(Language, String)> {
    let of_booking = known.language.as_deref().and_then(Language::of_str)?;
    Some((wish.language_or(of_booking), known.email.clone()?))
}

fn read_booking(event: &Received) -> ApiResult<Option<Told<'_>>> {
    let lacking = || NotificationError::EventIncomplete("booking");
    let (booking, message) = if let Some(held) = event.decode::<BookingHeld>()? {
        (held.booking.ok_or_else(lacking)?, None)
    } else if let Some(confirmed) = event.decode::<BookingConfirmed>()? {
        (confirmed.booking.ok_or_else(lacking)?, Some((Kind::BookingConfirmed, Detail::default())))
    } else if let Some(cancelled) = event.decode::<BookingCancelled>()? {
        let cause = convert::cause_of_wire(cancelled.cause());
        let booking = cancelled.booking.ok_or_else(lacking)?;
        let refund = booking.refund.as_ref().map(convert::amount_of_wire).transpose()?;
        // A hold that is let go was never promised: nobody is told.
        let told = booking.confirmed_at.is_some();
        (booking, told.then(|| (Kind::BookingCancelled, Detail { refund, cause, ..Detail::default() })))
    } else {
        return Ok(None);
    };
    Ok(Some(Told { event, snapshot: convert::snapshot_of_wire(&booking)?, message }))
}

fn json(value: &impl serde::Serialize) -> ApiResult<Value> {
    serde_json::to_value(value).map_err(ApiError::internal)
}

/// What is told about a delivery whose life has ended; `None` while it goes on.
///
/// # Errors
/// When the row holds what this version does not know.
pub fn ended(row: &delivery::Model) -> ApiResult<Option<Event>> {
    let delivery = Some(convert::delivery_to_wire(row)?);
    let id = row.delivery_id();
    Ok(match row.state()? {
        State::Sent => Some(Event::new(format!("notification.delivery.sent.{id}"), &DeliverySent { delivery })),
        State::Failed => Some(Event::new(format!("notification.delivery.failed.{id}"), &DeliveryFailed { delivery })),
        State::Pending | State::Suppressed => None,
    })
}
