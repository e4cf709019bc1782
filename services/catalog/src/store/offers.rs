//! Departures with their tours and options in one read: what selling a seat needs.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{FromQueryResult as _, QueryResult};
use tourmesh_kit::{ApiError, ApiResult, db::Db, tax::Tax};
use uuid::Uuid;

use super::{departures, entity, options, pools, tax_rules::TaxDoc, tours};
use crate::domain::{DepartureId, PoolId, departure::Departure, option::TourOption, pool::ResourcePool, tour::Tour};

/// A departure and what it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct OnSale {
    pub departure: Departure,
    pub tour: Tour,
    pub option: TourOption,
    /// Those of the tour's country that count on the departure's local date.
    pub taxes: Vec<Tax>,
    /// Those that the option uses.
    pub pools: Vec<ResourcePool>,
}

/// One statement, so that all of it is of the same moment.
const FIND: &str = "
    SELECT d.id AS d_id, d.tour_id AS d_tour_id, d.option_id AS d_option_id, d.supplier_id AS d_supplier_id,
           d.schedule_id AS d_schedule_id, d.local_start AS d_local_start, d.time_zone AS d_time_zone,
           d.starts_at AS d_starts_at, d.duration_minutes AS d_duration_minutes, d.capacity AS d_capacity,
           d.state AS d_state, d.withdrawn AS d_withdrawn, d.version AS d_version,
           t.id AS t_id, t.supplier_id AS t_supplier_id, t.external_id AS t_external_id, t.title_en AS t_title_en,
           t.title_fr AS t_title_fr, t.description_en AS t_description_en, t.description_fr AS t_description_fr,
           t.category AS t_category, t.latitude AS t_latitude, t.longitude AS t_longitude, t.country AS t_country,
           t.time_zone AS t_time_zone, t.currency AS t_currency, t.state AS t_state, t.version AS t_version,
           t.created_at AS t_created_at, t.updated_at AS t_updated_at,
           o.id AS o_id, o.tour_id AS o_tour_id, o.title_en AS o_title_en, o.title_fr AS o_title_fr,
           o.duration_minutes AS o_duration_minutes, o.currency AS o_currency, o.units AS o_units,
           o.price_lists AS o_price_lists, o.refund_tiers AS o_refund_tiers, o.min_party AS o_min_party,
           o.max_party AS o_max_party, o.hold_seconds AS o_hold_seconds, o.pay_on_arrival AS o_pay_on_arrival,
           o.version AS o_version, o.created_at AS o_created_at, o.pools AS o_pools,
           o.max_open_holds AS o_max_open_holds,
           (SELECT jsonb_agg(jsonb_build_object('name', r.name, 'percent', r.percent::text, 'included', r.included)
                             ORDER BY r.created_at, r.id)
            FROM tax_rules r
            WHERE r.country = t.country AND r.deleted_at IS NULL
                  AND (r.valid_from IS NULL OR r.valid_from <= d.local_start::date)
                  AND (r.valid_until IS NULL OR r.valid_until >= d.local_start::date)) AS taxes
    FROM departures d JOIN tours t ON t.id = d.tour_id JOIN options o ON o.id = d.option_id
    WHERE d.id = ANY($1)";

/// The departures of these ids with what they belong to; unknown ids are left out.
pub(crate) async fn find(db: &Db, ids: &[DepartureId]) -> ApiResult<HashMap<DepartureId, OnSale>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query(FIND).bind(ids).fetch_all(db.pool()).await?;
    let mut all = rows.into_iter().map(|row| read(&QueryResult::from(row))).collect::<ApiResult<Vec<OnSale>>>()?;
    let used: BTreeSet<PoolId> = all.iter().flat_map(|one| &one.option.pools).map(|used| used.pool).collect();
    // Not of the same moment, but a pool is never taken back, and its newest capacity is the one to know.
    let pools = pools::of_ids(db, &used).await?;
    for one in &mut all {
        one.pools = one.option.pools.iter().filter_map(|used| pools.get(&used.pool).cloned()).collect();
    }
    Ok(all.into_iter().map(|one| (one.departure.id, one)).collect())
}

fn read(row: &QueryResult) -> ApiResult<OnSale> {
    let taxes: Option<serde_json::Value> = row.try_get("", "taxes")?;
    let taxes: Vec<TaxDoc> = taxes.map_or(Ok(Vec::new()), serde_json::from_value).map_err(ApiError::internal)?;
    Ok(OnSale {
        departure: departures::read(entity::departures::Model::from_query_result(row, "d_")?)?,
        tour: tours::read(entity::tours::Model::from_query_result(row, "t_")?)?,
        option: options::read(entity::options::Model::from_query_result(row, "o_")?)?,
        taxes: taxes.into_iter().map(TaxDoc::tax).collect(),
        pools: Vec::new(),
    })
}
