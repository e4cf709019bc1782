//! The search rows: kept with their tours, and asked in few statements.
//!
//! A statement is put together from constant pieces, so that it holds only the filters that were asked for and the
//! planner sees which index fits; values are always bound.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row as _, postgres::PgRow};
use tourmesh_kit::{ApiResult, db::Db, money::Money};
use uuid::Uuid;

use super::{
    calendar, corrupt,
    tours::{self, tour_columns},
};
use crate::domain::{
    TourId,
    geo::{GeoBox, Place},
    local_time,
    option::TourOption,
    tour::{Category, Tour, TourState, WholeTour},
};

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filters {
    /// Words; empty: any.
    pub text: String,
    pub near: Option<(Place, i32, Vec<GeoBox>)>,
    /// Local dates, both included.
    pub dates: (Option<NaiveDate>, Option<NaiveDate>),
    pub min_price: Option<Money>,
    pub max_price: Option<Money>,
    pub categories: Vec<Category>,
    pub countries: Vec<String>,
    /// 0: any.
    pub party: i32,
}

impl Filters {
    /// Only departures tell.
    const fn by_departure(&self) -> bool {
        self.dates.0.is_some() || self.dates.1.is_some() || self.party > 0
    }

    /// No other index than that of prices narrows it down.
    const fn by_price_alone(&self) -> bool {
        let priced = self.min_price.is_some() || self.max_price.is_some();
        priced && self.text.is_empty() && self.near.is_none() && self.countries.is_empty()
    }
}

/// How hits are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Best first; needs a text.
    Relevance,
    /// Nearest first; needs a place.
    Distance,
    Price,
    TitleEn,
    TitleFr,
}

/// The sort key of a hit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub text: String,
    pub number: Decimal,
    pub tour: Uuid,
}

/// A tour that was found.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub tour: Tour,
    pub from_price: Option<Money>,
    pub distance_meters: i32,
    pub next_departure: Option<NaiveDateTime>,
    pub key: Key,
}

/// How many hits there are, in all and by value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facets {
    pub total: i64,
    pub categories: Vec<(Category, i64)>,
    pub countries: Vec<(String, i64)>,
}

/// How well a tour fits `wanted`: the less, the better.
macro_rules! rank {
    () => {
        "(ts_rank(s.words, (SELECT query FROM wanted)) * -1000000)::integer"
    };
}
pub(super) use rank;

impl Order {
    /// The text half and the number half of the sort key; the tour's id is the third. Ascending, always.
    const fn key(self) -> (&'static str, &'static str) {
        match self {
            Self::Relevance => ("''", rank!()),
            Self::Distance => ("''", "d.meters"),
            Self::Price => ("s.currency", "s.price_key"),
            Self::TitleEn => ("s.title_en_key", "0::numeric"),
            Self::TitleFr => ("s.title_fr_key", "0::numeric"),
        }
    }

    /// The key again, once it has a name: what ORDER BY needs of it.
    const fn named(self) -> &'static str {
        match self {
            Self::Relevance | Self::Distance => "c.key_number, c.tour_id",
            Self::Price => "c.key_text, c.key_number, c.tour_id",
            Self::TitleEn | Self::TitleFr => "c.key_text, c.tour_id",
        }
    }

    /// The same as ORDER BY and as a row to compare: only what differs, so that the index with these columns serves.
    const fn columns(self) -> &'static str {
        match self {
            Self::Relevance => concat!(rank!(), ", s.tour_id"),
            Self::Distance => "d.meters, s.tour_id",
            Self::Price => "s.currency, s.price_key, s.tour_id",
            Self::TitleEn => "s.title_en_key, s.tour_id",
            Self::TitleFr => "s.title_fr_key, s.tour_id",
        }
    }
}

/// A page of hits: up to `limit` after the given key.
pub(crate) async fn page(
    db: &Db,
    filters: &Filters,
    order: Order,
    after: Option<&Key>,
    limit: i64,
    now: DateTime<Utc>,
) -> ApiResult<Vec<Hit>> {
    let mut sql = begin(filters);
    let (text, number) = order.key();
    // Departures are only looked for in the order of the hits, and only until the page is full: the inner query sorts, the
    // outer one looks.
    let titles = matches!(order, Order::TitleEn | Order::TitleFr) && filters.by_price_alone();
    sql.push("page AS (SELECT c.*");
    push_next(&mut sql, filters);
    if titles {
        // How many tours of a currency have such a price is not known when this is planned. So an index tells them in the
        // order of titles, prices included, and rows are read until the page is full; OFFSET keeps it like that.
        sql.push(", i.key_text, 0 AS key_number FROM (SELECT s.tour_id, ").push(text);
        sql.push(" AS key_text FROM search s WHERE true");
        push_prices(&mut sql, filters);
        push_after(&mut sql, order, after);
        sql.push(" ORDER BY ").push(order.columns()).push(" OFFSET 0) i CROSS JOIN LATERAL (SELECT ");
        push_columns(&mut sql, filters);
        sql.push(" FROM search s");
        push_conditions(&mut sql, filters, now);
        sql.push(" AND s.tour_id = i.tour_id OFFSET 0) c");
    } else {
        sql.push(" FROM (SELECT ");
        push_columns(&mut sql, filters);
        sql.push(", ").push(text).push(" AS key_text, ").push(number).push(" AS key_number FROM search s");
        push_conditions(&mut sql, filters, now);
        push_after(&mut sql, order, after);
        sql.push(" ORDER BY ").push(order.columns()).push(") c");
    }
    push_first_departure(&mut sql, filters, now);
    sql.push(" ORDER BY ").push(if titles { "i.key_text, i.tour_id" } else { order.named() });
    sql.push(" LIMIT ").push_bind(limit).push(") ");
    push_hits(&mut sql, filters, now);
    sql.push(" ORDER BY p.key_text COLLATE \"C\", p.key_number, p.tour_id");
    let rows = sql.build().fetch_all(db.pool()).await?;
    rows.into_iter().map(hit).collect()
}

/// Only hits behind this one.
fn push_after(sql: &mut QueryBuilder<Postgres>, order: Order, after: Option<&Key>) {
    let Some(key) = after else { return };
    sql.push(" AND (").push(order.columns()).push(") > (");
    let mut values = sql.separated(", ");
    match order {
        Order::Relevance | Order::Distance => {
            values.push_bind(key.number);
        }
        Order::Price => {
            values.push_bind(key.text.clone()).push_bind(key.number);
        }
        Order::TitleEn | Order::TitleFr => {
            values.push_bind(key.text.clone());
        }
    }
    values.push_bind(key.tour);
    sql.push(")");
}

/// What the rest of a statement needs to know of a search row.
pub(super) fn push_columns(sql: &mut QueryBuilder<Postgres>, filters: &Filters) {
    sql.push("s.tour_id, s.from_price, s.all_from, s.all_until, ");
    sql.push(if filters.near.is_some() { "d.meters" } else { "0" }).push(" AS distance");
}

/// The first departure as a column of a `page`, where [`push_first_departure`] looks for it.
pub(super) fn push_next(sql: &mut QueryBuilder<Postgres>, filters: &Filters) {
    sql.push(if filters.by_departure() { ", n.next_departure" } else { "" });
}

/// Leaves the tours `c` that have a departure that is looked for, and tells the first; it is not looked for again.
pub(super) fn push_first_departure(sql: &mut QueryBuilder<Postgres>, filters: &Filters, now: DateTime<Utc>) {
    if filters.by_departure() {
        sql.push(" CROSS JOIN LATERAL (SELECT e.local_start AS next_departure FROM departures e");
        push_departures(sql, "e", "c", filters, now);
        sql.push(" ORDER BY e.local_start LIMIT 1) n");
    }
}

/// The hits of a `page` of search rows with their keys; what is read last, and only for them.
pub(super) fn push_hits(sql: &mut QueryBuilder<Postgres>, filters: &Filters, now: DateTime<Utc>) {
    sql.push(concat!(
        "SELECT ",
        tour_columns!(),
        ", from_price, distance, key_text, key_number::numeric AS key_number, "
    ));
    if filters.by_departure() {
        sql.push("next_departure");
    } else {
        sql.push("(SELECT n.local_start FROM departures n");
        push_departures(sql, "n", "p", filters, now);
        sql.push(" ORDER BY n.local_start LIMIT 1) AS next_departure");
    }
    sql.push(" FROM page p JOIN tours t ON t.id = p.tour_id");
}

/// A row of [`push_hits`].
pub(super) fn hit(row: PgRow) -> ApiResult<Hit> {
    let from_price: Option<Decimal> = row.try_get("from_price")?;
    let distance_meters = row.try_get("distance")?;
    let next_departure = row.try_get("next_departure")?;
    let key = Key { text: row.try_get("key_text")?, number: row.try_get("key_number")?, tour: row.try_get("id")? };
    let tour = tours::of_row(row)?;
    let from_price = from_price.map(|amount| Money::new(amount.normalize(), tour.currency));
    Ok(Hit { tour, from_price, distance_meters, next_departure, key })
}

/// Counts all hits, by category and by country, most first.
pub(crate) async fn facets(db: &Db, filters: &Filters, now: DateTime<Utc>) -> ApiResult<Facets> {
    let mut sql = begin(filters);
    sql.push("hits AS (SELECT s.category, s.country FROM search s");
    push_conditions(&mut sql, filters, now);
    // One tour at a time: OFFSET keeps the planner from joining all departures.
    if filters.by_departure() {
        sql.push(" AND (");
        calendar::push_surely(&mut sql, filters, now);
        sql.push(" OR EXISTS (SELECT 1 FROM departures e");
        push_departures(&mut sql, "e", "s", filters, now);
        sql.push(" OFFSET 0))");
    }
    sql.push(
        ") SELECT category, country, grouping(category) = 0 AS by_category, grouping(country) = 0 AS by_country,
                  count(*) AS hits
           FROM hits GROUP BY GROUPING SETS ((category), (country), ()) ORDER BY hits DESC, category, country",
    );
    let mut facets = Facets::default();
    for row in sql.build().fetch_all(db.pool()).await? {
        let hits: i64 = row.try_get("hits")?;
        if row.try_get("by_category")? {
            let number: i16 = row.try_get("category")?;
            let category = Category::of_number(number.into()).ok_or_else(|| corrupt("category", number))?;
            facets.categories.push((category, hits));
        } else if row.try_get("by_country")? {
            let country: String = row.try_get("country")?;
            if !country.is_empty() {
                facets.countries.push((country, hits));
            }
        } else {
            facets.total = hits;
        }
    }
    Ok(facets)
}

/// `WITH`, and the query in both languages when there is a text: computed once, not for every row.
fn begin(filters: &Filters) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new("WITH ");
    if !filters.text.is_empty() {
        sql.push("wanted AS MATERIALIZED (SELECT search_query(").push_bind(filters.text.clone()).push(") AS query), ");
    }
    sql
}

/// What the search row itself answers.
pub(super) fn push_conditions(sql: &mut QueryBuilder<Postgres>, filters: &Filters, now: DateTime<Utc>) {
    if let Some((center, ..)) = &filters.near {
        sql.push(" CROSS JOIN LATERAL (SELECT meters_between(")
            .push_bind(center.latitude)
            .push(", ")
            .push_bind(center.longitude)
            .push(", s.latitude, s.longitude) AS meters) d");
    }
    sql.push(" WHERE true");
    if !filters.text.is_empty() {
        sql.push(" AND s.words @@ (SELECT query FROM wanted)");
    }
    if let Some((_, radius, boxes)) = &filters.near {
        sql.push(" AND (");
        for (i, area) in boxes.iter().enumerate() {
            sql.push(if i == 0 { "" } else { " OR " }).push("point(s.longitude, s.latitude) <@ box(point(");
            sql.push_bind(area.west).push(", ").push_bind(area.south).push("), point(");
            sql.push_bind(area.east).push(", ").push_bind(area.north).push("))");
        }
        sql.push(") AND d.meters <= ").push_bind(*radius);
    }
    push_prices(sql, filters);
    if !filters.categories.is_empty() {
        let numbers: Vec<i16> = filters.categories.iter().map(|c| c.number()).collect();
        sql.push(" AND s.category = ANY(").push_bind(numbers).push(")");
    }
    match filters.countries.as_slice() {
        [] => {}
        // One country has an index in the order of titles.
        [country] => {
            sql.push(" AND s.country = ").push_bind(country.clone());
        }
        countries => {
            sql.push(" AND s.country = ANY(").push_bind(countries.to_vec()).push(")");
        }
    }
    if filters.by_departure() {
        calendar::push_perhaps(sql, filters, now);
    }
    if filters.party > 0 {
        sql.push(" AND s.some_from <= ").push_bind(filters.party);
        sql.push(" AND s.some_until >= ").push_bind(filters.party);
    }
}

/// What is asked of the price.
fn push_prices(sql: &mut QueryBuilder<Postgres>, filters: &Filters) {
    if let Some(currency) = filters.min_price.or(filters.max_price).map(Money::currency) {
        sql.push(" AND s.currency = ").push_bind(currency.to_string());
    }
    if let Some(price) = filters.min_price {
        sql.push(" AND s.from_price >= ").push_bind(price.amount());
    }
    if let Some(price) = filters.max_price {
        sql.push(" AND s.from_price <= ").push_bind(price.amount());
    }
}

/// The open departures of a tour that fit the dates and the party; `name` is the alias of the table, `tour` that of the
/// row that names the tour and the parties that all its options take.
fn push_departures(
    sql: &mut QueryBuilder<Postgres>,
    name: &'static str,
    tour: &'static str,
    filters: &Filters,
    now: DateTime<Utc>,
) {
    // The index is on local time, and no zone is further behind UTC than twelve hours.
    let earliest = now.naive_utc() - chrono::TimeDelta::hours(12);
    let from = filters.dates.0.map_or(earliest, |date| earliest.max(date.into()));
    sql.push(format_args!(" WHERE {name}.tour_id = {tour}.tour_id AND {name}.state = 1 AND {name}.local_start >= "));
    sql.push_bind(from).push(format_args!(" AND {name}.starts_at > ")).push_bind(now);
    if let Some(last) = filters.dates.1 {
        let end = NaiveDateTime::from(local_time::days_after(last, 1));
        sql.push(format_args!(" AND {name}.local_start < ")).push_bind(end);
    }
    if filters.party > 0 {
        sql.push(format_args!(" AND {name}.capacity >= ")).push_bind(filters.party);
        sql.push(format_args!(" AND ({tour}.all_from <= ")).push_bind(filters.party);
        sql.push(format_args!(" AND {tour}.all_until >= ")).push_bind(filters.party);
        sql.push(format_args!(" OR EXISTS (SELECT 1 FROM options o WHERE o.id = {name}.option_id AND o.min_party <= "));
        sql.push_bind(filters.party).push(" AND (o.max_party = 0 OR o.max_party >= ").push_bind(filters.party);
        sql.push(")))");
    }
}

/// Corrects the words that no tour has to the most similar ones that some tour has; `None`: nothing to correct.
pub(crate) async fn corrected(db: &Db, text: &str) -> ApiResult<Option<String>> {
    let words: Vec<(String, Option<String>)> = sqlx::query_as(
        "SELECT w.word, v.word
         FROM regexp_split_to_table(plain($1), '[^[:alnum:]]+') WITH ORDINALITY AS w(word, place)
         LEFT JOIN LATERAL (
             SELECT word FROM vocabulary WHERE word % w.word AND similarity(word, w.word) >= 0.4
             ORDER BY similarity(word, w.word) DESC, word LIMIT 1) v
             ON length(w.word) > 3 AND NOT EXISTS (SELECT 1 FROM vocabulary k WHERE k.word = w.word)
         WHERE w.word <> '' ORDER BY w.place LIMIT 20",
    )
    .bind(text)
    .fetch_all(db.pool())
    .await?;
    if words.iter().all(|(_, better)| better.is_none()) {
        return Ok(None);
    }
    let words: Vec<_> = words.into_iter().map(|(word, better)| better.unwrap_or(word)).collect();
    Ok(Some(words.join(" ")))
}

/// Writes the search rows of these tours as they are now, and removes those of tours that are not on sale.
pub(crate) async fn index(tx: &mut PgConnection, tours: &[&WholeTour], now: DateTime<Utc>) -> ApiResult<()> {
    let (on_sale, off_sale): (Vec<&WholeTour>, Vec<&WholeTour>) =
        tours.iter().partition(|t| t.tour.state == TourState::Published);
    if !off_sale.is_empty() {
        let ids: Vec<_> = off_sale.iter().map(|t| t.tour.id.uuid()).collect();
        sqlx::query("DELETE FROM search WHERE tour_id = ANY($1)").bind(ids).execute(&mut *tx).await?;
    }
    if on_sale.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = on_sale.iter().map(|t| t.tour.id.uuid()).collect();
    let today = |t: &WholeTour| local_time::date_at(now, t.tour.time_zone);
    let prices: Vec<_> = on_sale.iter().map(|t| t.lowest_adult_price(today(t)).map(Money::amount)).collect();
    let changes: Vec<_> = on_sale.iter().map(|t| t.price_changes_after(today(t))).collect();
    let least = || on_sale.iter().map(|t| t.options.iter().map(|o| o.min_party));
    let largest = |o: &TourOption| if o.max_party == 0 { i32::MAX } else { o.max_party };
    let most = || on_sale.iter().map(|t| t.options.iter().map(largest));
    sqlx::query(
        "INSERT INTO search (tour_id, category, country, latitude, longitude, currency, from_price, price_changes_on,
                             time_zone, title_en_key, title_fr_key, words, some_from, some_until, all_from, all_until)
         SELECT t.id, t.category, t.country, t.latitude, t.longitude, t.currency, p.price, p.changes_on, t.time_zone,
                left(plain(t.title_en), 200), left(plain(coalesce(nullif(t.title_fr, ''), t.title_en)), 200),
                search_words(t.title_en, t.title_fr, t.description_en, t.description_fr),
                p.some_from, p.some_until, p.all_from, p.all_until
         FROM unnest($1::uuid[], $2::numeric[], $3::date[], $4::integer[], $5::integer[], $6::integer[], $7::integer[])
              AS p(tour_id, price, changes_on, some_from, some_until, all_from, all_until)
         JOIN tours t ON t.id = p.tour_id
         ON CONFLICT (tour_id) DO UPDATE SET
             category = excluded.category, country = excluded.country, latitude = excluded.latitude,
             longitude = excluded.longitude, from_price = excluded.from_price,
             price_changes_on = excluded.price_changes_on, title_en_key = excluded.title_en_key,
             title_fr_key = excluded.title_fr_key, words = excluded.words, some_from = excluded.some_from,
             some_until = excluded.some_until, all_from = excluded.all_from, all_until = excluded.all_until",
    )
    .bind(&ids)
    .bind(prices)
    .bind(changes)
    .bind(least().map(|all| all.min().unwrap_or(0)).collect::<Vec<_>>())
    .bind(most().map(|all| all.max().unwrap_or(0)).collect::<Vec<_>>())
    .bind(least().map(|all| all.max().unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(most().map(|all| all.min().unwrap_or(0)).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await?;
    // In order, so that two transactions with the same new words cannot wait for each other in a circle.
    sqlx::query(
        "INSERT INTO vocabulary (word)
         SELECT DISTINCT w.word
         FROM tours t, unnest(tsvector_to_array(to_tsvector('simple', plain(
                  concat_ws(' ', t.title_en, t.title_fr, t.description_en, t.description_fr))))) AS w(word)
         WHERE t.id = ANY($1) AND length(w.word) BETWEEN 3 AND 40
               AND NOT EXISTS (SELECT 1 FROM vocabulary v WHERE v.word = w.word)
         ORDER BY w.word
         ON CONFLICT DO NOTHING",
    )
    .bind(&ids)
    .execute(tx)
    .await?;
    Ok(())
}

/// Tours whose price may be another one than the search row says, because a price list has begun or ended.
pub(crate) async fn price_changes_due(db: &Db, limit: i64, now: DateTime<Utc>) -> ApiResult<Vec<TourId>> {
    let due: Vec<Uuid> = sqlx::query_scalar(
        "SELECT tour_id FROM search WHERE price_changes_on <= ($1 AT TIME ZONE time_zone)::date
         ORDER BY price_changes_on LIMIT $2",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(db.pool())
    .await?;
    Ok(due.into_iter().map(TourId::from_uuid).collect())
}

/// What [`index`] needs, as this transaction sees it, the tours locked.
pub(crate) async fn lock_whole(tx: &mut PgConnection, ids: &[TourId]) -> ApiResult<Vec<WholeTour>> {
    let rows =
        sqlx::query(concat!("SELECT ", tour_columns!(), " FROM tours WHERE id = ANY($1) ORDER BY id FOR UPDATE"))
            .bind(ids.iter().map(|t| t.uuid()).collect::<Vec<_>>())
            .fetch_all(&mut *tx)
            .await?;
    let tours = rows.into_iter().map(tours::of_row).collect::<ApiResult<Vec<_>>>()?;
    let mut options: HashMap<TourId, Vec<_>> = HashMap::new();
    for option in super::options::of_tours(tx, ids).await? {
        options.entry(option.tour).or_default().push(option);
    }
    let with_options = |tour: Tour| WholeTour { options: options.remove(&tour.id).unwrap_or_default(), tour };
    Ok(tours.into_iter().map(with_options).collect())
}
