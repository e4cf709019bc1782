//! The sandbox as the [`Provider`] trait sees it.

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use rand::Rng as _;
use tourmesh_kit::ApiError;
use uuid::Uuid;

use super::{
    NAME, Sandbox,
    intents::{self, Intent, Refunded},
    methods::{Method, Plan},
    webhooks::{self, Notice},
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
    store,
};

/// Our own database does not answer: as with a real provider, nobody knows then.
pub(super) fn unknown(error: ApiError) -> ProviderError {
    ProviderError::Unknown(error.to_string())
}

impl Sandbox {
    async fn open(&self, wish: &PaymentIntent) -> Result<Outcome, ProviderError> {
        let Some(method) = Method::of_str(&wish.method) else {
            return Err(ProviderError::Refused("no such means of payment".to_owned()));
        };
        let plan = method.plan();
        let manual_capture = wish.capture == Capture::Manual;
        let (status, decline_code) = match plan {
            Plan::Succeed if manual_capture => ("requires_capture", None),
            Plan::Succeed => ("succeeded", None),
            Plan::Decline(code) => ("failed", Some(code.to_owned())),
            Plan::Later => ("processing", None),
            Plan::Challenge => ("requires_action", None),
        };
        let intent = Intent {
            id: Uuid::now_v7(),
            key: wish.key.uuid(),
            amount: wish.amount.amount(),
            currency: wish.amount.currency().to_string(),
            method: wish.method.clone(),
            manual_capture,
            status: status.to_owned(),
            decline_code,
            challenge: (plan == Plan::Challenge).then(unguessable),
        };
        let settle_in_ms =
            (plan == Plan::Later).then(|| i64::try_from(self.config.late.as_millis()).unwrap_or(i64::MAX));
        let tell = self.config.all_events && plan != Plan::Later;
        let new = intents::New { intent, settle_in_ms, tell };
        let (intent, opened) = self.intents.submit(wish.key, new).await.map_err(unknown)?;
        if tell || plan == Plan::Later {
            self.work.notify_one();
        }
        let same = intent.amount == wish.amount.amount()
            && intent.currency == wish.amount.currency().as_str()
            && intent.method == wish.method
            && intent.manual_capture == manual_capture;
        if !same {
            return Err(ProviderError::Refused("the key was used for another charge".to_owned()));
        }
        if opened && plan == Plan::Later {
            tokio::time::sleep(self.config.timeout).await;
            return Err(ProviderError::Unknown("the connection was closed without an answer".to_owned()));
        }
        match self.outcome(&intent)? {
            Outcome { reference, standing: Standing::Failed { decline_code } } => {
                Err(ProviderError::Declined { code: decline_code, reference })
            }
            outcome => Ok(outcome),
        }
    }

    /// Moves a charge and says how it stands afterwards, also when it had moved before.
    async fn turn(
        &self,
        charge: &Charge,
        from: &'static [&'static str],
        to: &'static str,
    ) -> Result<Outcome, ProviderError> {
        let (key, tell) = (charge.key.uuid(), self.config.all_events);
        let turned = self.db.write(move |tx| {
            Box::pin(async move {
                let turned = intents::turn(tx, key, from, to).await?;
                if let (Some(intent), true) = (&turned, tell) {
                    webhooks::enqueue(tx, &[Notice::of_intent(intent)], 0).await?;
                }
                Ok(turned)
            })
        });
        let intent = match turned.await.map_err(unknown)? {
            Some(intent) => Some(intent),
            None => intents::find(&self.db, key).await.map_err(unknown)?,
        };
        if tell {
            self.work.notify_one();
        }
        let intent = intent.ok_or_else(|| ProviderError::Refused("no such charge".to_owned()))?;
        self.outcome(&intent)
    }

    async fn give_back(&self, order: &RefundOrder) -> Result<RefundStanding, ProviderError> {
        let (key, intent, amount) = (order.key.uuid(), order.charge.key.uuid(), order.amount);
        let (late, all_events) =
            (i64::try_from(self.config.late.as_millis()).unwrap_or(i64::MAX), self.config.all_events);
        let slow = intents::find(&self.db, intent).await.map_err(unknown)?;
        let slow = slow.is_some_and(|i| i.method == Method::CardRefundTimeout.as_str());
        let done = self.db.write(move |tx| {
            Box::pin(async move {
                let done = intents::refund(tx, key, intent, amount.amount(), amount.currency().as_str()).await?;
                if done == Refunded::New && (slow || all_events) {
                    let notice = Notice::of_refund(key, intent, amount);
                    webhooks::enqueue(tx, &[notice], if slow { late } else { 0 }).await?;
                }
                Ok(done)
            })
        });
        let done = done.await.map_err(unknown)?;
        if slow || all_events {
            self.work.notify_one();
        }
        match done {
            Refunded::New if slow => {
                tokio::time::sleep(self.config.timeout).await;
                Err(ProviderError::Unknown("the connection was closed without an answer".to_owned()))
            }
            Refunded::New | Refunded::Known => Ok(RefundStanding::Settled),
            Refunded::Refused(why) => Err(ProviderError::Refused(why.to_owned())),
        }
    }

    /// How a charge stands, for an API answer.
    pub(super) fn outcome(&self, intent: &Intent) -> Result<Outcome, ProviderError> {
        let standing = match intent.status.as_str() {
            "requires_action" => {
                let challenge = intent.challenge.as_deref().unwrap_or_default();
                Standing::RequiresAction { url: format!("{}/sandbox/challenges/{challenge}", self.config.public_url) }
            }
            "requires_capture" => Standing::Authorized,
            "succeeded" => {
                Standing::Captured { amount: store::money(intent.amount, &intent.currency).map_err(unknown)? }
            }
            "failed" => Standing::Failed { decline_code: intent.decline_code.clone().unwrap_or_default() },
            "canceled" => Standing::Cancelled,
            _ => Standing::Processing,
        };
        Ok(Outcome { reference: Some(webhooks::reference(intent.id)), standing })
    }
}

/// 160 bits of chance.
fn unguessable() -> String {
    let mut bytes = [0; 20];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

impl Provider for Sandbox {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check_method(&self, method: &str) -> Result<(), String> {
        if Method::of_str(method).is_some() {
            return Ok(());
        }
        let known = Method::ALL.map(Method::as_str).join(", ");
        Err(format!("is not a token of the sandbox; there is {known}"))
    }

    fn create<'a>(&'a self, intent: &'a PaymentIntent) -> BoxFuture<'a, Result<Outcome, ProviderError>> {
        Box::pin(self.open(intent))
    }

    fn capture<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Result<Outcome, ProviderError>> {
        Box::pin(self.turn(charge, &["requires_capture"], "succeeded"))
    }

    fn cancel<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Result<Outcome, ProviderError>> {
        Box::pin(self.turn(charge, &["requires_action", "requires_capture"], "canceled"))
    }

    fn refund<'a>(&'a self, order: &'a RefundOrder) -> BoxFuture<'a, Result<RefundStanding, ProviderError>> {
        Box::pin(self.give_back(order))
    }

    fn query<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Result<Option<Outcome>, ProviderError>> {
        Box::pin(async move {
            let intent = intents::find(&self.db, charge.key.uuid()).await.map_err(unknown)?;
            intent.map(|i| self.outcome(&i)).transpose()
        })
    }

    fn query_refund<'a>(
        &'a self,
        order: &'a RefundOrder,
    ) -> BoxFuture<'a, Result<Option<RefundStanding>, ProviderError>> {
        Box::pin(async move {
            let known = intents::has_refund(&self.db, order.key.uuid()).await.map_err(unknown)?;
            Ok(known.then_some(RefundStanding::Settled))
        })
    }

    fn action<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Result<Option<Action>, ProviderError>> {
        Box::pin(async move {
            Ok(match self.query(charge).await? {
                Some(Outcome { standing: Standing::RequiresAction { url }, .. }) => {
                    Some(Action { url, client_secret: String::new() })
                }
                _ => None,
            })
        })
    }

    // Nobody disputes what takes no money.
    fn owner<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<PaymentId>, ProviderError>> {
        Box::pin(async { Ok(None) })
    }

    fn charges<'a>(
        &'a self,
        period: Period,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing<ListedCharge>, ProviderError>> {
        Box::pin(self.list_charges(period, after))
    }

    fn refunds<'a>(
        &'a self,
        period: Period,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing<ListedRefund>, ProviderError>> {
        Box::pin(self.list_refunds(period, after))
    }

    fn verify_event(&self, body: &[u8], header: &str, now: DateTime<Utc>) -> Result<ProviderEvent, SignatureError> {
        signature::verify(self.config.secret.as_bytes(), body, header, now)?;
        Ok(webhooks::read(body))
    }
}
