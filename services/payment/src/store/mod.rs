//! Rows and SQL, mapped to domain types; no policy in here. Reads go through SeaORM, writes are plain SQL.

pub(crate) mod disputes;
pub(crate) mod failed_refunds;
pub mod ledger;
pub(crate) mod movements;
pub mod payments;
pub(crate) mod period;
pub mod refunds;
pub mod requests;
pub(crate) mod watch;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use rust_decimal::Decimal;
use tourmesh_kit::{
    ApiError, ApiResult,
    money::{Currency, Money},
};

/// A stored amount; what the constraints let in always parses.
pub(crate) fn money(amount: Decimal, currency: &str) -> ApiResult<Money> {
    let currency: Currency = currency.parse().map_err(ApiError::internal)?;
    Ok(Money::new(amount.normalize(), currency))
}

/// Now, to the microsecond: what the database keeps, so that an answer made before the write is the same as one read
/// after it.
pub(crate) fn now() -> DateTime<Utc> {
    let now = Utc::now();
    now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now)
}
