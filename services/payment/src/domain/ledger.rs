//! How captures and refunds are booked: which accounts, which amounts. Every list of movements sums to zero.
//!
//! | account | what it says |
//! |---|---|
//! | `provider:<name>:clearing` | what the provider has taken for us and not given back |
//! | `customer:usr_…` | what the customer has bought and paid; zero when they meet |
//! | `supplier:sup_…` | what we owe the supplier for itself |
//! | `taxes:sup_…` | what we owe the supplier so that it can remit it |
//! | `platform:commission` | our fee |
//! | `refunds:usr_…` | what is to go back to the customer, and what went |
//! | `disputes:<name>`, `platform:losses` | what banks hold, and what they kept: see [`super::dispute`] |
//!
//! The taxes are the supplier's: it is the seller, its tax number is on the receipt, and it remits them, as in OCTO, where
//! the reseller is told the taxes of the supplier's price and has none of its own. The commission is counted from the whole
//! amount, so it does not depend on how much of it is taxes. A refund gives back of commission and taxes the share that it
//! is of the capture; that is what [`share_of_refund`] counts, from the caller's one tax amount: all tickets of a booking
//! are under the same rates, so the share is right for a part of the tickets as well as for a part of their price.

use rust_decimal::Decimal;
use tourmesh_kit::money::{Money, MoneyError};

use super::{CustomerId, SupplierId};

/// What a transaction books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Money came in.
    Capture,
    /// Money went back.
    Refund,
    /// A refund that was done did not reach the customer: the provider has the money again, and we still owe it.
    RefundReturned,
    /// A bank took money for a dispute.
    DisputeWithdrawn,
    /// It gave it back.
    DisputeReinstated,
    /// It keeps it.
    DisputeLost,
    /// It was to keep it, and does not after all.
    DisputeRecovered,
}

impl Kind {
    /// As stored and sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Refund => "refund",
            Self::RefundReturned => "refund_returned",
            Self::DisputeWithdrawn => "dispute_withdrawn",
            Self::DisputeReinstated => "dispute_reinstated",
            Self::DisputeLost => "dispute_lost",
            Self::DisputeRecovered => "dispute_recovered",
        }
    }
}

/// One movement on one account. Positive: debit; negative: credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// Such as "supplier:sup_…".
    pub account: String,
    /// Never zero.
    pub amount: Money,
}

/// What the platform has earned.
pub const COMMISSION: &str = "platform:commission";

/// What the provider owes us: what it has captured and not yet paid out.
pub fn clearing(provider: &str) -> String {
    format!("provider:{provider}:clearing")
}

/// What we owe a supplier for itself.
pub fn supplier(id: SupplierId) -> String {
    format!("supplier:{id}")
}

/// What we owe a supplier so that it remits it.
pub fn taxes(id: SupplierId) -> String {
    format!("taxes:{id}")
}

/// What a customer has bought and paid.
pub fn customer(id: CustomerId) -> String {
    format!("customer:{id}")
}

/// What goes back to a customer.
pub fn refunds(id: CustomerId) -> String {
    format!("refunds:{id}")
}

/// A supplier's accounts.
pub fn of_supplier(id: SupplierId) -> [String; 2] {
    [supplier(id), taxes(id)]
}

/// A customer's accounts.
pub fn of_customer(id: CustomerId) -> [String; 2] {
    [customer(id), refunds(id)]
}

/// Whose accounts a transaction is about.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// Who takes the money for us.
    pub provider: &'a str,
    /// Who pays.
    pub customer: CustomerId,
    /// Who earns.
    pub supplier: SupplierId,
}

/// What is not the supplier's own of an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// The platform's.
    pub commission: Money,
    /// The taxes.
    pub tax: Money,
}

/// The platform's part of a captured amount, rounded to the minor unit; the supplier has the exact rest.
///
/// # Errors
/// On overflow.
pub fn commission_of(captured: Money, percent: Decimal) -> Result<Money, MoneyError> {
    captured.percent(percent)
}

/// The part of a share (commission, taxes) that a refund gives back. Counted from the totals before and after, so that any
/// row of partial refunds gives back in the end exactly the share, and at no time more than a rounding off its part.
///
/// # Errors
/// On two currencies, or overflow.
pub fn share_of_refund(captured: Money, share: Money, returned: Money, refund: Money) -> Result<Money, MoneyError> {
    let after = part_of(captured, share, returned.add(refund)?);
    after.sub(part_of(captured, share, returned))
}

/// The share's part of a part of what was captured.
fn part_of(captured: Money, share: Money, part: Money) -> Money {
    let exact = match share.amount().checked_mul(part.amount()) {
        Some(product) => product / captured.amount(),
        // Amounts of trillions: the quotient first, which is still exact enough to round.
        None => part.amount() / captured.amount() * share.amount(),
    };
    Money::new(exact, captured.currency()).rounded()
}

/// A capture: the customer has bought and paid, the provider owes us the amount, we owe the supplier the taxes, and the
/// rest less commission.
///
/// # Errors
/// On two currencies, or overflow.
pub fn capture(of: Parties<'_>, amount: Money, shares: Shares) -> Result<Vec<Movement>, MoneyError> {
    let rest = amount.sub(shares.commission)?.sub(shares.tax)?;
    Ok(movements([
        (clearing(of.provider), amount),
        (customer(of.customer), amount.negated()),
        (customer(of.customer), amount),
        (supplier(of.supplier), rest.negated()),
        (taxes(of.supplier), shares.tax.negated()),
        (COMMISSION.to_owned(), shares.commission.negated()),
    ]))
}

/// A refund that the provider has done: supplier, taxes and commission give it, it was owed to the customer, and it went
/// there.
///
/// # Errors
/// On two currencies, or overflow.
pub fn refund(of: Parties<'_>, amount: Money, shares: Shares) -> Result<Vec<Movement>, MoneyError> {
    let rest = amount.sub(shares.commission)?.sub(shares.tax)?;
    Ok(movements([
        (supplier(of.supplier), rest),
        (taxes(of.supplier), shares.tax),
        (COMMISSION.to_owned(), shares.commission),
        (refunds(of.customer), amount.negated()),
        (refunds(of.customer), amount),
        (clearing(of.provider), amount.negated()),
    ]))
}

/// A refund that was done and came back: the customer still gets it.
pub fn refund_returned(of: Parties<'_>, amount: Money) -> Vec<Movement> {
    movements([(clearing(of.provider), amount), (refunds(of.customer), amount.negated())])
}

fn movements<const N: usize>(all: [(String, Money); N]) -> Vec<Movement> {
    all.into_iter().filter(|(_, m)| !m.is_zero()).map(|(account, amount)| Movement { account, amount }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tourmesh_kit::money::Currency;

    use super::*;

    fn sum(movements: &[Movement]) -> Decimal {
        movements.iter().map(|m| m.amount.amount()).sum()
    }

    proptest! {
        #[test]
        fn captures_and_refunds_sum_to_zero_and_a_full_refund_leaves_nothing_anywhere(
            units in 1_i64..2_000_000_000,
            percent in 0_i64..=10_000,
            taxed in 0_i64..=10_000,
            cuts in prop::collection::vec(1_i64..1_000_000_000, 0..12),
            currency in prop::sample::select(vec!["EUR", "JPY", "KWD"]),
        ) {
            let currency: Currency = currency.parse().unwrap();
            let money = |n: i64| Money::new(Decimal::new(n, currency.minor_digits()), currency);
            let of = Parties { provider: "sandbox", supplier: SupplierId::new(), customer: CustomerId::new() };
            let captured = money(units);
            let commission = commission_of(captured, Decimal::new(percent, 2)).unwrap();
            let tax = captured.percent(Decimal::new(taxed, 2)).unwrap();
            let shares = Shares { commission, tax };
            let mut books: BTreeMap<String, Decimal> = BTreeMap::new();
            let mut book = |movements: &[Movement]| {
                for m in movements {
                    *books.entry(m.account.clone()).or_default() += m.amount.amount();
                }
            };
            let booked = capture(of, captured, shares).unwrap();
            prop_assert_eq!(sum(&booked), Decimal::ZERO);
            book(&booked);
            let mut left = units;
            let mut returned = 0;
            for part in cuts.into_iter().map(|c| c.min(units)).chain([i64::MAX]) {
                let part = part.min(left);
                if part == 0 {
                    break;
                }
                let share = |of| share_of_refund(captured, of, money(returned), money(part)).unwrap();
                let own = Shares { commission: share(commission), tax: share(tax) };
                for one in [own.commission, own.tax] {
                    prop_assert!(one.amount() >= Decimal::ZERO && one.amount() <= money(part).amount());
                }
                let booked = refund(of, money(part), own).unwrap();
                prop_assert_eq!(sum(&booked), Decimal::ZERO);
                book(&booked);
                returned += part;
                left -= part;
            }
            prop_assert_eq!(left, 0);
            prop_assert!(books.values().all(Decimal::is_zero), "{:?}", books);
        }
    }

    #[test]
    fn amounts_of_trillions_are_shared_too() {
        let eur: Currency = "EUR".parse().unwrap();
        let all = Money::new(Decimal::new(99_999_999_999_999_999, 2), eur);
        let commission = commission_of(all, Decimal::from(15)).unwrap();
        assert_eq!(share_of_refund(all, commission, Money::zero(eur), all), Ok(commission));
    }
}
