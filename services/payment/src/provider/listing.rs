//! What a provider has on its side, for reconciliation.

use chrono::{DateTime, Utc};
use tourmesh_kit::money::Money;

use super::RefundStanding;
use crate::domain::{PaymentId, RefundId, payment::Outcome};

/// From one time up to, and not including, another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first moment.
    pub from: DateTime<Utc>,
    /// The first moment after it.
    pub to: DateTime<Utc>,
}

/// A page of what a provider has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Where the next page begins; `None`: this was the last one.
    pub next: Option<String>,
}

/// A charge at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCharge {
    /// Our key; `None`: somebody made it without us.
    pub key: Option<PaymentId>,
    /// The provider's id.
    pub reference: String,
    /// How much was asked for.
    pub amount: Money,
    /// How it stands.
    pub outcome: Outcome,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
}

/// A refund at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRefund {
    /// Our key; `None`: somebody made it without us.
    pub key: Option<RefundId>,
    /// Our payment, when it is one.
    pub payment: Option<PaymentId>,
    /// [`super::RefundOrder::attempt`].
    pub attempt: i32,
    /// The provider's id.
    pub reference: String,
    /// How much.
    pub amount: Money,
    /// How it stands.
    pub standing: RefundStanding,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}
