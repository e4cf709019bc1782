//! Stripe's webhooks: what an event of each kind says about one of our payments.
//!
//! The object in an event is a snapshot from when it was made, so an event that comes late tells an old standing; the
//! payment has climbed past it and learns nothing. A failure is the one thing that is not believed by snapshot: an intent
//! whose card was declined can still be paid until it is closed, so the event only makes the reconciler look.

use chrono::DateTime;

use super::{
    ATTEMPT, PAYMENT_ID, REFUND_ID, amount,
    provider::{refund_standing, standing},
    shapes::{Dispute, Event, Intent, Refund},
};
use crate::{
    domain::{
        PaymentId, RefundId,
        dispute::{News, State, Withdrawal},
        payment::Outcome,
    },
    provider::{About, ProviderEvent},
};

/// Reads a body whose signature fits; what it does not understand is of no concern.
pub(super) fn read(body: &[u8]) -> ProviderEvent {
    let other = |id: String, kind: String| ProviderEvent { id, about: About::Other { kind } };
    let Ok(event) = serde_json::from_slice::<Event>(body) else {
        return other(String::new(), "malformed".to_owned());
    };
    match about(&event) {
        Some(about) => ProviderEvent { id: event.id, about },
        None => other(event.id, event.kind),
    }
}

fn about(event: &Event) -> Option<About> {
    let object = event.data.object.clone();
    match event.kind.as_str() {
        "payment_intent.payment_failed" => {
            let intent: Intent = serde_json::from_value(object).ok()?;
            Some(About::Recheck { key: payment(&intent.metadata)? })
        }
        kind if kind.starts_with("payment_intent.") => {
            let intent: Intent = serde_json::from_value(object).ok()?;
            let key = payment(&intent.metadata)?;
            // Before it is confirmed there is nothing to say.
            if matches!(intent.status.as_str(), "requires_payment_method" | "requires_confirmation") {
                return None;
            }
            let standing = standing(&intent).ok()?;
            Some(About::Payment { key, outcome: Outcome { reference: Some(intent.id), standing } })
        }
        // The second name is what refunds of cards were told by before 2024, and still are.
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            let refund: Refund = serde_json::from_value(object).ok()?;
            let key: RefundId = refund.metadata.get(REFUND_ID)?.parse().ok()?;
            let attempt = refund.metadata.get(ATTEMPT)?.parse().ok()?;
            let payment = payment(&refund.metadata)?;
            Some(About::Refund { key, payment, attempt, standing: refund_standing(&refund) })
        }
        // created, updated, closed, funds_withdrawn, funds_reinstated: each has all that there is to say so far.
        kind if kind.starts_with("charge.dispute.") => {
            let dispute: Dispute = serde_json::from_value(object).ok()?;
            let charge = dispute.payment_intent.clone()?;
            Some(About::Dispute { charge, news: Box::new(news(dispute, event.created)?) })
        }
        _ => None,
    }
}

fn news(dispute: Dispute, told_at: i64) -> Option<News> {
    let disputed = amount::of_stripe(dispute.amount, &dispute.currency)?;
    let withdrawals = dispute.balance_transactions.into_iter().filter(|t| t.amount != 0).map(|transaction| {
        // Stripe keeps its balance in the currency of our bank account. The charge was in another one then, and the
        // dispute says how much of that it is about: nothing is converted here.
        let same = transaction.currency.eq_ignore_ascii_case(&dispute.currency);
        let moved =
            if same { amount::of_stripe(transaction.amount.checked_abs()?, &dispute.currency)? } else { disputed };
        Some(Withdrawal { reference: transaction.id, amount: moved, is_back: transaction.amount > 0 })
    });
    Some(News {
        withdrawals: withdrawals.collect::<Option<_>>()?,
        reference: dispute.id,
        amount: disputed,
        reason: dispute.reason,
        state: match dispute.status.as_str() {
            "won" => State::Won,
            "lost" => State::Lost,
            "warning_closed" | "prevented" => State::Closed,
            _ => State::Open,
        },
        status: dispute.status,
        evidence_by: dispute.evidence_details.and_then(|details| DateTime::from_timestamp(details.due_by?, 0)),
        told_at: DateTime::from_timestamp(told_at, 0)?,
    })
}

/// Our payment, when the object is one of ours.
pub(super) fn payment(metadata: &std::collections::BTreeMap<String, String>) -> Option<PaymentId> {
    metadata.get(PAYMENT_ID)?.parse().ok()
}
