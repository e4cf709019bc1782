//! What bookings tell.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kit::{ApiResult, events::Received};
use sqlx::PgConnection;
use tourmesh::booking::v1::{
    Booking, BookingCancelled, BookingChanged, BookingConfirmed, BookingPaymentFailed, BookingRedeemed,
    BookingRescheduled, BookingState, WaitingListOffered,
};
use tourmesh_kit as kit;

use super::{Doors, Intake, Known, News, json};
use crate::{
    convert,
    domain::{
        BookingId, UserId,
        facts::{BookingFacts, Cause, Detail, Part},
        message::Kind,
    },
    error::NotificationError,
    store::{bookings, bookings::Snapshot, deliveries, preferences, push},
};

/// What one event about a booking says.
struct Told<'a> {
    event: &'a Received,
    snapshot: Snapshot,
    /// What is to be told, and under which topic.
    messages: Vec<(Kind, String, Detail)>,
    /// Reminders that wait are about something that is no longer so.
    ends_reminders: bool,
}

impl Intake {
    pub(super) async fn bookings(&self, tx: &mut PgConnection, events: &[Received], doors: &Doors) -> ApiResult<()> {
        let read = events.iter().filter_map(|e| self.read(e).transpose());
        let mut told = read.collect::<ApiResult<Vec<_>>>()?;
        let known: Vec<BookingId> = told.iter().map(|t| t.snapshot.id).collect();
        self.add_starts_before(tx, &mut told, &known).await?;
        let snapshots: Vec<Snapshot> = told.iter().map(|t| t.snapshot.clone()).collect();
        bookings::keep(tx, &snapshots).await?;
        let ended: Vec<BookingId> = told.iter().filter(|t| t.ends_reminders).map(|t| t.snapshot.id).collect();
        deliveries::withdraw_reminders(tx, &ended).await?;
        let users: Vec<UserId> = told.iter().map(|t| t.snapshot.user).collect();
        let wishes = preferences::of_users(tx, &users).await?;
        let browsers = if self.push { push::of_users(tx, &users).await? } else { HashMap::new() };
        let mut new = Vec::new();
        let now = Utc::now();
        for Told { event, snapshot, messages, .. } in &told {
            let wish = wishes.get(&snapshot.user).cloned().unwrap_or_default();
            let browsers = browsers.get(&snapshot.user).map(Vec::as_slice).unwrap_or_default();
            let facts = json(&snapshot.facts)?;
            for (kind, topic, detail) in messages {
                let known = Known {
                    language: snapshot.language,
                    email: snapshot.email.clone(),
                    zone: snapshot.facts.zone(),
                    facts: facts.clone(),
                };
                let news = News {
                    kind: *kind,
                    topic: topic.clone(),
                    event: Some(event),
                    user: snapshot.user,
                    booking: snapshot.id,
                    known,
                    detail: detail.clone(),
                };
                new.extend(self.messages(&news, &wish, browsers, now)?);
            }
        }
        doors.keep(tx, &new).await
    }

    /// A booking that was moved tells when it was to start before, as far as that is known here.
    async fn add_starts_before(
        &self,
        tx: &mut PgConnection,
        told: &mut [Told<'_>],
        known: &[BookingId],
    ) -> ApiResult<()> {
        if !told.iter().any(|t| t.messages.iter().any(|(kind, ..)| *kind == Kind::BookingRescheduled)) {
            return Ok(());
        }
        let mut before: HashMap<BookingId, (i64, String)> = HashMap::new();
        for (id, (version, facts)) in bookings::facts_of(tx, known).await? {
            if let Ok(facts) = serde_json::from_value::<BookingFacts>(facts) {
                before.insert(BookingId::from_uuid(id), (version, facts.local_start));
            }
        }
        for Told { snapshot, messages, .. } in told {
            for (kind, _, detail) in messages {
                let older = before.get(&snapshot.id).filter(|(version, _)| *version < snapshot.version);
                if *kind == Kind::BookingRescheduled
                    && let Some((_, start)) = older.filter(|(_, start)| *start != snapshot.facts.local_start)
                {
                    detail.start_before.clone_from(start);
                }
            }
            // Events of one booking may come together.
            before.insert(snapshot.id, (snapshot.version, snapshot.facts.local_start.clone()));
        }
        Ok(())
    }

    fn read<'a>(&self, event: &'a Received) -> ApiResult<Option<Told<'a>>> {
        let lacking = || NotificationError::EventIncomplete("booking");
        let none = Detail::default();
        let mut of_payment = None;
        let (booking, messages, ends_reminders): (Booking, Vec<(Kind, &str, Detail)>, bool) =
            if let Some(confirmed) = event.decode::<BookingConfirmed>()? {
                let booking = confirmed.booking.ok_or_else(lacking)?;
                // It is the receipt, too: who pays gets one message, not two.
                let paid_at = booking.confirmed_at.as_ref().and_then(kit::time::of_wire);
                let detail = Detail { paid_at: paid_at.filter(|_| has_paid(&booking)), ..none };
                (booking, vec![(Kind::BookingConfirmed, "confirmed", detail)], false)
            } else if let Some(cancelled) = event.decode::<BookingCancelled>()? {
                let cause = convert::cause_of_wire(cancelled.cause());
                let booking = cancelled.booking.ok_or_else(lacking)?;
                let detail = Detail { refund: refund(&booking)?, cause, ..none };
                let kind = if cause == Cause::Departure { Kind::DepartureCancelled } else { Kind::BookingCancelled };
                (booking, vec![(kind, "cancelled", detail)], true)
            } else if let Some(changed) = event.decode::<BookingChanged>()? {
                let booking = changed.booking.ok_or_else(lacking)?;
                let detail = Detail { refund: refund(&booking)?, ..none };
                let told = booking.state() == BookingState::Confirmed;
                (booking, told.then_some((Kind::BookingChanged, "changed", detail)).into_iter().collect(), false)
            } else if let Some(moved) = event.decode::<BookingRescheduled>()? {
                let receipt = receipt_of_move(&moved, event.time)?;
                let detail = Detail {
                    refund: moved.refund.as_ref().map(convert::amount_of_wire).transpose()?,
                    difference: moved.price_difference.as_ref().map(convert::amount_of_wire).transpose()?,
                    ..none
                };
                let booking = moved.booking.ok_or_else(lacking)?;
                let mut messages = vec![(Kind::BookingRescheduled, "rescheduled", detail)];
                messages.extend(receipt.map(|detail| (Kind::Receipt, "receipt", detail)));
                (booking, messages, true)
            } else if let Some(redeemed) = event.decode::<BookingRedeemed>()? {
                let booking = redeemed.booking.ok_or_else(lacking)?;
                let over = booking.state() == BookingState::Redeemed;
                (booking, Vec::new(), over)
            } else if let Some(failed) = event.decode::<BookingPaymentFailed>()? {
                let amount = failed.amount.as_ref().map(convert::amount_of_wire).transpose()?;
                let detail = Detail { amount, decline_code: failed.decline_code, ..none };
                of_payment = Some(failed.payment_id);
                (failed.booking.ok_or_else(lacking)?, vec![(Kind::PaymentFailed, "failed", detail)], false)
            } else if let Some(offered) = event.decode::<WaitingListOffered>()? {
                let booking = offered.booking.ok_or_else(lacking)?;
                let held_until = booking.hold_expires_at.as_ref().and_then(kit::time::of_wire);
                let refused = offered.entry.filter(|entry| !entry.promo_refusal.is_empty()).unwrap_or_default();
                let (promo_code, promo_refusal) = (refused.promo_code, refused.promo_refusal);
                let detail = Detail { held_until, promo_code, promo_refusal, ..none };
                (booking, vec![(Kind::WaitingListOffer, "offered", detail)], false)
            } else {
                return Ok(None);
            };
        let mut snapshot = convert::snapshot_of_wire(&booking)?;
        if booking.state() == BookingState::Confirmed {
            snapshot.remind_at = self.remind_at(snapshot.starts_at, event.time);
        }
        // A hold that is let go was never promised: nobody is told.
        let sold = booking.confirmed_at.is_some();
        let messages = messages.into_iter().filter(|(kind, ..)| sold || !kind.ends_the_booking());
        let messages = messages.map(|(kind, verb, detail)| {
            // What can happen more than once is told for each version of the booking.
            let again = matches!(kind, Kind::BookingChanged | Kind::BookingRescheduled | Kind::Receipt);
            let topic = match &of_payment {
                Some(payment) => format!("{payment}:{verb}"),
                None if again => format!("{}:{verb}:{}", snapshot.id, snapshot.version),
                None => format!("{}:{verb}", snapshot.id),
            };
            (kind, topic, detail)
        });
        Ok(Some(Told { event, messages: messages.collect(), snapshot, ends_reminders }))
    }
}

fn has_paid(booking: &Booking) -> bool {
    booking.paid.as_ref().is_some_and(|paid| paid.units != 0 || paid.nanos != 0)
}

/// What the receipt of a move tells; `None`: nothing was paid for it. Where nothing was paid before, it is of the whole
/// booking, as the receipt of a confirmation is, with each tax.
fn receipt_of_move(moved: &BookingRescheduled, at: DateTime<Utc>) -> ApiResult<Option<Detail>> {
    let Some(difference) = moved.price_difference.as_ref().filter(|_| !moved.payment_id.is_empty()) else {
        return Ok(None);
    };
    let of_all = moved.booking.as_ref().is_some_and(|booking| booking.paid.as_ref() == Some(difference));
    let part = || -> ApiResult<Part> {
        let amount = convert::amount_of_wire(difference)?;
        let tax = moved.tax.as_ref().map(convert::amount_of_wire).transpose()?;
        Ok(Part { payment: moved.payment_id.clone(), amount, tax })
    };
    let part = if of_all { None } else { Some(part()?) };
    Ok(Some(Detail { paid_at: Some(at), part, ..Detail::default() }))
}

fn refund(booking: &Booking) -> ApiResult<Option<crate::domain::facts::Amount>> {
    booking.refund.as_ref().map(convert::amount_of_wire).transpose()
}
