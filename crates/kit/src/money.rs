//! Money: an exact decimal amount in one currency. Binary floating point never touches it.
//!
//! `google.type.Money` on the wire, `NUMERIC` and `CHAR(3)` in the database. Rounding to the currency's minor unit
//! happens in [`Money::rounded`] alone; splitting a total is exact to the last minor unit.

use std::{collections::HashMap, fmt, str::FromStr, sync::LazyLock};

use rust_decimal::{Decimal, RoundingStrategy};
use tourmesh::google::r#type::Money as WireMoney;

/// An ISO 4217 currency in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

/// ISO 4217 list one (currencies in use, without funds, metals and testing codes), published 2024-06-25.
/// A digit after the code: how many decimals its minor unit has when that is not two.
const CURRENCIES: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD3 BIF0 BMD BND BOB BRL BSD BTN BWP BYN \
    BZD CAD CDF CHF CLP0 CNY COP CRC CUP CVE CZK DJF0 DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF0 GTQ \
    GYD HKD HNL HTG HUF IDR ILS INR IQD3 IRR ISK0 JMD JOD3 JPY0 KES KGS KHR KMF0 KPW KRW0 KWD3 KYD KZT LAK LBP LKR LRD \
    LSL LYD3 MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR3 PAB PEN PGK PHP PKR \
    PLN PYG0 QAR RON RSD RUB RWF0 SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND3 TOP TRY \
    TTD TWD TZS UAH UGX0 USD UYU UZS VED VES VND0 VUV0 WST XAF0 XCD XCG XOF0 XPF0 YER ZAR ZMW ZWG";

/// The list as a table: every price that is rounded, stored or shown asks for its currency.
static DIGITS: LazyLock<HashMap<[u8; 3], u8>> = LazyLock::new(|| {
    let entries = CURRENCIES.split_ascii_whitespace().filter_map(|entry| entry.split_at_checked(3));
    let read = |(code, digits): (&str, &str)| Some((code.as_bytes().try_into().ok()?, digits.parse().unwrap_or(2)));
    entries.filter_map(read).collect()
});

impl Currency {
    /// How many decimals the smallest payable amount has: 2 for EUR, 0 for JPY, 3 for KWD.
    pub fn minor_digits(self) -> u32 {
        DIGITS.get(&self.0).copied().unwrap_or(2).into()
    }
    /// Three upper-case letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
    /// The smallest payable amount.
    pub fn minor_unit(self) -> Decimal {
        Decimal::new(1, self.minor_digits())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let code = <[u8; 3]>::try_from(text.as_bytes()).ok().filter(|code| DIGITS.contains_key(code));
        code.map(Self).ok_or_else(|| MoneyError::UnknownCurrency(text.chars().take(10).collect()))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can be wrong with money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a currency in use.
    #[error("{0:?} is not an ISO 4217 currency in use, such as EUR")]
    UnknownCurrency(String),
    /// Two currencies meet; conversion is never implicit.
    #[error("{0} and {1} cannot be mixed")]
    CurrencyMismatch(Currency, Currency),
    /// More than the database's NUMERIC(19,4) can keep, or than the wire can carry.
    #[error("the amount is too large")]
    TooLarge,
    /// Units and nanos of different signs, or nanos out of range.
    #[error("units and nanos must have the same sign, and nanos lie between -999,999,999 and 999,999,999")]
    WireForm,
    /// More decimals than the currency has.
    #[error("{0} has no more than {1} decimals")]
    TooPrecise(Currency, u32),
}

/// An amount in a currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

impl Money {
    /// Any amount, also one that is finer than the minor unit.
    pub const fn new(amount: Decimal, currency: Currency) -> Self {
        Self { amount, currency }
    }
    /// Nothing.
    pub const fn zero(currency: Currency) -> Self {
        Self { amount: Decimal::ZERO, currency }
    }
    /// The amount.
    pub const fn amount(self) -> Decimal {
        self.amount
    }
    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }
    /// The amount is zero.
    pub fn is_zero(self) -> bool {
        self.amount.is_zero()
    }
    /// The amount is above zero.
    pub fn is_positive(self) -> bool {
        self.amount > Decimal::ZERO
    }

    /// The sum.
    ///
    /// # Errors
    /// On two currencies, or overflow.
    #[allow(clippy::should_implement_trait, reason = "it can fail, on two currencies")]
    pub fn add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let amount = self.amount.checked_add(other.amount).ok_or(MoneyError::TooLarge)?;
        Ok(Self { amount, ..self })
    }

    /// The difference.
    ///
    /// # Errors
    /// On two currencies, or overflow.
    #[allow(clippy::should_implement_trait, reason = "it can fail, on two currencies")]
    pub fn sub(self, other: Self) -> Result<Self, MoneyError> {
        self.add(other.negated())
    }

    /// The other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { amount: -self.amount, ..self }
    }

    /// So many times.
    ///
    /// # Errors
    /// On overflow.
    pub fn times(self, factor: i64) -> Result<Self, MoneyError> {
        let amount = self.amount.checked_mul(Decimal::from(factor)).ok_or(MoneyError::TooLarge)?;
        Ok(Self { amount, ..self })
    }

    /// A share in percent, rounded.
    ///
    /// # Errors
    /// On overflow.
    pub fn percent(self, percent: Decimal) -> Result<Self, MoneyError> {
        let amount = self.amount.checked_mul(percent).ok_or(MoneyError::TooLarge)? / Decimal::ONE_HUNDRED;
        Ok(Self { amount, ..self }.rounded())
    }

    /// Rounded to the currency's minor unit, half away from zero: the one place where amounts are rounded.
    #[must_use]
    pub fn rounded(self) -> Self {
        let digits = self.currency.minor_digits();
        Self { amount: self.amount.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero), ..self }
    }

    /// Splits the (rounded) total in proportion to the weights, exact to the last minor unit: the parts add up to the
    /// total, and no part is off its exact share by a minor unit or more. What is left after rounding down goes to the
    /// first parts with weight. All weights zero: equal parts. No weights: no parts.
    pub fn split(self, weights: &[Decimal]) -> Vec<Self> {
        let unit = self.currency.minor_unit();
        let units = self.rounded().amount / unit;
        let sum: Decimal = weights.iter().sum();
        let equal = sum.is_zero();
        let total_weight = if equal { Decimal::from(weights.len()) } else { sum };
        let mut parts: Vec<Decimal> =
            weights.iter().map(|w| (units * if equal { Decimal::ONE } else { *w } / total_weight).trunc()).collect();
        let mut left = units - parts.iter().sum::<Decimal>();
        let step = if left.is_sign_negative() { -Decimal::ONE } else { Decimal::ONE };
        for (part, weight) in parts.iter_mut().zip(weights) {
            if left.is_zero() {
                break;
            }
            if equal || !weight.is_zero() {
                *part += step;
                left -= step;
            }
        }
        parts.into_iter().map(|p| Self { amount: (p * unit).normalize(), ..self }).collect()
    }

    /// Reads the wire's form.
    ///
    /// # Errors
    /// On an unknown currency, nanos out of range, or more decimals than the currency has.
    pub fn of_wire(wire: &WireMoney) -> Result<Self, MoneyError> {
        let currency: Currency = wire.currency_code.parse()?;
        let same_sign = wire.units == 0 || wire.nanos == 0 || (wire.units < 0) == (wire.nanos < 0);
        if !same_sign || wire.nanos.unsigned_abs() > 999_999_999 {
            return Err(MoneyError::WireForm);
        }
        let amount = Decimal::from(wire.units) + Decimal::new(i64::from(wire.nanos), 9);
        let money = Self { amount: amount.normalize(), currency };
        if money.rounded().amount != money.amount {
            return Err(MoneyError::TooPrecise(currency, currency.minor_digits()));
        }
        // NUMERIC(19,4) keeps fifteen digits before the point.
        if amount.abs() >= Decimal::from(1_000_000_000_000_000_i64) {
            return Err(MoneyError::TooLarge);
        }
        Ok(money)
    }

    /// The wire's form, to a billionth.
    pub fn to_wire(self) -> WireMoney {
        let units = self.amount.trunc();
        let nanos = ((self.amount - units) * Decimal::from(1_000_000_000_i64)).round();
        WireMoney {
            currency_code: self.currency.to_string(),
            units: i64::try_from(units).unwrap_or(i64::MAX),
            nanos: i32::try_from(nanos).unwrap_or_default(),
        }
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch(self.currency, other.currency))
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::try_from(self.currency.minor_digits()).unwrap_or(2);
        write!(f, "{:.*} {}", digits, self.amount, self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(amount: i64, scale: u32, currency: &str) -> Money {
        Money::new(Decimal::new(amount, scale), currency.parse().unwrap())
    }

    #[test]
    fn currencies_know_their_decimals_and_reject_what_is_not_in_use() {
        assert_eq!("JPY".parse::<Currency>().unwrap().minor_digits(), 0);
        assert_eq!("KWD".parse::<Currency>().unwrap().minor_digits(), 3);
        assert_eq!("EUR".parse::<Currency>().unwrap().minor_digits(), 2);
        for wrong in ["", "eur", "XXX", "EURO", "DEM", "A B", "é1"] {
            assert!(wrong.parse::<Currency>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_currency_of_the_list_is_found_and_has_the_decimals_that_it_says() {
        for entry in CURRENCIES.split_ascii_whitespace() {
            let (code, decimals) = entry.split_at(3);
            let currency: Currency = code.parse().unwrap();
            assert_eq!(currency.minor_digits(), decimals.parse().unwrap_or(2), "{entry}");
        }
    }

    #[test]
    fn wire_money_with_mixed_signs_or_too_many_decimals_is_refused() {
        let wire = |units, nanos, code: &str| WireMoney { currency_code: code.into(), units, nanos };
        assert_eq!(Money::of_wire(&wire(1, -1, "EUR")), Err(MoneyError::WireForm));
        assert!(matches!(Money::of_wire(&wire(1, 5_000_000, "EUR")), Err(MoneyError::TooPrecise(..))));
        assert!(matches!(Money::of_wire(&wire(1, 500_000_000, "JPY")), Err(MoneyError::TooPrecise(..))));
        assert_eq!(Money::of_wire(&wire(i64::MAX, 0, "EUR")), Err(MoneyError::TooLarge));
        assert_eq!(Money::of_wire(&wire(-1, -500_000_000, "EUR")).unwrap(), money(-150, 2, "EUR"));
    }

    proptest! {
        #[test]
        fn a_split_adds_up_and_no_part_is_off_by_a_minor_unit(
            cents in -10_000_000_i64..10_000_000,
            weights in prop::collection::vec(0_u32..10_000, 1..40),
            currency in prop::sample::select(vec!["EUR", "JPY", "KWD"]),
        ) {
            let currency: Currency = currency.parse().unwrap();
            let total = Money::new(Decimal::new(cents, currency.minor_digits()), currency);
            let weights: Vec<Decimal> = weights.into_iter().map(Decimal::from).collect();
            let parts = total.split(&weights);
            let sum: Decimal = parts.iter().map(|p| p.amount).sum();
            prop_assert_eq!(sum, total.amount);
            let weight_sum: Decimal = weights.iter().sum();
            for (part, weight) in parts.iter().zip(&weights) {
                let exact = if weight_sum.is_zero() { total.amount / Decimal::from(weights.len()) }
                    else { total.amount * *weight / weight_sum };
                prop_assert!((part.amount - exact).abs() < currency.minor_unit() * Decimal::new(1_000_001, 6));
                prop_assert_eq!(part.rounded().amount, part.amount);
            }
        }

        #[test]
        fn money_survives_the_wire(cents in -1_000_000_000_000_i64..1_000_000_000_000, currency in prop::sample::select(vec!["EUR", "JPY", "KWD"])) {
            let currency: Currency = currency.parse().unwrap();
            let there = Money::new(Decimal::new(cents, currency.minor_digits()), currency);
            prop_assert_eq!(Money::of_wire(&there.to_wire()).unwrap(), there);
        }
    }
}
