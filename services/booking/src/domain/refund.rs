//! What goes back on cancellation: the policy that was frozen at purchase, and nothing else.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use tourmesh_kit::money::{Currency, Money, MoneyError};

use super::PaymentId;

/// One step of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tier {
    /// Whole hours between the cancellation and the start.
    pub(crate) hours_before: i32,
    /// The share of the price, 0 to 100.
    pub(crate) percent: i32,
}

/// The tiers, in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RefundPolicy {
    pub(crate) tiers: Vec<Tier>,
}

/// Who or what ends a booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The traveller: the policy decides.
    Traveller,
    /// The supplier or staff: all of it goes back.
    Supplier,
    /// The departure was called off: all of it goes back.
    Departure,
}

impl RefundPolicy {
    /// The share that a traveller gets back. Of the tiers whose time is still met the one with the most hours counts; of
    /// two with the same hours the kinder one.
    fn percent(&self, starts_at: DateTime<Utc>, now: DateTime<Utc>) -> i32 {
        let left = starts_at - now;
        let met = self.tiers.iter().filter(|tier| left >= TimeDelta::hours(i64::from(tier.hours_before)));
        met.max_by_key(|tier| (tier.hours_before, tier.percent)).map_or(0, |tier| tier.percent)
    }

    /// The share of the price that goes back.
    pub(crate) fn share(&self, starts_at: DateTime<Utc>, now: DateTime<Utc>, cause: Cause) -> i32 {
        match cause {
            Cause::Traveller => self.percent(starts_at, now),
            Cause::Supplier | Cause::Departure => 100,
        }
    }
}

/// The sum of shares of prices, rounded once: however the parts are taken together, they never add up to more.
pub(crate) fn sum(currency: Currency, parts: impl IntoIterator<Item = (Money, i32)>) -> Result<Money, MoneyError> {
    let mut hundredfold = Money::zero(currency);
    for (price, percent) in parts {
        hundredfold = hundredfold.add(price.times(i64::from(percent))?)?;
    }
    hundredfold.percent(Decimal::ONE)
}

/// What of one payment of a booking has not gone back yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) payment: PaymentId,
    pub(crate) amount: Money,
}

/// Which payments an amount goes back by, in the order in which they are given; None: they do not hold so much.
pub(crate) fn spread(amount: Money, payments: &[Kept]) -> Result<Option<Vec<(PaymentId, Money)>>, MoneyError> {
    let mut left = amount;
    let mut parts = Vec::new();
    for kept in payments {
        let part = if kept.amount.sub(left)?.is_positive() { left } else { kept.amount };
        if part.is_positive() {
            left = left.sub(part)?;
            parts.push((kept.payment, part));
        }
    }
    Ok(left.is_zero().then_some(parts))
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use proptest::prelude::*;

    use super::*;

    fn policy(tiers: &[(i32, i32)]) -> RefundPolicy {
        RefundPolicy { tiers: tiers.iter().map(|&(hours_before, percent)| Tier { hours_before, percent }).collect() }
    }

    fn euros(cents: i64) -> Money {
        Money::new(Decimal::new(cents, 2), "EUR".parse().unwrap())
    }

    #[test]
    fn the_tier_with_the_most_hours_that_are_still_met_counts_to_the_second() {
        let start = Utc.with_ymd_and_hms(2027, 3, 28, 9, 0, 0).unwrap();
        let policy = policy(&[(24, 50), (72, 100)]);
        let due = |before: TimeDelta| {
            let percent = policy.share(start, start - before, Cause::Traveller);
            (percent, sum(euros(0).currency(), [(euros(1_999), percent)]).unwrap())
        };
        assert_eq!(due(TimeDelta::hours(72)), (100, euros(1_999)));
        assert_eq!(due(TimeDelta::hours(72) - TimeDelta::microseconds(1)), (50, euros(1_000)));
        assert_eq!(due(TimeDelta::hours(24)), (50, euros(1_000)));
        assert_eq!(due(TimeDelta::hours(24) - TimeDelta::seconds(1)), (0, euros(0)));
        assert_eq!(due(TimeDelta::hours(-5)), (0, euros(0)));
        assert_eq!(policy.share(start, start, Cause::Supplier), 100);
    }

    proptest! {
        #[test]
        fn what_goes_back_is_spread_to_the_cent_and_no_payment_gives_more_than_it_holds(
            held in prop::collection::vec(0_i64..5_000, 0..5), wanted in 0_i64..20_000,
        ) {
            let kept: Vec<Kept> =
                held.iter().map(|c| Kept { payment: PaymentId::new(), amount: euros(*c) }).collect();
            let parts = spread(euros(wanted), &kept).unwrap();
            prop_assert_eq!(parts.is_some(), wanted <= held.iter().sum());
            let parts = parts.unwrap_or_default();
            for (payment, amount) in &parts {
                let kept = kept.iter().find(|k| k.payment == *payment).unwrap();
                prop_assert!(amount.is_positive() && amount.amount() <= kept.amount.amount());
            }
            if !parts.is_empty() {
                prop_assert_eq!(parts.iter().map(|(_, m)| m.amount()).sum::<Decimal>(), euros(wanted).amount());
            }
        }

        #[test]
        fn a_refund_is_never_more_than_what_was_paid_and_never_negative(
            tiers in prop::collection::vec((0..9_000, 0..=100), 0..10),
            cents in 0_i64..10_000_000,
            hours in -100_i64..10_000,
        ) {
            let start = Utc.with_ymd_and_hms(2027, 3, 28, 9, 0, 0).unwrap();
            for cause in [Cause::Traveller, Cause::Supplier, Cause::Departure] {
                let percent = policy(&tiers).share(start, start - TimeDelta::hours(hours), cause);
                let amount = sum(euros(0).currency(), [(euros(cents), percent)]).unwrap();
                prop_assert!((0..=100).contains(&percent));
                prop_assert!(amount.amount() >= Decimal::ZERO && amount.amount() <= euros(cents).amount());
                prop_assert_eq!(amount.rounded(), amount);
            }
        }
    }
}
