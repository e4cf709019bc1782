//! Opening, charging and capturing payments.
//!
//! Every change at a provider goes in three steps: what is to be done is stored with its key (one transaction), the
//! provider is called (outside of any), and what it said is booked ([`crate::bookkeeper`]). A crash or a lost answer
//! between the steps leaves a row that [`crate::reconcile`] finds.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use tourmesh_kit::{
    ApiError, ApiResult,
    db::{Db, detached},
    idempotency::{RequestKey, remember},
    lanes::{Combined, Lanes},
};

use crate::{
    bookkeeper::{Booked, Bookkeeper, Report, Word},
    domain::{
        PaymentId,
        payment::{Outcome, Payment, Standing, State},
    },
    error::PaymentError,
    provider::{Charge, PaymentIntent, Provider, ProviderError, Providers},
    steps::Step,
    store::{self, payments::New},
    telemetry::Counters,
};

/// Where payments are worked on. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) db: Db,
    pub(crate) providers: Providers,
    pub(crate) counters: Counters,
    /// How long what is open is left alone.
    pub(crate) grace: TimeDelta,
    /// How many asks for a refund may go without an answer.
    pub(crate) refund_tries: i32,
    pub(crate) opener: Lanes<Opener>,
    pub(crate) books: Lanes<Bookkeeper>,
}

/// What opening came to.
#[derive(Debug, Clone)]
pub(crate) enum Opened {
    /// A new payment, to be charged by whoever opened it.
    New(Payment),
    /// The payment that the same request opened or was answered with, or the live one of the same booking and purpose.
    Known(Payment),
    /// What stood in the way has gone meanwhile: try again.
    Again,
}

/// Writes batches of new payments.
#[derive(Debug)]
pub(crate) struct Opener {
    pub(crate) db: Db,
    pub(crate) grace: TimeDelta,
}

impl Combined for Opener {
    type Item = New;
    type Output = Opened;

    fn write<'a>(&'a self, items: &'a [New]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<Opened>>>> {
        Box::pin(async move {
            let new: Vec<_> = items.iter().collect();
            // One statement is one transaction: the usual case costs no more.
            let mut connection = self.db.pool().acquire().await?;
            let insert = store::payments::insert(&mut connection, &new, self.grace);
            let inserted = self.db.single(Step::Open, insert).await?;
            drop(connection);
            let mut answers = Vec::with_capacity(items.len());
            for item in items {
                answers.push(if inserted.contains(&item.payment.id.uuid()) {
                    Ok(Opened::New(item.payment.clone()))
                } else {
                    // The others are stored by now, so a failure of the database is this item's alone.
                    self.known(item).await
                });
            }
            Ok(answers)
        })
    }
}

impl Opener {
    async fn known(&self, item: &New) -> ApiResult<Opened> {
        let mut tx = self.db.begin().await?;
        match known(&mut tx, item).await {
            Ok(opened) => {
                self.db.commit(Step::AnswerKnown, tx).await?;
                Ok(opened)
            }
            Err(error) => {
                tx.undo(&error).await;
                Err(error)
            }
        }
    }
}

/// Why a payment was not opened, and what its request is answered with instead.
async fn known(tx: &mut PgConnection, item: &New) -> ApiResult<Opened> {
    let (caller, request) = (item.caller.as_str(), &item.request);
    if let Some((payment, hash)) = store::payments::of_request(tx, caller, &request.id).await? {
        request.check(&hash)?;
        return Ok(Opened::Known(payment));
    }
    if let Some((hash, subject)) = store::requests::find(tx, caller, "CreatePayment", &request.id).await? {
        request.check(&hash)?;
        let payment = store::payments::read(tx, subject).await?.ok_or(PaymentError::NotFound)?;
        return Ok(Opened::Known(payment));
    }
    let wish = &item.payment;
    let Some(live) = store::payments::live_one(tx, wish.booking, &wish.purpose).await? else {
        return Ok(Opened::Again);
    };
    if live.amount.currency() != wish.amount.currency() {
        return Err(PaymentError::Currency.into());
    }
    if live.amount != wish.amount || live.customer != wish.customer || live.supplier != wish.supplier {
        return Err(
            PaymentError::State(live.state, "the booking has a live payment of another amount or customer").into()
        );
    }
    // The answer is noted, so that a repeat of this request gets the same payment whatever becomes of it.
    if !remember(tx, caller, "CreatePayment", request, live.id.uuid()).await? {
        return Ok(Opened::Again);
    }
    Ok(Opened::Known(live))
}

impl Desk {
    /// Opens a payment and charges it; a repeat, or a second wish for the same booking, purpose and amount, gets the
    /// payment that is there. PENDING means that the provider has not said yet.
    pub(crate) async fn create(&self, new: New) -> ApiResult<Payment> {
        let desk = self.clone();
        let payment = detached(async move {
            for _ in 0..5 {
                match desk.opener.submit(new.payment.booking, new.clone()).await? {
                    Opened::New(payment) => return desk.charge(payment, true).await,
                    Opened::Known(payment) => return Ok(payment),
                    Opened::Again => {}
                }
            }
            Err(ApiError::overloaded(std::time::Duration::from_millis(100)))
        })
        .await?;
        match (payment.state, &payment.decline_code) {
            (State::Failed, code) => Err(PaymentError::Declined(code.clone().unwrap_or_default()).into()),
            _ => Ok(payment),
        }
    }

    /// Asks the provider for a payment's money, with the key that it always has.
    pub(crate) async fn charge(&self, payment: Payment, is_first: bool) -> ApiResult<Payment> {
        let provider = self.providers.get(&payment.provider)?;
        let intent = PaymentIntent::from(&payment);
        let answer = match self.providers.in_time(provider.create(&intent)).await {
            // Of the first call it is certain that nothing was done. After an earlier one without an answer it is not,
            // so the payment stays open then.
            Err(ProviderError::Refused(why)) if is_first => {
                tracing::error!(payment = %payment.id, provider = provider.name(), why, "the provider refuses our call");
                let standing = Standing::Failed { decline_code: "refused_by_provider".to_owned() };
                Ok(Outcome { reference: None, standing })
            }
            Err(ProviderError::Declined { code, reference }) => {
                Ok(Outcome { reference, standing: Standing::Failed { decline_code: code } })
            }
            other => other,
        };
        self.hear(payment, &provider, "create", answer).await
    }

    /// Captures an authorized payment. AUTHORIZED means that the provider has not said yet; it is asked until it has.
    pub(crate) async fn capture(&self, id: PaymentId, caller: String, request: RequestKey) -> ApiResult<Payment> {
        let desk = self.clone();
        detached(async move {
            let grace = desk.grace;
            let wanted = desk.db.step(Step::WantCapture, move |tx| {
                let (caller, request) = (caller.clone(), request.clone());
                Box::pin(async move { want_capture(tx, id, &caller, &request, grace).await })
            });
            let (payment, is_new) = wanted.await?;
            if is_new { desk.take(payment).await } else { Ok(payment) }
        })
        .await
    }

    /// Asks the provider to capture.
    pub(crate) async fn take(&self, payment: Payment) -> ApiResult<Payment> {
        let provider = self.providers.get(&payment.provider)?;
        let charge = Charge::from(&payment);
        let answer = self.providers.in_time(provider.capture(&charge)).await;
        self.hear(payment, &provider, "capture", answer).await
    }

    /// Books what a call to a provider came to. Without an outcome the payment stays as it is, to be asked about again:
    /// a charge that was not captured or cancelled may still stand.
    pub(crate) async fn hear(
        &self,
        payment: Payment,
        provider: &Arc<dyn Provider>,
        call: &'static str,
        answer: Result<Outcome, ProviderError>,
    ) -> ApiResult<Payment> {
        let outcome = match answer {
            Ok(outcome) => outcome,
            Err(ProviderError::Unknown(why)) => {
                self.counters.unknown(provider.name(), call);
                tracing::info!(payment = %payment.id, provider = provider.name(), call, why, "the outcome is unknown");
                // An event may have told it meanwhile.
                return Ok(store::payments::find(&self.db, payment.id).await?.unwrap_or(payment));
            }
            Err(error) => {
                tracing::error!(payment = %payment.id, provider = provider.name(), call, %error, "the provider does not do it");
                return Ok(payment);
            }
        };
        let booked = self.book(payment.id, Word::Charge(outcome), None).await?;
        Ok(booked.payment.unwrap_or(payment))
    }

    /// Hands the bookkeeper what a provider said.
    pub(crate) async fn book(
        &self,
        payment: PaymentId,
        word: Word,
        event: Option<(String, String)>,
    ) -> ApiResult<Booked> {
        self.books.submit(payment, Report { payment, word, event, span: tracing::Span::current() }).await
    }
}

/// Stores that a payment is to be captured; false: this request came before.
async fn want_capture(
    tx: &mut PgConnection,
    id: PaymentId,
    caller: &str,
    request: &RequestKey,
    grace: TimeDelta,
) -> ApiResult<(Payment, bool)> {
    let mut payment = store::payments::lock_one(tx, id).await?.ok_or(PaymentError::NotFound)?;
    if !remember(tx, caller, "CapturePayment", request, id.uuid()).await? {
        return Ok((payment, false));
    }
    if payment.state != State::Authorized {
        return Err(PaymentError::State(payment.state, "only an AUTHORIZED payment can be captured").into());
    }
    payment.capture_wanted = true;
    payment.version += 1;
    store::payments::update(tx, &[(&payment, Some(grace))]).await?;
    Ok((payment, true))
}
