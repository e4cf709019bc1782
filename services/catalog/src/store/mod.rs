//! Rows: entities for reads, SQL for writes, and the way between rows and domain types. No policy.
//!
//! Reads outside of a change go through SeaORM; what a change reads, locks and writes is plain SQL in its transaction.

pub(crate) mod blackouts;
mod calendar;
pub(crate) mod departures;
mod documents;
mod entity;
pub(crate) mod offers;
pub(crate) mod options;
pub(crate) mod pools;
pub(crate) mod ranked;
pub(crate) mod requests;
pub(crate) mod schedules;
pub(crate) mod search;
pub(crate) mod suppliers;
pub(crate) mod tax_rules;
pub(crate) mod tours;
pub(crate) mod unsettled;

use sea_orm::{FromQueryResult, QueryResult};
use sqlx::postgres::PgRow;
use tourmesh_kit::{ApiError, ApiResult};

/// A row that plain SQL brought, as the entity's model.
fn model<M: FromQueryResult>(row: PgRow) -> ApiResult<M> {
    Ok(M::from_query_result(&QueryResult::from(row), "")?)
}

/// The database holds what no write of ours could have put there.
fn corrupt(what: &str, id: impl std::fmt::Display) -> ApiError {
    ApiError::internal(format!("{id} has a {what} that cannot be read"))
}
