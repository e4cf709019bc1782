//! Checking guests in by their vouchers.

use tourmesh_kit::{ApiError, ApiResult, idempotency::RequestKey};

use crate::{
    access::Caller,
    changes::{Changes, Wish},
    domain::booking::{Booking, Item},
    error::BookingError,
    vouchers::typed,
};

/// Redeems one voucher: the booking and the guest.
pub(crate) async fn redeem(
    changes: &Changes,
    caller: Caller,
    key: RequestKey,
    voucher: &str,
) -> ApiResult<(Booking, Item)> {
    let done = changes.ask(caller, key, None, Wish::Redeem(typed(voucher))).await?;
    let place = usize::try_from(done.detail).map_err(ApiError::internal)?;
    let item = done.booking.items.get(place).cloned().ok_or(BookingError::VoucherNotFound)?;
    Ok((done.booking, item))
}
