//! Wire <-> domain, nothing else. What comes in is read strictly: the error names the field.

mod pools;

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use tourmesh::{
    catalog::v1 as wire,
    common::v1 as common,
    google::r#type::{LatLng, Money as WireMoney},
};
use tourmesh_kit::{
    money::Money,
    tax::{self, Tax},
    time,
};

use crate::{
    domain::{
        OptionId, ScheduleId, TaxRuleId, TourId,
        blackout::Blackout,
        departure::Departure,
        geo::Place,
        option::{PriceList, RefundTier, TourOption, Unit, UnitPrice},
        pricing::{Quote, UnitType},
        recurrence::Recurrence,
        schedule::{Rhythm, Schedule, Weekdays},
        supplier::Supplier,
        tax_rule::TaxRule,
        text::LocalizedText,
        tour::{Category, Tour, WholeTour},
    },
    error::CatalogError,
    store::{offers::OnSale, search::Hit},
};

pub(crate) use self::pools::{pool, pool_use, read_kind, read_pool, read_pool_uses};

const DATE: &str = "%Y-%m-%d";
const TIME: &str = "%H:%M";
/// In days.
const TEN_YEARS: i64 = 3_653;
const LOCAL: &str = "%Y-%m-%dT%H:%M";

type Read<T> = Result<T, CatalogError>;

fn invalid(field: &str, problem: impl std::fmt::Display) -> CatalogError {
    CatalogError::field(field, problem.to_string())
}

/// The etag of a version.
pub(crate) fn etag(version: i64) -> String {
    format!("v{version}")
}

/// An etag, when one is given, must be the present one.
pub(crate) fn check_etag(given: &str, version: i64) -> Read<()> {
    if given.is_empty() || given == etag(version) { Ok(()) } else { Err(CatalogError::ChangedMeanwhile) }
}

pub(crate) fn read_date(field: &str, text: &str) -> Read<Option<NaiveDate>> {
    if text.is_empty() {
        return Ok(None);
    }
    NaiveDate::parse_from_str(text, DATE).map(Some).map_err(|_| invalid(field, "must be a date such as 2026-12-31"))
}

pub(crate) fn read_local(field: &str, text: &str) -> Read<NaiveDateTime> {
    NaiveDateTime::parse_from_str(text, LOCAL)
        .map_err(|_| invalid(field, "must be a local time such as 2026-12-31T09:00"))
}

pub(crate) fn read_place(field: &str, place: &LatLng) -> Read<Place> {
    Place::new(place.latitude, place.longitude)
        .ok_or_else(|| invalid(field, "must have a latitude of -90 to 90 and a longitude of -180 to 180 degrees"))
}

pub(crate) fn read_money(field: &str, money: &WireMoney) -> Read<Money> {
    Money::of_wire(money).map_err(|e| invalid(field, e))
}

pub(crate) fn read_unit(field: &str, unit: i32) -> Read<UnitType> {
    UnitType::of_number(unit).ok_or_else(|| invalid(field, "must be a known unit"))
}

/// `None` for "not set".
pub(crate) fn read_category(field: &str, category: i32) -> Read<Option<Category>> {
    match category {
        0 => Ok(None),
        n => Category::of_number(n).map(Some).ok_or_else(|| invalid(field, "must be a known category")),
    }
}

pub(crate) fn read_text(text: Option<common::LocalizedText>) -> LocalizedText {
    text.map(|t| LocalizedText { en: t.en, fr: t.fr }).unwrap_or_default()
}

pub(crate) fn read_units(units: &[wire::Unit]) -> Read<Vec<Unit>> {
    let read = |(i, u): (usize, &wire::Unit)| {
        let unit = read_unit(&format!("option.units[{i}].type"), u.r#type)?;
        Ok(Unit { unit, seats: u.seats, min_age: u.min_age, max_age: u.max_age })
    };
    units.iter().enumerate().map(read).collect()
}

pub(crate) fn read_price_lists(lists: &[wire::PriceList]) -> Read<Vec<PriceList>> {
    let read = |(i, list): (usize, &wire::PriceList)| {
        let at = format!("option.price_lists[{i}]");
        let price = |(j, p): (usize, &wire::UnitPrice)| {
            let at = format!("{at}.prices[{j}]");
            let money = p.price.as_ref().ok_or_else(|| invalid(&format!("{at}.price"), "must be set"))?;
            Ok(UnitPrice {
                unit: read_unit(&format!("{at}.unit"), p.unit)?,
                price: read_money(&format!("{at}.price"), money)?,
            })
        };
        Ok(PriceList {
            valid_from: read_date(&format!("{at}.valid_from"), &list.valid_from)?,
            valid_until: read_date(&format!("{at}.valid_until"), &list.valid_until)?,
            prices: list.prices.iter().enumerate().map(price).collect::<Read<_>>()?,
        })
    };
    lists.iter().enumerate().map(read).collect()
}

pub(crate) fn read_refund_policy(policy: Option<&common::RefundPolicy>) -> Vec<RefundTier> {
    let tier = |t: &common::RefundTier| RefundTier { hours_before: t.hours_before, refund_percent: t.refund_percent };
    policy.map(|p| p.tiers.iter().map(tier).collect()).unwrap_or_default()
}

/// A new option of a tour.
pub(crate) fn read_option(option: wire::Option, id: OptionId, tour: TourId, now: DateTime<Utc>) -> Read<TourOption> {
    Ok(TourOption {
        id,
        tour,
        units: read_units(&option.units)?,
        price_lists: read_price_lists(&option.price_lists)?,
        refund_tiers: read_refund_policy(option.refund_policy.as_ref()),
        title: read_text(option.title),
        duration_minutes: option.duration_minutes,
        min_party: option.min_party.max(1),
        max_party: option.max_party,
        hold_seconds: option.hold_seconds,
        pay_on_arrival: option.pay_on_arrival,
        pools: read_pool_uses(&option.pools)?,
        max_open_holds: option.max_open_holds,
        version: 1,
        created_at: now,
    })
}

fn read_weekdays(days: &[i32]) -> Read<Weekdays> {
    let mut weekdays = Weekdays(0);
    for (i, day) in days.iter().enumerate() {
        let field = format!("schedule.weekdays[{i}]");
        let number =
            u32::try_from(*day).ok().filter(|n| (1..=7).contains(n)).ok_or_else(|| invalid(&field, "must be a day"))?;
        if weekdays.has(number - 1) {
            return Err(invalid(&field, "appears twice"));
        }
        weekdays.0 |= 1 << (number - 1);
    }
    Ok(weekdays)
}

/// The rhythm of a schedule; a rule counts from the given date.
fn read_rhythm(schedule: &wire::Schedule, from: NaiveDate) -> Read<Rhythm> {
    match (schedule.weekdays.as_slice(), schedule.recurrence.as_str()) {
        ([], "") => Err(invalid("schedule.weekdays", "must have at least 1 item, unless recurrence says the dates")),
        (days, "") => Ok(Rhythm::Weekly(read_weekdays(days)?)),
        ([], rule) => {
            Recurrence::parse(rule, from).map(Rhythm::Rule).map_err(|problem| invalid("schedule.recurrence", problem))
        }
        _ => Err(invalid("schedule.recurrence", "must be empty when weekdays say the dates")),
    }
}

fn read_times(times: &[String]) -> Read<Vec<NaiveTime>> {
    let mut read = BTreeSet::new();
    for (i, text) in times.iter().enumerate() {
        let field = format!("schedule.start_times[{i}]");
        let time =
            NaiveTime::parse_from_str(text, TIME).map_err(|_| invalid(&field, "must be a time such as 09:00"))?;
        if !read.insert(time) {
            return Err(invalid(&field, "appears twice"));
        }
    }
    if read.is_empty() {
        return Err(invalid("schedule.start_times", "must have at least 1 item"));
    }
    Ok(read.into_iter().collect())
}

fn read_dates(at: &str, dates: &[String]) -> Read<BTreeSet<NaiveDate>> {
    let read = |(i, text): (usize, &String)| {
        let field = format!("{at}[{i}]");
        read_date(&field, text)?.ok_or_else(|| invalid(&field, "must be set"))
    };
    dates.iter().enumerate().map(read).collect()
}

fn read_end(text: &str, start_date: NaiveDate) -> Read<Option<NaiveDate>> {
    let end_date = read_date("schedule.end_date", text)?;
    if end_date.is_some_and(|end| end < start_date) {
        return Err(invalid("schedule.end_date", "must not lie before start_date"));
    }
    Ok(end_date)
}

fn read_capacity(capacity: i32) -> Read<i32> {
    if capacity < 1 { Err(invalid("schedule.capacity", "must be at least 1")) } else { Ok(capacity) }
}

/// A new schedule of an option; `today` is the tour's local date.
pub(crate) fn read_schedule(
    schedule: &wire::Schedule,
    id: ScheduleId,
    option: OptionId,
    tour: TourId,
    today: NaiveDate,
    now: DateTime<Utc>,
) -> Read<Schedule> {
    let start_date = read_date("schedule.start_date", &schedule.start_date)?.unwrap_or(today);
    // A rule is read from its start: that must not take long.
    if !schedule.recurrence.is_empty() && (start_date - today).num_days().abs() > TEN_YEARS {
        return Err(invalid("schedule.start_date", "must lie within ten years of today"));
    }
    Ok(Schedule {
        id,
        option,
        tour,
        rhythm: read_rhythm(schedule, start_date)?,
        start_times: read_times(&schedule.start_times)?,
        start_date,
        end_date: read_end(&schedule.end_date, start_date)?,
        capacity: read_capacity(schedule.capacity)?,
        except_dates: read_dates("schedule.except_dates", &schedule.except_dates)?,
        extra_dates: read_dates("schedule.extra_dates", &schedule.extra_dates)?,
        effective_from: start_date,
        superseded_from: None,
        filled_until: today,
        created_at: now,
    })
}

/// Changes the named fields of a schedule that counts from its `effective_from` on.
pub(crate) fn change_schedule(
    schedule: &mut Schedule,
    fields: &[&str],
    new: &wire::Schedule,
    today: NaiveDate,
) -> Read<()> {
    let named = |field: &str| fields.contains(&field);
    if named("weekdays") || named("recurrence") {
        let rhythm = wire::Schedule {
            weekdays: if named("weekdays") { new.weekdays.clone() } else { Vec::new() },
            recurrence: if named("recurrence") { new.recurrence.clone() } else { String::new() },
            ..Default::default()
        };
        if !rhythm.recurrence.is_empty() && (schedule.effective_from - today).num_days() > TEN_YEARS {
            return Err(invalid("effective_from", "must lie within ten years of today"));
        }
        schedule.rhythm = read_rhythm(&rhythm, schedule.effective_from)?;
        schedule.start_date = schedule.effective_from;
    }
    for field in fields {
        match *field {
            "start_times" => schedule.start_times = read_times(&new.start_times)?,
            "capacity" => schedule.capacity = read_capacity(new.capacity)?,
            "except_dates" => schedule.except_dates = read_dates("schedule.except_dates", &new.except_dates)?,
            "extra_dates" => schedule.extra_dates = read_dates("schedule.extra_dates", &new.extra_dates)?,
            "end_date" => schedule.end_date = read_date("schedule.end_date", &new.end_date)?,
            _ => {}
        }
    }
    if schedule.end_date.is_some_and(|end| end < schedule.start_date) {
        return Err(invalid("schedule.end_date", "must not lie before the first date of the schedule"));
    }
    Ok(())
}

pub(crate) fn text(text: &LocalizedText) -> common::LocalizedText {
    common::LocalizedText { en: text.en.clone(), fr: text.fr.clone() }
}

pub(crate) fn supplier(supplier: &Supplier) -> wire::Supplier {
    wire::Supplier {
        id: supplier.id.to_string(),
        name: supplier.name.clone(),
        contact_email: supplier.contact_email.clone(),
        country: supplier.country.clone(),
        etag: etag(supplier.version),
        created_at: Some(time::to_wire(supplier.created_at)),
    }
}

/// A tour without its options.
pub(crate) fn tour(tour: &Tour) -> wire::Tour {
    wire::Tour {
        id: tour.id.to_string(),
        supplier_id: tour.supplier.to_string(),
        external_id: tour.external_id.clone(),
        title: Some(text(&tour.title)),
        description: Some(text(&tour.description)),
        category: tour.category.map_or(0, |c| c.number().into()),
        location: tour.location.map(|p| LatLng { latitude: p.latitude, longitude: p.longitude }),
        country: tour.country.clone(),
        time_zone: tour.time_zone.name().to_owned(),
        currency: tour.currency.to_string(),
        state: tour.state.number().into(),
        options: Vec::new(),
        etag: etag(tour.version),
        created_at: Some(time::to_wire(tour.created_at)),
        updated_at: Some(time::to_wire(tour.updated_at)),
    }
}

/// A tour with its options.
pub(crate) fn whole_tour(whole: &WholeTour) -> wire::Tour {
    wire::Tour { options: whole.options.iter().map(option).collect(), ..tour(&whole.tour) }
}

pub(crate) fn option(option: &TourOption) -> wire::Option {
    wire::Option {
        id: option.id.to_string(),
        tour_id: option.tour.to_string(),
        title: Some(text(&option.title)),
        duration_minutes: option.duration_minutes,
        units: option.units.iter().map(unit).collect(),
        price_lists: option.price_lists.iter().map(price_list).collect(),
        min_party: option.min_party,
        max_party: option.max_party,
        hold_seconds: option.hold_seconds,
        refund_policy: Some(refund_policy(&option.refund_tiers)),
        pay_on_arrival: option.pay_on_arrival,
        etag: etag(option.version),
        pools: option.pools.iter().map(pool_use).collect(),
        version: option.version,
        max_open_holds: option.max_open_holds,
    }
}

fn unit(unit: &Unit) -> wire::Unit {
    wire::Unit { r#type: unit.unit.number().into(), seats: unit.seats, min_age: unit.min_age, max_age: unit.max_age }
}

fn unit_price(price: &UnitPrice) -> wire::UnitPrice {
    wire::UnitPrice { unit: price.unit.number().into(), price: Some(price.price.to_wire()) }
}

fn price_list(list: &PriceList) -> wire::PriceList {
    let date = |d: Option<NaiveDate>| d.map(|d| d.format(DATE).to_string()).unwrap_or_default();
    wire::PriceList {
        valid_from: date(list.valid_from),
        valid_until: date(list.valid_until),
        prices: list.prices.iter().map(unit_price).collect(),
    }
}

fn refund_policy(tiers: &[RefundTier]) -> common::RefundPolicy {
    let tier = |t: &RefundTier| common::RefundTier { hours_before: t.hours_before, refund_percent: t.refund_percent };
    common::RefundPolicy { tiers: tiers.iter().map(tier).collect() }
}

pub(crate) fn schedule(schedule: &Schedule) -> wire::Schedule {
    wire::Schedule {
        id: schedule.id.to_string(),
        option_id: schedule.option.to_string(),
        weekdays: match &schedule.rhythm {
            Rhythm::Weekly(days) => (1..=7).filter(|n| days.has(n - 1)).filter_map(|n| i32::try_from(n).ok()).collect(),
            Rhythm::Rule(_) => Vec::new(),
        },
        start_times: schedule.start_times.iter().map(|t| t.format(TIME).to_string()).collect(),
        start_date: schedule.start_date.format(DATE).to_string(),
        end_date: schedule.last_date().map(|d| d.format(DATE).to_string()).unwrap_or_default(),
        capacity: schedule.capacity,
        except_dates: schedule.except_dates.iter().map(|d| d.format(DATE).to_string()).collect(),
        recurrence: match &schedule.rhythm {
            Rhythm::Weekly(_) => String::new(),
            Rhythm::Rule(rule) => rule.text().to_owned(),
        },
        extra_dates: schedule.extra_dates.iter().map(|d| d.format(DATE).to_string()).collect(),
        effective_from: schedule.effective_from.format(DATE).to_string(),
    }
}

pub(crate) fn blackout(blackout: &Blackout) -> wire::Blackout {
    wire::Blackout {
        id: blackout.id.to_string(),
        supplier_id: blackout.supplier.to_string(),
        tour_id: blackout.tour.map(|tour| tour.to_string()).unwrap_or_default(),
        first_date: blackout.first_date.format(DATE).to_string(),
        last_date: blackout.last_date.format(DATE).to_string(),
        reason: blackout.reason.clone(),
        created_at: Some(time::to_wire(blackout.created_at)),
    }
}

pub(crate) fn departure(departure: &Departure) -> wire::Departure {
    wire::Departure {
        id: departure.id.to_string(),
        tour_id: departure.tour.to_string(),
        option_id: departure.option.to_string(),
        supplier_id: departure.supplier.to_string(),
        local_start: departure.local_start.format(LOCAL).to_string(),
        time_zone: departure.time_zone.name().to_owned(),
        starts_at: Some(time::to_wire(departure.starts_at)),
        duration_minutes: departure.duration_minutes,
        capacity: departure.capacity,
        state: departure.state.number().into(),
        version: departure.version,
    }
}

pub(crate) fn hit(hit: &Hit) -> wire::TourHit {
    wire::TourHit {
        tour: Some(tour(&hit.tour)),
        from_price: hit.from_price.map(Money::to_wire),
        distance_meters: hit.distance_meters,
        next_departure: hit.next_departure.map(|t| t.format(LOCAL).to_string()).unwrap_or_default(),
    }
}

pub(crate) fn quote(on_sale: &OnSale, quote: &Quote) -> wire::QuoteResponse {
    let line = |l: &crate::domain::pricing::Line| wire::QuoteLine {
        unit: l.unit.number().into(),
        quantity: l.quantity,
        unit_price: Some(l.unit_price.to_wire()),
        total: Some(l.total.to_wire()),
    };
    wire::QuoteResponse {
        departure: Some(departure(&on_sale.departure)),
        lines: quote.lines.iter().map(line).collect(),
        total: Some(quote.total.to_wire()),
        seats: quote.seats,
        refund_policy: Some(refund_policy(&on_sale.option.refund_tiers)),
        taxes: on_sale.taxes.iter().zip(&quote.taxes).map(|(tax, amount)| tax.line(*amount)).collect(),
        net: Some(quote.net.to_wire()),
    }
}

pub(crate) fn offer(on_sale: &OnSale) -> wire::Offer {
    let OnSale { departure: d, tour, option, taxes, pools } = on_sale;
    let prices = crate::domain::pricing::list_on(&option.price_lists, d.local_start.date());
    wire::Offer {
        departure: Some(departure(d)),
        tour_state: tour.state.number().into(),
        tour_title: Some(text(&tour.title)),
        option_title: Some(text(&option.title)),
        units: option.units.iter().map(unit).collect(),
        prices: prices.map(|l| l.prices.iter().map(unit_price).collect()).unwrap_or_default(),
        currency: tour.currency.to_string(),
        min_party: option.min_party,
        max_party: option.max_party,
        hold_seconds: option.hold_seconds,
        refund_policy: Some(refund_policy(&option.refund_tiers)),
        pay_on_arrival: option.pay_on_arrival,
        taxes: taxes.iter().map(Tax::to_wire).collect(),
        country: tour.country.clone(),
        pool_uses: option.pools.iter().map(pool_use).collect(),
        pools: pools.iter().map(pool).collect(),
        option_version: option.version,
        max_open_holds: option.max_open_holds,
    }
}

/// A tax rule as it shall be.
pub(crate) fn read_tax_rule(rule: wire::TaxRule, id: TaxRuleId, now: DateTime<Utc>) -> Read<TaxRule> {
    let name = rule.name.trim().to_owned();
    if name.is_empty() {
        return Err(invalid("rule.name", "must be set"));
    }
    let percent = tax::percent_of_text(&rule.percent);
    let percent =
        percent.ok_or_else(|| invalid("rule.percent", "must lie between 0 and 100, with at most four decimals"))?;
    let valid_from = read_date("rule.valid_from", &rule.valid_from)?;
    let valid_until = read_date("rule.valid_until", &rule.valid_until)?;
    if valid_from.zip(valid_until).is_some_and(|(from, until)| until < from) {
        return Err(invalid("rule.valid_until", "must not be before valid_from"));
    }
    let tax = Tax { name, percent, included: rule.included };
    Ok(TaxRule { id, country: rule.country, tax, valid_from, valid_until, created_at: now })
}

pub(crate) fn tax_rule(rule: &TaxRule) -> wire::TaxRule {
    let date = |date: Option<NaiveDate>| date.map(|d| d.to_string()).unwrap_or_default();
    let common::Tax { name, percent, included } = rule.tax.to_wire();
    wire::TaxRule {
        id: rule.id.to_string(),
        country: rule.country.clone(),
        name,
        percent,
        included,
        valid_from: date(rule.valid_from),
        valid_until: date(rule.valid_until),
        created_at: Some(time::to_wire(rule.created_at)),
    }
}
