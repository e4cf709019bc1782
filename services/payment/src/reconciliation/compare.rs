//! Which differences there are between what we have and what the provider lists, and what may be done about each.

use std::{collections::HashMap, fmt};

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        PaymentId, RefundId,
        payment::{Outcome, Payment, Standing, State},
    },
    provider::{ListedCharge, ListedRefund, RefundStanding},
    store::period::OwnRefund,
};

/// How two sides differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The provider has it and we do not.
    MissingHere,
    /// We have it and the provider does not.
    MissingThere,
    /// Another amount or currency.
    Amount,
    /// Another standing.
    Status,
}

impl Kind {
    /// As it is counted and printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingHere => "missing here",
            Self::MissingThere => "missing there",
            Self::Amount => "amount",
            Self::Status => "status",
        }
    }
}

/// What may be done about a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// People have to look.
    None,
    /// The payment learns how the charge stands.
    Learn { payment: PaymentId, outcome: Outcome },
    /// The list does not have the charge: the provider is asked for it by name.
    Ask { payment: PaymentId, reference: Option<String> },
    /// The refund is done.
    Settle { payment: PaymentId, refund: RefundId, attempt: i32 },
    /// The refund was not done, for good.
    Refuse { payment: PaymentId, refund: RefundId, attempt: i32, why: String },
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// How they differ.
    pub kind: Kind,
    /// "pay_…" or "ref_…"; the provider's id where we have none.
    pub what: String,
    /// What we have.
    pub here: String,
    /// What the provider has.
    pub there: String,
    /// Our side has followed the provider's.
    pub mended: bool,
    pub(crate) remedy: Remedy,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mended = if self.mended { ", mended" } else { "" };
        write!(f, "{}: {}, here {}, there {}{mended}", self.what, self.kind.as_str(), self.here, self.there)
    }
}

/// What a charge of this standing is called here.
fn state(standing: &Standing) -> &'static str {
    match standing {
        Standing::Processing => "PENDING",
        Standing::RequiresAction { .. } => "REQUIRES_ACTION",
        Standing::Authorized => "AUTHORIZED",
        Standing::Captured { .. } => "CAPTURED",
        Standing::Failed { .. } => "FAILED",
        Standing::Cancelled => "CANCELLED",
    }
}

/// Nothing was taken and nothing will be: declined and given up are one.
fn is_dead(state: &str) -> bool {
    matches!(state, "FAILED" | "CANCELLED")
}

/// Compares payments. What was made after `still` may be under way and is not missed.
pub(crate) fn payments(ours: &[Payment], theirs: &[ListedCharge], still: DateTime<Utc>) -> Vec<Difference> {
    let mut there: HashMap<PaymentId, &ListedCharge> = HashMap::new();
    let mut found = Vec::new();
    for charge in theirs {
        match charge.key {
            // Two charges under one key: the one that our payment names is ours.
            Some(key) => match there.get(&key) {
                Some(known) if ours.iter().any(|p| p.id == key && p.reference.as_ref() == Some(&known.reference)) => {
                    found.push(stranger(charge));
                }
                Some(known) => {
                    found.push(stranger(known));
                    there.insert(key, charge);
                }
                None => {
                    there.insert(key, charge);
                }
            },
            None => found.push(stranger(charge)),
        }
    }
    for payment in ours {
        let Some(charge) = there.remove(&payment.id) else {
            // Refused before there was a charge, or still on its way: nothing to be missed.
            let never_there = payment.reference.is_none() && is_dead(payment.state.as_str());
            if !never_there && payment.created_at < still {
                found.push(Difference {
                    kind: Kind::MissingThere,
                    what: payment.id.to_string(),
                    here: format!("{} {}", payment.state.as_str(), payment.amount),
                    there: "nothing".to_owned(),
                    mended: false,
                    remedy: if payment.state.is_final() {
                        Remedy::None
                    } else {
                        Remedy::Ask { payment: payment.id, reference: payment.reference.clone() }
                    },
                });
            }
            continue;
        };
        found.extend(charge_differs(payment, charge));
    }
    found.extend(there.into_values().filter(|c| c.created_at < still).map(stranger));
    found
}

fn charge_differs(payment: &Payment, charge: &ListedCharge) -> Option<Difference> {
    let said = state(&charge.outcome.standing);
    let taken = match charge.outcome.standing {
        Standing::Captured { amount } => amount,
        _ => charge.amount,
    };
    let difference = |kind, remedy| Difference {
        kind,
        what: payment.id.to_string(),
        here: format!("{} {}", payment.state.as_str(), payment.amount),
        there: format!("{said} {taken} ({})", charge.reference),
        mended: false,
        remedy,
    };
    let other_charge = payment.reference.as_ref().is_some_and(|ours| *ours != charge.reference);
    if charge.amount != payment.amount || taken != payment.amount || other_charge {
        return Some(difference(if other_charge { Kind::Status } else { Kind::Amount }, Remedy::None));
    }
    if said == payment.state.as_str() || (is_dead(said) && is_dead(payment.state.as_str())) {
        return None;
    }
    // An open intent whose card was declined may still be paid: only a query closes it.
    let remedy = match (&charge.outcome.standing, payment.state) {
        (_, State::Captured | State::Failed | State::Cancelled) => Remedy::None,
        (Standing::Failed { .. }, _) => Remedy::Ask { payment: payment.id, reference: Some(charge.reference.clone()) },
        _ => Remedy::Learn { payment: payment.id, outcome: charge.outcome.clone() },
    };
    Some(difference(Kind::Status, remedy))
}

fn stranger(charge: &ListedCharge) -> Difference {
    Difference {
        kind: Kind::MissingHere,
        what: charge.key.map_or_else(|| charge.reference.clone(), |key| key.to_string()),
        here: "nothing".to_owned(),
        there: format!("{} {} ({})", state(&charge.outcome.standing), charge.amount, charge.reference),
        mended: false,
        remedy: Remedy::None,
    }
}

fn word(standing: &RefundStanding) -> &'static str {
    match standing {
        RefundStanding::Pending => "pending",
        RefundStanding::Settled => "settled",
        RefundStanding::Failed(_) => "failed",
    }
}

/// Compares refunds. Of several attempts at one refund the best counts: the provider did it once at most.
pub(crate) fn refunds(ours: &[OwnRefund], theirs: &[ListedRefund], still: DateTime<Utc>) -> Vec<Difference> {
    let mut there: HashMap<RefundId, &ListedRefund> = HashMap::new();
    let mut found = Vec::new();
    let unknown = |refund: &ListedRefund| Difference {
        kind: Kind::MissingHere,
        what: refund.key.map_or_else(|| refund.reference.clone(), |key| key.to_string()),
        here: "nothing".to_owned(),
        there: format!("{} {} ({})", word(&refund.standing), refund.amount, refund.reference),
        mended: false,
        remedy: Remedy::None,
    };
    for refund in theirs {
        let Some(key) = refund.key else {
            found.push(unknown(refund));
            continue;
        };
        let worse = |known: &ListedRefund| matches!(known.standing, RefundStanding::Failed(_));
        match there.get(&key) {
            Some(known) if worse(refund) && !worse(known) => {}
            Some(known) if !worse(known) => found.push(unknown(refund)),
            _ => {
                there.insert(key, refund);
            }
        }
    }
    for own in ours {
        let refund = &own.refund;
        let here = if refund.settled {
            "settled"
        } else if own.given_up {
            "given up"
        } else {
            "pending"
        };
        let difference = |kind, there: String, remedy| Difference {
            kind,
            what: refund.id.to_string(),
            here: format!("{here} {}", refund.amount),
            there,
            mended: false,
            remedy,
        };
        let Some(listed) = there.remove(&refund.id) else {
            // What is pending is asked for again by itself, and what is given up stands in the list of staff.
            if refund.settled && own.created_at < still {
                found.push(difference(Kind::MissingThere, "nothing".to_owned(), Remedy::None));
            }
            continue;
        };
        let shown = format!("{} {} ({})", word(&listed.standing), listed.amount, listed.reference);
        if listed.amount != refund.amount || listed.payment.is_some_and(|payment| payment != refund.payment) {
            found.push(difference(Kind::Amount, shown, Remedy::None));
            continue;
        }
        match &listed.standing {
            RefundStanding::Settled if !refund.settled => {
                found.push(difference(
                    Kind::Status,
                    shown,
                    Remedy::Settle { payment: refund.payment, refund: refund.id, attempt: listed.attempt },
                ));
            }
            // Of an earlier attempt it is known already.
            RefundStanding::Failed(why) if !own.given_up && listed.attempt == refund.attempt => {
                let (payment, attempt) = (refund.payment, refund.attempt);
                let remedy = Remedy::Refuse { payment, refund: refund.id, attempt, why: why.clone() };
                found.push(difference(Kind::Status, shown, remedy));
            }
            RefundStanding::Pending if refund.settled => found.push(difference(Kind::Status, shown, Remedy::None)),
            _ => {}
        }
    }
    found.extend(there.into_values().filter(|r| r.created_at < still).map(unknown));
    found
}
