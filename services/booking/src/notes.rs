//! What Payment has answered, written for many bookings at once: payments that were opened are noted, so that they are
//! shown; captured ones confirm their booking. The event of the capture says the same to whoever did not get here (see
//! [`confirmation`](crate::confirmation)), so that nothing depends on the answer.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db, events::outbox, lanes::Combined, money::Money};

use crate::{
    confirmation,
    domain::{
        BookingId, PaymentId,
        booking::{Booking, OnCapture},
    },
    error::BookingError,
    steps::Step,
    store::bookings as store,
};

/// What Payment has answered for a booking.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) booking: BookingId,
    pub(crate) payment: PaymentId,
    /// What was captured; `None`: nothing yet.
    pub(crate) captured: Option<Money>,
    /// Where the caller's trace goes on.
    pub(crate) span: tracing::Span,
}

/// Writes batches of answers under a step.
pub(crate) struct Notes {
    pub(crate) db: Db,
    pub(crate) step: Step,
}

impl Combined for Notes {
    type Item = Answered;
    type Output = Booking;

    fn write<'a>(&'a self, answered: &'a [Answered]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<Booking>>>> {
        Box::pin(async move {
            let mut tx = self.db.begin().await?;
            match note(&mut tx, answered).await {
                Ok((answers, true)) => {
                    self.db.commit(self.step, tx).await?;
                    Ok(answers)
                }
                Ok((answers, false)) => {
                    tx.rollback().await;
                    Ok(answers)
                }
                Err(error) => {
                    tx.undo(&error).await;
                    Err(error)
                }
            }
        })
    }
}

/// The bookings as they are then. True: there was something to write.
async fn note(tx: &mut PgConnection, answered: &[Answered]) -> ApiResult<(Vec<ApiResult<Booking>>, bool)> {
    let ids: Vec<BookingId> = answered.iter().map(|a| a.booking).collect::<BTreeSet<_>>().into_iter().collect();
    let now = store::lock(tx, &ids).await?;
    let mut bookings = store::load(tx, &ids).await?;
    let mut changed: BTreeMap<BookingId, i64> = BTreeMap::new();
    let mut sold: BTreeSet<BookingId> = BTreeSet::new();
    let mut told = Vec::new();
    let answers = answered.iter().map(|one| {
        let booking = bookings.get_mut(&one.booking).ok_or(BookingError::BookingNotFound)?;
        let before = booking.version;
        match one.captured {
            None => {
                booking.note_payment(one.payment);
            }
            // What finds no hold goes back when the event of the capture is heard.
            Some(amount) if booking.on_capture(one.payment, amount) == OnCapture::Confirms => {
                told.push(one.span.in_scope(|| confirmation::confirm(booking, now, one.payment, amount))?);
                sold.insert(booking.id);
            }
            Some(_) => {}
        }
        if booking.version != before {
            changed.entry(one.booking).or_insert(before);
        }
        Ok(booking.clone())
    });
    let answers = answers.collect();
    let save: Vec<_> = changed.iter().filter_map(|(id, before)| Some((bookings.get(id)?, *before))).collect();
    store::save_since(tx, &save).await?;
    store::save_items(tx, &sold.iter().filter_map(|id| bookings.get(id)).collect::<Vec<_>>()).await?;
    outbox::append(tx, &told).await?;
    Ok((answers, !save.is_empty()))
}
