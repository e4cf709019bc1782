//! What a payment provider must be able to do, and what it must promise.
//!
//! Every call carries a key that we chose and stored before it: the payment's id for the charge, the refund's id for a
//! refund. A provider does the work of one key once, whatever is repeated. A call whose answer never came is
//! [`ProviderError::Unknown`]: it is followed by a query or by the same call with the same key, never by a new key. The
//! contract suite in `tests/it/contract.rs` holds every implementation to this.

pub mod listing;
pub mod signature;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tourmesh_kit::{ApiError, ApiResult, ErrorReason, money::Money};

use crate::domain::{
    PaymentId, RefundId,
    dispute::News,
    payment::{Outcome, Payment},
};

pub use listing::{ListedCharge, ListedRefund, Listing, Period};
pub use signature::SignatureError;

/// When the money is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// At once.
    Auto,
    /// Only reserved; [`Provider::capture`] takes it.
    Manual,
}

/// The wish to be paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentIntent {
    /// The idempotency key.
    pub key: PaymentId,
    /// How much.
    pub amount: Money,
    /// The provider's token for the means of payment.
    pub method: String,
    /// When the money is taken.
    pub capture: Capture,
    /// Where the customer is sent after a second step; may be empty.
    pub return_url: String,
}

impl From<&Payment> for PaymentIntent {
    fn from(payment: &Payment) -> Self {
        Self {
            key: payment.id,
            amount: payment.amount,
            method: payment.method.clone(),
            capture: if payment.manual_capture { Capture::Manual } else { Capture::Auto },
            return_url: payment.return_url.clone(),
        }
    }
}

/// A charge that was asked for before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The key it was asked for with.
    pub key: PaymentId,
    /// The provider's own id, once it told one.
    pub reference: Option<String>,
}

impl From<&Payment> for Charge {
    fn from(payment: &Payment) -> Self {
        Self { key: payment.id, reference: payment.reference.clone() }
    }
}

/// The wish to give money back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundOrder {
    /// The idempotency key.
    pub key: RefundId,
    /// Of which charge.
    pub charge: Charge,
    /// How much.
    pub amount: Money,
    /// How often the provider has refused or failed this refund for good before: each is a work of its own. Never
    /// counted up while an outcome is unknown.
    pub attempt: i32,
}

/// How a refund stands at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundStanding {
    /// Accepted, not done yet.
    Pending,
    /// Done.
    Settled,
    /// Accepted and then not done, for good; why, in the provider's words.
    Failed(String),
}

/// What the customer's browser needs for a second step. Nobody else may see it, and nothing of it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Action {
    /// The bank's page; empty: the provider's script takes the step.
    pub url: String,
    /// For the provider's script; empty: it needs none.
    pub client_secret: String,
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Action").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why a call to a provider has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The means of payment was refused; nothing was taken. Final for this key.
    #[error("declined: {code}")]
    Declined {
        /// Why, in the provider's words.
        code: String,
        /// The provider's own id of the charge that failed.
        reference: Option<String>,
    },
    /// No answer, or none that says what happened: it may have been done. Ask again with the same key.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The provider does not accept the call as it is; nothing was done. A defect of ours or of the settings.
    #[error("refused: {0}")]
    Refused(String),
}

/// What a provider's event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// How a charge stands.
    Payment {
        /// Our key.
        key: PaymentId,
        /// What it says.
        outcome: Outcome,
    },
    /// How a refund stands.
    Refund {
        /// Our key.
        key: RefundId,
        /// Of which charge.
        payment: PaymentId,
        /// [`RefundOrder::attempt`].
        attempt: i32,
        /// What it says.
        standing: RefundStanding,
    },
    /// How a dispute stands. It is about a charge as the provider calls it: a dispute has nothing of ours on it.
    Dispute {
        /// The provider's own id of the charge.
        charge: String,
        /// What it says.
        news: Box<News>,
    },
    /// Something happened to a charge that only a query tells.
    Recheck {
        /// Our key.
        key: PaymentId,
    },
    /// Nothing that concerns us; the kind is counted.
    Other {
        /// The provider's word for it.
        kind: String,
    },
}

/// An event whose signature fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderEvent {
    /// The provider's id of the event; repeats have the same.
    pub id: String,
    /// What it says.
    pub about: About,
}

/// A provider of payments.
pub trait Provider: Send + Sync + 'static {
    /// As requests, stored payments and the gateway's webhook path name it.
    fn name(&self) -> &'static str;

    /// Refuses, without a call, a token that cannot be one of this provider's.
    ///
    /// # Errors
    /// What is wrong with it, for the customer's developer. The token itself is not in it.
    fn check_method(&self, method: &str) -> Result<(), String>;

    /// Opens the charge, or says how the one of this key stands.
    fn create<'a>(&'a self, intent: &'a PaymentIntent) -> BoxFuture<'a, Result<Outcome, ProviderError>>;

    /// Takes what was reserved.
    fn capture<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Result<Outcome, ProviderError>>;

    /// Gives the charge up, unless it was decided before: the outcome says which.
    fn cancel<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Result<Outcome, ProviderError>>;

    /// Gives money back, or says how the refund of this key stands.
    fn refund<'a>(&'a self, order: &'a RefundOrder) -> BoxFuture<'a, Result<RefundStanding, ProviderError>>;

    /// How the charge stands; `None`: the provider has never heard of it.
    fn query<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Result<Option<Outcome>, ProviderError>>;

    /// How the refund of this key and attempt stands; `None`: the provider has never heard of it.
    fn query_refund<'a>(
        &'a self,
        order: &'a RefundOrder,
    ) -> BoxFuture<'a, Result<Option<RefundStanding>, ProviderError>>;

    /// What the customer's browser needs for the second step; `None`: the charge waits for none.
    fn action<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Result<Option<Action>, ProviderError>>;

    /// Our key of the charge that the provider calls so; `None`: it is not ours.
    fn owner<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Option<PaymentId>, ProviderError>>;

    /// What the browser shows the provider's own field for cards with; empty: it needs nothing.
    fn publishable_key(&self) -> &str {
        ""
    }

    /// The charges that were opened in a period, newest first; a page at a time, from after `Listing::next` of the page
    /// before.
    fn charges<'a>(
        &'a self,
        period: Period,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing<ListedCharge>, ProviderError>>;

    /// The refunds of a period, likewise.
    fn refunds<'a>(
        &'a self,
        period: Period,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing<ListedRefund>, ProviderError>>;

    /// Reads an event, after its signature.
    ///
    /// # Errors
    /// When the signature does not fit or is too old.
    fn verify_event(&self, body: &[u8], signature: &str, now: DateTime<Utc>) -> Result<ProviderEvent, SignatureError>;
}

/// The configured providers, by name.
#[derive(Clone)]
pub struct Providers {
    all: Arc<BTreeMap<&'static str, Arc<dyn Provider>>>,
    default: &'static str,
    /// The most that a call may take before its outcome counts as unknown.
    timeout: Duration,
}

impl Providers {
    /// These providers; the first one is the default.
    pub fn new(providers: Vec<Arc<dyn Provider>>, timeout: Duration) -> Self {
        let default = providers.first().map(|p| p.name()).unwrap_or_default();
        Self { all: Arc::new(providers.into_iter().map(|p| (p.name(), p)).collect()), default, timeout }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Provider>> {
        self.all.values()
    }

    /// The provider of this name; empty: the default one.
    ///
    /// # Errors
    /// PROVIDER_UNKNOWN.
    pub fn get(&self, name: &str) -> ApiResult<Arc<dyn Provider>> {
        let wanted = if name.is_empty() { self.default } else { name };
        self.all.get(wanted).cloned().ok_or_else(|| {
            let known = self.all.keys().copied().collect::<Vec<_>>().join(", ");
            ApiError::new(
                ErrorReason::ProviderUnknown,
                format!("no provider of this name is configured; there is {known}"),
            )
        })
    }

    /// A call's result, or [`ProviderError::Unknown`] when it does not come in time.
    ///
    /// # Errors
    /// What the provider says.
    pub async fn in_time<T>(&self, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
        let answer = tokio::time::timeout(self.timeout, call).await;
        answer.unwrap_or_else(|_| {
            Err(ProviderError::Unknown(format!("no answer within {} ms", self.timeout.as_millis())))
        })
    }
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Providers")
            .field("all", &self.all.keys())
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}
