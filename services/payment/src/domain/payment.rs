//! The life of a payment: PENDING → REQUIRES_ACTION → AUTHORIZED → CAPTURED, FAILED or CANCELLED.
//!
//! A payment learns what the provider says, in whatever order and however often it is said. States have a rank and a
//! payment only ever climbs, so that the answer to our own call, an event and a later query may overtake each other and
//! lead to the same end.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use tourmesh_kit::money::{Money, MoneyError};

use super::{BookingId, CustomerId, PaymentId, RefundId, SupplierId, ledger};

/// Where a payment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The provider's answer is not known yet.
    Pending,
    /// The customer has to do something.
    RequiresAction,
    /// The money is reserved.
    Authorized,
    /// The money is ours.
    Captured,
    /// Declined; nothing was taken.
    Failed,
    /// Given up; nothing was taken.
    Cancelled,
}

impl State {
    /// As stored, and as errors tell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::RequiresAction => "REQUIRES_ACTION",
            Self::Authorized => "AUTHORIZED",
            Self::Captured => "CAPTURED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Reads what [`as_str`](Self::as_str) writes.
    pub fn of_str(text: &str) -> Option<Self> {
        [Self::Pending, Self::RequiresAction, Self::Authorized, Self::Captured, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|s| s.as_str() == text)
    }

    /// Nothing moves it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Captured | Self::Failed | Self::Cancelled)
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::RequiresAction => 1,
            Self::Authorized => 2,
            Self::Captured | Self::Failed | Self::Cancelled => 3,
        }
    }
}

/// How a charge stands, as the provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not decided yet.
    Processing,
    /// The customer has to go there.
    RequiresAction {
        /// The bank's page.
        url: String,
    },
    /// Reserved.
    Authorized,
    /// Taken.
    Captured {
        /// How much.
        amount: Money,
    },
    /// Declined.
    Failed {
        /// Why, in the provider's words.
        decline_code: String,
    },
    /// Given up.
    Cancelled,
}

impl Standing {
    const fn state(&self) -> State {
        match self {
            Self::Processing => State::Pending,
            Self::RequiresAction { .. } => State::RequiresAction,
            Self::Authorized => State::Authorized,
            Self::Captured { .. } => State::Captured,
            Self::Failed { .. } => State::Failed,
            Self::Cancelled => State::Cancelled,
        }
    }
}

/// What the provider says about one charge: an answer, an event or a query's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The provider's own id of the charge, when it told one.
    pub reference: Option<String>,
    /// How it stands.
    pub standing: Standing,
}

/// What the world is told of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The money is reserved.
    Authorized,
    /// The money is ours.
    Captured,
    /// Declined or given up.
    Failed,
}

/// What came of an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lesson {
    /// Nothing new.
    Nothing,
    /// The payment changed in a way that nobody else needs to know.
    Noted,
    /// The payment moved to a state that is told.
    Happened(Happening),
    /// The provider says what cannot be: people have to look. The payment stays as it is.
    Contradiction,
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id, and the key at the provider.
    pub id: PaymentId,
    /// What it is for.
    pub booking: BookingId,
    /// The change of the booking that it is for; empty: the booking itself.
    pub purpose: String,
    /// Who pays.
    pub customer: CustomerId,
    /// Who earns.
    pub supplier: SupplierId,
    /// Where it is in its life.
    pub state: State,
    /// What is to be paid.
    pub amount: Money,
    /// The part of `amount` that is taxes.
    pub tax: Money,
    /// What has been taken.
    pub captured: Money,
    /// What is given back, or on its way.
    pub refunded: Money,
    /// The part of `refunded` that the provider has confirmed.
    pub returned: Money,
    /// The platform's part of what was taken, frozen at capture.
    pub commission: Money,
    /// Which provider.
    pub provider: String,
    /// The provider's own id.
    pub reference: Option<String>,
    /// The provider's token for the means of payment.
    pub method: String,
    /// Where the provider sends the customer after a second step; may be empty.
    pub return_url: String,
    /// Only reserve; CapturePayment takes it.
    pub manual_capture: bool,
    /// CapturePayment was called.
    pub capture_wanted: bool,
    /// Where the customer has to go.
    pub next_action_url: Option<String>,
    /// Why it failed.
    pub decline_code: Option<String>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it was captured.
    pub captured_at: Option<DateTime<Utc>>,
    /// Grows by one with every change.
    pub version: i64,
}

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// Its id, and its key at the provider.
    pub id: RefundId,
    /// Of which payment.
    pub payment: PaymentId,
    /// How much.
    pub amount: Money,
    /// The provider has done it.
    pub settled: bool,
    /// How often it was refused before and wanted again.
    pub attempt: i32,
    /// The provider has said that this attempt was not done; when it is `settled`, that it came back.
    pub refused: bool,
}

impl Payment {
    /// Takes in what the provider says. Repeats and news that are older than what is known change nothing.
    ///
    /// # Errors
    /// On overflow of the commission; nothing is changed then.
    pub fn learn(
        &mut self,
        outcome: &Outcome,
        at: DateTime<Utc>,
        commission_percent: Decimal,
    ) -> Result<Lesson, MoneyError> {
        let said = outcome.standing.state();
        if self.contradicts(outcome) {
            return Ok(Lesson::Contradiction);
        }
        let named = self.reference.is_none() && outcome.reference.is_some();
        if said.rank() <= self.state.rank() {
            if named {
                self.reference.clone_from(&outcome.reference);
                self.version += 1;
                return Ok(Lesson::Noted);
            }
            return Ok(Lesson::Nothing);
        }
        if let Standing::Captured { amount } = outcome.standing {
            self.commission = ledger::commission_of(amount, commission_percent)?;
            self.captured = amount;
            self.captured_at = Some(at);
        }
        if named {
            self.reference.clone_from(&outcome.reference);
        }
        self.state = said;
        self.version += 1;
        self.next_action_url = match &outcome.standing {
            Standing::RequiresAction { url } => Some(url.clone()),
            _ => None,
        };
        if let Standing::Failed { decline_code } = &outcome.standing {
            self.decline_code = Some(decline_code.clone());
        }
        Ok(match said {
            State::Pending | State::RequiresAction => Lesson::Noted,
            State::Authorized => Lesson::Happened(Happening::Authorized),
            State::Captured => Lesson::Happened(Happening::Captured),
            State::Failed | State::Cancelled => Lesson::Happened(Happening::Failed),
        })
    }

    /// Another end than the one that we know, another charge than ours, or another amount.
    fn contradicts(&self, outcome: &Outcome) -> bool {
        let said = outcome.standing.state();
        // Of a charge that failed it may also be said that it was given up: either way nothing was taken.
        let took = |state| state == State::Captured;
        let other_end = self.state.is_final() && said.is_final() && took(said) != took(self.state);
        let other_amount = matches!(outcome.standing, Standing::Captured { amount } if amount != self.amount);
        let other_charge =
            matches!((&self.reference, &outcome.reference), (Some(ours), Some(theirs)) if ours != theirs);
        other_end || other_amount || other_charge
    }

    /// Books that the provider has confirmed a refund; answers how much of it is commission and taxes.
    ///
    /// # Errors
    /// On another currency, or overflow; nothing is changed then.
    pub fn settle(&mut self, refund: Money) -> Result<ledger::Shares, MoneyError> {
        let share = |of| ledger::share_of_refund(self.captured, of, self.returned, refund);
        let shares = ledger::Shares { commission: share(self.commission)?, tax: share(self.tax)? };
        self.returned = self.returned.add(refund)?;
        self.version += 1;
        Ok(shares)
    }

    /// Whose accounts its transactions are about.
    pub fn parties(&self) -> ledger::Parties<'_> {
        ledger::Parties { provider: &self.provider, customer: self.customer, supplier: self.supplier }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn eur(cents: i64) -> Money {
        Money::new(Decimal::new(cents, 2), "EUR".parse().unwrap())
    }

    fn pending() -> Payment {
        Payment {
            id: PaymentId::new(),
            booking: BookingId::new(),
            purpose: String::new(),
            customer: CustomerId::new(),
            supplier: SupplierId::new(),
            state: State::Pending,
            amount: eur(10_000),
            tax: eur(1_000),
            captured: eur(0),
            refunded: eur(0),
            returned: eur(0),
            commission: eur(0),
            provider: "sandbox".into(),
            reference: None,
            method: "card_ok".into(),
            return_url: String::new(),
            manual_capture: false,
            capture_wanted: false,
            next_action_url: None,
            decline_code: None,
            created_at: DateTime::UNIX_EPOCH,
            captured_at: None,
            version: 1,
        }
    }

    fn said(standing: Standing) -> Outcome {
        Outcome { reference: Some("sbx_1".into()), standing }
    }

    fn learn(payment: &mut Payment, standing: Standing) -> Lesson {
        payment.learn(&said(standing), DateTime::UNIX_EPOCH, Decimal::from(15)).unwrap()
    }

    #[test]
    fn a_payment_climbs_step_by_step_and_never_falls() {
        let mut payment = pending();
        assert_eq!(learn(&mut payment, Standing::RequiresAction { url: "https://bank".into() }), Lesson::Noted);
        assert_eq!(payment.next_action_url.as_deref(), Some("https://bank"));
        assert_eq!(learn(&mut payment, Standing::Authorized), Lesson::Happened(Happening::Authorized));
        assert_eq!(payment.next_action_url, None);
        assert_eq!(learn(&mut payment, Standing::RequiresAction { url: "https://bank".into() }), Lesson::Nothing);
        assert_eq!(
            learn(&mut payment, Standing::Captured { amount: eur(10_000) }),
            Lesson::Happened(Happening::Captured)
        );
        assert_eq!((payment.captured, payment.commission), (eur(10_000), eur(1_500)));
        assert_eq!(learn(&mut payment, Standing::Authorized), Lesson::Nothing);
        assert_eq!(payment.version, 4);
    }

    #[test]
    fn what_cannot_be_is_a_contradiction_and_changes_nothing() {
        let mut failed = pending();
        assert_eq!(
            learn(&mut failed, Standing::Failed { decline_code: "card_declined".into() }),
            Lesson::Happened(Happening::Failed)
        );
        let before = failed.clone();
        assert_eq!(learn(&mut failed, Standing::Captured { amount: eur(10_000) }), Lesson::Contradiction);
        assert_eq!(learn(&mut failed, Standing::Cancelled), Lesson::Nothing);
        assert_eq!(failed, before);
        let mut payment = pending();
        assert_eq!(learn(&mut payment, Standing::Captured { amount: eur(9_999) }), Lesson::Contradiction);
        assert_eq!(learn(&mut payment, Standing::Processing), Lesson::Noted);
        let other = Outcome { reference: Some("sbx_2".into()), standing: Standing::Authorized };
        assert_eq!(payment.learn(&other, DateTime::UNIX_EPOCH, Decimal::ZERO), Ok(Lesson::Contradiction));
    }

    proptest! {
        #[test]
        fn any_order_and_any_repeats_end_the_same_and_tell_the_end_once(
            order in prop::collection::vec(0_usize..4, 1..40),
            fails in any::<bool>(),
        ) {
            let end = if fails { Standing::Failed { decline_code: "card_declined".into() } }
                else { Standing::Captured { amount: eur(10_000) } };
            let story = [Standing::Processing, Standing::RequiresAction { url: "https://bank".into() }, Standing::Authorized, end.clone()];
            let mut payment = pending();
            let mut told = Vec::new();
            for index in order.into_iter().chain([3]) {
                match learn(&mut payment, story[index].clone()) {
                    Lesson::Happened(what) => told.push(what),
                    Lesson::Contradiction => prop_assert!(false, "a contradiction"),
                    Lesson::Nothing | Lesson::Noted => {}
                }
            }
            let expected = if fails { Happening::Failed } else { Happening::Captured };
            prop_assert_eq!(payment.state, end.state());
            prop_assert_eq!(told.iter().filter(|h| **h == expected).count(), 1);
            prop_assert!(told.iter().filter(|h| **h == Happening::Authorized).count() <= 1);
            prop_assert_eq!(told.last(), Some(&expected));
        }
    }
}
