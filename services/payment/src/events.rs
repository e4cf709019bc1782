//! What this service publishes: stream PAYMENT, subjects `payment.payment.<verb>.<payment>`. It consumes nothing.

use tourmesh::payment::v1::{PaymentAuthorized, PaymentCaptured, PaymentDisputed, PaymentFailed, PaymentRefunded};
use tourmesh_kit::events::Event;

use crate::{
    convert,
    domain::{
        dispute::Dispute,
        payment::{Happening, Payment, Refund},
    },
};

/// The payment moved.
pub(crate) fn moved(happening: Happening, payment: &Payment) -> Event {
    let told = Some(convert::payment(payment));
    match happening {
        Happening::Authorized => Event::new(subject("authorized", payment), &PaymentAuthorized { payment: told }),
        Happening::Captured => Event::new(subject("captured", payment), &PaymentCaptured { payment: told }),
        Happening::Failed => Event::new(subject("failed", payment), &PaymentFailed { payment: told }),
    }
}

/// A refund was confirmed.
pub(crate) fn refunded(payment: &Payment, refund: &Refund) -> Event {
    let message = PaymentRefunded { payment: Some(convert::payment(payment)), refund: Some(convert::refund(refund)) };
    Event::new(subject("refunded", payment), &message)
}

/// A dispute about the payment changed.
pub(crate) fn disputed(payment: &Payment, dispute: &Dispute) -> Event {
    let message =
        PaymentDisputed { payment: Some(convert::payment(payment)), dispute: Some(convert::dispute(payment, dispute)) };
    Event::new(subject("disputed", payment), &message)
}

fn subject(verb: &str, payment: &Payment) -> String {
    format!("payment.payment.{verb}.{}", payment.id)
}
