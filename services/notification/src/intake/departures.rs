//! What departures tell: another time, or a longer or shorter one, to everybody who has a sold booking of it. Seats and
//! sale concern no guest.

use std::collections::HashMap;

use chrono::Utc;
use kit::{ApiResult, events::Received};
use sqlx::PgConnection;
use tourmesh::catalog::v1::{Departure, DepartureChanged};
use tourmesh_kit as kit;
use uuid::Uuid;

use super::{Intake, Known, News, json};
use crate::{
    domain::{
        BookingId, UserId,
        facts::{BookingFacts, Detail},
        message::Kind,
    },
    error::NotificationError,
    store::{bookings, bookings::Sold, deliveries, preferences, push},
};

impl Intake {
    pub(super) async fn departures(&self, tx: &mut PgConnection, events: &[Received]) -> ApiResult<()> {
        for event in events {
            let Some(DepartureChanged { departure }) = event.decode::<DepartureChanged>()? else { continue };
            let departure = departure.ok_or(NotificationError::EventIncomplete("departure"))?;
            let id = kit::id::parse("dep", &departure.id).map_err(kit::ApiError::internal)?;
            self.departure(tx, event, id, &departure).await?;
        }
        Ok(())
    }

    async fn departure(
        &self,
        tx: &mut PgConnection,
        event: &Received,
        id: Uuid,
        departure: &Departure,
    ) -> ApiResult<()> {
        let sold = bookings::of_departure(tx, id).await?;
        let mut changed: Vec<(Sold, BookingFacts, Detail)> = Vec::new();
        for booking in sold {
            let mut facts: BookingFacts =
                serde_json::from_value(booking.facts.clone()).map_err(kit::ApiError::internal)?;
            if let Some(detail) = apply(&mut facts, departure) {
                changed.push((booking, facts, detail));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let users: Vec<UserId> = changed.iter().map(|(b, ..)| UserId::from_uuid(b.user_id)).collect();
        let wishes = preferences::of_users(tx, &users).await?;
        let browsers = if self.push { push::of_users(tx, &users).await? } else { HashMap::new() };
        let mut new = Vec::new();
        let mut ids = Vec::new();
        for (booking, facts, detail) in changed {
            let id = BookingId::from_uuid(booking.id);
            let starts_at = facts.start();
            bookings::moved(tx, id, &json(&facts)?, starts_at, self.remind_at(starts_at, event.time)).await?;
            ids.push(id);
            let user = UserId::from_uuid(booking.user_id);
            let news = News {
                kind: Kind::DepartureChanged,
                topic: format!("{id}:departure:{}", departure.version),
                event: Some(event),
                user,
                booking: id,
                known: Known::of_stored(&booking.language, booking.email, json(&facts)?),
                detail,
            };
            let wish = wishes.get(&user).cloned().unwrap_or_default();
            let browsers = browsers.get(&user).map(Vec::as_slice).unwrap_or_default();
            new.extend(self.messages(&news, &wish, browsers, Utc::now())?);
        }
        deliveries::withdraw_reminders(tx, &ids).await?;
        deliveries::add(tx, &new).await
    }
}

/// Puts the departure's times into the facts; what was before, or `None`: nothing that a guest would notice changed.
fn apply(facts: &mut BookingFacts, departure: &Departure) -> Option<Detail> {
    let mut detail = Detail::default();
    if facts.local_start != departure.local_start || facts.time_zone != departure.time_zone {
        detail.start_before.clone_from(&facts.local_start);
    }
    if facts.duration_minutes != departure.duration_minutes {
        detail.minutes_before = Some(facts.duration_minutes);
    }
    if detail == Detail::default() || departure.local_start.is_empty() {
        return None;
    }
    facts.local_start.clone_from(&departure.local_start);
    facts.time_zone.clone_from(&departure.time_zone);
    facts.duration_minutes = departure.duration_minutes;
    facts.starts_at = departure.starts_at.as_ref().and_then(kit::time::of_wire);
    Some(detail)
}
