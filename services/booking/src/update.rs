//! Other names, another contact: what may change of a booking without touching its seats or its money.

use tourmesh_kit::{ApiResult, db::Db, events::outbox, idempotency::RequestKey};

use crate::{
    access::Caller,
    domain::{
        BookingId, ItemId,
        booking::{Booking, Contact},
    },
    events,
    steps::Step,
    store::{
        bookings as store,
        requests::{Remembered, remember},
    },
};

/// What changes.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    /// None: stays.
    pub(crate) contact: Option<Contact>,
    /// Guests who are not there keep their names.
    pub(crate) names: Vec<(ItemId, String)>,
}

/// Changes a booking. What leaves it as it was is told to nobody.
pub(crate) async fn update(
    db: &Db,
    caller: Caller,
    key: RequestKey,
    id: BookingId,
    changes: Changes,
) -> ApiResult<Booking> {
    db.step(Step::Update, move |tx| {
        let (caller, key, changes) = (caller.clone(), key.clone(), changes.clone());
        Box::pin(async move {
            let now = store::lock(tx, &[id]).await?;
            let mut booking = caller.buys(store::load_one(tx, id).await?)?;
            let new = remember(tx, &caller.scope, "UpdateBooking", &key, id.uuid(), 0).await? == Remembered::New;
            if new && booking.update(now, changes.contact, &changes.names)? {
                store::save(tx, &[&booking]).await?;
                store::save_contact(tx, &booking).await?;
                store::save_items(tx, &[&booking]).await?;
                outbox::append(tx, &[events::changed(&booking)]).await?;
            }
            Ok(booking)
        })
    })
    .await
}
