//! From a site to its tour: everything is derived from the site, so that it is the same on every machine.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use tourmesh_kit::{ApiError, ApiResult, money::Money};

use super::{currencies, sites::Site, texts};
use crate::domain::{
    OptionId, ScheduleId, SupplierId, TourId,
    geo::Place,
    ids::derived,
    local_time::{date_at, days_after},
    option::{PriceList, RefundTier, TourOption, Unit, UnitPrice},
    pricing::UnitType,
    schedule::{Rhythm, Schedule, Weekdays},
    supplier::Supplier,
    tour::{Category, Tour, TourState, WholeTour},
};

const MON_WED_FRI_SAT: Weekdays = Weekdays(0b011_0101);
const TUE_THU_SAT: Weekdays = Weekdays(0b010_1010);
const NOT_MONDAY: Weekdays = Weekdays(0b111_1110);
const FRI_SAT_SUN: Weekdays = Weekdays(0b111_0000);

/// What each option of a kind of tour is like.
struct Shape {
    minutes: i32,
    starts: &'static [(u32, u32)],
    weekdays: Weekdays,
    capacity: i32,
    /// In the euro area, in cents.
    adult: i64,
    max_party: i32,
}

/// The key that says which of several things is taken: stable and spread evenly.
fn pick(site: &Site, what: &str, of: usize) -> usize {
    usize::from(derived(what, &site.site_id).as_bytes()[0]) % of
}

/// The id of a seeded supplier.
fn supplier_id(name: &str) -> SupplierId {
    SupplierId::from_uuid(derived("seed supplier", name))
}

/// Who runs a site's tour.
pub(super) fn supplier(site: &Site, now: DateTime<Utc>) -> Supplier {
    let all = texts::suppliers(site.region());
    let (name, email) = all[pick(site, "which supplier", all.len())];
    Supplier {
        id: supplier_id(name),
        name: name.to_owned(),
        contact_email: email.to_owned(),
        country: String::new(),
        version: 1,
        created_at: now,
    }
}

/// The supplier that the demonstration account of a supplier works for.
pub(super) fn demo_supplier() -> SupplierId {
    supplier_id(texts::suppliers("Europe and North America")[0].0)
}

/// The id of a site's tour.
pub(super) fn tour_id(site: &Site) -> TourId {
    TourId::from_uuid(derived("seed tour", &site.site_id))
}

/// By category and area: buildings and towns are walked, landscapes take a day, wide land takes several.
fn category(site: &Site) -> Category {
    let (day, days) = if site.category == "Cultural" { (500.0, 100_000.0) } else { (0.0, 50_000.0) };
    if site.larger_than(days) {
        Category::MultiDay
    } else if site.larger_than(day) || site.category != "Cultural" {
        Category::DayTrip
    } else {
        Category::GuidedWalk
    }
}

fn shapes(site: &Site, category: Category) -> Vec<Shape> {
    let second = pick(site, "second option", 2) == 1;
    // Not every place costs the same: up to 35 % more.
    let level = |cents: i64| cents + cents * i64::try_from(pick(site, "price", 8)).unwrap_or_default() * 5 / 100;
    let first = match category {
        Category::GuidedWalk => Shape {
            minutes: 150,
            starts: &[(9, 30)],
            weekdays: Weekdays::ALL,
            capacity: 20,
            adult: level(2_400),
            max_party: 0,
        },
        Category::DayTrip | Category::Activity => Shape {
            minutes: 540,
            starts: &[(8, 0)],
            weekdays: NOT_MONDAY,
            capacity: 24,
            adult: level(7_900),
            max_party: 0,
        },
        Category::MultiDay => Shape {
            minutes: 3_600,
            starts: &[(7, 30)],
            weekdays: TUE_THU_SAT,
            capacity: 12,
            adult: level(39_000),
            max_party: 8,
        },
    };
    let other = match category {
        Category::GuidedWalk => Shape {
            minutes: 120,
            starts: &[(18, 0)],
            weekdays: FRI_SAT_SUN,
            capacity: 10,
            adult: level(3_200),
            max_party: 6,
        },
        Category::DayTrip | Category::Activity => Shape {
            minutes: 480,
            starts: &[(9, 0)],
            weekdays: MON_WED_FRI_SAT,
            capacity: 6,
            adult: level(12_900),
            max_party: 6,
        },
        Category::MultiDay => return vec![first],
    };
    if second { vec![first, other] } else { vec![first] }
}

/// The units of an option with their shares of the adult price in percent.
fn units(category: Category, second: bool) -> Vec<(Unit, i64)> {
    let unit = |unit, seats, min_age, max_age| Unit { unit, seats, min_age, max_age };
    let adult = (unit(UnitType::Adult, 1, 18, 0), 100);
    let child = (unit(UnitType::Child, 1, 4, 17), 50);
    match (category, second) {
        (Category::GuidedWalk, false) => vec![
            adult,
            child,
            (unit(UnitType::Senior, 1, 65, 0), 80),
            (unit(UnitType::Student, 1, 18, 26), 75),
            (unit(UnitType::Family, 4, 0, 0), 280),
            (unit(UnitType::Infant, 0, 0, 3), 0),
        ],
        (Category::GuidedWalk, true) => vec![adult, child, (unit(UnitType::Student, 1, 18, 26), 80)],
        (Category::DayTrip | Category::Activity, false) => {
            vec![adult, child, (unit(UnitType::Senior, 1, 65, 0), 85), (unit(UnitType::Infant, 0, 0, 3), 0)]
        }
        (Category::DayTrip | Category::Activity, true) => vec![adult, child],
        (Category::MultiDay, _) => vec![adult, (unit(UnitType::Youth, 1, 12, 17), 75)],
    }
}

fn refund_tiers(category: Category) -> Vec<RefundTier> {
    let tier = |hours_before, refund_percent| RefundTier { hours_before, refund_percent };
    match category {
        Category::GuidedWalk | Category::Activity => vec![tier(24, 100), tier(6, 50)],
        Category::DayTrip => vec![tier(72, 100), tier(24, 50)],
        Category::MultiDay => vec![tier(720, 100), tier(336, 50), tier(168, 25)],
    }
}

/// A site's tour on sale, with its options and weekly schedules. The departures are made up to `days` from `now`.
pub(super) fn whole(site: &Site, zone: Tz, now: DateTime<Utc>, days: u64) -> ApiResult<(WholeTour, Vec<Schedule>)> {
    let lacks = |what: &str| ApiError::internal(format!("site {} has no {what}", site.site_id));
    let currency = currencies::of_country(site.country()).ok_or_else(|| lacks("currency"))?;
    let category = category(site);
    let (title, description) = texts::tour(site, category);
    let tour = Tour {
        id: tour_id(site),
        supplier: supplier(site, now).id,
        external_id: format!("whs-{}", site.site_id),
        title,
        description,
        category: Some(category),
        location: Some(Place::new(site.latitude, site.longitude).ok_or_else(|| lacks("place on the earth"))?),
        country: site.country().to_owned(),
        time_zone: zone,
        currency,
        state: TourState::Published,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let today = date_at(now, zone);
    let mut options = Vec::new();
    let mut schedules = Vec::new();
    for (i, shape) in shapes(site, category).into_iter().enumerate() {
        let key = format!("{}/{i}", site.site_id);
        let mut option = option(&tour, &key, category, i > 0, &shape).ok_or_else(|| lacks("price level"))?;
        // Options are listed in the order of their making.
        option.created_at += TimeDelta::milliseconds(i64::from(i > 0));
        schedules.push(Schedule {
            id: ScheduleId::from_uuid(derived("seed schedule", &key)),
            option: option.id,
            tour: tour.id,
            rhythm: Rhythm::Weekly(shape.weekdays),
            start_times: shape.starts.iter().filter_map(|(h, m)| NaiveTime::from_hms_opt(*h, *m, 0)).collect(),
            start_date: today,
            end_date: None,
            capacity: shape.capacity,
            except_dates: BTreeSet::new(),
            extra_dates: BTreeSet::new(),
            effective_from: today,
            superseded_from: None,
            filled_until: days_after(today, days),
            created_at: now,
        });
        options.push(option);
    }
    Ok((WholeTour { tour, options }, schedules))
}

fn option(tour: &Tour, key: &str, category: Category, second: bool, shape: &Shape) -> Option<TourOption> {
    let currency = tour.currency;
    let units = units(category, second);
    let price = |(unit, percent): &(Unit, i64)| {
        let price = match percent {
            0 => Money::zero(currency),
            percent => currencies::price(currency, shape.adult * percent / 100)?,
        };
        Some(UnitPrice { unit: unit.unit, price })
    };
    let prices = units.iter().map(price).collect::<Option<_>>()?;
    Some(TourOption {
        id: OptionId::from_uuid(derived("seed option", key)),
        tour: tour.id,
        title: texts::option(category, second),
        duration_minutes: shape.minutes,
        units: units.into_iter().map(|(unit, _)| unit).collect(),
        price_lists: vec![PriceList { valid_from: None, valid_until: None, prices }],
        min_party: 1,
        max_party: shape.max_party,
        hold_seconds: 0,
        refund_tiers: refund_tiers(category),
        pay_on_arrival: false,
        pools: Vec::new(),
        max_open_holds: 0,
        version: 1,
        created_at: tour.created_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::sites;

    #[test]
    fn every_site_becomes_a_complete_tour_with_valid_options() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut departures = 0;
        for site in sites::all().unwrap() {
            let (whole, schedules) =
                whole(&site, Tz::UTC, now, 120).unwrap_or_else(|e| panic!("{}: {e}", site.site_id));
            assert_eq!(whole.missing(), [], "{}", site.site_id);
            for option in &whole.options {
                option.check(whole.tour.currency).unwrap_or_else(|e| panic!("{}: {e:?}", site.site_id));
            }
            let today = DateTime::<Utc>::date_naive(&now);
            departures += schedules.iter().map(|s| s.starts(today, days_after(today, 120)).count()).sum::<usize>();
            assert!(whole.tour.title.en.len() < 400 && whole.tour.title.fr.contains(&site.name_fr));
        }
        assert!(departures > 100_000, "{departures}");
    }
}
