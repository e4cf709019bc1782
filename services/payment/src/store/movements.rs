//! The ledger of a period, summed up per supplier, currency and kind of transaction. Disputes, and refunds that came back,
//! are between the platform, the provider and the customer: they move no supplier's money, and are not in here.

use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::ApiResult;

use crate::{domain::ledger, provider::Period};

/// What a period's transactions of one kind come to for one supplier and currency.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Movements {
    /// The supplier's account.
    pub(crate) account: String,
    pub(crate) currency: String,
    pub(crate) kind: String,
    pub(crate) transactions: i64,
    /// Sum on the supplier's account.
    pub(crate) supplier: Decimal,
    /// Sum on the account of the supplier's taxes, of the same transactions.
    pub(crate) taxes: Decimal,
    /// Sum on the platform's account, of the same transactions.
    pub(crate) commission: Decimal,
    /// Sum on the providers' accounts, of the same transactions.
    pub(crate) clearing: Decimal,
}

/// A sum of the ledger itself, for the proof that the report leaves nothing out.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(crate) struct Total {
    pub(crate) currency: String,
    pub(crate) suppliers: Decimal,
    pub(crate) taxes: Decimal,
    pub(crate) commission: Decimal,
    pub(crate) clearing: Decimal,
}

/// The movements of a period; of one supplier's account alone when it is named.
pub(crate) async fn of_period(
    tx: &mut PgConnection,
    period: Period,
    account: Option<&str>,
) -> ApiResult<Vec<Movements>> {
    // A transaction belongs to the supplier of its payment: where the commission is everything, there is no entry on the
    // supplier's account that would say so.
    let rows = sqlx::query_as(
        "SELECT 'supplier:sup_' || replace(p.supplier_id::text, '-', '') AS account, l.currency::text AS currency, l.kind,
                count(DISTINCT l.transaction_id) AS transactions,
                coalesce(sum(l.amount) FILTER (WHERE l.account LIKE 'supplier:%'), 0) AS supplier,
                coalesce(sum(l.amount) FILTER (WHERE l.account LIKE 'taxes:%'), 0) AS taxes,
                coalesce(sum(l.amount) FILTER (WHERE l.account = $4), 0) AS commission,
                coalesce(sum(l.amount) FILTER (WHERE l.account LIKE 'provider:%'), 0) AS clearing
         FROM ledger_entries l JOIN payments p ON p.id = l.payment_id
         WHERE l.booked_at >= $1 AND l.booked_at < $2 AND l.kind IN ('capture', 'refund')
           AND ($3::text IS NULL OR 'supplier:sup_' || replace(p.supplier_id::text, '-', '') = $3)
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    )
    .bind(period.from)
    .bind(period.to)
    .bind(account)
    .bind(ledger::COMMISSION)
    .fetch_all(tx)
    .await?;
    Ok(rows)
}

/// The same sums straight from the ledger, whoever they belong to.
pub(crate) async fn totals(tx: &mut PgConnection, period: Period) -> ApiResult<Vec<Total>> {
    let rows = sqlx::query_as(
        "SELECT currency::text AS currency,
                coalesce(sum(amount) FILTER (WHERE account LIKE 'supplier:%'), 0) AS suppliers,
                coalesce(sum(amount) FILTER (WHERE account LIKE 'taxes:%'), 0) AS taxes,
                coalesce(sum(amount) FILTER (WHERE account = $3), 0) AS commission,
                coalesce(sum(amount) FILTER (WHERE account LIKE 'provider:%' AND kind IN ('capture', 'refund')), 0)
                    AS clearing
         FROM ledger_entries WHERE booked_at >= $1 AND booked_at < $2 GROUP BY 1 ORDER BY 1",
    )
    .bind(period.from)
    .bind(period.to)
    .bind(ledger::COMMISSION)
    .fetch_all(tx)
    .await?;
    Ok(rows)
}
