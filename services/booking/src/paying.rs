//! The two writes of ConfirmBooking for many bookings at once: numbering an attempt, and noting its payment.
//!
//! Only the usual case is written here. Whatever is unusual (a repeat, a booking that costs nothing or whose hold is
//! over, two wishes for one booking) changes nothing in the batch and goes its own way in [`checkout`](crate::checkout),
//! one transaction each: there alone is decided what it is answered.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use tourmesh_kit::{
    ApiResult,
    db::Db,
    idempotency::RequestKey,
    lanes::{Combined, Lanes},
};

use crate::{
    access::Caller,
    domain::{BookingId, PaymentId, booking::Booking},
    steps::Step,
    store::{bookings as store, requests},
};

/// How many batches are written at the same time. Two would write the same in twice as many.
const LANES: usize = 1;

/// What is to be written about a booking.
#[derive(Debug)]
pub(crate) enum Wish {
    /// A numbered attempt to pay.
    Begin { booking: BookingId, caller: Caller, key: RequestKey },
    /// The payment that came of it.
    Note { booking: BookingId, payment: PaymentId },
}

/// What was written.
#[derive(Debug)]
pub(crate) enum Written {
    /// The attempt has this number.
    Begun(Booking, i32),
    /// The payment is noted.
    Noted(Booking),
    /// Nothing: this one is not usual.
    Nothing,
}

/// Starts the lanes.
pub(crate) fn lanes(db: &Db, room: usize) -> Lanes<Writer> {
    Lanes::start(Arc::new(Writer { db: db.clone() }), LANES, room)
}

/// Writes batches.
pub(crate) struct Writer {
    db: Db,
}

impl Wish {
    fn booking(&self) -> BookingId {
        match self {
            Self::Begin { booking, .. } | Self::Note { booking, .. } => *booking,
        }
    }
}

impl Combined for Writer {
    type Item = Wish;
    type Output = Written;

    fn write<'a>(&'a self, wishes: &'a [Wish]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<Written>>>> {
        Box::pin(async move {
            let ids: Vec<BookingId> = wishes.iter().map(Wish::booking).collect::<BTreeSet<_>>().into_iter().collect();
            let mut tx = self.db.begin().await?;
            let now = store::lock(&mut tx, &ids).await?;
            // A booking is taken out by the first wish that is for it.
            let mut bookings = store::load(&mut tx, &ids).await?;
            let mut requests = HashSet::new();
            let mut changed: Vec<Option<Written>> = Vec::with_capacity(wishes.len());
            for wish in wishes {
                let Some(mut booking) = bookings.remove(&wish.booking()) else {
                    changed.push(None);
                    continue;
                };
                changed.push(match wish {
                    Wish::Begin { caller, key, .. } => caller
                        .buys(Some(booking))
                        .ok()
                        .filter(|b| !b.needs_no_payment() && requests.insert((caller.scope.as_str(), key.id.as_str())))
                        .and_then(|mut b| b.begin_payment(now).ok().map(|attempt| Written::Begun(b, attempt))),
                    Wish::Note { payment, .. } => booking.note_payment(*payment).then_some(Written::Noted(booking)),
                });
            }
            let begun: Vec<_> = wishes
                .iter()
                .zip(&changed)
                .filter_map(|(wish, written)| match (wish, written) {
                    (Wish::Begin { caller, key, .. }, Some(Written::Begun(booking, attempt))) => {
                        Some((caller.scope.as_str(), key, booking.id.uuid(), *attempt))
                    }
                    _ => None,
                })
                .collect();
            let new = requests::remember_new(&mut tx, "ConfirmBooking", &begun).await?;
            let kept = changed.into_iter().zip(wishes).map(|(written, wish)| match (written, wish) {
                (Some(Written::Begun(..)), Wish::Begin { caller, key, .. })
                    if !new.contains(&(caller.scope.clone(), key.id.clone())) =>
                {
                    None
                }
                (written, _) => written,
            });
            let kept: Vec<Option<Written>> = kept.collect();
            let save: Vec<&Booking> = kept
                .iter()
                .filter_map(|written| match written {
                    Some(Written::Begun(booking, _) | Written::Noted(booking)) => Some(booking),
                    _ => None,
                })
                .collect();
            store::save(&mut tx, &save).await?;
            self.db.commit(Step::Pay, tx).await?;
            Ok(kept.into_iter().map(|written| Ok(written.unwrap_or(Written::Nothing))).collect())
        })
    }
}
