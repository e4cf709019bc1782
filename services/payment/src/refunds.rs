//! Giving money back: reserved first, asked for until the provider has done it, then booked.
//!
//! What the provider refuses for good, and what has no answer for too long, is given up: it stays reserved, and people
//! decide ([`crate::failed_refunds`]).

use chrono::TimeDelta;
use sqlx::PgConnection;
use tourmesh_kit::{ApiError, ApiResult, db::detached, idempotency::RequestKey};

use crate::{
    bookkeeper::Word,
    desk::Desk,
    domain::payment::{Payment, Refund, State},
    error::{PaymentError, defect},
    provider::{Charge, ProviderError, RefundOrder, RefundStanding},
    steps::Step,
    store,
};

/// The wish to refund, with the request that makes repeats harmless.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// As it is to be stored.
    pub(crate) refund: Refund,
    /// For the record.
    pub(crate) reason: String,
    /// Who asked.
    pub(crate) caller: String,
    /// The request.
    pub(crate) request: RequestKey,
}

impl Desk {
    /// Reserves the money and asks the provider to give it back. A refund that is not settled in the answer is settled
    /// later: it is asked for with the same key until the provider confirms.
    pub(crate) async fn refund(&self, wish: Wish) -> ApiResult<(Refund, Payment)> {
        let desk = self.clone();
        detached(async move {
            let grace = desk.grace;
            let reserved = desk.db.step(Step::Reserve, move |tx| {
                let wish = wish.clone();
                Box::pin(async move { reserve(tx, &wish, grace).await })
            });
            let (refund, payment, is_new) = reserved.await?;
            if !is_new {
                return Ok((refund, payment));
            }
            let charge = Charge::from(&payment);
            let order = RefundOrder { key: refund.id, charge, amount: refund.amount, attempt: 0 };
            match desk.give_back(&payment.provider, &order, true).await? {
                Some(payment) => Ok((Refund { settled: true, ..refund }, payment)),
                None => Ok((refund, payment)),
            }
        })
        .await
    }

    /// Asks the provider for a refund, and books it when it is done. What was asked for before is looked for first: an
    /// answer that was remembered with its key may be out of date, and a key may be forgotten.
    pub(crate) async fn give_back(
        &self,
        provider: &str,
        order: &RefundOrder,
        is_first: bool,
    ) -> ApiResult<Option<Payment>> {
        let provider = self.providers.get(provider)?;
        let known = if is_first { Ok(None) } else { self.providers.in_time(provider.query_refund(order)).await };
        let answer = match known {
            Ok(Some(standing)) => Ok(standing),
            Ok(None) => self.providers.in_time(provider.refund(order)).await,
            Err(error) => Err(error),
        };
        let (problem, refused) = match answer {
            Ok(RefundStanding::Settled) => {
                let booked = self
                    .book(order.charge.key, Word::RefundSettled { refund: order.key, attempt: order.attempt }, None)
                    .await?;
                return Ok(booked.payment);
            }
            Ok(RefundStanding::Pending) => return Ok(None),
            Ok(RefundStanding::Failed(why)) => (why, true),
            Err(ProviderError::Unknown(why)) => {
                self.counters.unknown(provider.name(), "refund");
                tracing::info!(refund = %order.key, provider = provider.name(), why, "the refund's outcome is unknown");
                (why, false)
            }
            Err(error) => (error.to_string(), true),
        };
        let given_up = if refused {
            let word = Word::RefundRefused { refund: order.key, attempt: order.attempt, why: problem.clone() };
            self.book(order.charge.key, word, None).await?.applied
        } else {
            let note = store::refunds::note_problem(&self.db, order.key, &problem, self.refund_tries);
            self.db.single(Step::NoteProblem, note).await?
        };
        if given_up {
            self.counters.refund_given_up(provider.name());
            tracing::error!(refund = %order.key, provider = provider.name(), problem, refused, "a refund is given up; staff decides");
        }
        Ok(None)
    }
}

/// Stores the refund and reserves its money; false: this request came before.
async fn reserve(tx: &mut PgConnection, wish: &Wish, grace: TimeDelta) -> ApiResult<(Refund, Payment, bool)> {
    let refund = &wish.refund;
    let mut payment = store::payments::lock_one(tx, refund.payment).await?.ok_or(PaymentError::NotFound)?;
    if let Some((known, hash)) = store::refunds::of_request(tx, &wish.caller, &wish.request.id).await? {
        wish.request.check(&hash)?;
        return Ok((known, payment, false));
    }
    if payment.amount.currency() != refund.amount.currency() {
        return Err(PaymentError::Currency.into());
    }
    if payment.state != State::Captured {
        return Err(PaymentError::State(payment.state, "only a CAPTURED payment can be refunded").into());
    }
    let left = payment.captured.sub(payment.refunded).map_err(defect)?;
    if !store::refunds::reserve(tx, refund).await? {
        return Err(PaymentError::RefundTooLarge(left).into());
    }
    if !store::refunds::insert(tx, refund, &wish.reason, &wish.caller, &wish.request, grace).await? {
        // The same request_id for another payment, at this very moment.
        return Err(wish.request.check(&[]).err().unwrap_or_else(|| ApiError::internal("a refund was stored twice")));
    }
    payment.refunded = payment.refunded.add(refund.amount).map_err(defect)?;
    payment.version += 1;
    Ok((refund.clone(), payment, true))
}
