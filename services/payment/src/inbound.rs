//! Events that providers send: believed only when signed, and having their effect once.

use chrono::Utc;
use tourmesh_kit::{ApiError, ApiResult};

use crate::{
    bookkeeper::Word,
    desk::Desk,
    domain::PaymentId,
    error::PaymentError,
    provider::{About, Provider, RefundStanding},
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
            About::Refund { key, payment, attempt, standing } => match standing {
                RefundStanding::Settled => (payment, Word::RefundSettled { refund: key, attempt }),
                RefundStanding::Pending => (payment, Word::Nothing),
                RefundStanding::Failed(why) => (payment, Word::RefundRefused { refund: key, attempt, why }),
            },
            About::Dispute { charge, news } => match self.payment_of(&*provider, &charge).await? {
                Some(payment) => (payment, Word::Disputed(news)),
                None => {
                    self.counters.event(name, "unknown");
                    tracing::warn!(provider = name, charge, "a dispute about a charge that is not ours");
                    return Ok(false);
                }
            },
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
        let refused = match &word {
            Word::RefundRefused { refund, why, .. } => Some((*refund, why.clone())),
            _ => None,
        };
        if let Word::Disputed(news) = &word {
            tracing::warn!(%payment, provider = name, dispute = news.reference, status = news.status, "a charge is disputed");
        }
        let booked = self.book(payment, word, Some((name.to_owned(), event.id))).await?;
        if booked.payment.is_none() {
            // Payments are stored before the provider hears of them, so this one is not ours at all.
            self.counters.event(name, "unknown");
            tracing::warn!(provider = name, %payment, "an event about a payment that is not ours");
            return Ok(false);
        }
        if let Some((refund, why)) = refused.filter(|_| booked.applied) {
            self.counters.refund_given_up(name);
            tracing::error!(%refund, provider = name, why, "the provider has not done a refund; staff decides");
        }
        self.counters.event(name, if booked.applied { "applied" } else { "ignored" });
        Ok(booked.applied)
    }

    /// Which payment a provider's charge is. Its id may not have reached us yet; then the provider tells whose it is, and
    /// while it does not answer the event comes again.
    async fn payment_of(&self, provider: &dyn Provider, charge: &str) -> ApiResult<Option<PaymentId>> {
        if let Some(known) = store::payments::of_reference(&self.db, provider.name(), charge).await? {
            return Ok(Some(known));
        }
        let owner = self.providers.in_time(provider.owner(charge)).await;
        owner.map_err(|error| ApiError::unavailable("the payment provider", error))
    }
}
