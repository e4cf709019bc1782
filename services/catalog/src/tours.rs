//! Tours: drafted, changed, put on sale, taken off sale, shown.

use chrono::{DateTime, Utc};
use prost::Message as _;
use sqlx::PgConnection;
use tourmesh::catalog::v1 as wire;
use tourmesh_kit::{
    ApiError, ApiResult,
    events::{Event, outbox},
    mask, page,
};
use uuid::Uuid;

use crate::{
    access::Reach,
    catalog::{Asked, Catalog, transaction},
    convert,
    domain::{
        SupplierId, TourId,
        text::LocalizedText,
        tour::{MOST_OPTIONS, Tour, TourState, WholeTour},
    },
    error::CatalogError,
    events,
    store::{options, requests::Claim, search, suppliers, tours},
};

/// What UpdateTour may change.
const CHANGEABLE: &[&str] = &["external_id", "title", "description", "category", "location", "country"];

impl Catalog {
    pub(crate) async fn create_tour(&self, asked: Asked, new: wire::Tour) -> ApiResult<WholeTour> {
        let named = optional_supplier("tour.supplier_id", &new.supplier_id)?;
        let supplier = asked.reach.supplier(named)?;
        let tour = read_draft(new, TourId::new(), supplier, asked.now)?;
        transaction!(self.db, [asked, tour], |tx| {
            if let Claim::Done(id, _) = asked.request.claim(tx, tour.id.uuid()).await? {
                let tour = own(tx, asked.reach, TourId::from_uuid(id)).await?;
                return tours::whole(tx, tour).await;
            }
            if !suppliers::exists(tx, supplier).await? {
                return Err(CatalogError::SupplierNotFound.into());
            }
            if tours::insert(tx, std::slice::from_ref(&tour)).await?.is_empty() {
                return Err(external_id_taken());
            }
            let whole = WholeTour { tour, options: Vec::new() };
            outbox::append(tx, &[events::changed(&whole)]).await?;
            Ok(whole)
        })
    }

    pub(crate) async fn update_tour(
        &self,
        asked: Asked,
        id: TourId,
        new: wire::Tour,
        fields: Option<prost_types::FieldMask>,
    ) -> ApiResult<WholeTour> {
        let fields = mask::fields(fields.as_ref(), CHANGEABLE)?;
        let done = transaction!(self.db, [asked, new, fields], |tx| {
            let tour = own(tx, asked.reach, id).await?;
            let before = tours::whole(tx, tour).await?;
            if let Claim::Done(..) = asked.request.claim(tx, id.uuid()).await? {
                return Ok(before);
            }
            convert::check_etag(&new.etag, before.tour.version)?;
            let mut next = before.clone();
            apply(&mut next.tour, &fields, new)?;
            if next == before {
                return Ok(before);
            }
            store_change(tx, next, asked.now).await
        });
        self.facets.forget();
        done
    }

    pub(crate) async fn publish_tour(&self, asked: Asked, id: TourId) -> ApiResult<WholeTour> {
        self.turn(asked, id, TourState::Published).await
    }

    pub(crate) async fn archive_tour(&self, asked: Asked, id: TourId) -> ApiResult<WholeTour> {
        self.turn(asked, id, TourState::Archived).await
    }

    /// Puts a tour on sale, or off sale for good. A tour that is there already is left as it is.
    async fn turn(&self, asked: Asked, id: TourId, to: TourState) -> ApiResult<WholeTour> {
        let done = transaction!(self.db, [asked], |tx| {
            let tour = own(tx, asked.reach, id).await?;
            let mut whole = tours::whole(tx, tour).await?;
            let repeated = matches!(asked.request.claim(tx, id.uuid()).await?, Claim::Done(..));
            if repeated || whole.tour.state == to {
                return Ok(whole);
            }
            if whole.tour.state == TourState::Archived {
                return Err(CatalogError::TourArchived.into());
            }
            whole.tour.state = to;
            store_change(tx, whole, asked.now).await
        });
        self.facets.forget();
        done
    }

    pub(crate) async fn get_tour(&self, reach: Reach, id: TourId) -> ApiResult<WholeTour> {
        let tour = self.visible(reach, id).await?;
        let options = options::of_tour(&self.db, id).await?;
        Ok(WholeTour { tour, options })
    }

    /// The tour, if this caller may see it.
    pub(crate) async fn visible(&self, reach: Reach, id: TourId) -> ApiResult<Tour> {
        let tour = tours::find(&self.db, id).await?;
        tour.filter(|t| reach.sees(t)).ok_or_else(|| CatalogError::TourNotFound.into())
    }

    pub(crate) async fn list_tours(
        &self,
        reach: Reach,
        request: &wire::ListToursRequest,
    ) -> ApiResult<wire::ListToursResponse> {
        let named = optional_supplier("supplier_id", &request.supplier_id)?;
        let supplier = match (reach, named) {
            (Reach::Everything, None) => None,
            (reach, named) => Some(reach.supplier(named)?),
        };
        if let Some(supplier) = supplier
            && suppliers::find(&self.db, supplier).await?.is_none()
        {
            return Err(CatalogError::SupplierNotFound.into());
        }
        let filters = format!("ListTours:{supplier:?}").into_bytes();
        let after: Option<(DateTime<Utc>, Uuid)> = page::read(&request.page_token, &filters)?;
        let size = page::size(request.page_size, 50, 100);
        let mut found = tours::page(&self.db, supplier, after, u64::from(size) + 1).await?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more);
        Ok(wire::ListToursResponse {
            next_page_token: last.map(|t| page::token(&(t.created_at, t.id.uuid()), &filters)).unwrap_or_default(),
            tours: found.iter().map(convert::tour).collect(),
        })
    }
}

/// The most bytes of a tour with its options: each change of it is one event, and the broker takes 1 MiB.
const LARGEST: usize = 900 * 1024;

/// It is not larger than what can be told as a whole.
pub(crate) fn check_size(whole: &WholeTour) -> Result<(), CatalogError> {
    if whole.options.len() > MOST_OPTIONS {
        return Err(CatalogError::field("tour.options", format!("must have at most {MOST_OPTIONS} items")));
    }
    if convert::whole_tour(whole).encoded_len() > LARGEST {
        let options = !whole.options.is_empty();
        return Err(CatalogError::TourTooLarge { field: if options { "tour.options" } else { "tour.description" } });
    }
    Ok(())
}

/// The tour, locked, if this caller may change it.
pub(crate) async fn own(tx: &mut PgConnection, reach: Reach, id: TourId) -> ApiResult<Tour> {
    let tour = tours::lock(tx, id).await?;
    tour.filter(|t| reach.owns(t.supplier)).ok_or_else(|| CatalogError::TourNotFound.into())
}

/// Writes a changed tour with its search row and its one event. What is on sale must be complete.
pub(crate) async fn store_change(
    tx: &mut PgConnection,
    mut whole: WholeTour,
    now: DateTime<Utc>,
) -> ApiResult<WholeTour> {
    let before = tours::lock(tx, whole.tour.id).await?.ok_or(CatalogError::TourNotFound)?;
    whole.tour.version = before.version + 1;
    whole.tour.updated_at = now;
    check_size(&whole)?;
    if whole.tour.state == TourState::Published {
        let missing = whole.missing();
        if !missing.is_empty() {
            return Err(CatalogError::TourIncomplete(missing).into());
        }
    }
    if !tours::update(tx, &whole.tour).await? {
        return Err(external_id_taken());
    }
    if whole.tour.state == TourState::Published || before.state == TourState::Published {
        search::index(tx, &[&whole], now).await?;
    }
    outbox::append(tx, &[event(before.state, &whole)]).await?;
    Ok(whole)
}

fn event(before: TourState, whole: &WholeTour) -> Event {
    match whole.tour.state {
        TourState::Published if before != TourState::Published => events::published(whole),
        TourState::Archived if before != TourState::Archived => events::archived(whole),
        _ => events::changed(whole),
    }
}

/// A supplier id that may be left out.
pub(crate) fn optional_supplier(field: &str, text: &str) -> ApiResult<Option<SupplierId>> {
    if text.is_empty() { Ok(None) } else { SupplierId::of_field(field, text).map(Some) }
}

pub(crate) fn external_id_taken() -> ApiError {
    ApiError::field("tour.external_id", "belongs to another tour of this supplier")
}

/// A new tour of a supplier, as a draft.
pub(crate) fn read_draft(new: wire::Tour, id: TourId, supplier: SupplierId, now: DateTime<Utc>) -> ApiResult<Tour> {
    let title = read_title(new.title)?;
    Ok(Tour {
        id,
        supplier,
        external_id: new.external_id,
        title,
        description: convert::read_text(new.description),
        category: convert::read_category("tour.category", new.category)?,
        location: new.location.map(|p| convert::read_place("tour.location", &p)).transpose()?,
        country: new.country,
        time_zone: new.time_zone.parse().map_err(|_| ApiError::field("tour.time_zone", "must be an IANA time zone"))?,
        currency: new.currency.parse().map_err(|e| ApiError::field("tour.currency", format!("{e}")))?,
        state: TourState::Draft,
        version: 1,
        created_at: now,
        updated_at: now,
    })
}

fn read_title(title: Option<tourmesh::common::v1::LocalizedText>) -> ApiResult<LocalizedText> {
    let title = convert::read_text(title);
    let problems = title.title_problems("tour.title");
    if problems.is_empty() { Ok(title) } else { Err(ApiError::fields(problems)) }
}

fn apply(tour: &mut Tour, fields: &[&str], new: wire::Tour) -> ApiResult<()> {
    let description = convert::read_text(new.description);
    for field in fields {
        match *field {
            "external_id" => tour.external_id.clone_from(&new.external_id),
            "title" => tour.title = read_title(new.title.clone())?,
            "description" => tour.description.clone_from(&description),
            "category" => tour.category = convert::read_category("tour.category", new.category)?,
            "location" => tour.location = new.location.map(|p| convert::read_place("tour.location", &p)).transpose()?,
            _ => tour.country.clone_from(&new.country),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    #[test]
    fn a_tour_that_no_event_could_carry_is_refused_and_told_what_to_shorten() {
        let new = wire::Tour {
            title: Some(tourmesh::common::v1::LocalizedText { en: "Long".into(), fr: String::new() }),
            time_zone: Tz::UTC.name().into(),
            currency: "EUR".into(),
            ..Default::default()
        };
        let mut tour = read_draft(new, TourId::new(), SupplierId::new(), DateTime::UNIX_EPOCH).unwrap();
        assert!(check_size(&WholeTour { tour: tour.clone(), options: Vec::new() }).is_ok());
        tour.description.en = "x".repeat(LARGEST);
        let refused = check_size(&WholeTour { tour, options: Vec::new() }).unwrap_err();
        assert_eq!(refused, CatalogError::TourTooLarge { field: "tour.description" });
        assert_eq!(ApiError::from(refused).reason(), tourmesh_kit::ErrorReason::MessageTooLarge);
    }
}
