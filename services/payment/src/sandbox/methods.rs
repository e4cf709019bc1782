//! The sandbox's means of payment, and what each of them does.

/// A token that clients can pay with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Succeeds at once.
    CardOk,
    /// Is declined at once: `card_declined`.
    CardDeclined,
    /// Is declined at once: `insufficient_funds`.
    CardInsufficientFunds,
    /// Gives no answer, and succeeds later; the webhook tells.
    CardTimeout,
    /// Gives no answer, and is declined later; the webhook tells.
    CardTimeoutDeclined,
    /// Asks for a second step: the customer agrees or not, and the webhook tells.
    CardAction,
    /// Succeeds at once; its refunds are done, but give no answer.
    CardRefundTimeout,
}

/// What creating an intent comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The money is taken, or reserved.
    Succeed,
    /// Declined with this code.
    Decline(&'static str),
    /// No answer; decided later.
    Later,
    /// A challenge for the customer.
    Challenge,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::CardOk,
        Self::CardDeclined,
        Self::CardInsufficientFunds,
        Self::CardTimeout,
        Self::CardTimeoutDeclined,
        Self::CardAction,
        Self::CardRefundTimeout,
    ];

    /// The token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CardOk => "card_ok",
            Self::CardDeclined => "card_declined",
            Self::CardInsufficientFunds => "card_insufficient_funds",
            Self::CardTimeout => "card_timeout",
            Self::CardTimeoutDeclined => "card_timeout_declined",
            Self::CardAction => "card_action",
            Self::CardRefundTimeout => "card_refund_timeout",
        }
    }

    /// Reads a token.
    pub fn of_str(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.as_str() == token)
    }

    pub(crate) const fn plan(self) -> Plan {
        match self {
            Self::CardOk | Self::CardRefundTimeout => Plan::Succeed,
            Self::CardDeclined => Plan::Decline("card_declined"),
            Self::CardInsufficientFunds => Plan::Decline("insufficient_funds"),
            Self::CardTimeout | Self::CardTimeoutDeclined => Plan::Later,
            Self::CardAction => Plan::Challenge,
        }
    }
}
