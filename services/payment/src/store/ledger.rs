//! The table of ledger entries, which only grows.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{QueryOrder as _, QuerySelect as _, entity::prelude::*};
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{ApiResult, db::Db};

use crate::domain::{
    PaymentId, TransactionId,
    ledger::{Kind, Movement},
};

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ledger_entries")]
pub struct Model {
    /// The order of booking.
    #[sea_orm(primary_key)]
    pub entry: i64,
    /// What it belongs to.
    pub transaction_id: Uuid,
    /// Its place there.
    pub seq: i16,
    /// Which account.
    pub account: String,
    /// Positive: debit; negative: credit.
    pub amount: Decimal,
    /// ISO 4217.
    pub currency: String,
    /// Of which payment.
    pub payment_id: Uuid,
    /// [`Kind::as_str`].
    pub kind: String,
    /// The payment or the refund that is booked.
    pub cause: Uuid,
    /// When.
    pub booked_at: DateTime<Utc>,
}

/// None: reads of other tables go by id.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A transaction to be booked.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) payment: PaymentId,
    pub(crate) kind: Kind,
    /// The payment of a capture, the refund of a refund.
    pub(crate) cause: Uuid,
    pub(crate) movements: Vec<Movement>,
    pub(crate) at: DateTime<Utc>,
}

/// Books transactions in one statement, as the balance trigger demands.
pub(crate) async fn book(tx: &mut PgConnection, transactions: &[Transaction]) -> ApiResult<()> {
    if transactions.is_empty() {
        return Ok(());
    }
    let (mut ids, mut seqs, mut accounts, mut amounts, mut currencies) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut payments, mut kinds, mut causes, mut times) = (vec![], vec![], vec![], vec![]);
    for transaction in transactions {
        let id = TransactionId::new();
        for (seq, movement) in (0_i16..).zip(&transaction.movements) {
            ids.push(id.uuid());
            seqs.push(seq);
            accounts.push(movement.account.as_str());
            amounts.push(movement.amount.amount());
            currencies.push(movement.amount.currency().to_string());
            payments.push(transaction.payment.uuid());
            kinds.push(transaction.kind.as_str());
            causes.push(transaction.cause);
            times.push(transaction.at);
        }
    }
    sqlx::query(
        "INSERT INTO ledger_entries (transaction_id, seq, account, amount, currency, payment_id, kind, cause, booked_at)
         SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::numeric[], $5::text[], $6::uuid[], $7::text[],
                              $8::uuid[], $9::timestamptz[])",
    )
    .bind(ids)
    .bind(seqs)
    .bind(accounts)
    .bind(amounts)
    .bind(currencies)
    .bind(payments)
    .bind(kinds)
    .bind(causes)
    .bind(times)
    .execute(tx)
    .await?;
    Ok(())
}

/// Entries before (older than) this one, newest first.
pub(crate) async fn list(db: &Db, payment: Option<PaymentId>, before: Option<i64>, most: u64) -> ApiResult<Vec<Model>> {
    let mut query = Entity::find().order_by_desc(Column::Entry).limit(most);
    if let Some(payment) = payment {
        query = query.filter(Column::PaymentId.eq(payment.uuid()));
    }
    if let Some(before) = before {
        query = query.filter(Column::Entry.lt(before));
    }
    Ok(query.all(&db.orm()).await?)
}

/// What an account holds in one currency.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Balance {
    pub(crate) account: String,
    pub(crate) currency: String,
    pub(crate) balance: Decimal,
}

/// The balances of these accounts, by account and currency.
pub(crate) async fn balances(db: &Db, accounts: &[String]) -> ApiResult<Vec<Balance>> {
    let query = sqlx::query_as(
        "SELECT account, currency::text AS currency, sum(amount) AS balance FROM ledger_entries WHERE account = ANY($1)
         GROUP BY 1, 2 ORDER BY 1, 2",
    );
    Ok(query.bind(accounts).fetch_all(db.pool()).await?)
}

/// All balances. Customers are as many as payments, so theirs are summed up.
pub(crate) async fn all_balances(db: &Db) -> ApiResult<Vec<Balance>> {
    let query = sqlx::query_as(
        "SELECT CASE WHEN account LIKE 'customer:%' THEN 'customers' WHEN account LIKE 'refunds:%' THEN 'refunds'
                     ELSE account END AS account,
                currency::text AS currency, sum(amount) AS balance
         FROM ledger_entries GROUP BY 1, 2 ORDER BY 1, 2",
    );
    Ok(query.fetch_all(db.pool()).await?)
}
