//! ImportTours: many tours at once, each in a transaction of its own, so that each succeeds or fails alone.

use chrono::{DateTime, Utc};
use prost::Message as _;
use sqlx::PgConnection;
use tourmesh::catalog::v1 as wire;
use tourmesh_kit::{ApiError, ApiResult, ErrorReason, events::outbox};
use uuid::Uuid;

use crate::{
    catalog::{Asked, Catalog, transaction},
    convert,
    domain::{
        OptionId, ScheduleId, SupplierId, TourId,
        local_time::{date_at, days_after},
        schedule::Schedule,
        tour::{TourState, WholeTour},
    },
    error::CatalogError,
    events, horizon, pools,
    schedules::check_size,
    store::{blackouts, options, requests::Claim, schedules, search, suppliers, tours},
    tours::{check_size as check_tour_size, optional_supplier, read_draft},
};

impl Catalog {
    pub(crate) async fn import(
        &self,
        asked: Asked,
        request: wire::ImportToursRequest,
    ) -> ApiResult<wire::ImportToursResponse> {
        let supplier = asked.reach.supplier(optional_supplier("supplier_id", &request.supplier_id)?)?;
        // The request is claimed before the items are made: another one with the same id is refused from now on. When
        // this one is cut short, its repeat finds no answer and goes on where it ended.
        let claim = transaction!(self.db, [asked], |tx| {
            if !suppliers::exists(tx, supplier).await? {
                return Err(CatalogError::SupplierNotFound.into());
            }
            asked.request.claim(tx, Uuid::nil()).await
        })?;
        if let Claim::Done(_, Some(answer)) = claim {
            return wire::ImportToursResponse::decode(answer.as_slice()).map_err(ApiError::internal);
        }
        let mut results = Vec::with_capacity(request.items.len());
        for item in request.items {
            results.push(self.import_one(supplier, item, asked.now).await?);
        }
        self.facets.forget();
        let answer = wire::ImportToursResponse { results }.encode_to_vec();
        let kept = transaction!(self.db, [asked, answer], |tx| asked.request.keep_answer(tx, &answer).await)?;
        wire::ImportToursResponse::decode(kept.as_slice()).map_err(ApiError::internal)
    }

    /// One item. What is wrong with it is its result; a failure of ours ends the call, which may be repeated.
    async fn import_one(
        &self,
        supplier: SupplierId,
        item: wire::ImportItem,
        now: DateTime<Utc>,
    ) -> ApiResult<wire::ImportResult> {
        let external_id = item.tour.as_ref().map(|t| t.external_id.clone()).unwrap_or_default();
        let days = self.config.horizon_days;
        let done = transaction!(self.db, [item], |tx| import_one(tx, supplier, item, days, now).await);
        match done {
            Ok(result) => Ok(result),
            Err(error) if is_ours(&error) => Err(error),
            Err(error) => {
                let error = error.message().to_owned();
                Ok(wire::ImportResult { external_id, error, ..Default::default() })
            }
        }
    }
}

fn is_ours(error: &ApiError) -> bool {
    use ErrorReason as R;
    matches!(
        error.reason(),
        R::Internal | R::DependencyUnavailable | R::DeadlineExceeded | R::Overloaded | R::Unspecified
    )
}

async fn import_one(
    tx: &mut PgConnection,
    supplier: SupplierId,
    item: wire::ImportItem,
    days: u64,
    now: DateTime<Utc>,
) -> ApiResult<wire::ImportResult> {
    let new = item.tour.ok_or_else(|| ApiError::field("tour", "must be set"))?;
    if new.external_id.is_empty() {
        return Err(ApiError::field("tour.external_id", "must be set"));
    }
    let external_id = new.external_id.clone();
    if !new.supplier_id.is_empty() && SupplierId::of_field("tour.supplier_id", &new.supplier_id)? != supplier {
        return Err(ApiError::field("tour.supplier_id", "must be the supplier of the import, or empty"));
    }
    let tour = read_draft(new, TourId::new(), supplier, now)?;
    let today = date_at(now, tour.time_zone);
    let mut whole = WholeTour { tour, options: Vec::new() };
    let mut rhythms: Vec<Schedule> = Vec::new();
    for import in item.options {
        let option = import.option.ok_or_else(|| ApiError::field("option", "must be set"))?;
        let option = convert::read_option(option, OptionId::new(), whole.tour.id, now)?;
        option.check(whole.tour.currency)?;
        pools::check_uses(tx, &option, supplier).await?;
        for schedule in &import.schedules {
            let mut schedule = convert::read_schedule(schedule, ScheduleId::new(), option.id, option.tour, today, now)?;
            schedule.filled_until = days_after(today, days);
            check_size(&schedule, (today, schedule.filled_until))?;
            rhythms.push(schedule);
        }
        whole.options.push(option);
    }
    check_tour_size(&whole)?;
    if whole.missing().is_empty() {
        whole.tour.state = TourState::Published;
    }
    let published = whole.tour.state == TourState::Published;
    let tour_id = whole.tour.id;
    if !add(tx, vec![(whole, rhythms)], now).await?.contains(&tour_id) {
        let there = tours::by_external_id(tx, supplier, &external_id).await?.ok_or(CatalogError::TourNotFound)?;
        return Ok(wire::ImportResult {
            external_id,
            tour_id: there.id.to_string(),
            published: there.state == TourState::Published,
            ..Default::default()
        });
    }
    Ok(wire::ImportResult { external_id, tour_id: tour_id.to_string(), created: true, published, error: String::new() })
}

/// Adds whole tours with their schedules and departures (up to each schedule's `filled_until`), and tells each in one
/// event and its departures in as few as possible. Tours that are there already are left as they are; returned are
/// those that were added.
pub(crate) async fn add(
    tx: &mut PgConnection,
    all: Vec<(WholeTour, Vec<Schedule>)>,
    now: DateTime<Utc>,
) -> ApiResult<Vec<TourId>> {
    let drafts: Vec<_> = all.iter().map(|(whole, _)| whole.tour.clone()).collect();
    let added = tours::insert(tx, &drafts).await?;
    let new: Vec<_> = all.into_iter().filter(|(whole, _)| added.contains(&whole.tour.id)).collect();
    let new_options: Vec<_> = new
        .iter()
        .flat_map(|(whole, _)| whole.options.iter().map(|option| (option.clone(), whole.tour.currency)))
        .collect();
    options::insert(tx, &new_options).await?;
    let rhythms: Vec<_> = new.iter().flat_map(|(_, schedules)| schedules.iter().cloned()).collect();
    schedules::insert(tx, &rhythms).await?;
    let on_sale: Vec<_> = new.iter().map(|(whole, _)| whole).filter(|w| w.tour.state == TourState::Published).collect();
    search::index(tx, &on_sale, now).await?;
    let told: Vec<_> = new
        .iter()
        .map(|(whole, _)| match whole.tour.state {
            TourState::Published => events::published(whole),
            _ => events::changed(whole),
        })
        .collect();
    outbox::append(tx, &told).await?;
    let blackouts = blackouts::of_tours(tx, new.iter().map(|(whole, _)| &whole.tour), now).await?;
    let mut planned = Vec::new();
    for (whole, schedules) in &new {
        let today = date_at(now, whole.tour.time_zone);
        for schedule in schedules {
            let Some(option) = horizon::option_of(whole, schedule.option) else { continue };
            let dates = (today, schedule.filled_until);
            planned.extend(horizon::departures_of(&whole.tour, option, schedule, dates, &blackouts, now));
        }
    }
    horizon::add(tx, planned).await?;
    Ok(added)
}
