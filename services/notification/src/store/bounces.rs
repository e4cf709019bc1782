//! Addresses that do not exist, and messages that came back.

use kit::ApiResult;
use sqlx::PgConnection;
use tourmesh_kit as kit;

use super::delivery::{self, columns};
use crate::domain::DeliveryId;

/// Remembers that an address is none.
///
/// # Errors
/// When the database refuses.
pub async fn bury(tx: &mut PgConnection, address: &str, reason: &str) -> ApiResult<()> {
    sqlx::query("INSERT INTO dead_addresses (address, reason) VALUES (lower($1), $2) ON CONFLICT DO NOTHING")
        .bind(address)
        .bind(reason)
        .execute(tx)
        .await?;
    Ok(())
}

/// Marks a delivery that was sent as come back; the row and whether this is news. `None`: there is no such delivery.
///
/// # Errors
/// When the database refuses.
pub async fn bounced(
    tx: &mut PgConnection,
    id: DeliveryId,
    reason: &str,
) -> ApiResult<Option<(delivery::Model, bool)>> {
    let changed: Option<delivery::Model> = sqlx::query_as(concat!(
        "UPDATE deliveries d SET state = 'BOUNCED', error = $2 WHERE d.id = $1 AND d.state = 'SENT' RETURNING ",
        columns!(),
    ))
    .bind(id.uuid())
    .bind(reason)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(row) = changed {
        return Ok(Some((row, true)));
    }
    let there = sqlx::query_as(concat!("SELECT ", columns!(), " FROM deliveries d WHERE d.id = $1"));
    Ok(there.bind(id.uuid()).fetch_optional(tx).await?.map(|row| (row, false)))
}
