//! Checking guests in by their vouchers.

use tourmesh_kit::{ApiError, ApiResult, db::Db, events::outbox, idempotency::RequestKey};

use crate::{
    access::Caller,
    domain::booking::{Booking, Item},
    error::BookingError,
    events,
    steps::Step,
    store::{
        bookings as store,
        requests::{Remembered, remember},
    },
    vouchers::typed,
};

/// Redeems one voucher: the booking and the guest.
pub(crate) async fn redeem(db: &Db, caller: Caller, key: RequestKey, voucher: &str) -> ApiResult<(Booking, Item)> {
    let code = typed(voucher);
    db.step(Step::Redeem, move |tx| {
        let (caller, key, code) = (caller.clone(), key.clone(), code.clone());
        Box::pin(async move {
            let (id, position) = store::of_voucher(tx, &code).await?.ok_or(BookingError::VoucherNotFound)?;
            let now = store::lock(tx, &[id]).await?;
            let mut booking = caller.checks_in(store::load_one(tx, id).await?)?;
            let index = usize::try_from(position).map_err(ApiError::internal)?;
            let asked = remember(tx, &caller.scope, "RedeemVoucher", &key, id.uuid(), i32::from(position)).await?;
            if asked == Remembered::New {
                booking.redeem(index, now)?;
                store::save(tx, &[&booking]).await?;
                store::save_items(tx, &[&booking]).await?;
                let item = booking.items.get(index).map(|i| i.id).ok_or(BookingError::VoucherNotFound)?;
                outbox::append(tx, &[events::redeemed(&booking, item)]).await?;
            }
            let item = booking.items.get(index).cloned().ok_or(BookingError::VoucherNotFound)?;
            Ok((booking, item))
        })
    })
    .await
}
