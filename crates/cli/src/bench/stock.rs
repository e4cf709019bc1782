//! Departures with enough seats for a measurement.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use tourmesh::{
    booking::v1::CheckAvailabilityRequest,
    catalog::v1::{
        CreateDepartureRequest, Departure, ListDeparturesRequest, SearchToursRequest, Tour, UpdateDepartureRequest,
    },
};

use super::ground::{Ground, signed};
use crate::journey::request_id;

/// How many preparing calls are under way at once.
const AT_ONCE: usize = 32;
/// The most seats that a departure can have.
const MOST_SEATS: u64 = 100_000;
/// No measurement books faster than this.
const FASTEST: u64 = 40_000;

/// All published tours, as search gives them.
pub async fn tours(ground: &Ground) -> anyhow::Result<Vec<Tour>> {
    let mut tours = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = SearchToursRequest { page_size: 100, page_token, ..Default::default() };
        let page = ground.catalog(0)?.search_tours(request).await?.into_inner();
        tours.extend(page.hits.into_iter().filter_map(|hit| hit.tour));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    ensure!(!tours.is_empty(), "the catalog is empty; run `tourmesh seed`");
    Ok(tours)
}

/// So many departures of all tours, or as many as there are, from three days on.
pub async fn departures(ground: &Ground, most: u32, bar: &ProgressBar) -> anyhow::Result<Vec<Departure>> {
    bar.set_message("choosing departures");
    let tours = tours(ground).await?;
    let most = usize::try_from(most)?;
    let page_size = i32::try_from(most.div_ceil(tours.len()).min(200))?;
    let from = (chrono::Utc::now().date_naive() + chrono::Days::new(3)).to_string();
    let pages = stream::iter(tours.into_iter().enumerate()).map(|(n, tour)| {
        let request =
            ListDeparturesRequest { tour_id: tour.id, date_from: from.clone(), page_size, ..Default::default() };
        let catalog = ground.catalog(n);
        async move { anyhow::Ok(catalog?.list_departures(request).await?.into_inner().departures) }
    });
    let pages: Vec<Vec<Departure>> = pages.buffered(AT_ONCE).try_collect().await?;
    let mut all: Vec<Departure> = pages.into_iter().flatten().collect();
    all.truncate(most);
    ensure!(!all.is_empty(), "there is no departure to book");
    Ok(all)
}

/// Gives each departure the seats that it needs when bookings are spread over them for so long; their ids.
pub async fn with_room(
    ground: &Ground,
    departures: Vec<Departure>,
    seconds: u64,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<String>> {
    let each = (seconds * FASTEST / departures.len() as u64 + 50).min(MOST_SEATS);
    let capacity = i32::try_from(each)?;
    bar.set_message(format!("giving {} departures {capacity} seats each", departures.len()));
    let narrow = departures.iter().filter(|d| d.capacity < capacity).enumerate();
    let widening = stream::iter(narrow).map(|(n, departure)| {
        let request = UpdateDepartureRequest {
            request_id: request_id(),
            departure_id: departure.id.clone(),
            capacity,
            update_mask: Some(prost_types::FieldMask { paths: vec!["capacity".to_owned()] }),
            ..Default::default()
        };
        let admin = ground.admin(n);
        async move {
            admin?.update_departure(signed(&ground.staff, request)).await?;
            anyhow::Ok(())
        }
    });
    widening.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    let ids: Vec<String> = departures.into_iter().map(|d| d.id).collect();
    known(ground, &ids, capacity, bar).await?;
    Ok(ids)
}

/// New departures with as many seats as one can have, one minute after the other: enough for so long.
pub async fn hot(ground: &Ground, seconds: u64, bar: &ProgressBar) -> anyhow::Result<Vec<String>> {
    let model = departures(ground, 1, bar).await?.into_iter().next().context("there is no departure")?;
    let day = (chrono::Utc::now().date_naive() + chrono::Days::new(60)).to_string();
    let mut ids = Vec::new();
    for n in 0..=(seconds * FASTEST / MOST_SEATS) {
        // A minute that an earlier measurement is unlikely to have taken; one that it took can be taken again.
        let minute = (n + u64::from(std::process::id())) % 1_440;
        let request = CreateDepartureRequest {
            request_id: request_id(),
            option_id: model.option_id.clone(),
            local_start: format!("{day}T{:02}:{:02}", minute / 60, minute % 60),
            capacity: i32::try_from(MOST_SEATS)?,
        };
        let made = ground.admin(0)?.create_departure(signed(&ground.staff, request)).await?.into_inner().departure;
        ids.push(made.context("no departure came")?.id);
    }
    known(ground, &ids, i32::try_from(MOST_SEATS)?, bar).await?;
    Ok(ids)
}

/// Waits until Booking knows these departures with so many seats.
async fn known(ground: &Ground, ids: &[String], capacity: i32, bar: &ProgressBar) -> anyhow::Result<()> {
    bar.set_message("waiting until Booking knows the departures");
    let begun = Instant::now();
    for chunk in ids.chunks(100) {
        loop {
            let request = CheckAvailabilityRequest { departure_ids: chunk.to_vec() };
            let answer = ground.booking(0)?.check_availability(signed(&ground.staff, request)).await?.into_inner();
            if answer.availabilities.iter().filter(|a| a.capacity >= capacity).count() == chunk.len() {
                break;
            }
            if begun.elapsed() > Duration::from_secs(120) {
                bail!("Booking has not heard of the new seats after two minutes");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// A number that looks random and visits everything before it repeats: for `turn` in 0.. all of 0..n, if n is no multiple
/// of the prime.
pub fn scattered(turn: u64, n: usize) -> usize {
    usize::try_from(turn.wrapping_mul(2_654_435_761) % n.max(1) as u64).unwrap_or_default()
}

/// Shared by all clients.
pub type Ids = Arc<[String]>;
