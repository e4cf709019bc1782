//! Between the wire and the domain, nothing else.

pub(crate) mod pools;
pub(crate) mod promo;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use chrono::SubsecRound as _;
use sha2::{Digest as _, Sha256};
use tourmesh::{booking::v1 as pb, catalog::v1 as catalog, common::v1 as common};
use tourmesh_kit::{
    ApiError, ApiResult,
    money::{Currency, Money},
    tax::Tax,
    time,
};
use uuid::Uuid;

use crate::domain::{
    DepartureId, ItemId, Unit,
    booking::{Booking, Contact, Item, State},
    moves::{Move, Stage},
    offer::{Departure, DepartureState, Offer, Terms, Text, UnitOffer},
    refund::{Cause, RefundPolicy, Tier},
    waiting::{Dates, Entry, Standing},
};

/// A booking as the API shows it.
pub(crate) fn booking(booking: &Booking) -> pb::Booking {
    let terms = &booking.terms;
    let parts = if terms.taxes.is_empty() && booking.promo.is_none() { None } else { booking.breakdown().ok() };
    let taxed = parts.as_ref().filter(|_| !terms.taxes.is_empty());
    pb::Booking {
        id: booking.id.to_string(),
        customer_id: booking.customer.to_string(),
        supplier_id: terms.supplier.to_string(),
        tour_id: terms.tour.to_string(),
        option_id: terms.option.to_string(),
        departure_id: booking.departure.to_string(),
        state: state_to_wire(booking.state).into(),
        contact: Some(contact_to_wire(&booking.contact)),
        items: booking.items.iter().map(item).collect(),
        seats: wire_int(booking.seats),
        total: Some(booking.total.to_wire()),
        hold_expires_at: booking.hold_expires_at.map(time::to_wire),
        payment_id: booking.payment.map(|p| p.to_string()).unwrap_or_default(),
        refund_policy: Some(policy_to_wire(&terms.refund_policy)),
        refund: booking.refund.map(Money::to_wire),
        tour_title: Some(text_to_wire(&terms.tour_title)),
        option_title: Some(text_to_wire(&terms.option_title)),
        local_start: terms.local_start.clone(),
        time_zone: terms.time_zone.clone(),
        starts_at: Some(time::to_wire(terms.starts_at)),
        created_at: Some(time::to_wire(booking.created_at)),
        confirmed_at: booking.confirmed_at.map(time::to_wire),
        cancelled_at: booking.cancelled_at.map(time::to_wire),
        pay_on_arrival: booking.pay_on_arrival,
        version: booking.version,
        duration_minutes: terms.duration_minutes,
        refund_limit_percent: booking.refund_limit,
        paid: Some(booking.paid).filter(|paid| paid.is_positive()).map(Money::to_wire),
        taxes: taxed.map(|parts| tax_lines(&terms.taxes, &parts.taxes)).unwrap_or_default(),
        net: taxed.map(|parts| parts.net.to_wire()),
        promo_code: booking.promo.as_ref().map(|promo| promo.code.clone()).unwrap_or_default(),
        discount: parts.map(|parts| parts.discount).filter(|off| off.is_positive()).map(Money::to_wire),
    }
}

/// The taxes of a price, a line for each.
pub(crate) fn tax_lines(taxes: &[Tax], amounts: &[Money]) -> Vec<common::TaxLine> {
    taxes.iter().zip(amounts).map(|(tax, amount)| tax.line(*amount)).collect()
}

/// A guest as the API shows it.
pub(crate) fn item(item: &Item) -> pb::UnitItem {
    pb::UnitItem {
        id: item.id.to_string(),
        unit: item.unit.number(),
        price: Some(item.price.to_wire()),
        voucher_code: item.voucher.clone().unwrap_or_default(),
        redeemed_at: item.redeemed_at.map(time::to_wire),
        guest_name: item.guest_name.clone(),
        cancelled_at: item.cancelled_at.map(time::to_wire),
        discount: Some(item.discount).filter(|off| off.is_positive()).map(Money::to_wire),
        taxes: item.taxes.iter().map(|amount| amount.to_wire()).collect(),
    }
}

/// A move that has to be paid for, as the API shows it.
pub(crate) fn paid_move(paid: &Move) -> pb::Move {
    let state = match paid.stage {
        Stage::Open => pb::MoveState::Open,
        Stage::Done => pb::MoveState::Done,
        Stage::Failed => pb::MoveState::Failed,
        Stage::Expired => pb::MoveState::Expired,
        Stage::Cancelled => pb::MoveState::Cancelled,
    };
    pb::Move {
        id: paid.id.to_string(),
        booking_id: paid.booking.to_string(),
        customer_id: paid.customer.to_string(),
        state: state.into(),
        seats: wire_int(paid.seats),
        departure_id: paid.to.to_string(),
        price_difference: Some(paid.difference.to_wire()),
        payment_id: paid.payment.map(|p| p.to_string()).unwrap_or_default(),
        expires_at: Some(time::to_wire(paid.expires_at)),
        created_at: Some(time::to_wire(paid.created_at)),
    }
}

/// Somebody who waits, as the API shows it.
pub(crate) fn entry(entry: &Entry) -> pb::WaitingEntry {
    let mut units: Vec<common::UnitQuantity> = Vec::new();
    for unit in &entry.units {
        match units.iter_mut().find(|u| u.unit == unit.number()) {
            Some(known) => known.quantity += 1,
            None => units.push(common::UnitQuantity { unit: unit.number(), quantity: 1 }),
        }
    }
    let chance = entry.chance.as_ref();
    let refused = entry.promo.as_ref().and_then(|promo| promo.refused);
    let dates = entry.tour_wide.unwrap_or_default();
    let date = |date: Option<chrono::NaiveDate>| date.map(|d| d.to_string()).unwrap_or_default();
    let state = match entry.standing {
        Standing::Waiting => pb::WaitingState::Waiting,
        Standing::Offered => pb::WaitingState::Offered,
        Standing::Taken => pb::WaitingState::Taken,
        Standing::Lapsed => pb::WaitingState::Lapsed,
        Standing::Left => pb::WaitingState::Left,
    };
    pb::WaitingEntry {
        id: entry.id.to_string(),
        customer_id: entry.customer.to_string(),
        tour_id: entry.tour.to_string(),
        departure_id: chance.map(|c| c.departure.to_string()).unwrap_or_default(),
        state: state.into(),
        units,
        seats: chance.map_or(0, |c| wire_int(c.seats)),
        total: chance.map(|c| c.total.to_wire()),
        contact: Some(contact_to_wire(&entry.contact)),
        booking_id: entry.booking.map(|b| b.to_string()).unwrap_or_default(),
        created_at: Some(time::to_wire(entry.created_at)),
        offered_at: entry.offered_at.map(time::to_wire),
        tour_wide: entry.tour_wide.is_some(),
        from_date: date(dates.from),
        to_date: date(dates.to),
        promo_code: entry.promo.as_ref().map(|promo| promo.code.clone()).unwrap_or_default(),
        promo_refusal: refused.map(|refusal| format!("PROMO_CODE_{}", refusal.as_str())).unwrap_or_default(),
    }
}

fn contact_to_wire(contact: &Contact) -> pb::Contact {
    pb::Contact {
        full_name: contact.full_name.clone(),
        email: contact.email.clone(),
        language: contact.language.clone(),
    }
}

fn state_to_wire(state: State) -> pb::BookingState {
    match state {
        State::OnHold => pb::BookingState::OnHold,
        State::Confirmed => pb::BookingState::Confirmed,
        State::Expired => pb::BookingState::Expired,
        State::Cancelled => pb::BookingState::Cancelled,
        State::Redeemed => pb::BookingState::Redeemed,
        State::Pending => pb::BookingState::Pending,
        State::Rejected => pb::BookingState::Rejected,
    }
}

/// The states of a filter.
pub(crate) fn states(wire: &[i32]) -> ApiResult<Vec<State>> {
    wire.iter()
        .enumerate()
        .map(|(index, number)| {
            let state = State::ALL.into_iter().find(|s| i32::from(state_to_wire(*s)) == *number);
            state.ok_or_else(|| ApiError::field(format!("states[{index}]"), "is no state of a booking"))
        })
        .collect()
}

/// Why a booking was cancelled.
pub(crate) fn cause(cause: Cause) -> pb::CancellationCause {
    match cause {
        Cause::Traveller => pb::CancellationCause::Traveller,
        Cause::Supplier => pb::CancellationCause::Supplier,
        Cause::Departure => pb::CancellationCause::Departure,
    }
}

/// Numbers of the domain are bounded far below.
pub(crate) fn wire_int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The party of a request: each unit at most once.
pub(crate) fn party(units: &[common::UnitQuantity]) -> ApiResult<Vec<(Unit, u32)>> {
    let mut seen = HashSet::new();
    units
        .iter()
        .enumerate()
        .map(|(index, wish)| {
            let unit = Unit::of_number(wish.unit)
                .ok_or_else(|| ApiError::field(format!("units[{index}].unit"), "is no unit"))?;
            if !seen.insert(unit) {
                return Err(ApiError::field(format!("units[{index}].unit"), "is there twice; add up the quantities"));
            }
            let quantity = u32::try_from(wish.quantity)
                .ok()
                .filter(|n| (1..=100).contains(n))
                .ok_or_else(|| ApiError::field(format!("units[{index}].quantity"), "must lie between 1 and 100"))?;
            Ok((unit, quantity))
        })
        .collect()
}

/// The dates of a request.
pub(crate) fn dates(from: &str, to: &str) -> ApiResult<Dates> {
    let date = |field: &str, text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| ApiError::field(field, "is no date")),
    };
    let dates = Dates { from: date("from_date", from)?, to: date("to_date", to)? };
    match (dates.from, dates.to) {
        (Some(from), Some(to)) if to < from => Err(ApiError::field("to_date", "lies before from_date")),
        _ => Ok(dates),
    }
}

/// The contact of a request.
pub(crate) fn contact(wire: Option<&pb::Contact>) -> ApiResult<Contact> {
    let wire = wire.ok_or_else(|| ApiError::field("contact", "is required"))?;
    let full_name = wire.full_name.trim();
    if full_name.is_empty() {
        return Err(ApiError::field("contact.full_name", "is required"));
    }
    let language = if wire.language.is_empty() { "en" } else { &wire.language };
    Ok(Contact { full_name: full_name.to_owned(), email: wire.email.clone(), language: language.to_owned() })
}

/// The guests of a request, each once.
pub(crate) fn guests(ids: &[String]) -> ApiResult<BTreeSet<ItemId>> {
    ids.iter().enumerate().map(|(index, id)| ItemId::of_field(&format!("item_ids[{index}]"), id)).collect()
}

/// The new names of a request; each guest at most once.
pub(crate) fn names(wire: &[pb::GuestName]) -> ApiResult<Vec<(ItemId, String)>> {
    let mut seen = HashSet::new();
    wire.iter()
        .enumerate()
        .map(|(index, guest)| {
            let field = format!("guests[{index}].item_id");
            let id = ItemId::of_field(&field, &guest.item_id)?;
            if !seen.insert(id) {
                return Err(ApiError::field(field, "is there twice"));
            }
            Ok((id, guest.guest_name.trim().to_owned()))
        })
        .collect()
}

/// A departure of the catalog.
pub(crate) fn departure(wire: &catalog::Departure) -> ApiResult<Departure> {
    use catalog::DepartureState as W;
    let state = match wire.state() {
        W::Open => DepartureState::Open,
        // A state that this version does not know is not sold.
        W::Closed | W::Unspecified => DepartureState::Closed,
        W::Cancelled => DepartureState::Cancelled,
    };
    Ok(Departure {
        id: foreign(&wire.id)?,
        tour: foreign(&wire.tour_id)?,
        option: foreign(&wire.option_id)?,
        supplier: foreign(&wire.supplier_id)?,
        starts_at: wire
            .starts_at
            .as_ref()
            .and_then(time::of_wire)
            // As the database keeps it, so that what is answered is what is stored.
            .map(|at| at.trunc_subsecs(6))
            .ok_or_else(|| ApiError::internal("a departure has no start"))?,
        capacity: u32::try_from(wire.capacity).map_err(ApiError::internal)?,
        state,
        version: wire.version,
    })
}

/// An id that another service sent: not the caller's fault when it is none.
pub(crate) fn foreign<T>(text: &str) -> ApiResult<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(ApiError::internal)
}

/// An offer of the catalog.
pub(crate) fn offer(wire: &catalog::Offer, platform_hold_seconds: i32) -> ApiResult<Offer> {
    let departure_wire = wire.departure.as_ref().ok_or_else(|| ApiError::internal("an offer has no departure"))?;
    let departure = departure(departure_wire)?;
    let currency: Currency = wire.currency.parse().map_err(ApiError::internal)?;
    let mut units = Vec::with_capacity(wire.prices.len());
    for price in &wire.prices {
        let Some(unit) = Unit::of_number(price.unit) else { continue };
        let Some(sold) = wire.units.iter().find(|u| u.r#type == price.unit) else { continue };
        let amount = price.price.as_ref().ok_or_else(|| ApiError::internal("a price has no amount"))?;
        units.push(UnitOffer {
            unit,
            seats: u32::try_from(sold.seats).map_err(ApiError::internal)?,
            price: Money::of_wire(amount).map_err(ApiError::internal)?,
        });
    }
    let mut terms = Terms {
        id: Uuid::nil(),
        supplier: departure.supplier,
        tour: departure.tour,
        option: departure.option,
        tour_title: text(wire.tour_title.as_ref()),
        option_title: text(wire.option_title.as_ref()),
        local_start: departure_wire.local_start.clone(),
        time_zone: departure_wire.time_zone.clone(),
        starts_at: departure.starts_at,
        duration_minutes: departure_wire.duration_minutes,
        hold_seconds: if wire.hold_seconds > 0 { wire.hold_seconds } else { platform_hold_seconds },
        refund_policy: policy(wire.refund_policy.as_ref()),
        taxes: taxes(&wire.taxes)?,
    };
    terms.id = content_id(&terms);
    Ok(Offer {
        max_open_holds: u32::try_from(wire.max_open_holds).map_err(ApiError::internal)?,
        uses: pools::of_offer(wire, &departure)?,
        pools: wire.pools.iter().map(pools::pool).collect::<ApiResult<_>>()?,
        departure,
        on_sale: wire.tour_state() == catalog::TourState::Published,
        units,
        currency,
        min_party: u32::try_from(wire.min_party).map_err(ApiError::internal)?,
        max_party: u32::try_from(wire.max_party).map_err(ApiError::internal)?,
        pay_on_arrival: wire.pay_on_arrival,
        country: wire.country.clone(),
        terms: Arc::new(terms),
    })
}

fn taxes(wire: &[common::Tax]) -> ApiResult<Vec<Tax>> {
    let tax = |tax| Tax::of_wire(tax).ok_or_else(|| ApiError::internal("a tax has no percentage"));
    wire.iter().map(tax).collect()
}

/// Terms of another departure for a booking that moves there: under the policy that was frozen at purchase, and with the
/// taxes of the guests who stay behind.
pub(crate) fn frozen(terms: &Terms, booking: &Booking) -> Terms {
    let refund_policy = booking.terms.refund_policy.clone();
    let mut terms = Terms { refund_policy, taxes: booking.taxes_after(&terms.taxes), ..terms.clone() };
    terms.id = content_id(&terms);
    terms
}

/// The first half of the SHA-256 of the content; each text with its length, so that no two contents read the same.
fn content_id(terms: &Terms) -> Uuid {
    let mut hasher = Sha256::new();
    for id in [terms.supplier.uuid(), terms.tour.uuid(), terms.option.uuid()] {
        hasher.update(id.as_bytes());
    }
    let texts = [
        &terms.tour_title.en,
        &terms.tour_title.fr,
        &terms.option_title.en,
        &terms.option_title.fr,
        &terms.local_start,
        &terms.time_zone,
    ];
    for text in texts {
        hasher.update(text.len().to_be_bytes());
        hasher.update(text);
    }
    hasher.update(terms.starts_at.timestamp_micros().to_be_bytes());
    hasher.update(terms.duration_minutes.to_be_bytes());
    hasher.update(terms.hold_seconds.to_be_bytes());
    for tier in &terms.refund_policy.tiers {
        hasher.update(tier.hours_before.to_be_bytes());
        hasher.update(tier.percent.to_be_bytes());
    }
    // Terms without taxes have the id that they had before there were any.
    for tax in &terms.taxes {
        let percent = tax.percent.normalize().to_string();
        for text in ["tax", &tax.name, &percent] {
            hasher.update(text.len().to_be_bytes());
            hasher.update(text);
        }
        hasher.update([u8::from(tax.included)]);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    Uuid::from_bytes(half)
}

fn text(wire: Option<&common::LocalizedText>) -> Text {
    wire.map(|t| Text { en: t.en.clone(), fr: t.fr.clone() }).unwrap_or_default()
}

fn text_to_wire(text: &Text) -> common::LocalizedText {
    common::LocalizedText { en: text.en.clone(), fr: text.fr.clone() }
}

fn policy(wire: Option<&common::RefundPolicy>) -> RefundPolicy {
    let tiers = wire.map(|p| p.tiers.as_slice()).unwrap_or_default();
    RefundPolicy {
        tiers: tiers
            .iter()
            .map(|t| Tier { hours_before: t.hours_before, percent: t.refund_percent.clamp(0, 100) })
            .collect(),
    }
}

fn policy_to_wire(policy: &RefundPolicy) -> common::RefundPolicy {
    let tiers = policy.tiers.iter();
    common::RefundPolicy {
        tiers: tiers.map(|t| common::RefundTier { hours_before: t.hours_before, refund_percent: t.percent }).collect(),
    }
}

/// The departure ids of a request, in its order.
pub(crate) fn departures(ids: &[String]) -> ApiResult<Vec<DepartureId>> {
    ids.iter().enumerate().map(|(index, id)| DepartureId::of_field(&format!("departure_ids[{index}]"), id)).collect()
}
