//! Events that providers send: believed only when signed, and having their effect once.

use chrono::Utc;
use tourmesh_kit::ApiResult;

use crate::{
    bookkeeper::Word,
    desk::Desk,
    error::PaymentError,
    provider::{About, RefundStanding},
    store,
};

impl Desk {
    /// Takes in an event as it came over HTTP; true: it changed something.
    pub(crate) async fn take_event(&self, provider: &str, body: &[u8], signature: &str) -> ApiResult<bool> {
        let provider = self.providers.get(provider)?;
        let name = provider.name();
        let event = match provider.verify_event(body, signature, Utc::now()) {
            Ok(event) => event,
            Err(error) => {
                self.counters.event(name, "refused");
                return Err(PaymentError::Signature(error).into());
            }
        };
        let (payment, word) = match event.about {
            About::Payment { key, outcome } => (key, Word::Charge(outcome)),
            About::Refund { key, payment, standing: RefundStanding::Settled, .. } => {
                (payment, Word::RefundSettled(key))
            }
            About::Refund { payment, standing: RefundStanding::Pending, .. } => (payment, Word::Nothing),
            About::Refund { key, payment, attempt, standing: RefundStanding::Failed(why) } => {
                // Before the event is remembered: should this process end in between, it comes again.
                if store::refunds::refuse(&self.db, payment, key, attempt, &why).await? {
                    self.counters.refund_given_up(name);
                    tracing::error!(refund = %key, provider = name, why, "the provider has not done a refund; staff decides");
                }
                (payment, Word::Nothing)
            }
            About::Recheck { key } => {
                store::watch::look_soon(&self.db, key).await?;
                (key, Word::Nothing)
            }
            About::Other { kind } => {
                self.counters.event(name, "unknown");
                tracing::debug!(provider = name, kind, "an event of no concern");
                return Ok(false);
            }
        };
        let booked = self.book(payment, word, Some((name.to_owned(), event.id))).await?;
        if booked.payment.is_none() {
            // Payments are stored before the provider hears of them, so this one is not ours at all.
            self.counters.event(name, "unknown");
            tracing::warn!(provider = name, %payment, "an event about a payment that is not ours");
            return Ok(false);
        }
        self.counters.event(name, if booked.applied { "applied" } else { "ignored" });
        Ok(booked.applied)
    }
}
