//! Domain to wire, nothing else.

use tourmesh::payment::v1 as wire;
use tourmesh_kit::{ApiResult, time};

use crate::{
    domain::{
        PaymentId, TransactionId,
        dispute::{self, Dispute},
        payment::{Payment, Refund, State},
    },
    store::{self, ledger},
};

/// A payment as callers and events see it.
pub(crate) fn payment(payment: &Payment) -> wire::Payment {
    wire::Payment {
        id: payment.id.to_string(),
        booking_id: payment.booking.to_string(),
        customer_id: payment.customer.to_string(),
        supplier_id: payment.supplier.to_string(),
        state: state(payment.state).into(),
        amount: Some(payment.amount.to_wire()),
        captured: Some(payment.captured.to_wire()),
        refunded: Some(payment.refunded.to_wire()),
        provider: payment.provider.clone(),
        provider_reference: payment.reference.clone().unwrap_or_default(),
        next_action_url: payment.next_action_url.clone().unwrap_or_default(),
        decline_code: payment.decline_code.clone().unwrap_or_default(),
        created_at: Some(time::to_wire(payment.created_at)),
        captured_at: payment.captured_at.map(time::to_wire),
        version: payment.version,
        purpose: payment.purpose.clone(),
        tax: Some(payment.tax.to_wire()),
    }
}

/// A refund as callers and events see it.
pub(crate) fn refund(refund: &Refund) -> wire::Refund {
    wire::Refund {
        id: refund.id.to_string(),
        payment_id: refund.payment.to_string(),
        amount: Some(refund.amount.to_wire()),
        settled: refund.settled,
    }
}

/// A dispute as staff and events see it.
pub(crate) fn dispute(payment: &Payment, dispute: &Dispute) -> wire::Dispute {
    wire::Dispute {
        id: dispute.id.to_string(),
        payment_id: payment.id.to_string(),
        booking_id: payment.booking.to_string(),
        customer_id: payment.customer.to_string(),
        supplier_id: payment.supplier.to_string(),
        provider: payment.provider.clone(),
        provider_reference: dispute.reference.clone(),
        amount: Some(dispute.amount.to_wire()),
        withdrawn: Some(dispute.withdrawn.to_wire()),
        reason: dispute.reason.clone(),
        status: dispute.status.clone(),
        state: match dispute.state {
            dispute::State::Open => wire::DisputeState::Open,
            dispute::State::Won => wire::DisputeState::Won,
            dispute::State::Lost => wire::DisputeState::Lost,
            dispute::State::Closed => wire::DisputeState::Closed,
        }
        .into(),
        evidence_by: dispute.evidence_by.map(time::to_wire),
        created_at: Some(time::to_wire(dispute.created_at)),
    }
}

/// A movement of the ledger.
pub(crate) fn entry(entry: ledger::Model) -> ApiResult<wire::LedgerEntry> {
    Ok(wire::LedgerEntry {
        transaction_id: TransactionId::from_uuid(entry.transaction_id).to_string(),
        amount: Some(store::money(entry.amount, &entry.currency)?.to_wire()),
        account: entry.account,
        payment_id: PaymentId::from_uuid(entry.payment_id).to_string(),
        kind: entry.kind,
        booked_at: Some(time::to_wire(entry.booked_at)),
    })
}

/// A balance.
pub(crate) fn balance(balance: ledger::Balance) -> ApiResult<wire::Balance> {
    let money = store::money(balance.balance, &balance.currency)?;
    Ok(wire::Balance { account: balance.account, balance: Some(money.to_wire()) })
}

const fn state(state: State) -> wire::PaymentState {
    match state {
        State::Pending => wire::PaymentState::Pending,
        State::RequiresAction => wire::PaymentState::RequiresAction,
        State::Authorized => wire::PaymentState::Authorized,
        State::Captured => wire::PaymentState::Captured,
        State::Failed => wire::PaymentState::Failed,
        State::Cancelled => wire::PaymentState::Cancelled,
    }
}
