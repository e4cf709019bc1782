//! Taxes on a price: exact decimal money, rounded in [`Money::rounded`] alone.
//!
//! The price of a ticket holds the included taxes; the added ones come on top. All rates count for the net price, which
//! is the price without the included taxes, so there is never a tax on a tax. Every amount is rounded for one ticket,
//! and whatever rounding leaves over is in the net price or in another tax: net price and taxes add up to the total to
//! the last minor unit. Because each ticket is exact, every sum of tickets is, whoever joins or leaves a party.

use rust_decimal::Decimal;
use tourmesh::common::v1 as common;

use crate::money::{Money, MoneyError};

/// How many decimals a percentage may have.
const DECIMALS: u32 = 4;

/// A tax that prices are under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tax {
    /// As receipts have it.
    pub name: String,
    /// The rate.
    pub percent: Decimal,
    /// It is in the prices; otherwise it comes on top.
    pub included: bool,
}

/// A price with its taxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taxed {
    /// Without any tax.
    pub net: Money,
    /// What each tax is, in the order of the taxes.
    pub amounts: Vec<Money>,
    /// What is paid: `net` and all of `amounts`.
    pub total: Money,
}

/// The taxes of the price of one ticket.
///
/// # Errors
/// On overflow.
pub fn taxed(price: Money, taxes: &[Tax]) -> Result<Taxed, MoneyError> {
    let price = price.rounded();
    if taxes.is_empty() {
        return Ok(Taxed { net: price, amounts: Vec::new(), total: price });
    }
    let rates: Vec<Decimal> = taxes.iter().filter(|t| t.included).map(|t| t.percent).collect();
    let divisor = Decimal::ONE_HUNDRED + rates.iter().sum::<Decimal>();
    let exact = price.amount().checked_mul(Decimal::ONE_HUNDRED).and_then(|p| p.checked_div(divisor));
    let net = Money::new(exact.ok_or(MoneyError::TooLarge)?, price.currency());
    let inside = price.sub(net)?.rounded();
    let net = price.sub(inside)?;
    let mut parts = inside.split(&rates).into_iter();
    let mut total = price;
    let mut amounts = Vec::with_capacity(taxes.len());
    for tax in taxes {
        let amount = if tax.included {
            parts.next().unwrap_or(Money::zero(price.currency()))
        } else {
            let added = net.percent(tax.percent)?;
            total = total.add(added)?;
            added
        };
        amounts.push(amount);
    }
    Ok(Taxed { net, amounts, total })
}

/// Reads a percentage: plain digits, 0 to 100, at most four decimals.
pub fn percent_of_text(text: &str) -> Option<Decimal> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.starts_with(|c: char| c.is_ascii_digit());
    let percent: Decimal = text.parse().ok().filter(|_| plain)?;
    let fits = percent <= Decimal::ONE_HUNDRED && percent.normalize().scale() <= DECIMALS;
    fits.then(|| percent.normalize())
}

impl Tax {
    /// The wire's form.
    pub fn to_wire(&self) -> common::Tax {
        common::Tax { name: self.name.clone(), percent: self.percent.normalize().to_string(), included: self.included }
    }

    /// Reads the wire's form; `None`: the percentage is none.
    pub fn of_wire(wire: &common::Tax) -> Option<Self> {
        Some(Self { name: wire.name.clone(), percent: percent_of_text(&wire.percent)?, included: wire.included })
    }

    /// This tax, so much of it.
    pub fn line(&self, amount: Money) -> common::TaxLine {
        common::TaxLine { tax: Some(self.to_wire()), amount: Some(amount.to_wire()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::money::Currency;

    fn money(amount: i64, scale: u32, currency: &str) -> Money {
        Money::new(Decimal::new(amount, scale), currency.parse().unwrap())
    }

    fn tax(percent: Decimal, included: bool) -> Tax {
        Tax { name: "T".into(), percent, included }
    }

    fn sum(amounts: impl IntoIterator<Item = Money>) -> Decimal {
        amounts.into_iter().map(Money::amount).sum()
    }

    #[test]
    fn what_a_receipt_says_by_hand() {
        let vat = |percent: i64| tax(Decimal::from(percent), true);
        let sales = |percent: &str| tax(percent.parse().unwrap(), false);
        // 20 % in 100.00 are 16.67, not 20.00.
        let one = taxed(money(10_000, 2, "EUR"), &[vat(20)]).unwrap();
        assert_eq!(
            (one.net, one.amounts, one.total),
            (money(8_333, 2, "EUR"), vec![money(1_667, 2, "EUR")], money(10_000, 2, "EUR"))
        );
        // 8.875 % on top of 29.99 are 2.66.
        let added = taxed(money(2_999, 2, "USD"), &[sales("8.875")]).unwrap();
        assert_eq!((added.amounts, added.total), (vec![money(266, 2, "USD")], money(3_265, 2, "USD")));
        // An added tax counts for the net price: 5 % of 100.00 where 110.00 hold 10 %.
        let both = taxed(money(11_000, 2, "EUR"), &[vat(10), sales("5")]).unwrap();
        assert_eq!(both.amounts, [money(1_000, 2, "EUR"), money(500, 2, "EUR")]);
        assert_eq!((both.net, both.total), (money(10_000, 2, "EUR"), money(11_500, 2, "EUR")));
        // No yen is split.
        let yen = taxed(money(1_000, 0, "JPY"), &[vat(8), vat(2)]).unwrap();
        assert_eq!((yen.net, sum(yen.amounts)), (money(909, 0, "JPY"), Decimal::from(91)));
    }

    #[test]
    fn a_percentage_is_plain_digits_up_to_a_hundred() {
        for (text, right) in [
            ("20", true),
            ("5.5", true),
            ("0", true),
            ("100", true),
            ("0.0001", true),
            ("100.0", true),
            ("007", true),
            ("", false),
            ("-1", false),
            ("+1", false),
            ("101", false),
            ("100.01", false),
            ("0.00001", false),
            ("1e1", false),
            (".5", false),
            ("1.2.3", false),
            ("1_0", false),
            ("٣", false),
            (" 5", false),
        ] {
            assert_eq!(percent_of_text(text).is_some(), right, "{text:?}");
        }
        assert_eq!(tax(percent_of_text("5.50").unwrap(), true).to_wire().percent, "5.5");
    }

    proptest! {
        #[test]
        fn net_and_taxes_add_up_to_the_total_to_the_last_minor_unit(
            minor in 0_i64..10_000_000,
            taxes in prop::collection::vec((0_i64..=1_000_000, any::<bool>()), 0..10),
            currency in prop::sample::select(vec!["EUR", "JPY", "KWD"]),
        ) {
            let currency: Currency = currency.parse().unwrap();
            let price = Money::new(Decimal::new(minor, currency.minor_digits()), currency);
            let taxes: Vec<Tax> = taxes.into_iter().map(|(rate, included)| tax(Decimal::new(rate, 4), included)).collect();
            let got = taxed(price, &taxes).unwrap();
            prop_assert_eq!(got.amounts.len(), taxes.len());
            prop_assert_eq!(got.net.amount() + sum(got.amounts.iter().copied()), got.total.amount());
            let of = |included: bool| sum(got.amounts.iter().zip(&taxes).filter(|(_, t)| t.included == included).map(|(a, _)| *a));
            // Included ones are in the price, added ones raise it.
            prop_assert_eq!(got.net.amount() + of(true), price.amount());
            prop_assert_eq!(got.total.amount(), price.amount() + of(false));
            let rates: Decimal = taxes.iter().filter(|t| t.included).map(|t| t.percent).sum();
            let net = price.amount() * Decimal::ONE_HUNDRED / (Decimal::ONE_HUNDRED + rates);
            let unit = currency.minor_unit();
            prop_assert!((got.net.amount() - net).abs() <= unit / Decimal::TWO);
            for (amount, tax) in got.amounts.iter().zip(&taxes) {
                // Nothing is finer than what can be paid, or below zero, or a minor unit or more off its exact value: half
                // of one comes from the net price, half from its own rounding, or one from splitting.
                prop_assert_eq!(amount.rounded(), *amount);
                prop_assert!(amount.amount() >= Decimal::ZERO);
                let exact = net * tax.percent / Decimal::ONE_HUNDRED;
                let slack = if tax.included { unit * Decimal::TWO } else { unit };
                prop_assert!((amount.amount() - exact).abs() <= slack, "{} is not {}", amount, exact);
            }
        }

        #[test]
        fn a_party_is_the_sum_of_its_tickets_whoever_leaves(
            prices in prop::collection::vec(0_i64..100_000, 1..20),
            rates in prop::collection::vec((0_i64..=300_000, any::<bool>()), 0..4),
            stay in prop::collection::vec(any::<bool>(), 20),
        ) {
            let taxes: Vec<Tax> = rates.into_iter().map(|(rate, included)| tax(Decimal::new(rate, 4), included)).collect();
            let tickets: Vec<Taxed> = prices.iter().map(|p| taxed(money(*p, 2, "EUR"), &taxes).unwrap()).collect();
            let total = |some: &dyn Fn(usize) -> bool| -> (Decimal, Decimal) {
                let some = || tickets.iter().enumerate().filter(|(at, _)| some(*at)).map(|(_, t)| t);
                (some().map(|t| t.total.amount()).sum(),
                 some().map(|t| t.net.amount() + sum(t.amounts.iter().copied())).sum())
            };
            let (all, parts) = total(&|_| true);
            prop_assert_eq!(all, parts);
            let (staying, left) = (total(&|at| stay[at]), total(&|at| !stay[at]));
            prop_assert_eq!(staying.0, staying.1);
            prop_assert_eq!(staying.0 + left.0, all);
        }
    }
}
