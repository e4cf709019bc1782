//! The documents inside of an option's and a schedule's row, as JSON has them; amounts are decimal texts.

use std::collections::BTreeSet;

use chrono::{NaiveDate, NaiveTime};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tourmesh_kit::money::{Currency, Money};

use crate::domain::{
    PoolId,
    option::{PriceList, RefundTier, Unit, UnitPrice},
    pool::PoolUse,
    pricing::UnitType,
};

#[derive(Serialize, Deserialize)]
struct UnitDoc {
    unit: i32,
    seats: i32,
    min_age: i32,
    max_age: i32,
}

#[derive(Serialize, Deserialize)]
struct ListDoc {
    from: Option<NaiveDate>,
    until: Option<NaiveDate>,
    prices: Vec<PriceDoc>,
}

#[derive(Serialize, Deserialize)]
struct PriceDoc {
    unit: i32,
    amount: Decimal,
}

#[derive(Serialize, Deserialize)]
struct TierDoc {
    hours_before: i32,
    refund_percent: i32,
}

#[derive(Serialize, Deserialize)]
struct PoolDoc {
    pool: uuid::Uuid,
    units: i32,
    seats: i32,
}

const TIME: &str = "%H:%M";

pub(super) fn units(units: &[Unit]) -> Value {
    let doc =
        |u: &Unit| UnitDoc { unit: u.unit.number().into(), seats: u.seats, min_age: u.min_age, max_age: u.max_age };
    json!(units.iter().map(doc).collect::<Vec<_>>())
}

pub(super) fn read_units(value: Value) -> Option<Vec<Unit>> {
    let docs: Vec<UnitDoc> = serde_json::from_value(value).ok()?;
    let unit = |d: UnitDoc| {
        Some(Unit { unit: UnitType::of_number(d.unit)?, seats: d.seats, min_age: d.min_age, max_age: d.max_age })
    };
    docs.into_iter().map(unit).collect()
}

pub(super) fn pool_uses(uses: &[PoolUse]) -> Value {
    let doc = |u: &PoolUse| PoolDoc { pool: u.pool.uuid(), units: u.units, seats: u.seats };
    json!(uses.iter().map(doc).collect::<Vec<_>>())
}

pub(super) fn read_pool_uses(value: Value) -> Option<Vec<PoolUse>> {
    let docs: Vec<PoolDoc> = serde_json::from_value(value).ok()?;
    let one = |d: PoolDoc| PoolUse { pool: PoolId::from_uuid(d.pool), units: d.units, seats: d.seats };
    Some(docs.into_iter().map(one).collect())
}

pub(super) fn price_lists(lists: &[PriceList]) -> Value {
    let price = |p: &UnitPrice| PriceDoc { unit: p.unit.number().into(), amount: p.price.amount() };
    let doc = |l: &PriceList| ListDoc {
        from: l.valid_from,
        until: l.valid_until,
        prices: l.prices.iter().map(price).collect(),
    };
    json!(lists.iter().map(doc).collect::<Vec<_>>())
}

pub(super) fn read_price_lists(value: Value, currency: Currency) -> Option<Vec<PriceList>> {
    let docs: Vec<ListDoc> = serde_json::from_value(value).ok()?;
    let price =
        |d: PriceDoc| Some(UnitPrice { unit: UnitType::of_number(d.unit)?, price: Money::new(d.amount, currency) });
    let list = |d: ListDoc| {
        let prices = d.prices.into_iter().map(price).collect::<Option<_>>()?;
        Some(PriceList { valid_from: d.from, valid_until: d.until, prices })
    };
    docs.into_iter().map(list).collect()
}

pub(super) fn refund_tiers(tiers: &[RefundTier]) -> Value {
    let doc = |t: &RefundTier| TierDoc { hours_before: t.hours_before, refund_percent: t.refund_percent };
    json!(tiers.iter().map(doc).collect::<Vec<_>>())
}

pub(super) fn read_refund_tiers(value: Value) -> Option<Vec<RefundTier>> {
    let docs: Vec<TierDoc> = serde_json::from_value(value).ok()?;
    let tier = |d: TierDoc| RefundTier { hours_before: d.hours_before, refund_percent: d.refund_percent };
    Some(docs.into_iter().map(tier).collect())
}

pub(super) fn times(times: &[NaiveTime]) -> Value {
    json!(times.iter().map(|t| t.format(TIME).to_string()).collect::<Vec<_>>())
}

pub(super) fn read_times(value: Value) -> Option<Vec<NaiveTime>> {
    let texts: Vec<String> = serde_json::from_value(value).ok()?;
    texts.iter().map(|t| NaiveTime::parse_from_str(t, TIME).ok()).collect()
}

pub(super) fn dates(dates: &BTreeSet<NaiveDate>) -> Value {
    json!(dates)
}

pub(super) fn read_dates(value: Value) -> Option<BTreeSet<NaiveDate>> {
    serde_json::from_value(value).ok()
}
