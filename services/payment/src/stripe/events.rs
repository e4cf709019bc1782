//! Stripe's webhooks: what an event of each kind says about one of our payments.
//!
//! The object in an event is a snapshot from when it was made, so an event that comes late tells an old standing; the
//! payment has climbed past it and learns nothing. A failure is the one thing that is not believed by snapshot: an intent
//! whose card was declined can still be paid until it is closed, so the event only makes the reconciler look.

use super::{
    ATTEMPT, PAYMENT_ID, REFUND_ID,
    provider::{refund_standing, standing},
    shapes::{Event, Intent, Refund},
};
use crate::{
    domain::{PaymentId, RefundId, payment::Outcome},
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
        _ => None,
    }
}

/// Our payment, when the object is one of ours.
pub(super) fn payment(metadata: &std::collections::BTreeMap<String, String>) -> Option<PaymentId> {
    metadata.get(PAYMENT_ID)?.parse().ok()
}
