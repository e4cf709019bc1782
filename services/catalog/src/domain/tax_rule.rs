//! Which taxes count where and when.

use chrono::{DateTime, NaiveDate, Utc};
use tourmesh_kit::tax::Tax;

use super::ids::TaxRuleId;
use crate::error::CatalogError;

/// The most rules of a country that count on one date.
pub(crate) const MOST: usize = 10;

/// A tax of a country.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaxRule {
    pub id: TaxRuleId,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    pub tax: Tax,
    /// `None`: always.
    pub valid_from: Option<NaiveDate>,
    /// Inclusive; `None`: for ever.
    pub valid_until: Option<NaiveDate>,
    pub created_at: DateTime<Utc>,
}

impl TaxRule {
    /// It counts for departures on this local date.
    fn counts_on(&self, date: NaiveDate) -> bool {
        self.valid_from.is_none_or(|from| from <= date) && self.valid_until.is_none_or(|until| date <= until)
    }

    /// Checks a rule against the others of its country.
    pub(crate) fn fits(&self, others: &[Self]) -> Result<(), CatalogError> {
        // More and more rules count only where one begins: those dates stand for all.
        let begins = others.iter().map(|rule| rule.valid_from).chain([self.valid_from]);
        for date in begins.map(|from| from.unwrap_or(NaiveDate::MIN)).filter(|date| self.counts_on(*date)) {
            let there: Vec<&Self> = others.iter().filter(|rule| rule.counts_on(date)).collect();
            if there.iter().any(|rule| rule.tax.name.eq_ignore_ascii_case(&self.tax.name)) {
                return Err(CatalogError::field("rule.name", "is that of another rule that counts at the same time"));
            }
            if there.len() >= MOST {
                return Err(CatalogError::field("rule", format!("is one too many: {MOST} count on {date} already")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;
    use crate::domain::local_time::days_after;

    fn day(n: u64) -> NaiveDate {
        days_after(NaiveDate::default(), n)
    }

    fn rule(name: u8, from: Option<u64>, length: Option<u64>) -> TaxRule {
        let first = from.unwrap_or_default();
        TaxRule {
            id: TaxRuleId::new(),
            country: "FR".into(),
            tax: Tax { name: format!("Tax {name}"), percent: Decimal::TEN, included: true },
            valid_from: from.map(day),
            valid_until: length.map(|days| day(first + days)),
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    proptest! {
        #[test]
        fn rules_that_fit_never_meet_their_like_and_never_are_too_many(
            wanted in prop::collection::vec((0_u8..14, prop::option::of(0_u64..40), prop::option::of(0_u64..40)), 1..60),
        ) {
            let mut kept: Vec<TaxRule> = Vec::new();
            for (name, from, length) in wanted {
                let new = rule(name, from, length);
                let wrong = (0..100).map(day).any(|date| {
                    let there: Vec<_> = kept.iter().filter(|k| k.counts_on(date)).collect();
                    new.counts_on(date) && (there.len() >= MOST || there.iter().any(|k| k.tax.name == new.tax.name))
                });
                prop_assert_eq!(new.fits(&kept).is_err(), wrong);
                if !wrong { kept.push(new); }
            }
        }
    }
}
