//! Which changes were asked for before: the reason why a repeat is harmless.

use prost::Message;
use sqlx::{PgConnection, Row as _};
use tourmesh_kit::{ApiResult, idempotency::RequestKey};
use uuid::Uuid;

/// Who asked for what.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    caller: String,
    method: &'static str,
    key: RequestKey,
}

/// Whether it was asked for before.
#[derive(Debug)]
pub(crate) enum Claim {
    /// No: do it.
    New,
    /// Yes, it made or changed this; the answer is there when the row alone cannot tell it again.
    Done(Uuid, Option<Vec<u8>>),
}

impl Request {
    /// The request of a caller; `message` is all of it.
    pub(crate) fn new(caller: String, method: &'static str, request_id: &str, message: &impl Message) -> Self {
        let key = RequestKey::of(request_id, &format!("{method}:{caller}"), message);
        Self { caller, method, key }
    }

    /// Claims the request for this transaction. Of two equal requests at a time the second waits here until the first
    /// has committed or failed.
    ///
    /// # Errors
    /// REQUEST_ID_REUSED when it was used with other content.
    pub(crate) async fn claim(&self, tx: &mut PgConnection, subject: Uuid) -> ApiResult<Claim> {
        let made = sqlx::query(
            "INSERT INTO requests (caller, method, request_id, hash, subject) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (caller, method, request_id) DO NOTHING",
        )
        .bind(&self.caller)
        .bind(self.method)
        .bind(&self.key.id)
        .bind(&self.key.hash[..])
        .bind(subject)
        .execute(&mut *tx)
        .await?;
        if made.rows_affected() == 1 {
            return Ok(Claim::New);
        }
        let row = sqlx::query(
            "SELECT hash, subject, answer FROM requests WHERE caller = $1 AND method = $2 AND request_id = $3",
        )
        .bind(&self.caller)
        .bind(self.method)
        .bind(&self.key.id)
        .fetch_one(tx)
        .await?;
        self.key.check(row.try_get("hash")?)?;
        Ok(Claim::Done(row.try_get("subject")?, row.try_get("answer")?))
    }

    /// Keeps the answer for repeats, unless there is one; the one that is kept is returned.
    pub(crate) async fn keep_answer(&self, tx: &mut PgConnection, answer: &[u8]) -> ApiResult<Vec<u8>> {
        let kept = sqlx::query_scalar(
            "UPDATE requests SET answer = coalesce(answer, $4)
             WHERE caller = $1 AND method = $2 AND request_id = $3 RETURNING answer",
        )
        .bind(&self.caller)
        .bind(self.method)
        .bind(&self.key.id)
        .bind(answer)
        .fetch_one(tx)
        .await?;
        Ok(kept)
    }
}
