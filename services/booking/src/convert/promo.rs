//! Promo codes between the wire and the domain.

use chrono::{DateTime, NaiveDate, SubsecRound as _, Utc};
use prost_types::Timestamp;
use rust_decimal::Decimal;
use tourmesh::{booking::v1 as pb, google::r#type::Money as WireMoney};
use tourmesh_kit::{ApiError, ApiResult, money::Money, tax, time};

use super::wire_int;
use crate::domain::{
    PromoId, SupplierId, TourId,
    promo::{Discount, Limits, Promo, PromoCode},
};

/// The text of a code as it is kept; none: there is none.
pub(crate) fn code(text: &str) -> Option<String> {
    Some(text.trim().to_ascii_uppercase()).filter(|code| !code.is_empty())
}

/// A new code of this supplier; `None`: of the platform.
pub(crate) fn read(wire: &pb::PromoCode, supplier: Option<SupplierId>, now: DateTime<Utc>) -> ApiResult<PromoCode> {
    let plain = |code: &String| {
        (3..=40).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    let code = code(&wire.code).filter(plain).ok_or_else(|| {
        ApiError::field("promo_code.code", "must have 3 to 40 characters of A-Z 0-9 - _, in upper or lower case")
    })?;
    let tours = wire.tour_ids.iter().enumerate();
    let tours = tours.map(|(at, id)| TourId::of_field(&format!("promo_code.tour_ids[{at}]"), id));
    let book_from = instant("promo_code.book_from", wire.book_from.as_ref())?;
    let book_until = instant("promo_code.book_until", wire.book_until.as_ref())?;
    if book_until.is_some_and(|until| until <= book_from.unwrap_or(now)) {
        return Err(ApiError::field("promo_code.book_until", "must be in the future, and after book_from"));
    }
    let depart_from = date("promo_code.depart_from", &wire.depart_from)?;
    let depart_until = date("promo_code.depart_until", &wire.depart_until)?;
    if depart_from.zip(depart_until).is_some_and(|(from, until)| until < from) {
        return Err(ApiError::field("promo_code.depart_until", "must not be before depart_from"));
    }
    let limits = Limits {
        book_from,
        book_until,
        ended_at: None,
        max_uses: limit("promo_code.max_uses", wire.max_uses)?,
        max_per_customer: limit("promo_code.max_uses_per_customer", wire.max_uses_per_customer)?,
    };
    let discount = discount(wire.discount.as_ref())?;
    Ok(PromoCode {
        promo: Promo { id: PromoId::new(), code, discount, depart_from, depart_until },
        supplier,
        tours: tours.collect::<ApiResult<_>>()?,
        limits,
        uses: 0,
        created_at: now,
    })
}

fn discount(wire: Option<&pb::promo_code::Discount>) -> ApiResult<Discount> {
    use pb::promo_code::Discount as W;
    match wire {
        Some(W::Percent(text)) => {
            let percent = tax::percent_of_text(text).filter(|percent| *percent > Decimal::ZERO);
            percent.map(Discount::Percent).ok_or_else(|| {
                let problem = "must be more than 0 and at most 100, with at most four decimals";
                ApiError::field("promo_code.percent", problem)
            })
        }
        Some(W::Amount(amount)) => money("promo_code.amount", amount).map(Discount::Amount),
        Some(W::AmountPerUnit(amount)) => money("promo_code.amount_per_unit", amount).map(Discount::PerUnit),
        None => Err(ApiError::field("promo_code.discount", "needs a percent, an amount or an amount_per_unit")),
    }
}

fn money(field: &str, wire: &WireMoney) -> ApiResult<Money> {
    let money = Money::of_wire(wire).map_err(|problem| ApiError::field(field, problem.to_string()))?;
    if money.is_positive() { Ok(money) } else { Err(ApiError::field(field, "must be more than zero")) }
}

fn instant(field: &str, wire: Option<&Timestamp>) -> ApiResult<Option<DateTime<Utc>>> {
    let Some(wire) = wire else { return Ok(None) };
    let instant = time::of_wire(wire).ok_or_else(|| ApiError::field(field, "is no time"))?;
    // As the database keeps it.
    Ok(Some(instant.trunc_subsecs(6)))
}

fn date(field: &str, text: &str) -> ApiResult<Option<NaiveDate>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| ApiError::field(field, "must be a date such as 2026-12-31"))
}

fn limit(field: &str, number: i32) -> ApiResult<Option<u32>> {
    let number = u32::try_from(number).map_err(|_| ApiError::field(field, "must not be negative"))?;
    Ok(Some(number).filter(|number| *number > 0))
}

/// A code as the API shows it.
pub(crate) fn promo_code(code: &PromoCode) -> pb::PromoCode {
    use pb::promo_code::Discount as W;
    let date = |date: Option<NaiveDate>| date.map(|d| d.to_string()).unwrap_or_default();
    pb::PromoCode {
        id: code.promo.id.to_string(),
        supplier_id: code.supplier.map(|s| s.to_string()).unwrap_or_default(),
        code: code.promo.code.clone(),
        tour_ids: code.tours.iter().map(ToString::to_string).collect(),
        discount: Some(match code.promo.discount {
            Discount::Percent(percent) => W::Percent(percent.to_string()),
            Discount::Amount(amount) => W::Amount(amount.to_wire()),
            Discount::PerUnit(amount) => W::AmountPerUnit(amount.to_wire()),
        }),
        book_from: code.limits.book_from.map(time::to_wire),
        book_until: code.limits.book_until.map(time::to_wire),
        depart_from: date(code.promo.depart_from),
        depart_until: date(code.promo.depart_until),
        max_uses: wire_int(code.limits.max_uses.unwrap_or_default()),
        max_uses_per_customer: wire_int(code.limits.max_per_customer.unwrap_or_default()),
        uses: wire_int(code.uses),
        created_at: Some(time::to_wire(code.created_at)),
        ended_at: code.limits.ended_at.map(time::to_wire),
    }
}
