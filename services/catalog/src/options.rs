//! Options: added to a tour and changed. Both are changes of the tour.

use sqlx::PgConnection;
use tourmesh::catalog::v1 as wire;
use tourmesh_kit::{ApiResult, mask};

use crate::{
    access::Reach,
    catalog::{Asked, Catalog, transaction},
    convert,
    domain::{
        OptionId, TourId,
        option::TourOption,
        tour::{Tour, WholeTour},
    },
    error::CatalogError,
    pools,
    store::{options, requests::Claim, tours},
    tours::{own, store_change},
};

/// What UpdateOption may change.
const CHANGEABLE: &[&str] = &[
    "title",
    "units",
    "price_lists",
    "min_party",
    "max_party",
    "hold_seconds",
    "refund_policy",
    "pay_on_arrival",
    "pools",
    "max_open_holds",
];

impl Catalog {
    pub(crate) async fn create_option(&self, asked: Asked, new: wire::Option) -> ApiResult<TourOption> {
        let tour_id = TourId::of_field("option.tour_id", &new.tour_id)?;
        let option = convert::read_option(new, OptionId::new(), tour_id, asked.now)?;
        let done = transaction!(self.db, [asked, option], |tx| {
            let tour = own(tx, asked.reach, tour_id).await?;
            if let Claim::Done(id, _) = asked.request.claim(tx, option.id.uuid()).await? {
                let whole = tours::whole(tx, tour).await?;
                return the_option(whole, OptionId::from_uuid(id));
            }
            option.check(tour.currency)?;
            pools::check_uses(tx, &option, tour.supplier).await?;
            options::insert(tx, &[(option.clone(), tour.currency)]).await?;
            let whole = tours::whole(tx, tour).await?;
            let whole = store_change(tx, whole, asked.now).await?;
            the_option(whole, option.id)
        });
        self.facets.forget();
        done
    }

    pub(crate) async fn update_option(
        &self,
        asked: Asked,
        id: OptionId,
        new: wire::Option,
        fields: Option<prost_types::FieldMask>,
    ) -> ApiResult<TourOption> {
        let fields = mask::fields(fields.as_ref(), CHANGEABLE)?;
        let done = transaction!(self.db, [asked, new, fields], |tx| {
            let tour = own_tour_of(tx, asked.reach, id).await?;
            let mut whole = tours::whole(tx, tour).await?;
            let option = the_option(whole.clone(), id)?;
            if let Claim::Done(..) = asked.request.claim(tx, id.uuid()).await? {
                return Ok(option);
            }
            convert::check_etag(&new.etag, option.version)?;
            let mut next = option.clone();
            apply(&mut next, &fields, new)?;
            next.check(whole.tour.currency)?;
            if next == option {
                return Ok(option);
            }
            pools::check_uses(tx, &next, whole.tour.supplier).await?;
            next.version += 1;
            options::update(tx, &next).await?;
            whole.options.iter_mut().filter(|o| o.id == id).for_each(|o| o.clone_from(&next));
            store_change(tx, whole, asked.now).await?;
            Ok(next)
        });
        self.facets.forget();
        done
    }
}

/// The tour of an option, locked, if this caller may change it.
pub(crate) async fn own_tour_of(tx: &mut PgConnection, reach: Reach, option: OptionId) -> ApiResult<Tour> {
    let tour = options::tour_of(tx, option).await?.ok_or(CatalogError::OptionNotFound)?;
    let tour = tours::lock(tx, tour).await?.filter(|t| reach.owns(t.supplier));
    tour.ok_or_else(|| CatalogError::OptionNotFound.into())
}

/// One option of a tour.
pub(crate) fn the_option(whole: WholeTour, id: OptionId) -> ApiResult<TourOption> {
    whole.options.into_iter().find(|o| o.id == id).ok_or_else(|| CatalogError::OptionNotFound.into())
}

fn apply(option: &mut TourOption, fields: &[&str], new: wire::Option) -> ApiResult<()> {
    let title = convert::read_text(new.title);
    for field in fields {
        match *field {
            "title" => option.title.clone_from(&title),
            "units" => option.units = convert::read_units(&new.units)?,
            "price_lists" => option.price_lists = convert::read_price_lists(&new.price_lists)?,
            "min_party" => option.min_party = new.min_party.max(1),
            "max_party" => option.max_party = new.max_party,
            "hold_seconds" => option.hold_seconds = new.hold_seconds,
            "refund_policy" => option.refund_tiers = convert::read_refund_policy(new.refund_policy.as_ref()),
            "pools" => option.pools = convert::read_pool_uses(&new.pools)?,
            "max_open_holds" => option.max_open_holds = new.max_open_holds,
            _ => option.pay_on_arrival = new.pay_on_arrival,
        }
    }
    Ok(())
}
