//! What each supplier has earned in a period, what the platform has kept, and what is to be paid out: as CSV.
//!
//! The rows are made from the ledger alone, and their totals are held against the ledger's own sums before anything is
//! handed out: a report that leaves something out does not come into being.

use std::{collections::BTreeMap, io};

use rust_decimal::Decimal;
use tourmesh_kit::{ApiError, config::Env, db::Db};

use crate::{
    domain::{SupplierId, ledger},
    provider::Period,
    store::movements::{self, Movements, Total},
};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum PayoutError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Config(#[from] tourmesh_kit::config::ConfigError),
    /// Our own database.
    #[error("the ledger cannot be read: {0}")]
    Ledger(#[from] ApiError),
    /// The rows do not add up to the ledger.
    #[error("the report's total is not the ledger's in {currency}: {report} and {ledger}")]
    Total {
        /// In which currency.
        currency: String,
        /// What the rows come to.
        report: Decimal,
        /// What the ledger says.
        ledger: Decimal,
    },
    /// The text could not be written.
    #[error("the report cannot be written: {0}")]
    Write(#[from] csv::Error),
}

/// One supplier's period in one currency. All amounts are positive; a payout below zero is owed to us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// How many payments were captured.
    pub captures: i64,
    /// Their sum, taxes included.
    pub captured: Decimal,
    /// How many refunds were done.
    pub refunds: i64,
    /// Their sum.
    pub refunded: Decimal,
    /// The platform's part of what was captured.
    pub commission: Decimal,
    /// What the platform gave back of it with refunds.
    pub commission_returned: Decimal,
    /// What the supplier's two accounts grew by: captured - refunded - (commission - commission_returned).
    pub payout: Decimal,
    /// The part of `payout` that is taxes, which the supplier remits.
    pub taxes: Decimal,
}

/// The report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payouts {
    /// By supplier ("sup_…") and currency.
    pub rows: BTreeMap<(String, String), Row>,
}

/// Makes the report, as the command line does it: no role needs to run.
///
/// # Errors
/// When the ledger cannot be read, or the report does not add up to it.
pub async fn of_env(env: &Env, period: Period, supplier: Option<SupplierId>) -> Result<Payouts, PayoutError> {
    of_period(&Db::of_env(env)?, period, supplier).await
}

/// Makes the report.
///
/// # Errors
/// When the ledger cannot be read, or the report does not add up to it.
pub async fn of_period(db: &Db, period: Period, supplier: Option<SupplierId>) -> Result<Payouts, PayoutError> {
    let account = supplier.map(ledger::supplier);
    // One look at the books, however much is booked meanwhile.
    let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let mut tx = db.pool().begin_with(snapshot).await.map_err(ApiError::from)?;
    let report = Payouts::of(movements::of_period(&mut tx, period, account.as_deref()).await?);
    if supplier.is_none() {
        report.proven(&movements::totals(&mut tx, period).await?)?;
    }
    Ok(report)
}

impl Payouts {
    fn of(movements: Vec<Movements>) -> Self {
        let mut rows: BTreeMap<_, Row> = BTreeMap::new();
        for m in movements {
            let supplier = m.account.trim_start_matches("supplier:").to_owned();
            let row = rows.entry((supplier, m.currency)).or_default();
            if m.kind == ledger::Kind::Capture.as_str() {
                row.captures += m.transactions;
                row.captured += m.clearing;
                row.commission -= m.commission;
            } else {
                row.refunds += m.transactions;
                row.refunded -= m.clearing;
                row.commission_returned += m.commission;
            }
            // What we owe is a credit: negative in the ledger.
            row.payout -= m.supplier + m.taxes;
            row.taxes -= m.taxes;
        }
        Self { rows }
    }

    /// The sums by currency.
    pub fn totals(&self) -> BTreeMap<String, Row> {
        let mut totals: BTreeMap<String, Row> = BTreeMap::new();
        for ((_, currency), row) in &self.rows {
            let total = totals.entry(currency.clone()).or_default();
            total.captures += row.captures;
            total.captured += row.captured;
            total.refunds += row.refunds;
            total.refunded += row.refunded;
            total.commission += row.commission;
            total.commission_returned += row.commission_returned;
            total.payout += row.payout;
            total.taxes += row.taxes;
        }
        totals
    }

    /// Holds the totals against the ledger's own sums.
    fn proven(&self, ledger: &[Total]) -> Result<(), PayoutError> {
        let mut totals = self.totals();
        for sums in ledger {
            let total = totals.remove(&sums.currency).unwrap_or_default();
            for (report, ledger) in [
                (total.payout, -sums.suppliers - sums.taxes),
                (total.taxes, -sums.taxes),
                (total.commission - total.commission_returned, -sums.commission),
                (total.captured - total.refunded, sums.clearing),
                (total.captured - total.refunded - total.commission + total.commission_returned, total.payout),
            ] {
                if report != ledger {
                    return Err(PayoutError::Total { currency: sums.currency.clone(), report, ledger });
                }
            }
        }
        match totals.into_iter().next() {
            Some((currency, total)) => {
                Err(PayoutError::Total { currency, report: total.payout, ledger: Decimal::ZERO })
            }
            None => Ok(()),
        }
    }

    /// Writes it as CSV: a header, a row for each supplier and currency, and a row TOTAL for each currency.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, to: impl io::Write, period: Period) -> Result<(), PayoutError> {
        let mut csv = csv::Writer::from_writer(to);
        csv.write_record([
            "supplier",
            "currency",
            "from",
            "to",
            "captures",
            "captured",
            "refunds",
            "refunded",
            "commission",
            "commission_returned",
            "payout",
            "taxes",
        ])?;
        let (from, to) = (period.from.to_rfc3339(), period.to.to_rfc3339());
        let suppliers =
            self.rows.iter().map(|((supplier, currency), row)| (supplier.clone(), currency.clone(), row.clone()));
        let totals = self.totals().into_iter().map(|(currency, row)| ("TOTAL".to_owned(), currency, row));
        for (who, currency, row) in suppliers.chain(totals) {
            csv.write_record([
                who,
                currency,
                from.clone(),
                to.clone(),
                row.captures.to_string(),
                row.captured.normalize().to_string(),
                row.refunds.to_string(),
                row.refunded.normalize().to_string(),
                row.commission.normalize().to_string(),
                row.commission_returned.normalize().to_string(),
                row.payout.normalize().to_string(),
                row.taxes.normalize().to_string(),
            ])?;
        }
        csv.flush().map_err(csv::Error::from)?;
        Ok(())
    }
}
