//! What the database holds and how it is read and written; no policy. Migrations say what each table is for, and in
//! which order rows are locked.

pub(crate) mod bookings;
pub(crate) mod departures;
mod entities;
pub(crate) mod holds;
pub(crate) mod moves;
pub(crate) mod pools;
pub(crate) mod promos;
pub(crate) mod refund_tasks;
pub(crate) mod requests;
pub(crate) mod terms;
pub(crate) mod waiting;

use tourmesh_kit::{ApiError, ApiResult};

/// A number of the domain as the database has it. What does not fit was let in by a defect of ours.
fn db_int(number: u32) -> ApiResult<i32> {
    i32::try_from(number).map_err(ApiError::internal)
}

/// A number of the database that a CHECK keeps from being negative.
fn of_db_int(number: i32) -> ApiResult<u32> {
    u32::try_from(number).map_err(ApiError::internal)
}

/// The database holds something that no code of this version writes.
fn corrupt(what: &str) -> ApiError {
    ApiError::internal(format!("the database holds an unknown {what}"))
}

/// A guarded write met other rows than it was decided on.
fn guard(changed: u64, expected: usize, what: &str) -> ApiResult<()> {
    if usize::try_from(changed).ok() == Some(expected) {
        return Ok(());
    }
    Err(ApiError::internal(format!("{changed} instead of {expected} rows of {what} were changed")))
}
