//! What can go wrong with a payment, and how callers are told.

use tourmesh_kit::{
    ApiError, ErrorReason,
    money::{Money, MoneyError},
};

use crate::{domain::payment::State, provider::SignatureError};

/// A refusal of ours.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// Not there, or somebody else's.
    #[error("there is no such payment")]
    NotFound,
    /// The means of payment was refused.
    #[error("the means of payment was declined: {0}")]
    Declined(String),
    /// The payment is not where the call needs it.
    #[error("the payment is {state}: {problem}", state = .0.as_str(), problem = .1)]
    State(State, &'static str),
    /// No such refund.
    #[error("there is no such refund")]
    RefundNotFound,
    /// The refund is not where the call needs it.
    #[error("{0}")]
    RefundState(&'static str),
    /// More than what is left.
    #[error("at most {0} can be refunded")]
    RefundTooLarge(Money),
    /// Another currency.
    #[error("the payment is in another currency")]
    Currency,
    /// A field holds what looks like a card number. The text is not repeated.
    #[error("{0} holds what looks like a card number; send the provider's token instead")]
    CardNumber(&'static str),
    /// A provider's event is not believed. Which part is wrong is not told.
    #[error("the signature does not fit this event, or is too old")]
    Signature(#[source] SignatureError),
}

impl From<PaymentError> for ApiError {
    fn from(error: PaymentError) -> Self {
        use ErrorReason as R;
        let message = error.to_string();
        match error {
            PaymentError::NotFound => Self::new(R::PaymentNotFound, message),
            PaymentError::Declined(code) => Self::new(R::PaymentDeclined, message).with("decline_code", code),
            PaymentError::State(state, _) => Self::new(R::PaymentState, message).with("state", state.as_str()),
            PaymentError::RefundNotFound => Self::new(R::RefundNotFound, message),
            PaymentError::RefundState(_) => Self::new(R::RefundState, message),
            PaymentError::RefundTooLarge(left) => {
                Self::new(R::RefundTooLarge, &message).with("refundable", left).violation("amount", message)
            }
            PaymentError::Currency => Self::new(R::CurrencyMismatch, &message).violation("amount", message),
            PaymentError::CardNumber(field) => {
                Self::new(R::CardNumberRefused, message).violation(field, "looks like a card number")
            }
            PaymentError::Signature(source) => Self::new(R::SignatureInvalid, message).caused_by(source),
        }
    }
}

/// Amounts of ours that do not add up are a defect: requests are checked before.
pub(crate) fn defect(error: MoneyError) -> ApiError {
    ApiError::internal(error)
}
