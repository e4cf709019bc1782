//! What is on sale: a supplier, a tour for each property, an option for each refund policy, a departure for each stay.
//!
//! Nobody can book the past, so all dates move into the future by a whole number of weeks: the file's order, its days
//! of the week and the time between any two dates stay as they are.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use chrono::{Days, NaiveDate};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use rust_decimal::Decimal;
use tourmesh::{
    booking::v1::CheckAvailabilityRequest,
    catalog::v1::{
        CreateDepartureRequest, CreateOptionRequest, CreateSupplierRequest, CreateTourRequest, Option as TourOption,
        PriceList, PublishTourRequest, Supplier, Tour, TourCategory, Unit, UnitPrice,
    },
    common::v1::{LocalizedText, RefundPolicy, RefundTier, UnitType},
    google::r#type::LatLng,
};
use tourmesh_kit::money::{Currency, Money};

use super::{
    agenda::Agenda,
    caller::patient,
    demand::{Demand, Plan, later},
};
use crate::{
    bench::ground::{Ground, signed},
    journey::request_id,
};

/// How many preparing calls are under way at once.
const AT_ONCE: usize = 32;
/// The first arrival lies at least so many days ahead.
const AHEAD: u64 = 10;
/// Longer than any replay: no hold runs out because the machine is slow.
const HOLD_SECONDS: i32 = 7_200;

/// A call of the catalog's administration, with patience.
macro_rules! admin {
    ($ground:expr, $method:ident, $request:expr) => {
        admin!($ground, 0, $method, $request)
    };
    ($ground:expr, $client:expr, $method:ident, $request:expr) => {{
        let (admin, request) = ($ground.admin($client)?, $request);
        let answer = patient(|| {
            let (mut admin, request) = (admin.clone(), signed(&$ground.staff, request.clone()));
            async move { admin.$method(request).await }
        });
        answer.await?
    }};
}

/// By how many days the file's dates are moved.
#[derive(Debug, Clone, Copy)]
pub struct Shift(pub u32);

impl Shift {
    /// Whole weeks that bring the first arrival into the future.
    pub fn of(rows: &[Demand], today: NaiveDate) -> anyhow::Result<Self> {
        let first = rows.iter().map(|d| d.arrival).min().context("there are no rows")?;
        let earliest = today.checked_add_days(Days::new(AHEAD)).context("today is no date")?;
        let days = u32::try_from((earliest - first).num_days().max(0))?;
        Ok(Self(days.div_ceil(7) * 7))
    }

    /// The file's date of a local start.
    pub fn back(self, local_start: &str) -> Option<NaiveDate> {
        let day: NaiveDate = local_start.get(..10)?.parse().ok()?;
        day.checked_sub_days(Days::new(u64::from(self.0)))
    }
}

/// The departures, by the indexes of the agenda.
#[derive(Debug)]
pub struct Stage {
    /// "dep_…".
    pub departures: Vec<String>,
    /// Their seats.
    pub capacities: Vec<i32>,
    /// How the dates were moved.
    pub shift: Shift,
}

impl Stage {
    /// Puts everything on sale. `capacity` is that of the departures that are open to everybody.
    pub async fn set(
        ground: &Ground,
        rows: &[Demand],
        agenda: &Agenda,
        capacity: i32,
        bar: &ProgressBar,
    ) -> anyhow::Result<Self> {
        bar.set_message("putting the properties on sale");
        let options = options(ground, rows).await?;
        let shift = Shift::of(rows, chrono::Utc::now().date_naive())?;
        let capacities: Vec<i32> =
            agenda.stays.iter().map(|(stay, seats)| if stay.allotment > 0 { *seats } else { capacity }).collect();
        bar.set_message(format!("making {} departures", agenda.stays.len()));
        let making = agenda.stays.iter().zip(&capacities).enumerate().map(|(n, ((stay, _), capacity))| {
            let day = later(stay.arrival, shift.0);
            // From three in the afternoon on; each allotment of a day has a minute of its own.
            let minute = 15 * 60 + stay.allotment;
            let request = CreateDepartureRequest {
                request_id: request_id(),
                option_id: options.get(&stay.plan).cloned().unwrap_or_default(),
                local_start: format!("{day}T{:02}:{:02}", minute / 60, minute % 60),
                capacity: *capacity,
            };
            async move {
                let made = admin!(ground, n, create_departure, request).departure;
                anyhow::Ok(made.context("no departure came")?.id)
            }
        });
        let departures: Vec<String> = stream::iter(making).buffered(AT_ONCE).try_collect().await?;
        known(ground, &departures, bar).await?;
        Ok(Self { departures, capacities, shift })
    }
}

/// The option of each plan.
async fn options(ground: &Ground, rows: &[Demand]) -> anyhow::Result<BTreeMap<Plan, String>> {
    let request = CreateSupplierRequest {
        request_id: request_id(),
        supplier: Some(Supplier {
            name: "Two Portuguese hotels".to_owned(),
            contact_email: "hotels@tourmesh.example".to_owned(),
            country: "PT".to_owned(),
            ..Supplier::default()
        }),
    };
    let made = admin!(ground, create_supplier, request).supplier;
    let supplier = made.context("no supplier came")?.id;
    let mut plans: BTreeMap<&str, BTreeMap<&Plan, Vec<Decimal>>> = BTreeMap::new();
    for row in rows {
        plans.entry(&row.plan.property).or_default().entry(&row.plan).or_default().push(row.rate);
    }
    let mut options = BTreeMap::new();
    for (property, plans) in plans {
        let request = CreateTourRequest {
            request_id: request_id(),
            tour: Some(Tour {
                supplier_id: supplier.clone(),
                title: english(property),
                description: english("Stays as they were booked from 2013 to 2017."),
                category: TourCategory::MultiDay.into(),
                location: Some(LatLng { latitude: 38.7, longitude: -9.1 }),
                country: "PT".to_owned(),
                time_zone: "Europe/Lisbon".to_owned(),
                currency: "EUR".to_owned(),
                ..Tour::default()
            }),
        };
        let made = admin!(ground, create_tour, request).tour;
        let tour = made.context("no tour came")?.id;
        for (plan, rates) in plans {
            let request = CreateOptionRequest { request_id: request_id(), option: Some(option(&tour, plan, &rates)?) };
            let made = admin!(ground, create_option, request).option;
            options.insert(plan.clone(), made.context("no option came")?.id);
        }
        let request = PublishTourRequest { request_id: request_id(), tour_id: tour };
        admin!(ground, publish_tour, request);
    }
    Ok(options)
}

fn english(text: &str) -> Option<LocalizedText> {
    Some(LocalizedText { en: text.to_owned(), fr: String::new() })
}

/// Two adults pay the average of the plan's daily rates, a child half of what an adult pays, a baby nothing.
fn option(tour: &str, plan: &Plan, rates: &[Decimal]) -> anyhow::Result<TourOption> {
    use UnitType as U;
    let average = rates.iter().sum::<Decimal>() / Decimal::from(rates.len().max(1));
    let adult = (average / Decimal::TWO).round_dp(2).max(Decimal::ONE);
    let child = (adult / Decimal::TWO).round_dp(2);
    let euros: Currency = "EUR".parse().context("the euro")?;
    let price =
        |unit: U, amount: Decimal| UnitPrice { unit: unit.into(), price: Some(Money::new(amount, euros).to_wire()) };
    let unit = |unit: U, seats| Unit { r#type: unit.into(), seats, ..Unit::default() };
    let tiers = if plan.non_refundable { vec![] } else { vec![RefundTier { hours_before: 24, refund_percent: 100 }] };
    Ok(TourOption {
        tour_id: tour.to_owned(),
        title: english(if plan.non_refundable { "Non-refundable" } else { "Flexible" }),
        duration_minutes: 24 * 60,
        units: vec![unit(U::Adult, 1), unit(U::Child, 1), unit(U::Infant, 0), unit(U::Other, 1)],
        price_lists: vec![PriceList {
            prices: vec![
                price(U::Adult, adult),
                price(U::Child, child),
                price(U::Infant, Decimal::ZERO),
                price(U::Other, adult),
            ],
            ..PriceList::default()
        }],
        min_party: 1,
        hold_seconds: HOLD_SECONDS,
        refund_policy: Some(RefundPolicy { tiers }),
        ..TourOption::default()
    })
}

/// Waits until Booking has heard of all departures.
async fn known(ground: &Ground, departures: &[String], bar: &ProgressBar) -> anyhow::Result<()> {
    bar.set_message("waiting until Booking knows the departures");
    let begun = Instant::now();
    for chunk in departures.chunks(100) {
        loop {
            let request = CheckAvailabilityRequest { departure_ids: chunk.to_vec() };
            let booking = ground.booking(0)?;
            let answer = patient(|| {
                let (mut booking, request) = (booking.clone(), signed(&ground.staff, request.clone()));
                async move { booking.check_availability(request).await }
            });
            let answer = answer.await?;
            if answer.availabilities.len() == chunk.len() {
                break;
            }
            if begun.elapsed() > Duration::from_secs(120) {
                bail!("Booking has not heard of the departures after two minutes");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_move_by_whole_weeks_into_the_future_and_back() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/booking-demand.csv");
        let rows = super::super::demand::read(&file).unwrap();
        let today = NaiveDate::from_ymd_opt(2031, 3, 14).unwrap();
        let shift = Shift::of(&rows, today).unwrap();
        assert_eq!(shift.0 % 7, 0);
        for row in &rows {
            let day = later(row.arrival, shift.0);
            assert!(day >= today + Days::new(AHEAD));
            assert_eq!(shift.back(&format!("{day}T15:03")), Some(row.arrival));
        }
    }
}
