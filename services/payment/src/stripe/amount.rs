//! Amounts as Stripe counts them: whole numbers of the currency's smallest unit.
//!
//! Stripe's smallest unit is that of ISO 4217 but for a few currencies
//! (docs.stripe.com/currencies#minor-units): ISK and UGX are counted in hundredths although they have none, MGA in
//! whole units although it has fifths, and amounts with three decimals must end in a zero.

use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use tourmesh_kit::money::{Currency, Money};

fn digits(currency: Currency) -> u32 {
    match currency.as_str() {
        "ISK" | "UGX" => 2,
        "MGA" => 0,
        _ => currency.minor_digits(),
    }
}

/// As Stripe wants it.
///
/// # Errors
/// When the amount has no such form.
pub(super) fn to_stripe(money: Money) -> Result<i64, String> {
    let digits = digits(money.currency());
    let count = money.amount().checked_mul(Decimal::from(10_i64.pow(digits))).map(|count| count.normalize());
    let whole = count.filter(|count| count.is_integer()).and_then(|count| count.to_i64());
    match whole {
        Some(count) if digits < 3 || count % 10 == 0 => Ok(count),
        _ => Err(format!("Stripe cannot take {money}: it has too many decimals or digits")),
    }
}

/// As we have it; `None`: a currency that we do not know.
pub(super) fn of_stripe(count: i64, currency: &str) -> Option<Money> {
    let currency: Currency = currency.to_ascii_uppercase().parse().ok()?;
    Some(Money::new(Decimal::new(count, digits(currency)).normalize(), currency))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(amount: &str, currency: &str) -> Money {
        Money::new(amount.parse().unwrap(), currency.parse().unwrap())
    }

    #[test]
    fn the_examples_of_stripes_documentation() {
        for (amount, currency, count) in [
            ("10", "USD", 1000),
            ("12.34", "EUR", 1234),
            ("500", "JPY", 500),
            ("5.12", "KWD", 5120),
            ("5", "ISK", 500),
            ("5", "UGX", 500),
            ("5", "MGA", 5),
        ] {
            assert_eq!(to_stripe(money(amount, currency)), Ok(count), "{amount} {currency}");
            assert_eq!(of_stripe(count, &currency.to_lowercase()), Some(money(amount, currency)));
        }
        for (amount, currency) in [("5.124", "KWD"), ("0.001", "EUR"), ("0.5", "JPY"), ("99999999999999999999", "EUR")]
        {
            assert!(to_stripe(money(amount, currency)).is_err(), "{amount} {currency}");
        }
        assert_eq!(of_stripe(1, "xxx"), None);
    }

    proptest! {
        #[test]
        fn what_goes_there_comes_back(
            count in 1_i64..1_000_000_000,
            currency in prop::sample::select(vec!["EUR", "JPY", "KWD", "ISK", "UGX", "MGA", "HUF"]),
        ) {
            let count = if currency == "KWD" { count * 10 } else { count };
            let money = of_stripe(count, currency).unwrap();
            prop_assert_eq!(to_stripe(money), Ok(count));
        }
    }
}
