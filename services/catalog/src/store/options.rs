//! Options with their units, prices and terms.

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db, money::Currency};

use super::{corrupt, documents, entity::options as rows, model};
use crate::domain::{OptionId, TourId, option::TourOption, text::LocalizedText};

/// All columns of the table, by name: a statement that says `*` fails in a running replica once a column is added.
macro_rules! columns {
    () => {
        "id, tour_id, title_en, title_fr, duration_minutes, currency, units, price_lists, refund_tiers, min_party, \
         max_party, hold_seconds, pay_on_arrival, version, created_at, pools, max_open_holds"
    };
}

pub(super) fn read(row: rows::Model) -> ApiResult<TourOption> {
    let id = OptionId::from_uuid(row.id);
    let currency: Currency = row.currency.parse().map_err(|_| corrupt("currency", id))?;
    Ok(TourOption {
        id,
        tour: TourId::from_uuid(row.tour_id),
        title: LocalizedText { en: row.title_en, fr: row.title_fr },
        duration_minutes: row.duration_minutes,
        units: documents::read_units(row.units).ok_or_else(|| corrupt("list of units", id))?,
        price_lists: documents::read_price_lists(row.price_lists, currency).ok_or_else(|| corrupt("price list", id))?,
        min_party: row.min_party,
        max_party: row.max_party,
        hold_seconds: row.hold_seconds,
        refund_tiers: documents::read_refund_tiers(row.refund_tiers).ok_or_else(|| corrupt("refund policy", id))?,
        pay_on_arrival: row.pay_on_arrival,
        pools: documents::read_pool_uses(row.pools).ok_or_else(|| corrupt("pool", id))?,
        max_open_holds: row.max_open_holds,
        version: row.version,
        created_at: row.created_at,
    })
}

pub(crate) async fn find(db: &Db, id: OptionId) -> ApiResult<Option<TourOption>> {
    rows::Entity::find_by_id(id.uuid()).one(&db.orm()).await?.map(read).transpose()
}

/// The options of a tour, oldest first.
pub(crate) async fn of_tour(db: &Db, tour: TourId) -> ApiResult<Vec<TourOption>> {
    let query = rows::Entity::find()
        .filter(rows::Column::TourId.eq(tour.uuid()))
        .order_by_asc(rows::Column::CreatedAt)
        .order_by_asc(rows::Column::Id);
    query.all(&db.orm()).await?.into_iter().map(read).collect()
}

/// The options of several tours as this transaction sees them, oldest first.
pub(crate) async fn of_tours(tx: &mut PgConnection, tours: &[TourId]) -> ApiResult<Vec<TourOption>> {
    let ids: Vec<_> = tours.iter().map(|t| t.uuid()).collect();
    let found =
        sqlx::query(concat!("SELECT ", columns!(), " FROM options WHERE tour_id = ANY($1) ORDER BY created_at, id"))
            .bind(ids)
            .fetch_all(tx)
            .await?;
    found.into_iter().map(|row| read(model(row)?)).collect()
}

/// The tour that an option belongs to.
pub(crate) async fn tour_of(tx: &mut PgConnection, option: OptionId) -> ApiResult<Option<TourId>> {
    let tour =
        sqlx::query_scalar("SELECT tour_id FROM options WHERE id = $1").bind(option.uuid()).fetch_optional(tx).await?;
    Ok(tour.map(TourId::from_uuid))
}

/// Adds those that are not there.
pub(crate) async fn insert(tx: &mut PgConnection, options: &[(TourOption, Currency)]) -> ApiResult<()> {
    fn column<T>(options: &[(TourOption, Currency)], get: impl Fn(&TourOption) -> T) -> Vec<T> {
        options.iter().map(|(option, _)| get(option)).collect()
    }
    sqlx::query(
        "INSERT INTO options (id, tour_id, title_en, title_fr, duration_minutes, currency, units, price_lists,
                              refund_tiers, min_party, max_party, hold_seconds, pay_on_arrival, version, created_at,
                              pools, max_open_holds)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::jsonb[],
                              $8::jsonb[], $9::jsonb[], $10::integer[], $11::integer[], $12::integer[], $13::boolean[],
                              $14::bigint[], $15::timestamptz[], $16::jsonb[], $17::integer[])
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(column(options, |o| o.id.uuid()))
    .bind(column(options, |o| o.tour.uuid()))
    .bind(column(options, |o| o.title.en.clone()))
    .bind(column(options, |o| o.title.fr.clone()))
    .bind(column(options, |o| o.duration_minutes))
    .bind(options.iter().map(|(_, currency)| currency.to_string()).collect::<Vec<_>>())
    .bind(column(options, |o| documents::units(&o.units)))
    .bind(column(options, |o| documents::price_lists(&o.price_lists)))
    .bind(column(options, |o| documents::refund_tiers(&o.refund_tiers)))
    .bind(column(options, |o| o.min_party))
    .bind(column(options, |o| o.max_party))
    .bind(column(options, |o| o.hold_seconds))
    .bind(column(options, |o| o.pay_on_arrival))
    .bind(column(options, |o| o.version))
    .bind(column(options, |o| o.created_at))
    .bind(column(options, |o| documents::pool_uses(&o.pools)))
    .bind(column(options, |o| o.max_open_holds))
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes what may change of an option.
pub(crate) async fn update(tx: &mut PgConnection, option: &TourOption) -> ApiResult<()> {
    sqlx::query(
        "UPDATE options SET title_en = $2, title_fr = $3, units = $4, price_lists = $5, refund_tiers = $6,
                            min_party = $7, max_party = $8, hold_seconds = $9, pay_on_arrival = $10, version = $11,
                            pools = $12, max_open_holds = $13
         WHERE id = $1",
    )
    .bind(option.id.uuid())
    .bind(&option.title.en)
    .bind(&option.title.fr)
    .bind(documents::units(&option.units))
    .bind(documents::price_lists(&option.price_lists))
    .bind(documents::refund_tiers(&option.refund_tiers))
    .bind(option.min_party)
    .bind(option.max_party)
    .bind(option.hold_seconds)
    .bind(option.pay_on_arrival)
    .bind(option.version)
    .bind(documents::pool_uses(&option.pools))
    .bind(option.max_open_holds)
    .execute(tx)
    .await?;
    Ok(())
}
