//! Random lives of a booking: no path leads to a state that the promises forbid.

use chrono::TimeZone as _;
use proptest::prelude::*;
use rust_decimal::Decimal;
use tourmesh_kit::tax::Tax;

use super::*;
use crate::domain::{
    MoveId,
    moves::{Move, Stage},
    price::{price, tests::offer},
    promo::Discount,
    refund::{RefundPolicy, Tier},
};

fn start() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2029, 12, 28, 9, 0, 0).unwrap()
}

fn held(cents: i64, pay_on_arrival: bool) -> Booking {
    held_under(cents, pay_on_arrival, &[], None)
}

/// Taxes by rate, and whether they are included.
fn taxes(rates: &[(i64, bool)]) -> Vec<Tax> {
    let tax = |&(rate, included): &(i64, bool)| Tax { name: "T".into(), percent: Decimal::new(rate, 1), included };
    rates.iter().map(tax).collect()
}

fn held_under(cents: i64, pay_on_arrival: bool, rates: &[(i64, bool)], discount: Option<Discount>) -> Booking {
    let mut offer = offer(&[(Unit::Adult, 1, cents)]);
    let promo = discount.map(|discount| {
        let code = "CODE".to_owned();
        Arc::new(Promo { id: PromoId::new(), code, discount, depart_from: None, depart_until: None })
    });
    let mut terms = (*offer.terms).clone();
    terms.taxes = taxes(rates);
    terms.refund_policy =
        RefundPolicy { tiers: vec![Tier { hours_before: 24, percent: 50 }, Tier { hours_before: 72, percent: 100 }] };
    offer.terms = Arc::new(terms);
    let priced = price(&offer, &[(Unit::Adult, 3)], promo.as_deref()).unwrap();
    let items = priced.items.iter().map(|i| Item::sold(ItemId::new(), i));
    Booking {
        id: BookingId::new(),
        customer: UserId::new(),
        departure: offer.departure.id,
        terms: offer.terms,
        state: State::OnHold,
        contact: Contact { full_name: "A".into(), email: "a@b".into(), language: "en".into() },
        items: items.collect(),
        seats: priced.seats,
        total: priced.total,
        pay_on_arrival,
        promo,
        payment: None,
        payment_attempts: 0,
        paid: Money::zero(priced.total.currency()),
        refund: None,
        returned: Money::zero(priced.total.currency()),
        refund_limit: 100,
        changes: 0,
        moves: 0,
        created_at: start(),
        hold_expires_at: Some(start() + TimeDelta::seconds(900)),
        confirmed_at: None,
        cancelled_at: None,
        version: 1,
    }
}

/// Its seats count as held: promise 1.
fn takes_seats(booking: &Booking) -> bool {
    match booking.state {
        State::OnHold | State::Confirmed | State::Redeemed => true,
        State::Expired | State::Cancelled | State::Pending | State::Rejected => false,
    }
}

fn vouchers(booking: &Booking) -> Vec<String> {
    booking.items.iter().map(|i| i.id.to_string()).collect()
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Extend,
    BeginPayment,
    ConfirmUnpaid,
    /// Which of three payments, and whether with the right amount.
    Capture(usize, bool),
    Expire,
    Cancel(u8),
    /// Some guests, as bits.
    Leave(u8, u8),
    Rename(usize),
    /// To which price, how many hours later, and by whom.
    Move(i64, i64, u8),
    /// What an open move waits for: captured, with the right amount or not.
    Settle(bool),
    EndMove,
    Redeem(usize),
    Note(usize),
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Extend),
        Just(Step::BeginPayment),
        Just(Step::ConfirmUnpaid),
        (0_usize..3, any::<bool>()).prop_map(|(p, right)| Step::Capture(p, right)),
        Just(Step::Expire),
        (0_u8..3).prop_map(Step::Cancel),
        (0_u8..3, 1_u8..8).prop_map(|(cause, guests)| Step::Leave(cause, guests)),
        (0_usize..3).prop_map(Step::Rename),
        (prop::sample::select(vec![0_i64, 1, 1_111, 3_333]), -100_i64..1_000, 0_u8..2)
            .prop_map(|(c, h, w)| Step::Move(c, h, w)),
        any::<bool>().prop_map(Step::Settle),
        Just(Step::EndMove),
        (0_usize..4).prop_map(Step::Redeem),
        (0_usize..3).prop_map(Step::Note),
        (1_i64..200_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_path_leads_to_a_state_that_the_promises_forbid(
        cents in prop::sample::select(vec![0_i64, 1, 3_333]),
        pay_on_arrival in any::<bool>(),
        rates in prop::sample::select(vec![&[][..], &[(200, true)], &[(89, false)], &[(100, true), (25, true), (15, false)]]),
        there in prop::sample::select(vec![&[][..], &[(200, true)], &[(55, true), (100, false)]]),
        promo in prop::option::of(prop::sample::select(vec![(0, 333), (0, 1_000), (1, 1_000), (1, 1), (2, 999)])),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let promo = promo.map(|(kind, number)| {
            let amount = Money::new(Decimal::new(number, 2), "EUR".parse().unwrap());
            [Discount::Percent(Decimal::new(number, 1)), Discount::Amount(amount), Discount::PerUnit(amount)][kind]
        });
        let mut booking = held_under(cents, pay_on_arrival, rates, promo);
        let payments = [PaymentId::new(), PaymentId::new(), PaymentId::new()];
        let mut now = start();
        // What the world outside would see: money in, money back.
        let mut captured = [Decimal::ZERO; 3];
        let mut back = Decimal::ZERO;
        // What is paid for moves, and the move that waits for it with its seats.
        let mut extra = Decimal::ZERO;
        let mut open: Option<(Move, Arc<Terms>)> = None;
        for step in steps {
            let before = booking.clone();
            // Each change is made under the lock, later than the one before.
            now += TimeDelta::microseconds(1);
            let changed = match step {
                Step::Extend => booking.extend(now, TimeDelta::hours(2)).is_ok(),
                Step::BeginPayment => booking.begin_payment(now).is_ok(),
                Step::ConfirmUnpaid => { let v = vouchers(&booking); booking.confirm_unpaid(now, v).is_ok() }
                Step::Capture(p, right) => {
                    let amount = if right { booking.total } else { booking.total.add(booking.total).unwrap() };
                    if captured[p] == Decimal::ZERO && amount.is_positive() {
                        captured[p] = amount.amount();
                        match booking.on_capture(payments[p], amount) {
                            OnCapture::Confirms => {
                                let v = vouchers(&booking);
                                prop_assert!(booking.confirm_paid(now, payments[p], amount, v).is_ok());
                                true
                            }
                            OnCapture::Known => { prop_assert!(false, "a new payment is never known"); false }
                            OnCapture::GoesBack => { back += amount.amount(); false }
                        }
                    } else if captured[p] > Decimal::ZERO && booking.payment == Some(payments[p]) && booking.confirmed_at.is_some() {
                        // Told a second time.
                        prop_assert_eq!(booking.on_capture(payments[p], amount), OnCapture::Known);
                        false
                    } else { false }
                }
                Step::Expire => booking.expire(now).is_ok(),
                Step::Cancel(_) | Step::Leave(..) => {
                    let (cause, guests) = match step { Step::Leave(c, guests) => (c, guests), Step::Cancel(c) => (c, 0), _ => (0, 0) };
                    let cause = [Cause::Traveller, Cause::Supplier, Cause::Departure][usize::from(cause)];
                    let some: BTreeSet<ItemId> = (0..3).filter(|at| guests & (1 << at) != 0).map(|at| booking.items[at].id).collect();
                    let who = if some.is_empty() { Who::All } else { Who::Some(&some) };
                    let preview = booking.cancellation(now, cause, who);
                    let done = booking.cancel(now, cause, who);
                    prop_assert_eq!(preview.as_ref().err(), done.as_ref().err());
                    if let (Ok(preview), Ok(freed)) = (&preview, &done) {
                        let goes = freed.refund.amount();
                        prop_assert_eq!(goes, preview.refund.amount());
                        prop_assert!(goes >= Decimal::ZERO);
                        back += goes;
                        prop_assert_eq!(freed.seats, before.seats - if takes_seats(&booking) { booking.seats } else { 0 });
                        // Whatever was cancelled in whatever order: in sum it is the sum of the shares, rounded once.
                        let shares = booking.items.iter().map(|i| i.price.amount() * Decimal::from(i.refund_percent)).sum::<Decimal>();
                        let sum = Money::new(shares / Decimal::ONE_HUNDRED, booking.total.currency()).rounded();
                        prop_assert_eq!(booking.refund.map_or(Decimal::ZERO, Money::amount), sum.amount() + booking.returned.amount());
                    }
                    done.is_ok()
                }
                Step::Move(cents, hours, cause) => {
                    let cause = [Cause::Traveller, Cause::Supplier][usize::from(cause)];
                    let mut to = offer(&[(Unit::Adult, 1, cents)]);
                    to.departure.tour = booking.terms.tour;
                    to.departure.starts_at = booking.terms.starts_at + TimeDelta::hours(hours);
                    to.terms = Arc::new(Terms { taxes: taxes(there), ..(*to.terms).clone() });
                    let taxes = booking.taxes_after(&to.terms.taxes);
                    let terms = Terms { starts_at: to.departure.starts_at, refund_policy: booking.terms.refund_policy.clone(), taxes, ..(*to.terms).clone() };
                    match booking.quote_move(now, cause, &to) {
                        Ok(quote) if booking.must_pay(&quote) => {
                            prop_assert!(quote.refund.is_zero());
                            prop_assert_eq!(
                                booking.reschedule(to.departure.id, Arc::new(terms.clone()), &quote),
                                Err(BookingError::Dearer(quote.difference))
                            );
                            if open.is_none() {
                                let begun = booking.begin_move(MoveId::new(), now, to.departure.id, &terms, &quote);
                                open = Some((begun, Arc::new(terms)));
                            }
                            false
                        }
                        Ok(_) if open.is_some() => false,
                        Ok(quote) => {
                            let at_once = booking.cancellation(now, Cause::Traveller, Who::All).unwrap().refund;
                            let moved = booking.reschedule(to.departure.id, Arc::new(terms), &quote).unwrap();
                            let goes = moved.refund.amount();
                            prop_assert_eq!(goes, quote.refund.amount());
                            prop_assert!(goes >= Decimal::ZERO);
                            back += goes;
                            // Nobody betters a cancellation by moving first, however far away: the limit stays.
                            let early = booking.terms.starts_at - TimeDelta::hours(10_000);
                            let later = booking.cancellation(early, Cause::Traveller, Who::All).unwrap().refund;
                            if cause == Cause::Traveller {
                                // Two roundings instead of one.
                                let cent = Decimal::new(1, 2);
                                prop_assert!(goes + later.amount() <= at_once.amount() + cent);
                            }
                            true
                        }
                        Err(_) => false,
                    }
                }
                Step::Settle(right) => match &mut open {
                    None => false,
                    Some((paid, terms)) => {
                        let amount = if right { paid.difference } else { paid.difference.add(paid.difference).unwrap() };
                        let payment = PaymentId::new();
                        extra += amount.amount();
                        let made = booking.complete_move(paid, payment, amount, terms.clone());
                        match &made {
                            Ok((from, seats)) => {
                                prop_assert!(right && before.state == State::Confirmed);
                                prop_assert_eq!((*from, *seats), (before.departure, before.seats));
                                prop_assert_eq!((booking.departure, booking.seats), (paid.to, paid.seats));
                                prop_assert_eq!(booking.total, before.total.add(paid.difference).unwrap());
                                // Told again it is known, told of another payment it goes back.
                                prop_assert_eq!(paid.on_capture(&booking, payment, amount), OnCapture::Known);
                                prop_assert_eq!(paid.on_capture(&booking, PaymentId::new(), amount), OnCapture::GoesBack);
                                open = None;
                            }
                            Err(_) => back += amount.amount(),
                        }
                        made.is_ok()
                    }
                },
                Step::EndMove => {
                    if let Some((mut paid, terms)) = open.take() {
                        prop_assert!(paid.end(Stage::Expired) && !paid.end(Stage::Failed));
                        let (payment, amount) = (PaymentId::new(), paid.difference);
                        prop_assert!(booking.complete_move(&mut paid, payment, amount, terms).is_err());
                    }
                    false
                }
                Step::Rename(at) => {
                    let name = (booking.items[at].id, format!("{} x", booking.items[at].guest_name));
                    booking.update(now, None, &[name]).is_ok()
                }
                Step::Redeem(position) => booking.redeem(position, now).is_ok(),
                Step::Note(p) => booking.note_payment(payments[p]),
                Step::Wait(seconds) => { now += TimeDelta::seconds(seconds); false }
            };
            // As the room does: a move ends with the first guest who is cancelled.
            if changed && matches!(step, Step::Cancel(_) | Step::Leave(..)) { open = None; }
            // One change is one version; a refusal changes nothing.
            prop_assert_eq!(booking.version, before.version + i64::from(changed));
            if !changed { prop_assert_eq!(&booking, &before); }
            // Who has left never takes seats again.
            if !takes_seats(&before) { prop_assert!(!takes_seats(&booking)); }
            if before.state == State::Redeemed { prop_assert_eq!(booking.state, State::Redeemed); }
            prop_assert!(!matches!(booking.state, State::Pending | State::Rejected));
            prop_assert_eq!(booking.state == State::OnHold, booking.hold_expires_at.is_some());
            prop_assert!(booking.state != State::Cancelled || booking.refund.is_some());
            prop_assert!(booking.refund.is_none_or(|r| r.amount() <= booking.paid.amount()));
            // It costs what its guests cost, and that is net price and taxes, whoever left and wherever it was moved.
            let counted: Decimal = booking.items.iter().filter(|i| booking.counts(i)).map(|i| i.price.amount()).sum();
            prop_assert_eq!(counted, booking.total.amount());
            let parts = booking.breakdown().unwrap();
            let taxed: Decimal = parts.taxes.iter().map(|tax| tax.amount()).sum();
            prop_assert_eq!(parts.net.amount() + taxed, booking.total.amount());
            prop_assert!(parts.net.amount() >= Decimal::ZERO);
            for item in &booking.items {
                prop_assert_eq!(item.taxes.len(), booking.terms.taxes.len());
                let inside: Decimal = item.taxes.iter().map(|tax| tax.amount()).sum();
                prop_assert!(inside <= item.price.amount());
            }
            // A use of the code comes back exactly when the hold ends without a confirmation.
            if before.use_of_promo().is_some() && booking.use_of_promo().is_none() {
                prop_assert!(booking.confirmed_at.is_some() || matches!(booking.state, State::Expired | State::Cancelled));
            }
            // It takes the seats of those who come, and somebody comes.
            if takes_seats(&booking) {
                let live: u32 = booking.items.iter().filter(|i| i.lives()).map(|i| i.seats).sum();
                prop_assert_eq!(booking.seats, live);
                prop_assert!(live > 0);
            }
            if booking.state == State::Cancelled { prop_assert!(booking.items.iter().all(|i| !i.lives())); }
            prop_assert_eq!(booking.state == State::Redeemed, booking.items.iter().any(Item::lives) && booking.confirmed_at.is_some() && booking.all_in());
            // Every change that leaves the state alone is told as one, and no other.
            prop_assert_eq!(booking.changes - before.changes, i32::from(changed && matches!(step, Step::Leave(..) | Step::Rename(_)) && booking.state != State::Cancelled));
            // Confirmed: paid by exactly one captured payment, or nothing to pay.
            if matches!(booking.state, State::Confirmed | State::Redeemed) {
                prop_assert!(booking.confirmed_at.is_some());
                prop_assert!(booking.items.iter().all(|i| i.voucher.is_some() || !i.lives()));
                if !booking.needs_no_payment() {
                    let paid = payments.iter().position(|p| booking.payment == Some(*p));
                    let first = paid.map_or(Decimal::ZERO, |p| captured[p]);
                    prop_assert!(booking.payment.is_some());
                    // The moves that were paid for, and nothing that has gone back as late.
                    prop_assert!(booking.paid.amount() >= first && booking.paid.amount() - first <= extra);
                    prop_assert!(booking.paid.amount() >= booking.total.amount());
                }
            }
            // Captured minus given back is what the booking keeps: all while it is sold, the rest after a refund.
            let kept = captured.iter().sum::<Decimal>() + extra - back;
            let due = match booking.state {
                State::Confirmed | State::Redeemed | State::Cancelled if booking.confirmed_at.is_some() =>
                    booking.paid.amount() - booking.refund.map_or(Decimal::ZERO, Money::amount),
                _ => Decimal::ZERO,
            };
            prop_assert_eq!(kept, due);
        }
    }
}

#[test]
fn a_hold_is_extended_up_to_the_limit_and_not_after_its_end() {
    let mut booking = held(100, false);
    let most = TimeDelta::minutes(20);
    booking.extend(start() + TimeDelta::minutes(10), most).unwrap();
    assert_eq!(booking.hold_expires_at, Some(start() + most));
    assert_eq!(booking.extend(start() + TimeDelta::minutes(11), most), Err(BookingError::HoldLimit));
    assert_eq!(booking.extend(start() + TimeDelta::minutes(21), most), Err(BookingError::HoldExpired));
}

#[test]
fn what_costs_nothing_notes_no_payment() {
    let payment = PaymentId::new();
    assert!(!held(0, false).note_payment(payment) && !held(4_000, true).note_payment(payment));
    assert!(held(4_000, false).note_payment(payment));
}

#[test]
fn three_guests_who_leave_one_by_one_get_what_they_would_get_at_once() {
    let sold = || {
        let mut booking = held(3_333, false);
        let codes = vouchers(&booking);
        booking.confirm_paid(start(), PaymentId::new(), booking.total, codes).unwrap();
        booking
    };
    let now = booking_start() - TimeDelta::hours(30);
    let mut at_once = sold();
    at_once.cancel(now, Cause::Traveller, Who::All).unwrap();
    let mut one_by_one = sold();
    let mut amounts = Vec::new();
    for at in 0..3 {
        let one = BTreeSet::from([one_by_one.items[at].id]);
        let freed = one_by_one.cancel(now, Cause::Traveller, Who::Some(&one)).unwrap();
        amounts.push(freed.refund.amount());
    }
    // 16.67 three times would be a cent too much.
    assert_eq!(amounts, [Decimal::new(1_667, 2), Decimal::new(1_666, 2), Decimal::new(1_667, 2)]);
    assert_eq!(at_once.refund.unwrap().amount(), Decimal::new(5_000, 2));
    assert_eq!(one_by_one.refund, at_once.refund);
    assert_eq!(one_by_one.state, State::Cancelled);
}

fn booking_start() -> DateTime<Utc> {
    held(1, false).terms.starts_at
}
