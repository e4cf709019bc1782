//! Where everything that a provider says takes effect: answers, events and queries alike, once, in batches.
//!
//! One batch is one transaction: the dedupe rows of provider events, the payments (locked in id order), the refunds, the
//! ledger entries and the events of every change. Whatever arrives twice, late or in another order changes nothing.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use tourmesh_kit::{
    ApiResult,
    db::Db,
    events::{Event, outbox},
    lanes::Combined,
};

use crate::{
    domain::{
        PaymentId, RefundId, ledger,
        payment::{Lesson, Outcome, Payment, Refund, State},
    },
    error::defect,
    events,
    steps::Step,
    store::{self, ledger::Transaction},
    telemetry::Counters,
};

/// How soon the reconciler asks about a payment that waits for its customer, or for a capture.
const WATCH_OPEN: TimeDelta = TimeDelta::seconds(15);
const WATCH_UNANSWERED: TimeDelta = TimeDelta::seconds(3);

/// What a provider said.
#[derive(Debug, Clone)]
pub(crate) enum Word {
    /// How the charge stands.
    Charge(Outcome),
    /// The refund is done.
    RefundSettled(RefundId),
    /// Nothing that changes anything; only the event is remembered.
    Nothing,
}

/// What a provider said about one payment.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) payment: PaymentId,
    pub(crate) word: Word,
    /// Provider and id of the event that said it; an event has its effect once.
    pub(crate) event: Option<(String, String)>,
    /// The span in which it was heard: its events belong to that trace.
    pub(crate) span: tracing::Span,
}

/// What came of a report.
#[derive(Debug, Clone)]
pub(crate) struct Booked {
    /// As it is now; `None`: there is no such payment.
    pub(crate) payment: Option<Payment>,
    /// The report changed something.
    pub(crate) applied: bool,
}

/// Writes batches of reports.
#[derive(Debug)]
pub(crate) struct Bookkeeper {
    pub(crate) db: Db,
    pub(crate) commission_percent: Decimal,
    pub(crate) counters: Counters,
    /// How long money stays reserved that nobody captures.
    pub(crate) reserved: TimeDelta,
}

/// The books while a batch is worked through.
#[derive(Default)]
struct Batch {
    payments: BTreeMap<PaymentId, Payment>,
    refunds: BTreeMap<RefundId, Refund>,
    changed: HashSet<PaymentId>,
    settled: Vec<uuid::Uuid>,
    transactions: Vec<Transaction>,
    events: Vec<Event>,
}

impl Combined for Bookkeeper {
    type Item = Report;
    type Output = Booked;

    fn write<'a>(&'a self, reports: &'a [Report]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<Booked>>>> {
        Box::pin(async move {
            let mut tx = self.db.begin().await?;
            let repeats = remember_events(&mut tx, reports).await?;
            let mut batch = Batch::read(&mut tx, reports).await?;
            let now = store::now();
            let answers = reports
                .iter()
                .enumerate()
                .map(|(index, report)| {
                    let applied = !repeats.contains(&index) && self.take_in(&mut batch, report, now)?;
                    Ok(Booked { payment: batch.payments.get(&report.payment).cloned(), applied })
                })
                .collect();
            batch.write(&mut tx, self.reserved).await?;
            self.db.commit(Step::Book, tx).await?;
            Ok(answers)
        })
    }
}

impl Bookkeeper {
    /// One report's effect on the batch; false: none.
    fn take_in(&self, batch: &mut Batch, report: &Report, now: DateTime<Utc>) -> ApiResult<bool> {
        let Some(payment) = batch.payments.get_mut(&report.payment) else { return Ok(false) };
        match &report.word {
            Word::Charge(outcome) => {
                let lesson = payment.learn(outcome, now, self.commission_percent).map_err(defect)?;
                match lesson {
                    Lesson::Nothing => return Ok(false),
                    Lesson::Contradiction => {
                        self.counters.contradiction(&payment.provider);
                        tracing::error!(payment = %payment.id, state = payment.state.as_str(), ?outcome, "the provider contradicts what is booked");
                        return Ok(false);
                    }
                    Lesson::Noted => {}
                    Lesson::Happened(happening) => {
                        if payment.state == State::Captured {
                            let movements = ledger::capture(
                                &payment.provider,
                                payment.supplier,
                                payment.captured,
                                payment.commission,
                            );
                            batch.transactions.push(Transaction {
                                payment: payment.id,
                                kind: ledger::Kind::Capture,
                                cause: payment.id.uuid(),
                                movements: movements.map_err(defect)?,
                                at: now,
                            });
                        }
                        batch.events.push(report.span.in_scope(|| events::moved(happening, payment)));
                    }
                }
            }
            Word::RefundSettled(id) => {
                let Some(refund) = batch.refunds.get_mut(id).filter(|r| r.payment == payment.id && !r.settled) else {
                    return Ok(false);
                };
                let commission = payment.settle(refund.amount).map_err(defect)?;
                refund.settled = true;
                let movements = ledger::refund(&payment.provider, payment.supplier, refund.amount, commission);
                batch.transactions.push(Transaction {
                    payment: payment.id,
                    kind: ledger::Kind::Refund,
                    cause: id.uuid(),
                    movements: movements.map_err(defect)?,
                    at: now,
                });
                batch.settled.push(id.uuid());
                batch.events.push(report.span.in_scope(|| events::refunded(payment, refund)));
            }
            Word::Nothing => return Ok(false),
        }
        batch.changed.insert(report.payment);
        Ok(true)
    }
}

impl Batch {
    async fn read(tx: &mut PgConnection, reports: &[Report]) -> ApiResult<Self> {
        let mut ids: Vec<_> = reports.iter().map(|r| r.payment.uuid()).collect();
        ids.sort_unstable();
        ids.dedup();
        let payments = store::payments::lock(tx, &ids).await?.into_iter().map(|p| (p.id, p)).collect();
        let refunds: Vec<_> = reports
            .iter()
            .filter_map(|r| if let Word::RefundSettled(id) = r.word { Some(id.uuid()) } else { None })
            .collect();
        // The lock of their payment is theirs too: nobody else settles them meanwhile.
        let refunds = if refunds.is_empty() { Vec::new() } else { store::refunds::find(tx, &refunds).await? };
        Ok(Self { payments, refunds: refunds.into_iter().map(|r| (r.id, r)).collect(), ..Self::default() })
    }

    async fn write(&self, tx: &mut PgConnection, reserved: TimeDelta) -> ApiResult<()> {
        let changed: Vec<_> =
            self.payments.values().filter(|p| self.changed.contains(&p.id)).map(|p| (p, watch(p, reserved))).collect();
        store::payments::update(tx, &changed).await?;
        store::refunds::settle(tx, &self.settled).await?;
        store::ledger::book(tx, &self.transactions).await?;
        outbox::append(tx, &self.events).await
    }
}

/// When the reconciler is to look at a payment that has just changed.
fn watch(payment: &Payment, reserved: TimeDelta) -> Option<TimeDelta> {
    match payment.state {
        State::Pending => Some(WATCH_UNANSWERED),
        State::RequiresAction => Some(WATCH_OPEN),
        State::Authorized => Some(if payment.capture_wanted { WATCH_UNANSWERED } else { reserved }),
        State::Captured | State::Failed | State::Cancelled => None,
    }
}

/// Stores the ids of the reports' events; answers which reports come from events that had their effect before.
async fn remember_events(tx: &mut PgConnection, reports: &[Report]) -> ApiResult<HashSet<usize>> {
    let (mut providers, mut ids) = (Vec::new(), Vec::new());
    for (provider, id) in reports.iter().filter_map(|r| r.event.as_ref()) {
        providers.push(provider.as_str());
        ids.push(id.as_str());
    }
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let new: Vec<(String, String)> = sqlx::query_as(
        "INSERT INTO provider_events (provider, event_id)
         SELECT DISTINCT e.provider, e.id FROM unnest($1::text[], $2::text[]) AS e (provider, id) ORDER BY 1, 2
         ON CONFLICT DO NOTHING RETURNING provider, event_id",
    )
    .bind(providers)
    .bind(ids)
    .fetch_all(tx)
    .await?;
    let mut new: HashSet<_> = new.into_iter().collect();
    // The first report of a new event takes it; the same event further down the batch is a repeat.
    Ok(reports
        .iter()
        .enumerate()
        .filter(|(_, r)| r.event.as_ref().is_some_and(|event| !new.remove(event)))
        .map(|(index, _)| index)
        .collect())
}
