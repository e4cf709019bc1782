//! When the reconciler looks at a payment next.

use chrono::{DateTime, Utc};
use tourmesh_kit::{ApiResult, db::Db};

use crate::domain::PaymentId;

/// At once, when it may still move.
pub(crate) async fn look_soon(db: &Db, id: PaymentId) -> ApiResult<()> {
    sqlx::query(
        "UPDATE payments SET check_at = now(), checks = 0
         WHERE id = $1 AND state IN ('PENDING', 'REQUIRES_ACTION', 'AUTHORIZED')",
    )
    .bind(id.uuid())
    .execute(db.pool())
    .await?;
    Ok(())
}

/// Not before this time, when it is still reserved and nobody wants to capture it.
pub(crate) async fn leave_reserved(db: &Db, id: PaymentId, until: DateTime<Utc>) -> ApiResult<()> {
    sqlx::query(
        "UPDATE payments SET check_at = greatest($2, now() + interval '1 minute'), checks = 0
         WHERE id = $1 AND state = 'AUTHORIZED' AND NOT capture_wanted",
    )
    .bind(id.uuid())
    .bind(until)
    .execute(db.pool())
    .await?;
    Ok(())
}
