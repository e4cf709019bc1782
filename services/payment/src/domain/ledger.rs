//! How captures and refunds are booked: which accounts, which amounts. Every list of movements sums to zero.

use rust_decimal::Decimal;
use tourmesh_kit::money::{Money, MoneyError};

use super::SupplierId;

/// What a transaction books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Money came in.
    Capture,
    /// Money went back.
    Refund,
}

impl Kind {
    /// As stored and sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Refund => "refund",
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

/// What we owe a supplier.
pub fn supplier(id: SupplierId) -> String {
    format!("supplier:{id}")
}

/// The platform's part of a captured amount, rounded to the minor unit; the supplier has the exact rest.
///
/// # Errors
/// On overflow.
pub fn commission_of(captured: Money, percent: Decimal) -> Result<Money, MoneyError> {
    captured.percent(percent)
}

/// The platform's part of a refund. Counted from the totals before and after, so that any row of partial refunds gives
/// back in the end exactly the commission, and at no time more than a rounding off its share.
///
/// # Errors
/// On two currencies, or overflow.
pub fn commission_of_refund(
    captured: Money,
    commission: Money,
    returned: Money,
    refund: Money,
) -> Result<Money, MoneyError> {
    let after = share(captured, commission, returned.add(refund)?);
    after.sub(share(captured, commission, returned))
}

/// The commission's share of a part of what was captured.
fn share(captured: Money, commission: Money, part: Money) -> Money {
    let exact = match commission.amount().checked_mul(part.amount()) {
        Some(product) => product / captured.amount(),
        // Amounts of trillions: the quotient first, which is still exact enough to round.
        None => part.amount() / captured.amount() * commission.amount(),
    };
    Money::new(exact, captured.currency()).rounded()
}

/// A capture: the provider owes us the amount, we owe the supplier the amount less commission.
///
/// # Errors
/// On two currencies, or overflow.
pub fn capture(provider: &str, to: SupplierId, amount: Money, commission: Money) -> Result<Vec<Movement>, MoneyError> {
    let rest = amount.sub(commission)?;
    Ok(movements([
        (clearing(provider), amount),
        (supplier(to), rest.negated()),
        (COMMISSION.to_owned(), commission.negated()),
    ]))
}

/// A refund: the reverse of the same part of the capture.
///
/// # Errors
/// On two currencies, or overflow.
pub fn refund(provider: &str, from: SupplierId, amount: Money, commission: Money) -> Result<Vec<Movement>, MoneyError> {
    let rest = amount.sub(commission)?;
    Ok(movements([(clearing(provider), amount.negated()), (supplier(from), rest), (COMMISSION.to_owned(), commission)]))
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
            cuts in prop::collection::vec(1_i64..1_000_000_000, 0..12),
            currency in prop::sample::select(vec!["EUR", "JPY", "KWD"]),
        ) {
            let currency: Currency = currency.parse().unwrap();
            let money = |n: i64| Money::new(Decimal::new(n, currency.minor_digits()), currency);
            let supplier = SupplierId::new();
            let captured = money(units);
            let commission = commission_of(captured, Decimal::new(percent, 2)).unwrap();
            let mut books: BTreeMap<String, Decimal> = BTreeMap::new();
            let mut book = |movements: &[Movement]| {
                for m in movements {
                    *books.entry(m.account.clone()).or_default() += m.amount.amount();
                }
            };
            let booked = capture("sandbox", supplier, captured, commission).unwrap();
            prop_assert_eq!(sum(&booked), Decimal::ZERO);
            book(&booked);
            let mut left = units;
            let mut returned = 0;
            for part in cuts.into_iter().map(|c| c.min(units)).chain([i64::MAX]) {
                let part = part.min(left);
                if part == 0 {
                    break;
                }
                let own = commission_of_refund(captured, commission, money(returned), money(part)).unwrap();
                prop_assert!(own.amount() >= Decimal::ZERO && own.amount() <= money(part).amount());
                let booked = refund("sandbox", supplier, money(part), own).unwrap();
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
        assert_eq!(commission_of_refund(all, commission, Money::zero(eur), all), Ok(commission));
    }
}
