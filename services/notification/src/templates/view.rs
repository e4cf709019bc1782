//! What templates see: strings that are formatted for the language already.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use minijinja::Value;

use crate::domain::{
    BookingId,
    facts::{Amount, BookingFacts, Cause, Detail},
    locale,
    message::Language,
};

/// So many vouchers are shown as pictures in the e-mail itself; all of them are in its ticket. Mail programs cut off
/// what is longer than about 100 kB.
pub const QR_SHOWN: usize = 10;
/// So many vouchers the HTML lists.
const LISTED: usize = 50;

/// What a message is written from.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    /// The booking that it is about.
    pub booking: Option<BookingId>,
    /// What is known of it.
    pub facts: Option<&'a BookingFacts>,
    /// What belongs to this message alone.
    pub detail: &'a Detail,
    /// Where the reader can stop messages of this kind; empty: nowhere.
    pub unsubscribe: &'a str,
    /// The message shows QR codes.
    pub pictures: bool,
}

/// The content id of the picture of a voucher.
pub fn qr_id(index: usize) -> String {
    format!("voucher-{index}")
}

/// Variables by name: one map, because what is laid over each other is slow to look things up in.
type Fields = BTreeMap<&'static str, Value>;

/// Fields: `name => value`.
macro_rules! fields {
    ($($name:ident => $value:expr),* $(,)?) => { Fields::from([$((stringify!($name), Value::from($value))),*]) };
}

/// Every variable is always there; what does not apply is empty.
pub(super) fn view(language: Language, story: &Story<'_>) -> Value {
    let detail = story.detail;
    let mut all = fields! {
        language => language.as_str(),
        unsubscribe => story.unsubscribe,
        endpoint => detail.endpoint.as_str(),
        reason => detail.reason.as_str(),
        plural => Value::from_function(move |count: usize, one: String, many: String| {
            locale::plural(count, &one, &many, language).to_owned()
        }),
    };
    if let Some(facts) = story.facts {
        all.extend(of_booking(language, story, facts));
        all.extend(of_detail(language, facts, detail));
    }
    Value::from(all)
}

fn shown(amount: Option<&Amount>, language: Language) -> String {
    amount.map(|a| locale::money(a, language)).unwrap_or_default()
}

fn of_booking(language: Language, story: &Story<'_>, facts: &BookingFacts) -> Fields {
    let vouchers = facts.items.iter().filter(|i| !i.voucher.is_empty()).enumerate();
    let all: Vec<Value> = vouchers
        .map(|(index, item)| {
            let picture = story.pictures && index < QR_SHOWN;
            let fields = fields! {
                unit => locale::unit(&item.unit, language),
                guest => item.guest.as_str(),
                code => item.voucher.as_str(),
                qr => if picture { format!("cid:{}", qr_id(index)) } else { String::new() },
            };
            Value::from(fields)
        })
        .collect();
    let part = story.detail.part.as_ref();
    let paid = facts.paid.as_ref().filter(|paid| !paid.amount.is_zero());
    let listed: Vec<Value> = all.iter().take(LISTED).cloned().collect();
    fields! {
        name => facts.name.as_str(),
        booking => story.booking.map(|b| b.to_string()).unwrap_or_default(),
        tour => facts.tour.shown_in(language),
        option => facts.option.shown_in(language),
        starts => locale::date_time(&facts.local_start, language),
        starts_short => locale::short_date_time(&facts.local_start, language),
        time_zone => facts.time_zone.as_str(),
        duration => locale::duration(facts.duration_minutes, language),
        items => items(facts, language),
        guests => facts.items.len(),
        more_vouchers => all.len() - listed.len(),
        vouchers => listed,
        all_vouchers => all,
        total => locale::money(&facts.total, language),
        pay_on_arrival => facts.pay_on_arrival,
        paid => shown(part.map(|part| &part.amount).or(paid), language),
        payment => part.map_or(&facts.payment, |part| &part.payment).as_str(),
        part => part.is_some(),
        part_tax => shown(part.and_then(|part| part.tax.as_ref()).filter(|tax| !tax.amount.is_zero()), language),
        net => shown(facts.net.as_ref(), language),
        discount => shown(facts.discount.as_ref().filter(|d| !d.amount.is_zero()), language),
        taxes => facts.taxes.iter().map(|tax| Value::from(fields! {
            name => tax.name.shown_in(language),
            percent => tax.percent.map(|p| locale::percent(p, language)).unwrap_or_default(),
            amount => locale::money(&tax.amount, language),
            included => tax.included,
        })).collect::<Vec<Value>>(),
    }
}

fn of_detail(language: Language, facts: &BookingFacts, detail: &Detail) -> Fields {
    let difference = detail.difference.as_ref().filter(|d| !d.amount.is_zero());
    let size = difference.map(|d| Amount { amount: d.amount.abs(), currency: d.currency.clone() });
    let local = |at: Option<DateTime<Utc>>, write: fn(&str, Language) -> String| {
        let local = at.map(|at| at.with_timezone(&facts.zone()).format("%Y-%m-%dT%H:%M").to_string());
        local.map(|local| write(&local, language)).unwrap_or_default()
    };
    let before = Some(detail.start_before.as_str()).filter(|b| !b.is_empty());
    fields! {
        refund => shown(detail.refund.as_ref().filter(|r| !r.amount.is_zero()), language),
        cause => match detail.cause {
            Cause::Traveller => "TRAVELLER",
            Cause::Supplier => "SUPPLIER",
            Cause::Departure => "DEPARTURE",
        },
        paid_at => local(detail.paid_at, locale::date_time),
        amount => shown(detail.amount.as_ref(), language),
        difference => shown(size.as_ref(), language),
        dearer => difference.is_some_and(|d| d.amount.is_sign_positive()),
        cheaper => difference.is_some_and(|d| d.amount.is_sign_negative()),
        start_before => before.map(|b| locale::date_time(b, language)).unwrap_or_default(),
        duration_before => detail.minutes_before.map(|m| locale::duration(m, language)).unwrap_or_default(),
        promo_code => detail.promo_code.as_str(),
        promo_refusal => detail.promo_refusal.as_str(),
        held_until => local(detail.held_until, locale::date_time),
        held_until_short => local(detail.held_until, locale::short_date_time),
    }
}

/// Guests of one unit and price in one line, in the order of the booking.
fn items(facts: &BookingFacts, language: Language) -> Vec<Value> {
    let mut lines: Vec<(usize, &str, String)> = Vec::new();
    for item in &facts.items {
        let (unit, price) = (locale::unit(&item.unit, language), locale::money(&item.price, language));
        match lines.iter_mut().find(|(_, u, p)| *u == unit && *p == price) {
            Some((count, ..)) => *count += 1,
            None => lines.push((1, unit, price)),
        }
    }
    lines
        .into_iter()
        .map(|(count, unit, price)| Value::from(fields! { count => count, unit => unit, price => price }))
        .collect()
}
