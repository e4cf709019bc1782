//! The fields of Stripe's objects that we read. Everything else may come and go.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A PaymentIntent.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) amount: i64,
    /// What was taken; in events of old it may be missing, then it is all.
    #[serde(default)]
    pub(super) amount_received: Option<i64>,
    pub(super) currency: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) created: i64,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) last_payment_error: Option<Declined>,
    #[serde(default)]
    pub(super) next_action: Option<NextAction>,
    #[serde(default)]
    pub(super) client_secret: Option<String>,
}

/// Why a card was not charged.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Declined {
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) decline_code: Option<String>,
}

impl Declined {
    /// The issuer's word where there is one, Stripe's otherwise.
    pub(super) fn reason(&self) -> String {
        let reason = self.decline_code.as_ref().or(self.code.as_ref()).filter(|code| !code.is_empty());
        reason.map_or_else(|| "card_declined".to_owned(), Clone::clone)
    }
}

/// What the customer has to do.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct NextAction {
    #[serde(default)]
    pub(super) redirect_to_url: Option<Redirect>,
}

/// Where the customer has to go.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Redirect {
    #[serde(default)]
    pub(super) url: Option<String>,
}

/// A refund.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Refund {
    pub(super) id: String,
    pub(super) amount: i64,
    pub(super) currency: String,
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default)]
    pub(super) failure_reason: Option<String>,
    #[serde(default)]
    pub(super) created: i64,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

/// A dispute. `status` is warning_needs_response, warning_under_review, warning_closed, needs_response, under_review,
/// won, lost or prevented.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Dispute {
    pub(super) id: String,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) status: String,
    /// Missing where the charge was made without an intent: not one of ours.
    #[serde(default)]
    pub(super) payment_intent: Option<String>,
    #[serde(default)]
    pub(super) reason: String,
    /// None, one, or two: the money that was taken, and given back.
    #[serde(default)]
    pub(super) balance_transactions: Vec<BalanceTransaction>,
    #[serde(default)]
    pub(super) evidence_details: Option<EvidenceDetails>,
}

/// A movement of our balance at Stripe.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct BalanceTransaction {
    pub(super) id: String,
    /// Below zero: taken.
    pub(super) amount: i64,
    pub(super) currency: String,
}

/// Until when a dispute may be answered.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct EvidenceDetails {
    #[serde(default)]
    pub(super) due_by: Option<i64>,
}

/// A page of a list or of a search.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    pub(super) has_more: bool,
}

/// The body of a refusal.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: RefusalError,
}

/// What was refused and why.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RefusalError {
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) decline_code: Option<String>,
    #[serde(default)]
    pub(super) message: Option<String>,
    /// Of a declined card: the intent as it is now.
    #[serde(default)]
    pub(super) payment_intent: Option<Intent>,
}

/// A webhook's body.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) created: i64,
    pub(super) data: EventData,
}

/// What an event is about.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct EventData {
    /// An intent or a refund, as it was when the event was made.
    pub(super) object: serde_json::Value,
}
