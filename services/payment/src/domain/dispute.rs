//! Charges that customers dispute with their banks: what the provider says of them, in whatever order, and what that books.
//!
//! Every event of a dispute carries the movements of money so far, each with the provider's own id, so a movement is booked
//! when it is first seen and never again: events may be lost, repeated or overtake each other. What is only a standing
//! (open, won, lost) follows the youngest event.
//!
//! A lost dispute is borne by the platform: it is the merchant whose account the bank takes the money from, as with every
//! marketplace that charges for its sellers. What it settles with the supplier about it is a matter of their contract and
//! not of this ledger. The provider's fees, for disputes as for charges, are not in it either: it keeps what was captured,
//! and not what the provider pays out.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use tourmesh_kit::money::{Money, MoneyError};

use super::{
    DisputeId, PaymentId,
    ledger::{Kind, Movement},
};

/// Where a dispute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not decided.
    Open,
    /// For us.
    Won,
    /// For the customer.
    Lost,
    /// Over without a decision.
    Closed,
}

impl State {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Won => "WON",
            Self::Lost => "LOST",
            Self::Closed => "CLOSED",
        }
    }

    /// Reads what [`as_str`](Self::as_str) writes.
    pub fn of_str(text: &str) -> Option<Self> {
        [Self::Open, Self::Won, Self::Lost, Self::Closed].into_iter().find(|s| s.as_str() == text)
    }

    const fn is_decided(self) -> bool {
        !matches!(self, Self::Open)
    }
}

/// Money that a bank took, or gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// The provider's own id of it.
    pub reference: String,
    /// How much, above zero.
    pub amount: Money,
    /// Given back; otherwise taken.
    pub is_back: bool,
}

/// What the provider says of a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The provider's own id.
    pub reference: String,
    /// How much is disputed.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// Where it is, in the provider's words.
    pub status: String,
    /// Where it is.
    pub state: State,
    /// Until when evidence may be handed in.
    pub evidence_by: Option<DateTime<Utc>>,
    /// Since when it is so.
    pub told_at: DateTime<Utc>,
    /// All movements so far.
    pub withdrawals: Vec<Withdrawal>,
}

/// A dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// Ours.
    pub id: DisputeId,
    /// Of which payment.
    pub payment: PaymentId,
    /// The provider's own id.
    pub reference: String,
    /// How much is disputed.
    pub amount: Money,
    /// How much of it the bank holds now.
    pub withdrawn: Money,
    /// Why.
    pub reason: String,
    /// Where it is, in the provider's words.
    pub status: String,
    /// Where it is.
    pub state: State,
    /// Until when evidence may be handed in.
    pub evidence_by: Option<DateTime<Utc>>,
    /// Since when `status` is so.
    pub told_at: DateTime<Utc>,
    /// When we heard of it.
    pub created_at: DateTime<Utc>,
    /// What is booked already, by the provider's ids of the movements, and by [`LOSS`] and [`RECOVERY`].
    pub booked: BTreeSet<String>,
}

/// Among what is booked: that it was lost.
pub const LOSS: &str = "loss";
/// Among what is booked: that it was won after it had been lost.
pub const RECOVERY: &str = "recovery";

/// What a change of a dispute books: under which name, as what, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// Booked once under it.
    pub reference: String,
    /// As what.
    pub kind: Kind,
    /// The movements.
    pub movements: Vec<Movement>,
}

/// What banks hold of a provider's charges.
pub fn account(provider: &str) -> String {
    format!("disputes:{provider}")
}

/// What disputes have cost the platform.
pub const LOSSES: &str = "platform:losses";

impl Dispute {
    /// One that was not heard of before; it has learnt nothing yet.
    pub fn new(id: DisputeId, payment: PaymentId, news: &News, now: DateTime<Utc>) -> Self {
        Self {
            id,
            payment,
            reference: news.reference.clone(),
            amount: news.amount,
            withdrawn: Money::zero(news.amount.currency()),
            reason: news.reason.clone(),
            status: String::new(),
            state: State::Open,
            evidence_by: None,
            told_at: DateTime::UNIX_EPOCH,
            created_at: now,
            booked: BTreeSet::new(),
        }
    }

    /// Takes in what the provider says; answers what is to be booked, or `None` when nothing is new.
    ///
    /// # Errors
    /// On overflow; then the dispute is of no use any more.
    pub fn learn(&mut self, news: &News, provider: &str) -> Result<Option<Vec<Booking>>, MoneyError> {
        let mut bookings = Vec::new();
        for withdrawal in &news.withdrawals {
            if self.booked.contains(&withdrawal.reference) {
                continue;
            }
            let amount = withdrawal.amount;
            if amount.currency() == self.amount.currency() {
                let held = if withdrawal.is_back { amount.negated() } else { amount };
                self.withdrawn = self.withdrawn.add(held)?;
            }
            let (kind, out) = if withdrawal.is_back {
                (Kind::DisputeReinstated, amount.negated())
            } else {
                (Kind::DisputeWithdrawn, amount)
            };
            let movements = between(account(provider), super::ledger::clearing(provider), out);
            bookings.push(self.book(withdrawal.reference.clone(), kind, movements));
        }
        // Two of one second: what is decided is younger than what is not.
        let younger = news.told_at > self.told_at
            || news.told_at == self.told_at && news.state.is_decided() && !self.state.is_decided();
        let changed = younger && (self.status != news.status || self.evidence_by != news.evidence_by);
        if younger {
            (self.told_at, self.state) = (news.told_at, news.state);
            self.status.clone_from(&news.status);
            self.evidence_by = news.evidence_by;
        }
        match self.state {
            State::Lost if !self.booked.contains(LOSS) => {
                let movements = between(LOSSES.to_owned(), account(provider), self.amount);
                bookings.push(self.book(LOSS.to_owned(), Kind::DisputeLost, movements));
            }
            State::Won if self.booked.contains(LOSS) && !self.booked.contains(RECOVERY) => {
                let movements = between(account(provider), LOSSES.to_owned(), self.amount);
                bookings.push(self.book(RECOVERY.to_owned(), Kind::DisputeRecovered, movements));
            }
            _ => {}
        }
        Ok((changed || !bookings.is_empty()).then_some(bookings))
    }

    fn book(&mut self, reference: String, kind: Kind, movements: Vec<Movement>) -> Booking {
        self.booked.insert(reference.clone());
        Booking { reference, kind, movements }
    }
}

fn between(debit: String, credit: String, amount: Money) -> Vec<Movement> {
    vec![Movement { account: debit, amount }, Movement { account: credit, amount: amount.negated() }]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::TimeDelta;
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;

    fn eur(cents: i64) -> Money {
        Money::new(Decimal::new(cents, 2), "EUR".parse().unwrap())
    }

    /// What Stripe tells of a dispute, event by event; each event has all movements so far.
    fn story(won: bool) -> Vec<News> {
        let taken = Withdrawal { reference: "txn_1".into(), amount: eur(4_000), is_back: false };
        let back = Withdrawal { reference: "txn_2".into(), is_back: true, ..taken.clone() };
        let (end, closed) = if won { ("won", State::Won) } else { ("lost", State::Lost) };
        let mut told = vec![
            ("needs_response", State::Open, vec![]),
            ("needs_response", State::Open, vec![taken.clone()]),
            ("under_review", State::Open, vec![taken.clone()]),
            (end, closed, vec![taken.clone()]),
        ];
        if won {
            told.push((end, closed, vec![taken, back]));
        }
        (0..)
            .zip(told)
            .map(|(second, (status, state, withdrawals))| News {
                reference: "dp_1".into(),
                amount: eur(4_000),
                reason: "fraudulent".into(),
                status: status.into(),
                state,
                evidence_by: None,
                told_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(1 + second),
                withdrawals,
            })
            .collect()
    }

    proptest! {
        #[test]
        fn any_order_and_any_repeats_book_each_movement_once_and_end_the_same(
            order in prop::collection::vec(0_usize..5, 0..30),
            won in any::<bool>(),
        ) {
            let story = story(won);
            let mut dispute = Dispute::new(DisputeId::new(), PaymentId::new(), &story[0], DateTime::UNIX_EPOCH);
            let mut books: BTreeMap<String, Decimal> = BTreeMap::new();
            // Whatever is lost, the last event comes at last.
            for index in order.into_iter().map(|i| i % story.len()).chain([story.len() - 1]) {
                for booking in dispute.learn(&story[index], "stripe").unwrap().unwrap_or_default() {
                    prop_assert_eq!(booking.movements.iter().map(|m| m.amount.amount()).sum::<Decimal>(), Decimal::ZERO);
                    for movement in booking.movements {
                        *books.entry(movement.account).or_default() += movement.amount.amount();
                    }
                }
            }
            for news in &story {
                prop_assert_eq!(dispute.learn(news, "stripe").unwrap(), None);
            }
            let lost = if won { Decimal::ZERO } else { Decimal::from(40) };
            let balance = |account: &str| books.get(account).copied().unwrap_or_default();
            prop_assert_eq!(dispute.state, if won { State::Won } else { State::Lost });
            prop_assert_eq!(balance("provider:stripe:clearing"), -lost);
            prop_assert_eq!(balance(LOSSES), lost);
            prop_assert_eq!(balance("disputes:stripe"), Decimal::ZERO);
        }
    }

    #[test]
    fn what_was_lost_and_is_won_after_all_is_no_loss_and_an_inquiry_books_nothing() {
        let mut lost = story(false);
        let mut won = story(true).pop().unwrap();
        won.told_at += TimeDelta::days(1);
        let mut dispute = Dispute::new(DisputeId::new(), PaymentId::new(), &won, DateTime::UNIX_EPOCH);
        let kinds = |booked: Option<Vec<Booking>>| booked.map(|all| all.iter().map(|b| b.kind).collect::<Vec<_>>());
        let last = lost.pop().unwrap();
        assert_eq!(
            kinds(dispute.learn(&last, "stripe").unwrap()),
            Some(vec![Kind::DisputeWithdrawn, Kind::DisputeLost])
        );
        assert_eq!(
            kinds(dispute.learn(&won, "stripe").unwrap()),
            Some(vec![Kind::DisputeReinstated, Kind::DisputeRecovered])
        );
        assert!(dispute.withdrawn.is_zero());

        let inquiry = News { status: "warning_needs_response".into(), ..lost.remove(0) };
        let closed = News {
            status: "warning_closed".into(),
            state: State::Closed,
            told_at: inquiry.told_at + TimeDelta::days(9),
            ..inquiry.clone()
        };
        let mut dispute = Dispute::new(DisputeId::new(), PaymentId::new(), &inquiry, DateTime::UNIX_EPOCH);
        for news in [&closed, &inquiry, &closed] {
            assert_eq!(dispute.learn(news, "stripe").unwrap().unwrap_or_default(), []);
        }
        assert_eq!(dispute.state, State::Closed);
    }
}
