//! Refunds that were given up: the list that staff sees, and another try when somebody says so.
//!
//! What the provider has said it did not do is tried anew as another work with another key; what has had no answer is
//! asked for with the key that it had, because it may have been done.

use chrono::TimeDelta;
use sqlx::PgConnection;
use tourmesh::payment::v1 as wire;
use tourmesh_kit::{
    ApiResult,
    db::detached,
    idempotency::{RequestKey, remember},
    page, time,
};

use crate::{
    convert,
    desk::Desk,
    domain::{RefundId, payment::Refund},
    error::PaymentError,
    provider::{Charge, RefundOrder},
    steps::Step,
    store::{self, failed_refunds::Failed},
};

const FILTERS: &[u8] = b"ListFailedRefunds";

impl Desk {
    /// A page of the list, newest first.
    pub(crate) async fn failed_refunds(
        &self,
        request: &wire::ListFailedRefundsRequest,
    ) -> ApiResult<wire::ListFailedRefundsResponse> {
        let before: Option<uuid::Uuid> = page::read(&request.page_token, FILTERS)?;
        let size = page::size(request.page_size, 50, 200);
        let mut failed = store::failed_refunds::list(&self.db, before, i64::from(size) + 1).await?;
        let more = failed.len() > usize::try_from(size).unwrap_or(usize::MAX);
        if more {
            failed.pop();
        }
        let next_page_token = match failed.last() {
            Some(last) if more => page::token(&last.refund.id.uuid(), FILTERS),
            _ => String::new(),
        };
        Ok(wire::ListFailedRefundsResponse { refunds: failed.into_iter().map(told).collect(), next_page_token })
    }

    /// Asks the provider once more. A repeat of the request gets the refund as it is.
    pub(crate) async fn retry_refund(&self, id: RefundId, caller: String, request: RequestKey) -> ApiResult<Refund> {
        let desk = self.clone();
        detached(async move {
            let grace = desk.grace;
            let wanted = desk.db.step(Step::RetryRefund, move |tx| {
                let (caller, request) = (caller.clone(), request.clone());
                Box::pin(async move { want_again(tx, id, &caller, &request, grace).await })
            });
            let (failed, is_new) = wanted.await?;
            if !is_new {
                return Ok(failed.refund);
            }
            let charge = Charge { key: failed.refund.payment, reference: failed.reference };
            let order = RefundOrder { key: id, charge, amount: failed.refund.amount, attempt: failed.refund.attempt };
            let settled = desk.give_back(&failed.provider, &order, false).await?.is_some();
            Ok(Refund { settled, ..failed.refund })
        })
        .await
    }
}

/// Puts a refund back to work; false: this request came before.
async fn want_again(
    tx: &mut PgConnection,
    id: RefundId,
    caller: &str,
    request: &RequestKey,
    grace: TimeDelta,
) -> ApiResult<(Failed, bool)> {
    let mut failed = store::failed_refunds::lock(tx, id).await?.ok_or(PaymentError::RefundNotFound)?;
    if !remember(tx, caller, "RetryRefund", request, id.uuid()).await? {
        return Ok((failed, false));
    }
    if failed.given_up_at.is_none() {
        return Err(PaymentError::RefundState("the refund is not given up; it is done, or being worked on").into());
    }
    if failed.refund.settled {
        let taken_back = "the provider had confirmed the refund and took it back; return the money in another way";
        return Err(PaymentError::RefundState(taken_back).into());
    }
    failed.refund.attempt = store::failed_refunds::again(tx, id, grace).await?;
    failed.refund.refused = false;
    Ok((failed, true))
}

fn told(failed: Failed) -> wire::FailedRefund {
    wire::FailedRefund {
        refund: Some(convert::refund(&failed.refund)),
        booking_id: failed.booking.to_string(),
        customer_id: failed.customer.to_string(),
        supplier_id: failed.supplier.to_string(),
        provider: failed.provider,
        provider_reference: failed.reference.unwrap_or_default(),
        reason: failed.reason,
        problem: failed.problem,
        refused: failed.refund.refused,
        given_up_at: failed.given_up_at.map(time::to_wire),
    }
}
