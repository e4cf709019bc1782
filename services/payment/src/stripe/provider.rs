//! Stripe as the [`Provider`] trait sees it.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use http::StatusCode;
use uuid::Uuid;

use super::{
    ATTEMPT, NAME, PAYMENT_ID, REFUND_ID, Stripe, amount,
    client::{self, Failure},
    events, is_token,
    shapes::{Declined, Intent, Page, Refund},
};
use crate::{
    domain::{
        PaymentId,
        payment::{Outcome, Standing},
    },
    provider::{
        Action, Capture, Charge, ListedCharge, ListedRefund, Listing, PaymentIntent, Period, Provider, ProviderError,
        ProviderEvent, RefundOrder, RefundStanding, SignatureError, signature,
    },
};

/// Stripe may forget an idempotency key after 24 hours; what is older would be a new charge.
const KEYS_LIVE: TimeDelta = TimeDelta::hours(23);
/// One payment has no more refunds than fit on a page.
const REFUNDS_OF_A_CHARGE: &str = "100";

type Answer<T> = Result<T, ProviderError>;

/// How an intent stands.
pub(super) fn standing(intent: &Intent) -> Answer<Standing> {
    let declined = intent.last_payment_error.as_ref().map(Declined::reason);
    Ok(match intent.status.as_str() {
        "requires_payment_method" => {
            Standing::Failed { decline_code: declined.unwrap_or_else(|| "requires_payment_method".to_owned()) }
        }
        "requires_action" => Standing::RequiresAction { url: address(intent).unwrap_or_default().to_owned() },
        "requires_capture" => Standing::Authorized,
        "succeeded" => {
            let count = intent.amount_received.unwrap_or(intent.amount);
            let amount = amount::of_stripe(count, &intent.currency)
                .ok_or_else(|| ProviderError::Unknown(format!("charged in {}", intent.currency)))?;
            Standing::Captured { amount }
        }
        "canceled" => match declined {
            Some(decline_code) => Standing::Failed { decline_code },
            None => Standing::Cancelled,
        },
        // processing, requires_confirmation, and what is added one day.
        _ => Standing::Processing,
    })
}

/// Where the customer has to go; without a return address there is none, and Stripe's script takes the second step.
fn address(intent: &Intent) -> Option<&str> {
    intent.next_action.as_ref()?.redirect_to_url.as_ref()?.url.as_deref()
}

fn outcome(intent: &Intent) -> Answer<Outcome> {
    Ok(Outcome { reference: Some(intent.id.clone()), standing: standing(intent)? })
}

/// How a refund stands.
pub(super) fn refund_standing(refund: &Refund) -> RefundStanding {
    match refund.status.as_deref() {
        Some("succeeded") => RefundStanding::Settled,
        Some(status @ ("failed" | "canceled")) => {
            RefundStanding::Failed(refund.failure_reason.clone().unwrap_or_else(|| status.to_owned()))
        }
        _ => RefundStanding::Pending,
    }
}

/// How long ago an id of ours was made.
fn age(id: Uuid) -> Option<TimeDelta> {
    let (seconds, _) = id.get_timestamp()?.to_unix();
    Some(Utc::now() - DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)?)
}

impl Stripe {
    async fn open(&self, wish: &PaymentIntent) -> Answer<Outcome> {
        let key = wish.key.to_string();
        if age(wish.key.uuid()).is_none_or(|age| age > KEYS_LIVE) {
            return Err(ProviderError::Refused("Stripe may have forgotten this key".to_owned()));
        }
        let count = amount::to_stripe(wish.amount).map_err(ProviderError::Refused)?.to_string();
        let currency = wish.amount.currency().to_string().to_ascii_lowercase();
        let token = if wish.method.starts_with("ctoken_") { "confirmation_token" } else { "payment_method" };
        let metadata = format!("metadata[{PAYMENT_ID}]");
        let mut fields = vec![
            ("amount", count.as_str()),
            ("currency", &currency),
            (token, &wish.method),
            ("payment_method_types[]", "card"),
            ("capture_method", if wish.capture == Capture::Manual { "manual" } else { "automatic" }),
            ("confirm", "true"),
            (&metadata, &key),
        ];
        if !wish.return_url.is_empty() {
            fields.push(("return_url", &wish.return_url));
        }
        let reference = match self.api.post::<Intent>("/v1/payment_intents", &fields, Some(&key)).await {
            Ok(intent) => match outcome(&intent)? {
                Outcome { reference, standing: Standing::Failed { decline_code } } => {
                    return Err(ProviderError::Declined { code: decline_code, reference });
                }
                outcome => return Ok(outcome),
            },
            Err(Failure::Refused(StatusCode::PAYMENT_REQUIRED, error)) => error,
            Err(failure) => return Err(failure.plain()),
        };
        let code = Declined { code: reference.code, decline_code: reference.decline_code }.reason();
        Err(ProviderError::Declined { code, reference: reference.payment_intent.map(|intent| intent.id) })
    }

    async fn retrieve(&self, reference: &str) -> Answer<Option<Intent>> {
        match self.api.get::<Intent>(&path(reference, "")?, &[]).await {
            Ok(intent) => Ok(Some(intent)),
            Err(Failure::Refused(StatusCode::NOT_FOUND, _)) => Ok(None),
            Err(failure) => Err(failure.plain()),
        }
    }

    /// The intent of a charge: by Stripe's id, or else by ours. New intents appear in the search within a minute; until
    /// then the creation may be repeated with its key, and has the same answer.
    async fn find(&self, charge: &Charge) -> Answer<Option<Intent>> {
        if let Some(reference) = &charge.reference {
            return self.retrieve(reference).await;
        }
        let key = charge.key.to_string();
        let query = format!("metadata['{PAYMENT_ID}']:'{key}'");
        let found = self.api.get::<Page<Intent>>("/v1/payment_intents/search", &[("query", &query)]).await;
        let found = found.map_err(Failure::plain)?;
        Ok(found.data.into_iter().find(|intent| intent.metadata.get(PAYMENT_ID) == Some(&key)))
    }

    /// Its Stripe id, by a search only when it was never told.
    async fn reference(&self, charge: &Charge) -> Answer<String> {
        if let Some(reference) = &charge.reference {
            return Ok(reference.clone());
        }
        let found = self.find(charge).await?;
        found.map(|intent| intent.id).ok_or_else(|| ProviderError::Refused("Stripe has no such charge".to_owned()))
    }

    /// Captures or cancels. Where Stripe says that it cannot, how the charge stands is the answer: it moved before.
    async fn turn(&self, charge: &Charge, verb: &str) -> Answer<Outcome> {
        let reference = self.reference(charge).await?;
        match self.api.post::<Intent>(&path(&reference, verb)?, &[], None).await {
            Ok(intent) => outcome(&intent),
            Err(Failure::Refused(status, _)) if !client::is_about_us(status) => {
                let intent = self.retrieve(&reference).await?;
                outcome(&intent.ok_or_else(|| ProviderError::Refused("Stripe has no such charge".to_owned()))?)
            }
            Err(failure) => Err(failure.plain()),
        }
    }

    async fn look(&self, charge: &Charge) -> Answer<Option<Outcome>> {
        let Some(intent) = self.find(charge).await? else { return Ok(None) };
        let said = outcome(&intent)?;
        if intent.status != "requires_payment_method" {
            return Ok(Some(said));
        }
        // Whoever has the client secret could still pay it with another card, after the booking was paid with a second
        // payment: it is closed before it is called failed.
        let charge = Charge { key: charge.key, reference: Some(intent.id) };
        let closed = self.turn(&charge, "/cancel").await?;
        Ok(Some(if closed.standing == Standing::Cancelled { said } else { closed }))
    }

    async fn give_back(&self, order: &RefundOrder) -> Answer<RefundStanding> {
        let reference = self.reference(&order.charge).await?;
        let count = amount::to_stripe(order.amount).map_err(ProviderError::Refused)?.to_string();
        let (payment, refund, attempt) =
            (order.charge.key.to_string(), order.key.to_string(), order.attempt.to_string());
        let names = [PAYMENT_ID, REFUND_ID, ATTEMPT].map(|name| format!("metadata[{name}]"));
        let fields = [
            ("payment_intent", reference.as_str()),
            ("amount", &count),
            (&names[0], &payment),
            (&names[1], &refund),
            (&names[2], &attempt),
        ];
        let key = if order.attempt == 0 { refund.clone() } else { format!("{refund}-{attempt}") };
        match self.api.post::<Refund>("/v1/refunds", &fields, Some(&key)).await {
            Ok(refund) => Ok(refund_standing(&refund)),
            // A wrong key in the settings is mended by people; the refund is asked for until then.
            Err(Failure::Refused(status, error)) if client::is_about_us(status) => {
                Err(ProviderError::Unknown(client::told(status, &error)))
            }
            Err(failure) => Err(failure.plain()),
        }
    }

    async fn look_for_refund(&self, order: &RefundOrder) -> Answer<Option<RefundStanding>> {
        let reference = self.reference(&order.charge).await?;
        let query = [("payment_intent", reference.as_str()), ("limit", REFUNDS_OF_A_CHARGE)];
        let refunds = self.api.get::<Page<Refund>>("/v1/refunds", &query).await.map_err(Failure::plain)?;
        let (key, attempt) = (order.key.to_string(), order.attempt.to_string());
        let found = refunds.data.iter().find(|refund| {
            refund.metadata.get(REFUND_ID) == Some(&key) && refund.metadata.get(ATTEMPT) == Some(&attempt)
        });
        Ok(found.map(refund_standing))
    }
}

fn path(reference: &str, verb: &str) -> Answer<String> {
    if is_token(reference) {
        return Ok(format!("/v1/payment_intents/{reference}{verb}"));
    }
    Err(ProviderError::Refused("not an id of Stripe's".to_owned()))
}

impl Provider for Stripe {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check_method(&self, method: &str) -> Result<(), String> {
        let known = ["pm_", "ctoken_"].iter().any(|prefix| method.strip_prefix(prefix).is_some_and(is_token));
        if known { Ok(()) } else { Err("is not a token of Stripe's; those begin with pm_ or ctoken_".to_owned()) }
    }

    fn publishable_key(&self) -> &str {
        &self.config.publishable_key
    }

    fn create<'a>(&'a self, intent: &'a PaymentIntent) -> BoxFuture<'a, Answer<Outcome>> {
        Box::pin(self.open(intent))
    }

    fn capture<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Answer<Outcome>> {
        Box::pin(self.turn(charge, "/capture"))
    }

    fn cancel<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Answer<Outcome>> {
        Box::pin(self.turn(charge, "/cancel"))
    }

    fn refund<'a>(&'a self, order: &'a RefundOrder) -> BoxFuture<'a, Answer<RefundStanding>> {
        Box::pin(self.give_back(order))
    }

    fn query<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Answer<Option<Outcome>>> {
        Box::pin(self.look(charge))
    }

    fn query_refund<'a>(&'a self, order: &'a RefundOrder) -> BoxFuture<'a, Answer<Option<RefundStanding>>> {
        Box::pin(self.look_for_refund(order))
    }

    fn action<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Answer<Option<Action>>> {
        Box::pin(async move {
            let waits = self.find(charge).await?.filter(|intent| intent.status == "requires_action");
            Ok(waits.map(|intent| Action {
                url: address(&intent).unwrap_or_default().to_owned(),
                client_secret: intent.client_secret.unwrap_or_default(),
            }))
        })
    }

    fn owner<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Answer<Option<PaymentId>>> {
        Box::pin(async move {
            let intent = self.retrieve(reference).await?;
            Ok(intent.and_then(|intent| events::payment(&intent.metadata)))
        })
    }

    fn charges<'a>(&'a self, period: Period, after: Option<&'a str>) -> BoxFuture<'a, Answer<Listing<ListedCharge>>> {
        Box::pin(self.list_charges(period, after))
    }

    fn refunds<'a>(&'a self, period: Period, after: Option<&'a str>) -> BoxFuture<'a, Answer<Listing<ListedRefund>>> {
        Box::pin(self.list_refunds(period, after))
    }

    fn verify_event(&self, body: &[u8], header: &str, now: DateTime<Utc>) -> Result<ProviderEvent, SignatureError> {
        signature::verify_any(&self.config.webhook_secrets, body, header, now)?;
        Ok(events::read(body))
    }
}
