//! The promises of the house, each a function from the facts to what breaks it. Pure: the same facts, the same findings.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{
    Finding,
    facts::{Booking, Facts, Payment, Told},
};

/// The captured payments that each booking is paid with: its own, and those of the moves that were made.
fn paid_with(facts: &Facts) -> HashMap<Uuid, Vec<&Payment>> {
    let moves: HashMap<Uuid, Uuid> = facts
        .moves
        .iter()
        .filter(|m| m.state == "DONE")
        .filter_map(|m| m.payment_id.map(|payment| (payment, m.booking_id)))
        .collect();
    let mut paid: HashMap<Uuid, Vec<&Payment>> = HashMap::new();
    for payment in facts.payments.iter().filter(|p| p.state == "CAPTURED") {
        let of_move = moves.get(&payment.id) == Some(&payment.booking_id);
        let own = |b: &Booking| b.confirmed && b.payment_id == Some(payment.id);
        if of_move || facts.bookings.get(&payment.booking_id).is_some_and(own) {
            paid.entry(payment.booking_id).or_default().push(payment);
        }
    }
    paid
}

/// All of them: the eight of the house in its order, then what has been promised since.
pub fn all(facts: &Facts) -> Vec<Finding> {
    vec![
        seats(facts),
        charged_once(facts),
        confirmed_means_paid(facts),
        refunds_are_what_is_due(facts),
        ledger(facts),
        told_once(facts),
        notified_once(facts),
        repeats_are_harmless(facts),
        promo_codes(facts),
        pools(facts),
    ]
}

fn bkg(id: Uuid) -> String {
    format!("bkg_{}", id.simple())
}

fn pay(id: Uuid) -> String {
    format!("pay_{}", id.simple())
}

fn seats(facts: &Facts) -> Finding {
    let broken = facts.seats.iter().filter(|s| i64::from(s.held) != s.booked || s.held > s.capacity);
    let line = |s: &super::facts::Seats| {
        format!(
            "dep_{}: held {}, seats of bookings and moves {}, capacity {}",
            s.id.simple(),
            s.held,
            s.booked,
            s.capacity
        )
    };
    let held: i64 = facts.seats.iter().map(|s| i64::from(s.held)).sum();
    Finding {
        promise: "held seats are those of the bookings and their moves, and never more than there are",
        counts: format!("{} departures, {held} seats", facts.seats.len()),
        broken: broken.map(line).collect(),
    }
}

fn charged_once(facts: &Facts) -> Finding {
    let mut charges: HashMap<(Uuid, &str), i64> = HashMap::new();
    for payment in &facts.payments {
        *charges.entry((payment.booking_id, &payment.purpose)).or_default() += payment.charges;
    }
    let twice = charges.iter().filter(|(_, n)| **n > 1);
    let twice = twice.map(|((id, purpose), n)| format!("{} {purpose}: charged {n} times", bkg(*id)));
    let captured = facts.payments.iter().filter(|p| p.state == "CAPTURED");
    let uncharged = captured
        .filter(|p| p.charges == 0)
        .map(|p| format!("{}: captured, but the provider knows of no charge", pay(p.id)));
    Finding {
        promise: "a booking, and each of its moves, is charged at most once",
        counts: format!("{} payments, {} charges", facts.payments.len(), charges.values().sum::<i64>()),
        broken: twice.chain(uncharged).collect(),
    }
}

fn confirmed_means_paid(facts: &Facts) -> Finding {
    let captured: HashMap<Uuid, &Payment> =
        facts.payments.iter().filter(|p| p.state == "CAPTURED").map(|p| (p.id, p)).collect();
    let paid_with = paid_with(facts);
    let mut broken = Vec::new();
    let mut confirmed = 0;
    for booking in facts.bookings.values().filter(|b| matches!(b.state.as_str(), "CONFIRMED" | "REDEEMED")) {
        confirmed += 1;
        if !booking.must_be_paid() {
            continue;
        }
        match booking.payment_id.and_then(|id| captured.get(&id)) {
            Some(payment) if payment.booking_id != booking.id => {
                broken.push(format!("{}: its payment is another booking's", bkg(booking.id)))
            }
            Some(_) => {
                let all = paid_with.get(&booking.id).map(Vec::as_slice).unwrap_or_default();
                let sum: rust_decimal::Decimal = all.iter().map(|p| p.captured).sum();
                let other = all.iter().find(|p| p.currency != booking.currency).map_or("", |p| p.currency.as_str());
                if sum != booking.paid || booking.paid < booking.total || !other.is_empty() {
                    broken.push(format!(
                        "{}: costs {} {}, paid {}, captured {sum} {other}",
                        bkg(booking.id),
                        booking.total,
                        booking.currency,
                        booking.paid
                    ));
                }
            }
            None => broken.push(format!("{}: confirmed without a captured payment", bkg(booking.id))),
        }
    }
    for made in facts.moves.iter().filter(|m| m.state == "DONE") {
        let payment = made.payment_id.and_then(|id| captured.get(&id));
        if payment.is_none_or(|p| p.captured != made.difference || p.booking_id != made.booking_id) {
            broken.push(format!("mov_{}: made, but not paid for", made.id.simple()));
        }
    }
    for payment in captured.values() {
        match facts.bookings.get(&payment.booking_id) {
            None => broken.push(format!("{}: captured for a booking that is not there", pay(payment.id))),
            Some(booking) if !booking.confirmed && payment.refunded != payment.captured => {
                broken.push(format!(
                    "{}: captured, but {} is {} and the money was not given back",
                    pay(payment.id),
                    bkg(booking.id),
                    booking.state
                ));
            }
            Some(_) => {}
        }
    }
    Finding {
        promise: "confirmed means paid, and paid too late is given back",
        counts: format!("{confirmed} confirmed bookings, {} captured payments", captured.len()),
        broken,
    }
}

fn refunds_are_what_is_due(facts: &Facts) -> Finding {
    let paid_with = paid_with(facts);
    let mut broken = Vec::new();
    let mut given_back = 0;
    for (id, payments) in &paid_with {
        let Some(booking) = facts.bookings.get(id) else { continue };
        // Guests may have left while others stay.
        let due = booking.refund.unwrap_or_default();
        let refunded: rust_decimal::Decimal = payments.iter().map(|p| p.refunded).sum();
        if refunded != due {
            broken.push(format!("{}: refunded {refunded}, due {due}, and it is {}", bkg(*id), booking.state));
        }
    }
    for payment in facts.payments.iter().filter(|p| p.state == "CAPTURED") {
        let counts = paid_with.get(&payment.booking_id).is_some_and(|all| all.iter().any(|p| p.id == payment.id));
        // A payment that its booking is not paid with came too late, or was for a move that came to nothing.
        if !counts && facts.bookings.contains_key(&payment.booking_id) && payment.refunded != payment.captured {
            broken.push(format!("{}: refunded {} of {}", pay(payment.id), payment.refunded, payment.captured));
        }
        let really = payment.given_back.unwrap_or_default();
        if payment.returned != payment.refunded || really != payment.returned {
            broken.push(format!(
                "{}: refunds {}, confirmed by the provider {}, really given back {really}",
                pay(payment.id),
                payment.refunded,
                payment.returned
            ));
        }
        given_back += i32::from(!payment.refunded.is_zero());
    }
    Finding {
        promise: "captured less refunded is what the frozen policy says",
        counts: format!("{given_back} payments with refunds"),
        broken,
    }
}

fn ledger(facts: &Facts) -> Finding {
    let unbalanced = facts.unbalanced.iter().map(|id| format!("txn_{}: does not sum to zero", id.simple()));
    let off = facts.payments.iter().filter_map(|p| {
        let (cleared, taken) = (p.cleared.unwrap_or_default(), p.captured - p.returned);
        let (owed, unsettled) = (p.owed.unwrap_or_default(), p.unsettled.unwrap_or_default());
        if cleared != taken {
            Some(format!("{}: {taken} taken, but the ledger has {cleared}", pay(p.id)))
        } else if owed != taken || !unsettled.is_zero() {
            Some(format!("{}: {taken} taken, the ledger owes {owed}, the customer is off by {unsettled}", pay(p.id)))
        } else {
            None
        }
    });
    Finding {
        promise: "every ledger transaction sums to zero, and the ledger has every movement and owes what it has",
        counts: format!("{} transactions", facts.ledger),
        broken: unbalanced.chain(off).collect(),
    }
}

fn told_once(facts: &Facts) -> Finding {
    let mut broken = Vec::new();
    let mut events = 0;
    let by_kind = |told: &[Told]| -> HashMap<(String, String), usize> {
        told.iter().map(|t| ((t.kind.clone(), t.subject_id.clone()), t.ids.len())).collect()
    };
    let (bookings, payments) = (by_kind(&facts.booking_events), by_kind(&facts.payment_events));
    let mut expect = |told: &HashMap<(String, String), usize>, id: &str, kind: &str, wanted: usize| {
        let found = told.get(&(kind.to_owned(), id.to_owned())).copied().unwrap_or_default();
        events += found;
        if found != wanted {
            broken.push(format!("{id}: {found} times {kind}, should be {wanted}"));
        }
    };
    for booking in facts.bookings.values().filter(|b| b.recent) {
        let id = bkg(booking.id);
        expect(&bookings, &id, "BookingHeld", 1);
        expect(&bookings, &id, "BookingConfirmed", usize::from(booking.confirmed));
        expect(&bookings, &id, "BookingChanged", usize::try_from(booking.changes).unwrap_or_default());
        expect(&bookings, &id, "BookingRescheduled", usize::try_from(booking.moves).unwrap_or_default());
        expect(&bookings, &id, "BookingExpired", usize::from(booking.state == "EXPIRED"));
        expect(&bookings, &id, "BookingCancelled", usize::from(booking.state == "CANCELLED"));
        expect(&bookings, &id, "BookingRedeemed", usize::try_from(booking.redeemed_items).unwrap_or_default());
    }
    for party in facts.waiting.iter().filter(|w| w.recent) {
        let id = format!("wtg_{}", party.id.simple());
        expect(&bookings, &id, "WaitingListJoined", 1);
        expect(&bookings, &id, "WaitingListOffered", usize::from(party.offered));
        expect(&bookings, &id, "WaitingListLeft", usize::from(party.left));
    }
    for paid in facts.moves.iter().filter(|m| m.recent) {
        let id = format!("mov_{}", paid.id.simple());
        expect(&bookings, &id, "MoveBegun", 1);
        expect(&bookings, &id, "MoveEnded", usize::from(!matches!(paid.state.as_str(), "OPEN" | "DONE")));
    }
    for payment in facts.payments.iter().filter(|p| p.recent) {
        let id = pay(payment.id);
        expect(&payments, &id, "PaymentCaptured", usize::from(payment.state == "CAPTURED"));
        let failed = usize::from(payment.state == "FAILED");
        expect(&payments, &id, "PaymentFailed", failed);
        expect(&bookings, &id, "BookingPaymentFailed", failed);
    }
    for (role, waiting) in facts.unpublished.iter().filter(|(_, n)| *n > 0) {
        broken.push(format!("{role}: {waiting} events are not published"));
    }
    let mut heard = |told: &[Told], kind: &str, consumer: &str| {
        let nobody = HashSet::new();
        let taken = facts.heard.get(consumer).unwrap_or(&nobody);
        let lost = told.iter().filter(|t| t.kind == kind).flat_map(|t| t.ids.iter().map(move |id| (id, &t.subject_id)));
        broken.extend(
            lost.filter(|(id, _)| !taken.contains(id))
                .map(|(_, s)| format!("{s}: {consumer} has not heard its {kind}")),
        );
    };
    heard(&facts.payment_events, "PaymentCaptured", "booking-payments");
    heard(&facts.booking_events, "BookingConfirmed", "notification-bookings");
    heard(&facts.booking_events, "BookingCancelled", "notification-bookings");
    heard(&facts.payment_events, "PaymentFailed", "booking-payments");
    heard(&facts.booking_events, "BookingPaymentFailed", "notification-bookings");
    Finding {
        promise: "every change is told exactly once, and heard exactly once",
        counts: format!("{events} events"),
        broken,
    }
}

fn notified_once(facts: &Facts) -> Finding {
    let mut broken = Vec::new();
    let mut sent_all = 0;
    for booking in facts.bookings.values().filter(|b| b.confirmed && b.recent) {
        match facts.confirmations.get(&booking.id) {
            Some((1, 1)) => sent_all += 1,
            Some((made, sent)) => broken.push(format!("{}: {made} confirmations, {sent} sent", bkg(booking.id))),
            None => broken.push(format!("{}: was never told that it is confirmed", bkg(booking.id))),
        }
    }
    let unknown = facts.confirmations.keys().filter(|id| facts.bookings.get(id).is_none_or(|b| !b.confirmed));
    broken.extend(unknown.map(|id| format!("{}: was told that it is confirmed, and is not", bkg(*id))));
    Finding { promise: "a customer gets each message once", counts: format!("{sent_all} confirmations sent"), broken }
}

fn repeats_are_harmless(facts: &Facts) -> Finding {
    Finding {
        promise: "the same request has its effect once",
        counts: format!("{} requests", facts.requests),
        broken: facts.repeated_requests.clone(),
    }
}

fn promo_codes(facts: &Facts) -> Finding {
    let wrong = |p: &&super::facts::Promo| {
        i64::from(p.uses) != p.bookings || p.most.is_some_and(|most| p.bookings > i64::from(most))
    };
    let line = |p: &super::facts::Promo| {
        let whose = p.customer_id.map(|id| format!(" by usr_{}", id.simple())).unwrap_or_default();
        let most = p.most.map(|most| format!(", at most {most}")).unwrap_or_default();
        format!("prm_{}: {} uses{whose}, {} bookings{most}", p.id.simple(), p.uses, p.bookings)
    };
    let codes = facts.promos.iter().filter(|p| p.customer_id.is_none());
    let (count, uses) = codes.fold((0, 0), |(count, uses), p| (count + 1, uses + p.bookings));
    Finding {
        promise: "a promo code is used by the bookings that have it, and never more often than it may be",
        counts: format!("{count} codes, {uses} bookings"),
        broken: facts.promos.iter().filter(wrong).map(line).collect(),
    }
}

fn pools(facts: &Facts) -> Finding {
    let wrong = facts.pool_slots.iter().filter(|s| i64::from(s.held) != s.needed || s.held > s.capacity);
    let line = |s: &super::facts::PoolSlot| {
        let pool = s.pool_id.simple();
        format!(
            "pool_{pool} slot {}: held {}, its departures need {}, capacity {}",
            s.slot, s.held, s.needed, s.capacity
        )
    };
    let pools: HashSet<Uuid> = facts.pool_slots.iter().map(|s| s.pool_id).collect();
    Finding {
        promise: "what is held of a resource pool is what its departures need, and never more than there is",
        counts: format!("{} pools, {} slots", pools.len(), facts.pool_slots.len()),
        broken: wrong.map(line).collect(),
    }
}
