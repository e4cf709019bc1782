//! Noting the payments that were opened for bookings, many at once: what is shown of a booking until its payment is
//! captured, which the event of that says by itself.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db, lanes::Combined};

use crate::{
    domain::{BookingId, PaymentId, booking::Booking},
    error::BookingError,
    steps::Step,
    store::bookings as store,
};

/// Writes batches of payments and the bookings that they are for.
pub(crate) struct Notes {
    pub(crate) db: Db,
}

impl Combined for Notes {
    type Item = (BookingId, PaymentId);
    type Output = Booking;

    fn write<'a>(&'a self, noted: &'a [Self::Item]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<Booking>>>> {
        Box::pin(async move {
            let mut tx = self.db.begin().await?;
            match note(&mut tx, noted).await {
                Ok((answers, true)) => {
                    self.db.commit(Step::NotePayment, tx).await?;
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

/// True: there was something to write.
async fn note(tx: &mut PgConnection, noted: &[(BookingId, PaymentId)]) -> ApiResult<(Vec<ApiResult<Booking>>, bool)> {
    let ids: Vec<BookingId> = noted.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>().into_iter().collect();
    store::lock(tx, &ids).await?;
    let mut bookings = store::load(tx, &ids).await?;
    let mut changed: BTreeMap<BookingId, i64> = BTreeMap::new();
    let answers = noted.iter().map(|(id, payment)| {
        let booking = bookings.get_mut(id).ok_or(BookingError::BookingNotFound)?;
        let before = booking.version;
        if booking.note_payment(*payment) {
            changed.entry(*id).or_insert(before);
        }
        Ok(booking.clone())
    });
    let answers = answers.collect();
    let save: Vec<_> = changed.iter().filter_map(|(id, before)| Some((bookings.get(id)?, *before))).collect();
    store::save_since(tx, &save).await?;
    Ok((answers, !save.is_empty()))
}
