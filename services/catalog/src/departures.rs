//! Departures: added by hand, opened, closed, called off, listed, priced.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tourmesh::catalog::v1 as wire;
use tourmesh_kit::{ApiError, ApiResult, events::outbox, mask, page};
use uuid::Uuid;

use crate::{
    access::Reach,
    catalog::{Asked, Catalog, transaction},
    convert,
    domain::{
        DepartureId, OptionId, TourId,
        departure::{Departure, DepartureState},
        local_time::days_after,
        pricing,
    },
    error::CatalogError,
    events,
    options::{own_tour_of, the_option},
    store::{
        blackouts,
        departures::{self, Wanted},
        offers::OnSale,
        requests::Claim,
        tours,
    },
};

impl Catalog {
    pub(crate) async fn create_departure(
        &self,
        asked: Asked,
        request: &wire::CreateDepartureRequest,
    ) -> ApiResult<Departure> {
        let option_id = OptionId::of_field("option_id", &request.option_id)?;
        let planned = convert::read_local("local_start", &request.local_start)?;
        let capacity = request.capacity;
        let done = transaction!(self.db, [asked], |tx| {
            let tour = own_tour_of(tx, asked.reach, option_id).await?;
            let whole = tours::whole(tx, tour).await?;
            let option = the_option(whole.clone(), option_id)?;
            let departure = Departure::new(&whole.tour, &option, None, planned, capacity);
            if let Claim::Done(id, _) = asked.request.claim(tx, departure.id.uuid()).await? {
                return locked(tx, DepartureId::from_uuid(id)).await;
            }
            if departure.starts_at <= asked.now {
                return Err(CatalogError::DepartureInPast.into());
            }
            let blackouts = blackouts::of_tours(tx, [&whole.tour], asked.now).await?;
            if let Some(blackout) = blackouts.on(departure.supplier, departure.tour, departure.local_start.date()) {
                return Err(ApiError::field("local_start", format!("is blacked out: {}", blackout.reason)));
            }
            let Some(departure) = departures::insert(tx, vec![departure]).await?.pop() else {
                return Err(ApiError::field("local_start", "is the start of another departure of this option"));
            };
            outbox::append(tx, &events::scheduled(departure.tour, std::slice::from_ref(&departure))).await?;
            Ok(departure)
        });
        self.facets.forget();
        done
    }

    pub(crate) async fn update_departure(
        &self,
        asked: Asked,
        request: &wire::UpdateDepartureRequest,
    ) -> ApiResult<Departure> {
        let id = DepartureId::of_field("departure_id", &request.departure_id)?;
        let fields = mask::fields(request.update_mask.as_ref(), &["capacity", "state"])?;
        let capacity = fields.contains(&"capacity").then_some(request.capacity);
        let state = if fields.contains(&"state") {
            let state = DepartureState::of_number(request.state);
            Some(state.ok_or_else(|| ApiError::field("state", "must be OPEN or CLOSED"))?)
        } else {
            None
        };
        let version = request.version;
        let done = transaction!(self.db, [asked], |tx| {
            let departure = own(tx, asked.reach, id).await?;
            if let Claim::Done(..) = asked.request.claim(tx, id.uuid()).await? {
                return Ok(departure);
            }
            match departure.changed(version, capacity, state)? {
                Some(next) => store_change(tx, next).await,
                None => Ok(departure),
            }
        });
        self.facets.forget();
        done
    }

    pub(crate) async fn cancel_departure(&self, asked: Asked, id: DepartureId) -> ApiResult<Departure> {
        let done = transaction!(self.db, [asked], |tx| {
            let departure = own(tx, asked.reach, id).await?;
            if let Claim::Done(..) = asked.request.claim(tx, id.uuid()).await? {
                return Ok(departure);
            }
            match departure.cancelled() {
                Some(next) => store_change(tx, next).await,
                None => Ok(departure),
            }
        });
        self.facets.forget();
        done
    }

    pub(crate) async fn list_departures(
        &self,
        reach: Reach,
        request: &wire::ListDeparturesRequest,
        now: DateTime<Utc>,
    ) -> ApiResult<wire::ListDeparturesResponse> {
        let tour = TourId::of_field("tour_id", &request.tour_id)?;
        let option = match request.option_id.as_str() {
            "" => None,
            text => Some(OptionId::of_field("option_id", text)?),
        };
        let from = convert::read_date("date_from", &request.date_from)?;
        let until = convert::read_date("date_to", &request.date_to)?;
        self.visible(reach, tour).await?;
        let filters = format!("ListDepartures:{tour}:{option:?}:{from:?}:{until:?}").into_bytes();
        let after: Option<(DateTime<Utc>, Uuid)> = page::read(&request.page_token, &filters)?;
        let size = page::size(request.page_size, 50, 200);
        let wanted = Wanted {
            tour,
            option,
            later_than: from.is_none().then_some(now),
            local: (from.map(Into::into), until.map(|date| days_after(date, 1).into())),
            after,
            limit: u64::from(size) + 1,
        };
        let mut found = departures::page(&self.db, wanted).await?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more);
        Ok(wire::ListDeparturesResponse {
            next_page_token: last.map(|d| page::token(&(d.starts_at, d.id.uuid()), &filters)).unwrap_or_default(),
            departures: found.iter().map(convert::departure).collect(),
        })
    }

    pub(crate) async fn quote(
        &self,
        request: &wire::QuoteRequest,
        now: DateTime<Utc>,
    ) -> ApiResult<wire::QuoteResponse> {
        let id = DepartureId::of_field("departure_id", &request.departure_id)?;
        let unit = |(i, u): (usize, &tourmesh::common::v1::UnitQuantity)| {
            Ok((convert::read_unit(&format!("units[{i}].unit"), u.unit)?, u.quantity))
        };
        let party = request.units.iter().enumerate().map(unit).collect::<Result<Vec<_>, CatalogError>>()?;
        let on_sale = self.on_sale(id).await?;
        let OnSale { departure, tour, option, taxes, .. } = &*on_sale;
        let quote = pricing::quote(tour.state, tour.currency, departure, option, taxes, &party, now)?;
        Ok(convert::quote(&on_sale, &quote))
    }

    pub(crate) async fn offer(&self, id: DepartureId) -> ApiResult<wire::Offer> {
        Ok(convert::offer(&*self.on_sale(id).await?))
    }

    async fn on_sale(&self, id: DepartureId) -> ApiResult<Arc<OnSale>> {
        self.on_sale.submit(id, id).await
    }
}

async fn locked(tx: &mut sqlx::PgConnection, id: DepartureId) -> ApiResult<Departure> {
    departures::lock(tx, id).await?.ok_or_else(|| CatalogError::DepartureNotFound.into())
}

/// The departure, locked, if this caller may change it.
async fn own(tx: &mut sqlx::PgConnection, reach: Reach, id: DepartureId) -> ApiResult<Departure> {
    let departure = locked(tx, id).await?;
    if reach.owns(departure.supplier) { Ok(departure) } else { Err(CatalogError::DepartureNotFound.into()) }
}

async fn store_change(tx: &mut sqlx::PgConnection, next: Departure) -> ApiResult<Departure> {
    departures::update(tx, std::slice::from_ref(&next)).await?;
    outbox::append(tx, &[events::departure(&next)]).await?;
    Ok(next)
}
