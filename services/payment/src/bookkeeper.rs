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
        DisputeId, PaymentId, RefundId,
        dispute::{Dispute, News},
        ledger,
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
    RefundSettled { refund: RefundId, attempt: i32 },
    /// The refund is not done, and never will be; also of one that was done, whose money came back.
    RefundRefused { refund: RefundId, attempt: i32, why: String },
    /// How a dispute stands.
    Disputed(Box<News>),
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
    /// By payment, which is locked, and the provider's own id.
    disputes: BTreeMap<(PaymentId, String), Dispute>,
    changed: HashSet<PaymentId>,
    settled: Vec<uuid::Uuid>,
    refused: Vec<(uuid::Uuid, String)>,
    disputed: HashSet<(PaymentId, String)>,
    /// What is booked of disputes: under which of their movements, as which cause.
    movements: Vec<(DisputeId, String, uuid::Uuid)>,
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
                            let shares = ledger::Shares { commission: payment.commission, tax: payment.tax };
                            let movements = ledger::capture(payment.parties(), payment.captured, shares);
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
            Word::RefundSettled { refund: id, attempt } => {
                // That it was not done is the last word of an attempt, whenever it came.
                let is_news =
                    |r: &&mut Refund| r.payment == payment.id && !(r.settled || r.refused && r.attempt == *attempt);
                let Some(refund) = batch.refunds.get_mut(id).filter(is_news) else { return Ok(false) };
                let shares = payment.settle(refund.amount).map_err(defect)?;
                refund.settled = true;
                let movements = ledger::refund(payment.parties(), refund.amount, shares);
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
            Word::RefundRefused { refund: id, attempt, why } => {
                let is_news = |r: &&mut Refund| r.payment == payment.id && r.attempt == *attempt && !r.refused;
                let Some(refund) = batch.refunds.get_mut(id).filter(is_news) else { return Ok(false) };
                refund.refused = true;
                batch.refused.push((id.uuid(), why.clone()));
                if refund.settled {
                    batch.transactions.push(Transaction {
                        payment: payment.id,
                        kind: ledger::Kind::RefundReturned,
                        cause: id.uuid(),
                        movements: ledger::refund_returned(payment.parties(), refund.amount),
                        at: now,
                    });
                }
                // Nothing of the payment itself has changed.
                return Ok(true);
            }
            Word::Disputed(news) => {
                let key = (payment.id, news.reference.clone());
                let dispute = batch
                    .disputes
                    .entry(key.clone())
                    .or_insert_with(|| Dispute::new(DisputeId::new(), payment.id, news, now));
                let Some(bookings) = dispute.learn(news, &payment.provider).map_err(defect)? else { return Ok(false) };
                for booking in bookings {
                    let cause = uuid::Uuid::now_v7();
                    batch.movements.push((dispute.id, booking.reference, cause));
                    batch.transactions.push(Transaction {
                        payment: payment.id,
                        kind: booking.kind,
                        cause,
                        movements: booking.movements,
                        at: now,
                    });
                }
                batch.events.push(report.span.in_scope(|| events::disputed(payment, dispute)));
                batch.disputed.insert(key);
                return Ok(true);
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
            .filter_map(|r| match r.word {
                Word::RefundSettled { refund, .. } | Word::RefundRefused { refund, .. } => Some(refund.uuid()),
                _ => None,
            })
            .collect();
        // The lock of their payment is theirs too: nobody else changes them meanwhile.
        let refunds = if refunds.is_empty() { Vec::new() } else { store::refunds::find(tx, &refunds).await? };
        let disputed: Vec<_> = reports
            .iter()
            .filter_map(|r| if let Word::Disputed(_) = r.word { Some(r.payment.uuid()) } else { None })
            .collect();
        let disputes =
            if disputed.is_empty() { Vec::new() } else { store::disputes::of_payments(tx, &disputed).await? };
        Ok(Self {
            payments,
            refunds: refunds.into_iter().map(|r| (r.id, r)).collect(),
            disputes: disputes.into_iter().map(|d| ((d.payment, d.reference.clone()), d)).collect(),
            ..Self::default()
        })
    }

    async fn write(&self, tx: &mut PgConnection, reserved: TimeDelta) -> ApiResult<()> {
        let changed: Vec<_> =
            self.payments.values().filter(|p| self.changed.contains(&p.id)).map(|p| (p, watch(p, reserved))).collect();
        store::payments::update(tx, &changed).await?;
        store::refunds::settle(tx, &self.settled).await?;
        store::refunds::refuse(tx, &self.refused).await?;
        let disputed: Vec<_> =
            self.disputes.iter().filter(|(key, _)| self.disputed.contains(*key)).map(|(_, dispute)| dispute).collect();
        store::disputes::save(tx, &disputed, &self.movements).await?;
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
