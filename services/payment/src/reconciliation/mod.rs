//! Reconciliation: our payments and refunds of a period beside the provider's own list of it.
//!
//! Every difference is reported: what is missing here or there, other amounts, other standings. Mended is only what the
//! provider's word moves forward as an answer or an event would have: a payment that is open here and decided there, a
//! refund that is not confirmed here and done there. Whatever contradicts what is booked, and whatever nobody here has
//! ever heard of, is for people.
//!
//! `compare` is the part that decides, without database and provider; `reconcile` fetches and mends.

mod compare;

use std::{fmt, time::Duration};

use chrono::{TimeDelta, Utc};
use tourmesh_kit::{ApiError, ApiResult, config::Env, db::Db, shutdown::Shutdown};

use crate::{
    Config,
    bookkeeper::Word,
    desk::Desk,
    provider::{Charge, ListedCharge, ListedRefund, Period, Provider, ProviderError},
    store,
    telemetry::Counters,
};
pub use compare::{Difference, Kind};

/// What is younger may still be under way on either side.
const UNDER_WAY: TimeDelta = TimeDelta::minutes(2);
/// How much earlier or later than here something may have been made there: clocks, and calls that were repeated for as
/// long as keys live.
const EARLIER: TimeDelta = TimeDelta::minutes(5);
const LATER: TimeDelta = TimeDelta::hours(24);

/// How soon after its start a role compares for the first time.
const SOON: Duration = Duration::from_mins(15);

/// What a comparison came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The provider.
    pub provider: &'static str,
    /// Payments and refunds of ours in the period.
    pub ours: usize,
    /// Charges and refunds of theirs.
    pub theirs: usize,
    /// Where they differ.
    pub differences: Vec<Difference>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Config(#[from] tourmesh_kit::config::ConfigError),
    /// Our own database, or a defect.
    #[error("our own books cannot be read: {0}")]
    Own(#[from] ApiError),
    /// The provider.
    #[error("{0} does not list what it has: {1}")]
    Provider(&'static str, ProviderError),
}

/// Compares with all configured providers, as the command line does it: no role needs to run.
///
/// # Errors
/// When settings are missing, or a side cannot be read.
pub async fn of_env(env: &Env, period: Period, repair: bool) -> Result<Vec<Report>, ReconcileError> {
    let config = Config::of_env(env)?;
    let db = Db::of_env(env)?;
    let counters = Counters::new(&opentelemetry::global::meter("tourmesh-payment"));
    let (desk, _) = crate::desk(&config, db, counters)?;
    let mut reports = Vec::new();
    for provider in desk.providers.all() {
        reports.push(reconcile(&desk, &**provider, period, repair).await?);
    }
    Ok(reports)
}

/// Compares by itself every so often, until shutdown: the last two periods, so that what was under way the last time is
/// seen settled.
pub(crate) async fn run(desk: Desk, every: Duration, shutdown: Shutdown) {
    let length = TimeDelta::from_std(every).unwrap_or(TimeDelta::days(1));
    // A role that is replaced every day compares all the same.
    let mut pause = every.min(SOON);
    while shutdown.sleep(std::mem::replace(&mut pause, every)).await {
        let now = Utc::now();
        let period = Period { from: now - length * 2, to: now };
        for provider in desk.providers.all() {
            match reconcile(&desk, &**provider, period, true).await {
                Ok(report) => tell(&report),
                Err(error) => tracing::warn!(%error, "payments could not be compared with the provider's list"),
            }
        }
    }
}

fn tell(report: &Report) {
    for difference in &report.differences {
        tracing::warn!(provider = report.provider, %difference, "our books and the provider's list differ");
    }
    let (ours, theirs, differences) = (report.ours, report.theirs, report.differences.len());
    tracing::info!(
        provider = report.provider,
        ours,
        theirs,
        differences,
        "payments were compared with the provider's list"
    );
}

/// Compares with one provider.
pub(crate) async fn reconcile(
    desk: &Desk,
    provider: &dyn Provider,
    period: Period,
    repair: bool,
) -> Result<Report, ReconcileError> {
    let name = provider.name();
    let wide = Period { from: period.from - EARLIER, to: period.to + LATER };
    let charges = all(|after| async move { desk.providers.in_time(provider.charges(wide, after.as_deref())).await });
    let charges = charges.await.map_err(|e| ReconcileError::Provider(name, e))?;
    let refunds = all(|after| async move { desk.providers.in_time(provider.refunds(wide, after.as_deref())).await });
    let refunds = refunds.await.map_err(|e| ReconcileError::Provider(name, e))?;

    let still = Utc::now() - UNDER_WAY;
    let mut ours = store::period::payments(&desk.db, name, period).await?;
    let mut our_refunds = store::period::refunds(&desk.db, name, period).await?;
    let mut report = Report { provider: name, ours: ours.len() + our_refunds.len(), ..Report::default() };
    // What they have in the period and we have at another time.
    let in_period = |at| at >= period.from && at < period.to;
    let known: Vec<_> = ours.iter().map(|p| p.id).collect();
    let more: Vec<_> = charges
        .iter()
        .filter(|c| in_period(c.created_at))
        .filter_map(|c| c.key.filter(|key| !known.contains(key)).map(|key| key.uuid()))
        .collect();
    ours.extend(store::period::payments_of(&desk.db, &more).await?);
    let known: Vec<_> = our_refunds.iter().map(|r| r.id).collect();
    let more: Vec<_> = refunds
        .iter()
        .filter(|r| in_period(r.created_at))
        .filter_map(|r| r.key.filter(|key| !known.contains(key)).map(|key| key.uuid()))
        .collect();
    our_refunds.extend(store::period::refunds_of(&desk.db, &more).await?);
    report.theirs = charges.iter().filter(|c| in_period(c.created_at)).count()
        + refunds.iter().filter(|r| in_period(r.created_at)).count();

    let in_scope: Vec<ListedCharge> = charges
        .into_iter()
        .filter(|c| in_period(c.created_at) || c.key.is_some_and(|k| ours.iter().any(|p| p.id == k)))
        .collect();
    let refunds_in_scope: Vec<ListedRefund> = refunds
        .into_iter()
        .filter(|r| in_period(r.created_at) || r.key.is_some_and(|k| our_refunds.iter().any(|o| o.refund.id == k)))
        .collect();
    let mut differences = compare::payments(&ours, &in_scope, still);
    differences.extend(compare::refunds(&our_refunds, &refunds_in_scope, still));
    for difference in &mut differences {
        desk.counters.difference(name, difference.kind.as_str());
        if repair {
            difference.mended = mend(desk, provider, difference).await?;
        }
    }
    report.differences = differences;
    Ok(report)
}

/// All pages of a list.
async fn all<T, F, Fut>(page: F) -> Result<Vec<T>, ProviderError>
where
    F: Fn(Option<String>) -> Fut,
    Fut: Future<Output = Result<crate::provider::Listing<T>, ProviderError>>,
{
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let listing = page(after).await?;
        items.extend(listing.items);
        match listing.next {
            Some(next) => after = Some(next),
            None => return Ok(items),
        }
    }
}

/// Books what the provider has told, when that moves something forward. Lists may lag, so a missing charge is asked for
/// by name before anybody is told that it is missing.
async fn mend(desk: &Desk, provider: &dyn Provider, difference: &Difference) -> ApiResult<bool> {
    match &difference.remedy {
        compare::Remedy::None => Ok(false),
        compare::Remedy::Learn { payment, outcome } => {
            Ok(desk.book(*payment, Word::Charge(outcome.clone()), None).await?.applied)
        }
        compare::Remedy::Settle { payment, refund, attempt } => {
            Ok(desk.book(*payment, Word::RefundSettled { refund: *refund, attempt: *attempt }, None).await?.applied)
        }
        compare::Remedy::Refuse { payment, refund, attempt, why } => {
            let word = Word::RefundRefused { refund: *refund, attempt: *attempt, why: why.clone() };
            Ok(desk.book(*payment, word, None).await?.applied)
        }
        compare::Remedy::Ask { payment, reference } => {
            let charge = Charge { key: *payment, reference: reference.clone() };
            match desk.providers.in_time(provider.query(&charge)).await {
                Ok(Some(outcome)) => Ok(desk.book(*payment, Word::Charge(outcome), None).await?.applied),
                _ => Ok(false),
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.differences.iter().filter(|d| !d.mended).count();
        let mended = self.differences.len() - open;
        write!(
            f,
            "{}: {} here, {} there, {mended} differences mended, {open} open",
            self.provider, self.ours, self.theirs
        )
    }
}
