//! What Stripe has for a period, page by page, for reconciliation.

use chrono::{DateTime, Utc};

use super::{
    ATTEMPT, REFUND_ID, Stripe, amount,
    client::Failure,
    events::payment,
    provider::{refund_standing, standing},
    shapes::{Intent, Page, Refund},
};
use crate::{
    domain::payment::Outcome,
    provider::{ListedCharge, ListedRefund, Listing, Period, ProviderError},
};

/// The most that Stripe gives at once.
const PAGE: &str = "100";

impl Stripe {
    pub(super) async fn list_charges(
        &self,
        period: Period,
        after: Option<&str>,
    ) -> Result<Listing<ListedCharge>, ProviderError> {
        let page: Page<Intent> = self.page("/v1/payment_intents", period, after).await?;
        let next = page.data.last().filter(|_| page.has_more).map(|intent| intent.id.clone());
        let items = page.data.into_iter().filter_map(|intent| {
            let key = payment(&intent.metadata);
            let amount = amount::of_stripe(intent.amount, &intent.currency);
            let (Some(amount), Ok(standing)) = (amount, standing(&intent)) else {
                tracing::warn!(
                    intent = intent.id,
                    currency = intent.currency,
                    "an intent in a currency that we do not know"
                );
                return None;
            };
            let created_at = time(intent.created);
            let outcome = Outcome { reference: Some(intent.id.clone()), standing };
            Some(ListedCharge { key, reference: intent.id, amount, outcome, created_at })
        });
        Ok(Listing { items: items.collect(), next })
    }

    pub(super) async fn list_refunds(
        &self,
        period: Period,
        after: Option<&str>,
    ) -> Result<Listing<ListedRefund>, ProviderError> {
        let page: Page<Refund> = self.page("/v1/refunds", period, after).await?;
        let next = page.data.last().filter(|_| page.has_more).map(|refund| refund.id.clone());
        let items = page.data.into_iter().filter_map(|refund| {
            Some(ListedRefund {
                key: refund.metadata.get(REFUND_ID).and_then(|id| id.parse().ok()),
                payment: payment(&refund.metadata),
                attempt: refund.metadata.get(ATTEMPT).and_then(|attempt| attempt.parse().ok()).unwrap_or_default(),
                amount: amount::of_stripe(refund.amount, &refund.currency)?,
                standing: refund_standing(&refund),
                created_at: time(refund.created),
                reference: refund.id,
            })
        });
        Ok(Listing { items: items.collect(), next })
    }

    async fn page<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        period: Period,
        after: Option<&str>,
    ) -> Result<Page<T>, ProviderError> {
        let (from, to) = (period.from.timestamp().to_string(), period.to.timestamp().to_string());
        let mut query = vec![("created[gte]", from.as_str()), ("created[lt]", &to), ("limit", PAGE)];
        query.extend(after.map(|after| ("starting_after", after)));
        self.api.get(path, &query).await.map_err(Failure::plain)
    }
}

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}
