//! Tours.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sqlx::PgConnection;
use tourmesh_kit::{ApiResult, db::Db};
use uuid::Uuid;

use super::{corrupt, entity::tours as rows, model, options};
use crate::domain::{
    SupplierId, TourId,
    geo::Place,
    text::LocalizedText,
    tour::{Category, Tour, TourState, WholeTour},
};

/// All columns of the table, by name: a statement that says `*` fails in a running replica once a column is added.
macro_rules! tour_columns {
    () => {
        "id, supplier_id, external_id, title_en, title_fr, description_en, description_fr, category, latitude, \
         longitude, country, time_zone, currency, state, version, created_at, updated_at"
    };
}
pub(super) use tour_columns;

pub(super) fn read(row: rows::Model) -> ApiResult<Tour> {
    let id = TourId::from_uuid(row.id);
    Ok(Tour {
        id,
        supplier: SupplierId::from_uuid(row.supplier_id),
        external_id: row.external_id,
        title: LocalizedText { en: row.title_en, fr: row.title_fr },
        description: LocalizedText { en: row.description_en, fr: row.description_fr },
        category: row.category.and_then(|c| Category::of_number(c.into())),
        location: row.latitude.zip(row.longitude).and_then(|(latitude, longitude)| Place::new(latitude, longitude)),
        country: row.country,
        time_zone: row.time_zone.parse().map_err(|_| corrupt("time zone", id))?,
        currency: row.currency.parse().map_err(|_| corrupt("currency", id))?,
        state: TourState::of_number(row.state.into()).ok_or_else(|| corrupt("state", id))?,
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

/// A tour out of a row that holds (at least) all columns of `tours`.
pub(super) fn of_row(row: sqlx::postgres::PgRow) -> ApiResult<Tour> {
    read(model(row)?)
}

pub(crate) async fn find(db: &Db, id: TourId) -> ApiResult<Option<Tour>> {
    rows::Entity::find_by_id(id.uuid()).one(&db.orm()).await?.map(read).transpose()
}

/// Up to `limit` tours of a supplier (or of all) after the given age and id, newest first.
pub(crate) async fn page(
    db: &Db,
    supplier: Option<SupplierId>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: u64,
) -> ApiResult<Vec<Tour>> {
    let mut query =
        rows::Entity::find().order_by_desc(rows::Column::CreatedAt).order_by_desc(rows::Column::Id).limit(limit);
    if let Some(supplier) = supplier {
        query = query.filter(rows::Column::SupplierId.eq(supplier.uuid()));
    }
    if let Some((created_at, id)) = after {
        let same_age = Condition::all().add(rows::Column::CreatedAt.eq(created_at)).add(rows::Column::Id.lt(id));
        query = query.filter(Condition::any().add(rows::Column::CreatedAt.lt(created_at)).add(same_age));
    }
    query.all(&db.orm()).await?.into_iter().map(read).collect()
}

/// The tour, locked until the transaction ends.
pub(crate) async fn lock(tx: &mut PgConnection, id: TourId) -> ApiResult<Option<Tour>> {
    let row = sqlx::query(concat!("SELECT ", tour_columns!(), " FROM tours WHERE id = $1 FOR UPDATE"))
        .bind(id.uuid())
        .fetch_optional(tx)
        .await?;
    row.map(of_row).transpose()
}

/// The tour with its options as this transaction sees them.
pub(crate) async fn whole(tx: &mut PgConnection, tour: Tour) -> ApiResult<WholeTour> {
    let options = options::of_tours(tx, &[tour.id]).await?;
    Ok(WholeTour { tour, options })
}

/// The supplier's tour with this key of its own.
pub(crate) async fn by_external_id(
    tx: &mut PgConnection,
    supplier: SupplierId,
    external_id: &str,
) -> ApiResult<Option<Tour>> {
    let by_key = concat!(
        "SELECT ",
        tour_columns!(),
        " FROM tours WHERE supplier_id = $1 AND external_id = $2 AND external_id <> ''"
    );
    let row = sqlx::query(by_key).bind(supplier.uuid()).bind(external_id).fetch_optional(tx).await?;
    row.map(of_row).transpose()
}

/// Adds those that are not there (neither the id nor the supplier's key) and says which.
pub(crate) async fn insert(tx: &mut PgConnection, tours: &[Tour]) -> ApiResult<Vec<TourId>> {
    fn column<T>(tours: &[Tour], get: impl Fn(&Tour) -> T) -> Vec<T> {
        tours.iter().map(get).collect()
    }
    let added: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO tours (id, supplier_id, external_id, title_en, title_fr, description_en, description_fr, category,
                            latitude, longitude, country, time_zone, currency, state, version, created_at, updated_at)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                              $8::smallint[], $9::float8[], $10::float8[], $11::text[], $12::text[], $13::text[],
                              $14::smallint[], $15::bigint[], $16::timestamptz[], $17::timestamptz[])
         ON CONFLICT DO NOTHING
         RETURNING id",
    )
    .bind(column(tours, |t| t.id.uuid()))
    .bind(column(tours, |t| t.supplier.uuid()))
    .bind(column(tours, |t| t.external_id.clone()))
    .bind(column(tours, |t| t.title.en.clone()))
    .bind(column(tours, |t| t.title.fr.clone()))
    .bind(column(tours, |t| t.description.en.clone()))
    .bind(column(tours, |t| t.description.fr.clone()))
    .bind(column(tours, |t| t.category.map(Category::number)))
    .bind(column(tours, |t| t.location.map(|p| p.latitude)))
    .bind(column(tours, |t| t.location.map(|p| p.longitude)))
    .bind(column(tours, |t| t.country.clone()))
    .bind(column(tours, |t| t.time_zone.name()))
    .bind(column(tours, |t| t.currency.to_string()))
    .bind(column(tours, |t| t.state.number()))
    .bind(column(tours, |t| t.version))
    .bind(column(tours, |t| t.created_at))
    .bind(column(tours, |t| t.updated_at))
    .fetch_all(tx)
    .await?;
    Ok(added.into_iter().map(TourId::from_uuid).collect())
}

/// Writes what may change of a tour; `false`: another tour of the supplier has its external id.
pub(crate) async fn update(tx: &mut PgConnection, tour: &Tour) -> ApiResult<bool> {
    let done = sqlx::query(
        "UPDATE tours SET external_id = $2, title_en = $3, title_fr = $4, description_en = $5, description_fr = $6,
                          category = $7, latitude = $8, longitude = $9, country = $10, state = $11, version = $12,
                          updated_at = $13
         WHERE id = $1",
    )
    .bind(tour.id.uuid())
    .bind(&tour.external_id)
    .bind(&tour.title.en)
    .bind(&tour.title.fr)
    .bind(&tour.description.en)
    .bind(&tour.description.fr)
    .bind(tour.category.map(Category::number))
    .bind(tour.location.map(|p| p.latitude))
    .bind(tour.location.map(|p| p.longitude))
    .bind(&tour.country)
    .bind(tour.state.number())
    .bind(tour.version)
    .bind(tour.updated_at)
    .execute(tx)
    .await;
    match done {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(e)) if e.constraint() == Some("tours_by_external_id") => Ok(false),
        Err(error) => Err(error.into()),
    }
}
