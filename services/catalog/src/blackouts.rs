//! Blackouts: added, listed, ended. The departures follow (see `settle`).

use chrono::{NaiveDate, TimeDelta};
use tourmesh::catalog::v1 as wire;
use tourmesh_kit::{ApiError, ApiResult, events::outbox, page};
use uuid::Uuid;

use crate::{
    access::Reach,
    catalog::{Asked, Catalog, transaction},
    convert,
    domain::{BlackoutId, TourId, blackout::Blackout},
    error::CatalogError,
    events,
    store::{
        blackouts::{self, Wanted},
        requests::Claim,
        suppliers, unsettled,
    },
    tours::{optional_supplier, own},
};

/// The longest, in days after the first.
const LONGEST: i64 = 400;
/// The most of one supplier that are not over.
const MOST: i64 = 1000;

impl Catalog {
    pub(crate) async fn create_blackout(&self, asked: Asked, new: wire::Blackout) -> ApiResult<Blackout> {
        let named = optional_supplier("blackout.supplier_id", &new.supplier_id)?;
        let tour = optional_tour("blackout.tour_id", &new.tour_id)?;
        let date = |field: &str, text: &str| {
            convert::read_date(field, text)?.ok_or_else(|| CatalogError::field(field, "must be set"))
        };
        let first_date = date("blackout.first_date", &new.first_date)?;
        let last_date = date("blackout.last_date", &new.last_date)?;
        if last_date < first_date || last_date - first_date > TimeDelta::days(LONGEST) {
            return Err(ApiError::field("blackout.last_date", "must lie at most 400 days after first_date"));
        }
        let reason = new.reason.trim().to_owned();
        if reason.is_empty() {
            return Err(ApiError::field("blackout.reason", "must be set"));
        }
        let done = transaction!(self.db, [asked, reason], |tx| {
            let supplier = match tour {
                Some(tour) => own(tx, asked.reach, tour).await?.supplier,
                None => asked.reach.supplier(named)?,
            };
            if named.is_some_and(|named| named != supplier) {
                return Err(CatalogError::TourNotFound.into());
            }
            // Without a tour the lock waits for tours that are being added, which then know nothing of this.
            if tour.is_none() && suppliers::lock(tx, supplier).await?.is_none() {
                return Err(CatalogError::SupplierNotFound.into());
            }
            let id = BlackoutId::new();
            let blackout = Blackout { id, supplier, tour, first_date, last_date, reason, created_at: asked.now };
            if let Claim::Done(id, _) = asked.request.claim(tx, id.uuid()).await? {
                let there = blackouts::lock(tx, id).await?;
                return there.map(|(there, _)| there).ok_or_else(|| ApiError::internal("a blackout was not kept"));
            }
            if blackouts::count(tx, supplier, asked.now).await? >= MOST {
                return Err(ApiError::field("blackout", format!("is one too many: at most {MOST} that are not over")));
            }
            blackouts::insert(tx, &blackout).await?;
            unsettle(tx, &blackout).await?;
            outbox::append(tx, &[events::blackout_created(&blackout)]).await?;
            Ok(blackout)
        })?;
        self.settle_now().await;
        Ok(done)
    }

    pub(crate) async fn delete_blackout(&self, asked: Asked, id: BlackoutId) -> ApiResult<()> {
        transaction!(self.db, [asked], |tx| {
            let found = blackouts::lock(tx, id.uuid()).await?;
            let found = found.filter(|(blackout, _)| asked.reach.owns(blackout.supplier));
            let Some((blackout, deleted)) = found else {
                return Err(ApiError::field("blackout_id", "is no blackout"));
            };
            if matches!(asked.request.claim(tx, id.uuid()).await?, Claim::Done(..)) || deleted {
                return Ok(());
            }
            blackouts::delete(tx, id, asked.now).await?;
            unsettle(tx, &blackout).await?;
            outbox::append(tx, &[events::blackout_deleted(&blackout)]).await
        })?;
        self.settle_now().await;
        Ok(())
    }

    pub(crate) async fn list_blackouts(
        &self,
        reach: Reach,
        request: &wire::ListBlackoutsRequest,
    ) -> ApiResult<wire::ListBlackoutsResponse> {
        let named = optional_supplier("supplier_id", &request.supplier_id)?;
        let tour = optional_tour("tour_id", &request.tour_id)?;
        let supplier = match tour {
            None if reach == Reach::Everything && named.is_none() => None,
            None => Some(reach.supplier(named)?),
            Some(id) => {
                let tour = self.visible(reach, id).await?;
                let fits = reach.owns(tour.supplier) && named.is_none_or(|named| named == tour.supplier);
                Some(if fits { tour.supplier } else { return Err(CatalogError::TourNotFound.into()) })
            }
        };
        let from = convert::read_date("date_from", &request.date_from)?;
        let filters = format!("ListBlackouts:{supplier:?}:{tour:?}:{from:?}").into_bytes();
        let after: Option<(NaiveDate, Uuid)> = page::read(&request.page_token, &filters)?;
        let size = page::size(request.page_size, 50, 200);
        let wanted = Wanted { supplier, tour, from, after, limit: u64::from(size) + 1 };
        let mut found = blackouts::page(&self.db, wanted).await?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more);
        Ok(wire::ListBlackoutsResponse {
            next_page_token: last.map(|b| page::token(&(b.first_date, b.id.uuid()), &filters)).unwrap_or_default(),
            blackouts: found.iter().map(convert::blackout).collect(),
        })
    }
}

async fn unsettle(tx: &mut sqlx::PgConnection, blackout: &Blackout) -> ApiResult<()> {
    let dates = (blackout.first_date, blackout.last_date);
    match blackout.tour {
        Some(tour) => unsettled::add_tour(tx, tour, dates).await,
        None => unsettled::add_supplier(tx, blackout.supplier, dates).await,
    }
}

fn optional_tour(field: &str, text: &str) -> ApiResult<Option<TourId>> {
    if text.is_empty() { Ok(None) } else { TourId::of_field(field, text).map(Some) }
}
