//! Resolves what is open: outcomes that never came, second steps that nobody took, reserved money that nobody captured,
//! refunds that are not confirmed.
//!
//! It takes what is due in batches (other replicas take other rows), asks the provider about the same key, and books the
//! answer like any other. Nothing is ever tried with a new key.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, stream};
use tourmesh_kit::{ApiResult, shutdown::Shutdown};

use crate::{
    desk::Desk,
    domain::payment::{Payment, Standing, State},
    provider::Charge,
    store,
};

const PAUSE: Duration = Duration::from_secs(1);
/// How many rows one look takes, and how many calls to providers are under way at once.
const MOST: i64 = 200;
const AT_ONCE: usize = 16;
/// Event ids are kept longer than any provider repeats its events.
const EVENTS_KEPT: &str = "DELETE FROM provider_events WHERE (provider, event_id) IN
    (SELECT provider, event_id FROM provider_events WHERE received_at < now() - interval '60 days' LIMIT 5000)";
const PRUNE_EVERY: u32 = 600;

/// How long things may wait for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the customer's second step.
    pub(crate) action: TimeDelta,
    /// For the capture of what is reserved.
    pub(crate) reserved: TimeDelta,
}

/// Runs until shutdown. A failure is told and the work goes on.
pub(crate) async fn run(desk: Desk, patience: Patience, shutdown: Shutdown) {
    let mut rounds = 0_u32;
    while shutdown.sleep(PAUSE).await {
        if let Err(error) = round(&desk, patience).await {
            tracing::warn!(%error, "open payments could not be looked at");
        }
        rounds = rounds.wrapping_add(1);
        if rounds.is_multiple_of(PRUNE_EVERY)
            && let Err(error) = sqlx::query(EVENTS_KEPT).execute(desk.db.pool()).await
        {
            tracing::warn!(%error, "old event ids could not be deleted");
        }
    }
}

async fn round(desk: &Desk, patience: Patience) -> ApiResult<()> {
    loop {
        let payments = store::payments::take_due(&desk.db, MOST).await?;
        let refunds = store::refunds::take_due(&desk.db, MOST).await?;
        let full = i64::try_from(payments.len().max(refunds.len())).is_ok_and(|n| n >= MOST);
        stream::iter(payments)
            .for_each_concurrent(AT_ONCE, |payment| async move {
                let id = payment.id;
                if let Err(error) = Box::pin(resolve(desk, payment, patience)).await {
                    tracing::warn!(payment = %id, %error, "an open payment could not be resolved yet");
                }
            })
            .await;
        stream::iter(refunds)
            .for_each_concurrent(AT_ONCE, |(provider, order)| async move {
                if let Err(error) = desk.give_back(&provider, &order, false).await {
                    tracing::warn!(refund = %order.key, %error, "an open refund could not be resolved yet");
                }
            })
            .await;
        if !full {
            return Ok(());
        }
    }
}

/// Longer than a first call to a provider can take, whatever its time bound is set to.
const FIRST_CALL: TimeDelta = TimeDelta::minutes(2);

/// Asks the provider how a payment stands and books the answer.
async fn resolve(desk: &Desk, payment: Payment, patience: Patience) -> ApiResult<()> {
    let provider = desk.providers.get(&payment.provider)?;
    let charge = Charge::from(&payment);
    let age = Utc::now() - payment.created_at;
    let is_reserved = payment.state == State::Authorized && !payment.capture_wanted;
    let given_up = match payment.state {
        State::RequiresAction => age > patience.action,
        State::Authorized => is_reserved && age > patience.reserved,
        _ => false,
    };
    if given_up {
        let answer = desk.providers.in_time(provider.cancel(&charge)).await;
        desk.hear(payment, &provider, "cancel", answer).await?;
        return Ok(());
    }
    match desk.providers.in_time(provider.query(&charge)).await {
        // A crash came before the call, or the call before the provider: the same key, as if for the first time.
        Ok(None) if payment.state == State::Pending => {
            // Once the first call must have ended, whatever it was, a refusal is final.
            desk.charge(payment, age > FIRST_CALL).await?;
        }
        Ok(None) => {
            tracing::error!(payment = %payment.id, provider = provider.name(), "the provider has forgotten a charge")
        }
        Ok(Some(outcome)) => {
            let reserved = outcome.standing == Standing::Authorized;
            let payment = desk.hear(payment, &provider, "query", Ok(outcome)).await?;
            if reserved && payment.state == State::Authorized && payment.capture_wanted {
                desk.take(payment).await?;
            } else if is_reserved && payment.state == State::Authorized {
                let until = payment.created_at.checked_add_signed(patience.reserved);
                store::watch::leave_reserved(&desk.db, payment.id, until.unwrap_or(DateTime::<Utc>::MAX_UTC)).await?;
            }
        }
        Err(error) => {
            desk.counters.unknown(provider.name(), "query");
            tracing::info!(payment = %payment.id, provider = provider.name(), %error, "the provider could not be asked");
        }
    }
    Ok(())
}
