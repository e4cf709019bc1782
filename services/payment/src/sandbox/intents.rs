//! The sandbox's memory of charges and refunds: one per idempotency key, whatever is repeated.

use futures_util::future::BoxFuture;
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{ApiResult, db::Db, lanes::Combined};
use uuid::Uuid;

use super::webhooks::{self, Notice};

/// A charge, as the sandbox has it.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Intent {
    pub(crate) id: Uuid,
    pub(crate) key: Uuid,
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
    pub(crate) method: String,
    pub(crate) manual_capture: bool,
    pub(crate) status: String,
    pub(crate) decline_code: Option<String>,
    pub(crate) challenge: Option<String>,
}

macro_rules! columns {
    () => {
        "id, key, amount, currency, method, manual_capture, status, decline_code, challenge"
    };
}

/// A charge to be opened.
#[derive(Debug, Clone)]
pub(crate) struct New {
    pub(crate) intent: Intent,
    /// When a slow one is decided.
    pub(crate) settle_in_ms: Option<i64>,
    /// Told by webhook as well.
    pub(crate) tell: bool,
}

/// Opens batches of charges.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) db: Db,
}

impl Combined for Writer {
    type Item = New;
    /// The charge of this key, and whether this very call opened it.
    type Output = (Intent, bool);

    fn write<'a>(&'a self, items: &'a [New]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<(Intent, bool)>>>> {
        Box::pin(async move {
            // Without anything to tell, one statement is all.
            let mut opened = if items.iter().any(|n| n.tell) {
                let mut tx = self.db.begin().await?;
                let opened = insert(&mut tx, items).await?;
                let told = items.iter().filter(|n| n.tell && opened.contains(&n.intent.id));
                webhooks::enqueue(&mut tx, &told.map(|n| Notice::of_intent(&n.intent)).collect::<Vec<_>>(), 0).await?;
                tx.commit().await?;
                opened
            } else {
                let mut connection = self.db.pool().acquire().await?;
                insert(&mut connection, items).await?
            };
            let known: Vec<Uuid> =
                items.iter().filter(|n| !opened.contains(&n.intent.id)).map(|n| n.intent.key).collect();
            let known: Vec<Intent> = if known.is_empty() {
                Vec::new()
            } else {
                sqlx::query_as(concat!("SELECT ", columns!(), " FROM sandbox_intents WHERE key = ANY($1)"))
                    .bind(known)
                    .fetch_all(self.db.pool())
                    .await?
            };
            let answers = items.iter().map(|new| {
                if let Some(at) = opened.iter().position(|id| *id == new.intent.id) {
                    opened.swap_remove(at);
                    return Ok((new.intent.clone(), true));
                }
                let intent = known.iter().find(|i| i.key == new.intent.key).unwrap_or(&new.intent);
                Ok((intent.clone(), false))
            });
            Ok(answers.collect())
        })
    }
}

async fn insert(tx: &mut PgConnection, items: &[New]) -> ApiResult<Vec<Uuid>> {
    macro_rules! each {
        ($f:expr) => {
            items.iter().map(|n| $f(n)).collect::<Vec<_>>()
        };
    }
    let opened = sqlx::query_scalar(
        "INSERT INTO sandbox_intents (id, key, amount, currency, method, manual_capture, status, decline_code, challenge, settle_at)
         SELECT n.id, n.key, n.amount, n.currency, n.method, n.manual, n.status, n.decline, n.challenge,
                now() + make_interval(secs => n.settle / 1000.0)
         FROM unnest($1::uuid[], $2::uuid[], $3::numeric[], $4::text[], $5::text[], $6::bool[], $7::text[], $8::text[], $9::text[],
                     $10::bigint[]) AS n (id, key, amount, currency, method, manual, status, decline, challenge, settle)
         ON CONFLICT (key) DO NOTHING RETURNING id",
    )
    .bind(each!(|n: &New| n.intent.id))
    .bind(each!(|n: &New| n.intent.key))
    .bind(each!(|n: &New| n.intent.amount))
    .bind(each!(|n: &New| n.intent.currency.clone()))
    .bind(each!(|n: &New| n.intent.method.clone()))
    .bind(each!(|n: &New| n.intent.manual_capture))
    .bind(each!(|n: &New| n.intent.status.clone()))
    .bind(each!(|n: &New| n.intent.decline_code.clone()))
    .bind(each!(|n: &New| n.intent.challenge.clone()))
    .bind(each!(|n: &New| n.settle_in_ms))
    .fetch_all(tx)
    .await?;
    Ok(opened)
}

/// The charge of a key.
pub(crate) async fn find(db: &Db, key: Uuid) -> ApiResult<Option<Intent>> {
    let sql = concat!("SELECT ", columns!(), " FROM sandbox_intents WHERE key = $1");
    Ok(sqlx::query_as(sql).bind(key).fetch_optional(db.pool()).await?)
}

/// Moves a charge from one of these statuses; `None`: it was not there.
pub(crate) async fn turn(
    tx: &mut PgConnection,
    key: Uuid,
    from: &'static [&'static str],
    to: &'static str,
) -> ApiResult<Option<Intent>> {
    let intent = sqlx::query_as(concat!(
        "UPDATE sandbox_intents SET status = $3 WHERE key = $1 AND status = ANY($2) RETURNING ",
        columns!()
    ))
    .bind(key)
    .bind(from)
    .bind(to)
    .fetch_optional(tx)
    .await?;
    Ok(intent)
}

/// Decides what a customer has answered; `None`: there is no such challenge, or it was answered before.
pub(crate) async fn answer(tx: &mut PgConnection, challenge: &str, approve: bool) -> ApiResult<Option<Intent>> {
    let intent = sqlx::query_as(concat!(
        "UPDATE sandbox_intents
         SET status = CASE WHEN NOT $2 THEN 'failed' WHEN manual_capture THEN 'requires_capture' ELSE 'succeeded' END,
             decline_code = CASE WHEN NOT $2 THEN 'authentication_failed' END
         WHERE challenge = $1 AND status = 'requires_action' RETURNING ",
        columns!()
    ))
    .bind(challenge)
    .bind(approve)
    .fetch_optional(tx)
    .await?;
    Ok(intent)
}

/// Whether there ever was such a challenge that a customer may still look at.
pub(crate) async fn has_challenge(db: &Db, challenge: &str) -> ApiResult<bool> {
    let sql = "SELECT EXISTS (SELECT FROM sandbox_intents WHERE challenge = $1 AND status <> 'canceled')";
    Ok(sqlx::query_scalar(sql).bind(challenge).fetch_one(db.pool()).await?)
}

/// Decides slow charges whose time has come.
pub(crate) async fn settle_slow(tx: &mut PgConnection) -> ApiResult<Vec<Intent>> {
    let intents = sqlx::query_as(concat!(
        "WITH due AS (SELECT id AS due_id FROM sandbox_intents WHERE settle_at <= now() ORDER BY settle_at LIMIT 200 FOR UPDATE SKIP LOCKED)
         UPDATE sandbox_intents
         SET status = CASE WHEN method = 'card_timeout_declined' THEN 'failed'
                           WHEN manual_capture THEN 'requires_capture' ELSE 'succeeded' END,
             decline_code = CASE WHEN method = 'card_timeout_declined' THEN 'card_declined' END,
             settle_at = NULL
         FROM due WHERE id = due_id RETURNING ",
        columns!()
    ))
    .fetch_all(tx)
    .await?;
    Ok(intents)
}

/// Whether the refund of a key was done.
pub(crate) async fn has_refund(db: &Db, key: Uuid) -> ApiResult<bool> {
    let sql = "SELECT EXISTS (SELECT FROM sandbox_refunds WHERE key = $1)";
    Ok(sqlx::query_scalar(sql).bind(key).fetch_one(db.pool()).await?)
}

/// What a wish to refund came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refunded {
    /// Done now.
    New,
    /// Done before.
    Known,
    /// Not possible.
    Refused(&'static str),
}

/// Gives money back, once per key.
pub(crate) async fn refund(
    tx: &mut PgConnection,
    key: Uuid,
    intent: Uuid,
    amount: Decimal,
    currency: &str,
) -> ApiResult<Refunded> {
    let found: Option<(String,)> =
        sqlx::query_as("SELECT currency::text FROM sandbox_intents WHERE key = $1 FOR UPDATE")
            .bind(intent)
            .fetch_optional(&mut *tx)
            .await?;
    match found {
        None => return Ok(Refunded::Refused("no such charge")),
        Some((theirs,)) if theirs != currency => return Ok(Refunded::Refused("another currency")),
        Some(_) => {}
    }
    let known: Option<(Uuid, Decimal)> =
        sqlx::query_as("SELECT intent_key, amount FROM sandbox_refunds WHERE key = $1")
            .bind(key)
            .fetch_optional(&mut *tx)
            .await?;
    if let Some(known) = known {
        let same = known == (intent, amount);
        return Ok(if same { Refunded::Known } else { Refunded::Refused("the key was used for another refund") });
    }
    let reserved = sqlx::query(
        "UPDATE sandbox_intents SET refunded = refunded + $2
         WHERE key = $1 AND status = 'succeeded' AND refunded + $2 <= amount",
    )
    .bind(intent)
    .bind(amount)
    .execute(&mut *tx)
    .await?;
    if reserved.rows_affected() == 0 {
        return Ok(Refunded::Refused("more than what is left of the charge"));
    }
    sqlx::query("INSERT INTO sandbox_refunds (key, intent_key, amount) VALUES ($1, $2, $3)")
        .bind(key)
        .bind(intent)
        .bind(amount)
        .execute(tx)
        .await?;
    Ok(Refunded::New)
}
