//! Holds that run out: their seats come back within a second, by the database's clock.

use std::time::Duration;

use sqlx::PgConnection;
use tourmesh_kit::{
    ApiResult,
    db::Db,
    events::{Event, outbox},
    shutdown::Shutdown,
};

use crate::{
    availability::Board,
    domain::{DepartureId, booking::Booking},
    events,
    store::{bookings as store, promos},
    waiting,
};

/// How many holds one transaction ends.
const BATCH: i64 = 500;

/// Ends run-out holds until shutdown. Several replicas share the work: each leaves out what another is at.
pub(crate) async fn run(db: Db, board: Board, every: Duration, shutdown: Shutdown) {
    loop {
        match expire_due(&db).await {
            Ok(freed) => {
                let full = i64::try_from(freed.len()).is_ok_and(|n| n >= BATCH);
                board.touch(freed);
                if full && !shutdown.is_triggered() {
                    continue;
                }
            }
            Err(error) => tracing::warn!(%error, "run-out holds could not be ended yet"),
        }
        if !shutdown.sleep(every).await {
            return;
        }
    }
}

async fn expire_due(db: &Db) -> ApiResult<Vec<DepartureId>> {
    // Looking is no write: it wakes nobody.
    if !store::any_due(&mut *db.pool().acquire().await?).await? {
        return Ok(Vec::new());
    }
    db.write(|tx| Box::pin(expire(tx))).await
}

/// Ends a batch; returns the departures whose seats came back, one for each hold.
async fn expire(tx: &mut PgConnection) -> ApiResult<Vec<DepartureId>> {
    let ids = store::lock_due(tx, BATCH).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let now = store::now(tx).await?;
    let mut bookings: Vec<Booking> = store::load(tx, &ids).await?.into_values().collect();
    let mut told: Vec<Event> = Vec::with_capacity(bookings.len());
    promos::give_back(tx, bookings.iter().filter_map(Booking::use_of_promo)).await?;
    for booking in &mut bookings {
        booking.expire(now)?;
        told.push(events::expired(booking));
    }
    store::save(tx, &bookings.iter().collect::<Vec<_>>()).await?;
    waiting::release(tx, bookings.iter().map(|b| (b.departure, b.seats))).await?;
    outbox::append(tx, &told).await?;
    Ok(bookings.into_iter().map(|b| b.departure).collect())
}
