//! Sees to it that every refund that was decided reaches Payment: the state is in the database, and this only reads and
//! repairs it. A refund is asked for under one request id, so asking twice is one refund.

use std::{pin::pin, time::Duration};

use futures_util::{StreamExt as _, stream};
use tourmesh::payment::v1::{RefundPaymentRequest, payment_service_client::PaymentServiceClient};
use tourmesh_kit::{ApiError, ApiResult, ErrorReason, client::MeshChannel, db::Db, shutdown::Shutdown};

use crate::steps::Step;
use crate::store::refund_tasks::{self, Leased};

/// How many tasks are taken at once, and how many of them are asked for at a time.
const BATCH: i64 = 64;
const AT_ONCE: usize = 16;
/// How often the table is read without a wake-up.
const POLL: Duration = Duration::from_secs(1);

/// Works until shutdown.
pub(crate) async fn run(db: Db, payments: PaymentServiceClient<MeshChannel>, shutdown: Shutdown) {
    let signal = db.commit_signal();
    while !shutdown.is_triggered() {
        // Registered before the look, so that no commit falls between look and wait.
        let mut committed = pin!(signal.notified());
        committed.as_mut().enable();
        match lease(&db).await {
            Ok(tasks) if tasks.is_empty() => {}
            Ok(tasks) => {
                let (db, payments) = (&db, &payments);
                stream::iter(tasks).for_each_concurrent(AT_ONCE, |task| attend(db, payments, task)).await;
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "refunds cannot be read yet");
                shutdown.sleep(POLL).await;
            }
        }
        tokio::select! {
            _ = tokio::time::timeout(POLL, committed) => {
                // Commits come by the thousand; a refund can wait a moment for company.
                shutdown.sleep(Duration::from_millis(20)).await;
            }
            () = shutdown.triggered() => return,
        }
    }
}

async fn lease(db: &Db) -> ApiResult<Vec<Leased>> {
    // Looking is no write: it wakes nobody.
    if !refund_tasks::any_due(&mut *db.pool().acquire().await?).await? {
        return Ok(Vec::new());
    }
    db.step(Step::LeaseRefunds, |tx| Box::pin(refund_tasks::lease(tx, BATCH))).await
}

async fn attend(db: &Db, payments: &PaymentServiceClient<MeshChannel>, task: Leased) {
    let outcome = ask(payments, &task).await;
    let id = task.id;
    let noted = match outcome {
        Ok(()) => db.step(Step::RefundAsked, move |tx| Box::pin(refund_tasks::done(tx, id))).await,
        Err(error) => {
            let wait = wait_seconds(task.tries, error.reason());
            tracing::warn!(booking = %task.booking, payment = %task.payment, tries = task.tries, wait, %error, "a refund has to be tried again");
            let text = error.to_string();
            db.step(Step::RefundFailed, move |tx| {
                let text = text.clone();
                Box::pin(async move { refund_tasks::failed(tx, id, &text, wait).await })
            })
            .await
        }
    };
    if let Err(error) = noted {
        // The lease runs out, and the same request is made again.
        tracing::warn!(%error, "the outcome of a refund could not be noted");
    }
}

/// What cannot be reached is tried soon; a refusal needs somebody to look at it, and is repeated slowly.
fn wait_seconds(tries: i32, reason: ErrorReason) -> i32 {
    match reason {
        ErrorReason::DependencyUnavailable | ErrorReason::Overloaded | ErrorReason::DeadlineExceeded => {
            1 << tries.clamp(0, 5)
        }
        _ => 10 << tries.clamp(0, 5),
    }
}

async fn ask(payments: &PaymentServiceClient<MeshChannel>, task: &Leased) -> ApiResult<()> {
    let request = RefundPaymentRequest {
        request_id: task.request_id.clone(),
        payment_id: task.payment.to_string(),
        amount: Some(task.amount.to_wire()),
        reason: match task.cause.as_str() {
            "LATE" => "the payment came when there was nothing to pay for".to_owned(),
            "MOVED" => "the booking was moved to a departure that costs less".to_owned(),
            _ => "the booking was cancelled".to_owned(),
        },
    };
    payments.clone().refund_payment(request).await.map_err(|status| ApiError::of_status(&status))?;
    Ok(())
}
