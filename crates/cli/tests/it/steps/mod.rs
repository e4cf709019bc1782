//! Every write of Booking, Payment and Notification is made to fail, and its process killed before and after the commit,
//! while the story that it belongs to goes on; every call of the story is made twice. Then the story has its end, once, and
//! `tourmesh verify` finds every promise kept.
//!
//! The list of the writes of Booking and Payment is complete (of Notification it has those of a message's life, from the
//! event to the letter that is sent): a write has to be given one of the names of its service's `steps.rs` (the lints of
//! these crates refuse the ways around it, and a write under no name fails the proof), each name has to be given a story
//! here or this does not compile, and a story that does not bring its write about fails.

mod stage;
mod stories;

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use tourmesh_booking::steps::Step as BookingStep;
use tourmesh_kit::steps::{Fault, Moment, Step as _};
use tourmesh_notification::steps::Step as NotificationStep;
use tourmesh_payment::steps::Step as PaymentStep;

use stage::{PARTS, Part, Plan, Stage};
use stories::Teller;

/// Which story brings a write about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Sale,
    TwoSteps,
    Cancellation,
    /// A cancellation that Payment does not take over at once.
    RefusedRefund,
    /// A refund that is given up, and tried again by staff.
    GivenUp,
    Promo,
    Moving,
    RunningOut,
    Waiting,
    CallingOff,
    Letters,
}

impl Story {
    async fn tell(self, stage: &Stage) {
        let teller = Teller::new(stage);
        match self {
            Self::Sale => teller.sale().await,
            Self::TwoSteps => teller.two_steps().await,
            Self::Cancellation => teller.cancellation().await,
            Self::RefusedRefund => {
                let step = PaymentStep::Reserve.name();
                let (moment, fault) = (Moment::BeforeCommit, Fault::Fail);
                // A call is repeated on its way twice, and there may be two refunds at once.
                for _ in 0..6 {
                    stage.plan(Plan { part: Part::Payment, step, moment, fault });
                }
                teller.cancellation().await;
            }
            Self::GivenUp => teller.given_up().await,
            Self::Promo => teller.promo().await,
            Self::Moving => teller.moving().await,
            Self::RunningOut => teller.running_out().await,
            Self::Waiting => teller.waiting().await,
            Self::CallingOff => teller.calling_off().await,
            Self::Letters => teller.letters().await,
        }
    }
}

fn of_booking(step: BookingStep) -> Story {
    use BookingStep as S;
    match step {
        S::Hold | S::Extend | S::Pay | S::Confirm | S::Update | S::Redeem | S::KeepOffer => Story::Sale,
        S::HoldWithPromo | S::CreatePromo | S::EndPromo => Story::Promo,
        S::NotePayment | S::Payments => Story::TwoSteps,
        S::Cancel | S::LeaseRefunds | S::RefundAsked => Story::Cancellation,
        S::RefundFailed => Story::RefusedRefund,
        S::Reschedule | S::MakeMove | S::FailMove => Story::Moving,
        S::NoteMove | S::Expire | S::ExpireMoves => Story::RunningOut,
        S::Join | S::Leave | S::PassOn | S::KeepChance => Story::Waiting,
        S::CallOff | S::Departures => Story::CallingOff,
    }
}

fn of_payment(step: PaymentStep) -> Story {
    use PaymentStep as S;
    match step {
        S::Open | S::Book => Story::Sale,
        S::AnswerKnown | S::WantCapture => Story::TwoSteps,
        S::RetryRefund => Story::GivenUp,
        S::Reserve | S::NoteProblem | S::TakePayments | S::TakeRefunds => Story::Cancellation,
    }
}

fn of_notification(step: NotificationStep) -> Story {
    use NotificationStep as S;
    match step {
        S::Bookings | S::WriteDown => Story::Sale,
        // What is new goes straight to its sender; what is sent again is taken when it is due.
        S::Take | S::SetPreferences | S::Resend => Story::Letters,
    }
}

/// What is done to a write. One that takes work on has no moment between the statement and its commit: what dies before
/// it has taken nothing.
fn faults(part: Part, name: &str) -> Vec<(Moment, Fault)> {
    let takes = [PaymentStep::TakePayments.name(), PaymentStep::TakeRefunds.name()];
    if part == Part::Payment && takes.contains(&name)
        || part == Part::Notification && name == NotificationStep::Take.name()
    {
        return vec![(Moment::AfterCommit, Fault::Fail), (Moment::AfterCommit, Fault::Die)];
    }
    vec![(Moment::BeforeCommit, Fault::Fail), (Moment::BeforeCommit, Fault::Die), (Moment::AfterCommit, Fault::Die)]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_survives_failure_death_and_repetition() {
    let mut steps: Vec<(Part, &'static str, Story)> = Vec::new();
    steps.extend(BookingStep::ALL.iter().map(|s| (Part::Booking, s.name(), of_booking(*s))));
    steps.extend(PaymentStep::ALL.iter().map(|s| (Part::Payment, s.name(), of_payment(*s))));
    steps.extend(NotificationStep::ALL.iter().map(|s| (Part::Notification, s.name(), of_notification(*s))));
    let listed = |part| steps.iter().filter(|s| s.0 == part).map(|s| s.1).collect::<Vec<_>>();
    let listed: HashMap<Part, Vec<&'static str>> = PARTS.into_iter().map(|part| (part, listed(part))).collect();
    // TOURMESH_TEST_STEP=cancel proves that one alone.
    let only = std::env::var("TOURMESH_TEST_STEP").ok();
    let chosen = steps.iter().filter(|(_, name, _)| only.as_deref().is_none_or(|only| only == *name));
    let at_once = stream::iter(chosen).map(|&(part, name, story)| {
        let listed = listed.clone();
        async move {
            let proof = tokio::spawn(prove(listed, part, name, story)).await;
            match proof {
                Ok(Ok(())) => None,
                Ok(Err(broken)) => Some(format!("{part:?}, {name:?}: {broken}")),
                Err(panic) => Some(format!("{part:?}, {name:?}: {panic}")),
            }
        }
    });
    let broken: Vec<String> = at_once.buffer_unordered(4).filter_map(|found| async move { found }).collect().await;
    assert!(broken.is_empty(), "{} of {} steps:\n{}", broken.len(), steps.len(), broken.join("\n"));
}

async fn prove(
    listed: HashMap<Part, Vec<&'static str>>,
    part: Part,
    step: &'static str,
    story: Story,
) -> Result<(), String> {
    let settings: &[(&str, &str)] = if story == Story::GivenUp { &[("REFUND_TRIES", "1")] } else { &[] };
    let stage = Stage::new(&listed, settings).await;
    for (moment, fault) in faults(part, step) {
        #[expect(clippy::print_stdout, reason = "says which one a failing run was at")]
        {
            println!("{part:?}, {step:?}: {fault:?} {moment:?}");
        }
        stage.plan(Plan { part, step, moment, fault });
        // Told again where one write leaves another nothing to do: a payment's news may be faster than its answer.
        for _ in 0..3 {
            story.tell(&stage).await;
            if stage.come_about().await {
                break;
            }
        }
        let (missed, _) = stage.left_over();
        if !missed.is_empty() {
            return Err(format!("{story:?} never came there: {missed:?}"));
        }
    }
    stage.verify().await?;
    let (_, unlisted) = stage.left_over();
    if unlisted.is_empty() { Ok(()) } else { Err(format!("written under no listed name: {unlisted:?}")) }
}
