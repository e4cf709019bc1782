//! Who waits for which departure, or for which tour.

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{
    ApiError, ApiResult,
    money::{Currency, Money},
};
use uuid::Uuid;

use super::{bookings::Whose, corrupt, db_int, guard, of_db_int};
use crate::domain::{
    BookingId, DepartureId, PromoId, SupplierId, TourId, Unit, UserId, WaitingId,
    booking::Contact,
    price::PricedItem,
    waiting::{Chance, Dates, Entry, Refusal, Standing, Wanted},
};

/// All of an entry; where it is follows from its offer's booking and from the departure.
macro_rules! entries {
    ($rest:literal) => {
        concat!(
            "SELECT w.id, w.place, w.customer_id, w.supplier_id, w.tour_id, w.departure_id, w.terms_id, w.seats,
                    w.currency, w.total, w.pay_on_arrival, w.units, w.item_seats, w.prices, w.taxes, w.contact_name,
                    w.contact_email, w.contact_language, w.offer_seconds, w.booking_id, w.created_at, w.offered_at,
                    w.tour_wide, w.from_date, w.to_date, w.promo_id, w.promo_refusal,
                    (SELECT code FROM promo_codes WHERE id = w.promo_id) AS promo_code,
                    CASE WHEN w.state = 'LEFT' THEN 'LEFT'
                         WHEN b.confirmed_at IS NOT NULL THEN 'TAKEN'
                         WHEN b.state = 'ON_HOLD' THEN 'OFFERED'
                         WHEN b.id IS NOT NULL OR d.state = 'CANCELLED' OR d.starts_at <= now()
                              -- A date is over everywhere a day after it is over in UTC.
                              OR w.to_date < (now() - interval '1 day')::date THEN 'LAPSED'
                         ELSE w.state END AS standing
             FROM waiting w LEFT JOIN departures d ON d.id = w.departure_id LEFT JOIN bookings b ON b.id = w.booking_id ",
            $rest
        )
    };
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    place: i64,
    customer_id: Uuid,
    supplier_id: Uuid,
    tour_id: Uuid,
    departure_id: Option<Uuid>,
    terms_id: Option<Uuid>,
    seats: Option<i32>,
    currency: Option<String>,
    total: Option<Decimal>,
    pay_on_arrival: Option<bool>,
    units: Vec<i16>,
    item_seats: Option<Vec<i16>>,
    prices: Option<Vec<Decimal>>,
    taxes: Vec<Decimal>,
    contact_name: String,
    contact_email: String,
    contact_language: String,
    offer_seconds: i32,
    booking_id: Option<Uuid>,
    created_at: DateTime<Utc>,
    offered_at: Option<DateTime<Utc>>,
    tour_wide: bool,
    from_date: Option<NaiveDate>,
    to_date: Option<NaiveDate>,
    promo_id: Option<Uuid>,
    promo_refusal: Option<String>,
    promo_code: Option<String>,
    standing: String,
}

impl Row {
    fn entry(self) -> ApiResult<Entry> {
        let unit = |unit: i16| Unit::of_number(i32::from(unit)).ok_or_else(|| corrupt("unit"));
        let units = self.units.into_iter().map(unit).collect::<ApiResult<Vec<_>>>()?;
        // Priced as a whole or not at all, says a CHECK.
        let price = self.terms_id.zip(self.currency).zip(self.item_seats.zip(self.prices));
        let sums = self.seats.zip(self.total).zip(self.pay_on_arrival);
        let chance = match (self.departure_id, price, sums) {
            (Some(departure), Some(((terms, currency), (item_seats, prices))), Some(((seats, total), on_arrival))) => {
                let currency: Currency = currency.parse().map_err(ApiError::internal)?;
                let money = |amount: Decimal| Money::new(amount.normalize(), currency);
                let each = self.taxes.len() / units.len().max(1);
                let taxes =
                    (0..).map(|at| self.taxes.iter().skip(at * each).take(each).map(|tax| money(*tax)).collect());
                let items = units.iter().zip(item_seats).zip(prices).zip(taxes);
                let items = items.map(|(((&unit, seats), price), taxes)| {
                    Ok(PricedItem {
                        unit,
                        seats: of_db_int(i32::from(seats))?,
                        price: money(price),
                        discount: Money::zero(currency),
                        taxes,
                    })
                });
                Some(Chance {
                    departure: DepartureId::from_uuid(departure),
                    terms,
                    items: items.collect::<ApiResult<_>>()?,
                    seats: of_db_int(seats)?,
                    total: money(total),
                    pay_on_arrival: on_arrival,
                })
            }
            _ => None,
        };
        let refused = self.promo_refusal.as_deref();
        let refused = refused.map(|text| Refusal::of_text(text).ok_or_else(|| corrupt("refusal"))).transpose()?;
        let promo = self.promo_id.zip(self.promo_code);
        Ok(Entry {
            promo: promo.map(|(id, code)| Wanted { id: PromoId::from_uuid(id), code, refused }),
            id: WaitingId::from_uuid(self.id),
            customer: UserId::from_uuid(self.customer_id),
            supplier: SupplierId::from_uuid(self.supplier_id),
            tour: TourId::from_uuid(self.tour_id),
            tour_wide: self.tour_wide.then_some(Dates { from: self.from_date, to: self.to_date }),
            standing: Standing::of_text(&self.standing).ok_or_else(|| corrupt("waiting state"))?,
            units,
            chance,
            contact: Contact {
                full_name: self.contact_name,
                email: self.contact_email,
                language: self.contact_language,
            },
            offer_seconds: self.offer_seconds,
            booking: self.booking_id.map(BookingId::from_uuid),
            created_at: self.created_at,
            offered_at: self.offered_at,
        })
    }
}

fn small(number: i32) -> ApiResult<i16> {
    i16::try_from(number).map_err(ApiError::internal)
}

fn item_seats(chance: &Chance) -> ApiResult<Vec<i16>> {
    chance.items.iter().map(|i| small(db_int(i.seats)?)).collect()
}

fn taxes(chance: &Chance) -> Vec<Decimal> {
    chance.items.iter().flat_map(|i| &i.taxes).map(|tax| tax.amount()).collect()
}

fn prices(chance: &Chance) -> Vec<Decimal> {
    chance.items.iter().map(|i| i.price.amount()).collect()
}

/// Puts a party at the end of its line; false: its customer is there already. The departure that it waits for is locked.
pub(crate) async fn join(tx: &mut PgConnection, entry: &Entry) -> ApiResult<bool> {
    let chance = entry.chance.as_ref();
    let done = sqlx::query(
        "INSERT INTO waiting (id, customer_id, supplier_id, tour_id, departure_id, terms_id, seats, currency, total,
                              pay_on_arrival, units, item_seats, prices, contact_name, contact_email, contact_language,
                              offer_seconds, created_at, tour_wide, from_date, to_date, taxes, promo_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
         ON CONFLICT DO NOTHING",
    )
    .bind(entry.id.uuid())
    .bind(entry.customer.uuid())
    .bind(entry.supplier.uuid())
    .bind(entry.tour.uuid())
    .bind(chance.map(|c| c.departure.uuid()))
    .bind(chance.map(|c| c.terms))
    .bind(chance.map(|c| db_int(c.seats)).transpose()?)
    .bind(chance.map(|c| c.total.currency().to_string()))
    .bind(chance.map(|c| c.total.amount()))
    .bind(chance.map(|c| c.pay_on_arrival))
    .bind(entry.units.iter().map(|unit| small(unit.number())).collect::<ApiResult<Vec<_>>>()?)
    .bind(chance.map(item_seats).transpose()?)
    .bind(chance.map(prices))
    .bind(&entry.contact.full_name)
    .bind(&entry.contact.email)
    .bind(&entry.contact.language)
    .bind(entry.offer_seconds)
    .bind(entry.created_at)
    .bind(entry.tour_wide.is_some())
    .bind(entry.tour_wide.and_then(|dates| dates.from))
    .bind(entry.tour_wide.and_then(|dates| dates.to))
    .bind(chance.map(taxes).unwrap_or_default())
    .bind(entry.promo.as_ref().map(|promo| promo.id.uuid()))
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What an offer of a departure would be for a party that waits for its tour; None: the departure is not for it.
pub(crate) async fn keep_chance(
    tx: &mut PgConnection,
    entry: WaitingId,
    departure: DepartureId,
    chance: Option<&Chance>,
) -> ApiResult<()> {
    sqlx::query(
        "INSERT INTO chances (waiting_id, departure_id, terms_id, seats, currency, total, pay_on_arrival, item_seats, prices,
                              taxes)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 WHERE EXISTS (SELECT FROM waiting WHERE id = $1 AND state = 'WAITING')
         ON CONFLICT DO NOTHING",
    )
    .bind(entry.uuid())
    .bind(departure.uuid())
    .bind(chance.map(|c| c.terms))
    .bind(chance.map(|c| db_int(c.seats)).transpose()?)
    .bind(chance.map(|c| c.total.currency().to_string()))
    .bind(chance.map(|c| c.total.amount()))
    .bind(chance.map(|c| c.pay_on_arrival))
    .bind(chance.map(item_seats).transpose()?)
    .bind(chance.map(prices))
    .bind(chance.map(taxes))
    .execute(tx)
    .await?;
    Ok(())
}

/// Who runs a tour, as its departures say; None: it never had one.
pub(crate) async fn supplier_of(connection: &mut PgConnection, tour: TourId) -> ApiResult<Option<SupplierId>> {
    let found: Option<Uuid> = sqlx::query_scalar("SELECT supplier_id FROM departures WHERE tour_id = $1 LIMIT 1")
        .bind(tour.uuid())
        .fetch_optional(connection)
        .await?;
    Ok(found.map(SupplierId::from_uuid))
}

/// The departures of a tour that may suit, the next one first. Their own dates decide: these bounds are a day wider.
pub(crate) async fn departures_of(
    connection: &mut PgConnection,
    tour: TourId,
    dates: Dates,
    most: i64,
) -> ApiResult<Vec<DepartureId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM departures
         WHERE tour_id = $1 AND state = 'OPEN' AND starts_at > now()
           AND ($2::date IS NULL OR starts_at > $2::date - interval '1 day')
           AND ($3::date IS NULL OR starts_at < $3::date + interval '2 days')
         ORDER BY starts_at, id LIMIT $4",
    )
    .bind(tour.uuid())
    .bind(dates.from)
    .bind(dates.to)
    .bind(most)
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(DepartureId::from_uuid).collect())
}

/// Parties that wait for a tour, each with a departure of which it is not known yet what an offer would be.
pub(crate) async fn unknown_chances(
    connection: &mut PgConnection,
    most: i64,
) -> ApiResult<Vec<(WaitingId, DepartureId)>> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT w.id, d.id FROM waiting w JOIN departures d ON d.tour_id = w.tour_id
         WHERE w.state = 'WAITING' AND w.tour_wide AND d.state = 'OPEN' AND d.starts_at > now()
           AND (w.from_date IS NULL OR d.starts_at > w.from_date - interval '1 day')
           AND (w.to_date IS NULL OR d.starts_at < w.to_date + interval '2 days')
           AND NOT EXISTS (SELECT FROM chances c WHERE c.waiting_id = w.id AND c.departure_id = d.id)
         ORDER BY w.place, d.starts_at LIMIT $1",
    )
    .bind(most)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(entry, id)| (WaitingId::from_uuid(entry), DepartureId::from_uuid(id))).collect())
}

/// Takes a party that waits out of its line; false: it does not wait.
pub(crate) async fn leave(tx: &mut PgConnection, id: WaitingId) -> ApiResult<bool> {
    let done = sqlx::query("UPDATE waiting SET state = 'LEFT' WHERE id = $1 AND state = 'WAITING'")
        .bind(id.uuid())
        .execute(&mut *tx)
        .await?;
    forget_chances(tx, &[id.uuid()]).await?;
    Ok(done.rows_affected() == 1)
}

async fn forget_chances(tx: &mut PgConnection, entries: &[Uuid]) -> ApiResult<()> {
    sqlx::query("DELETE FROM chances WHERE waiting_id = ANY($1)").bind(entries).execute(tx).await?;
    Ok(())
}

/// One entry.
pub(crate) async fn load(tx: &mut PgConnection, id: WaitingId) -> ApiResult<Option<Entry>> {
    let row: Option<Row> = sqlx::query_as(entries!("WHERE w.id = $1")).bind(id.uuid()).fetch_optional(tx).await?;
    row.map(Row::entry).transpose()
}

/// Who of the lines of these departures fits by itself into what is left, in order and locked; who waits for a tour is
/// there once for each of the departures that suits. The departures are locked.
pub(crate) async fn lines(tx: &mut PgConnection, departures: &[DepartureId], most: i64) -> ApiResult<Vec<Entry>> {
    let ids: Vec<Uuid> = departures.iter().map(|id| id.uuid()).collect();
    let mut rows: Vec<Row> = sqlx::query_as(entries!(
        "WHERE w.departure_id = ANY($1) AND w.state = 'WAITING' AND w.seats <= seats_left(d)
         ORDER BY w.place LIMIT $2 FOR UPDATE OF w"
    ))
    .bind(&ids)
    .bind(most)
    .fetch_all(&mut *tx)
    .await?;
    let tour_wide: Vec<Row> = sqlx::query_as(
        "SELECT w.id, w.place, w.customer_id, w.supplier_id, w.tour_id, c.departure_id, c.terms_id, c.seats, c.currency,
                c.total, c.pay_on_arrival, w.units, c.item_seats, c.prices, c.taxes, w.contact_name, w.contact_email,
                w.contact_language, w.offer_seconds, w.booking_id, w.created_at, w.offered_at, w.tour_wide,
                w.from_date, w.to_date, w.promo_id, w.promo_refusal,
                (SELECT code FROM promo_codes WHERE id = w.promo_id) AS promo_code, w.state AS standing
         FROM chances c JOIN waiting w ON w.id = c.waiting_id JOIN departures d ON d.id = c.departure_id
         WHERE c.departure_id = ANY($1) AND w.state = 'WAITING' AND c.seats <= seats_left(d)
         ORDER BY w.place, d.starts_at, d.id LIMIT $2 FOR UPDATE OF w",
    )
    .bind(&ids)
    .bind(most)
    .fetch_all(tx)
    .await?;
    rows.extend(tour_wide);
    // Stable: of one party the departures stay in order.
    rows.sort_by_key(|row| row.place);
    rows.into_iter().map(Row::entry).collect()
}

/// Whom seats that come free may serve, beside those who wait for these departures: the departures that share their pools
/// and are waited for, and the promo codes that are waited with.
pub(crate) async fn served_by(
    tx: &mut PgConnection,
    departures: &[DepartureId],
) -> ApiResult<(Vec<DepartureId>, Vec<PromoId>)> {
    let (near, promos): (Option<Vec<Uuid>>, Option<Vec<Uuid>>) = sqlx::query_as(
        "WITH freed AS MATERIALIZED (
             SELECT tour_id, pool_ids FROM departures WHERE id = ANY($1)
         ), near AS MATERIALIZED (
             SELECT o.id, o.tour_id FROM freed f, LATERAL (
                 SELECT d.id, d.tour_id, d.pool_ids FROM waiting w JOIN departures d ON d.id = w.departure_id
                 WHERE f.pool_ids IS NOT NULL AND w.state = 'WAITING' AND d.starts_at > now()
                 UNION
                 SELECT d.id, d.tour_id, d.pool_ids FROM chances c JOIN departures d ON d.id = c.departure_id
                 WHERE f.pool_ids IS NOT NULL AND c.seats IS NOT NULL AND d.starts_at > now()) o
             WHERE o.pool_ids && f.pool_ids AND o.id <> ALL ($1)
         )
         SELECT (SELECT array_agg(DISTINCT id) FROM near),
                (SELECT array_agg(DISTINCT w.promo_id) FROM waiting w
                 WHERE w.state = 'WAITING' AND w.promo_id IS NOT NULL
                   AND w.tour_id IN (SELECT tour_id FROM freed UNION SELECT tour_id FROM near))",
    )
    .bind(departures.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .fetch_one(tx)
    .await?;
    let near = near.unwrap_or_default().into_iter().map(DepartureId::from_uuid).collect();
    Ok((near, promos.unwrap_or_default().into_iter().map(PromoId::from_uuid).collect()))
}

/// Departures with seats for somebody who waits for them.
pub(crate) async fn ready(connection: &mut PgConnection, most: i64) -> ApiResult<Vec<DepartureId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT d.id FROM waiting w JOIN departures d ON d.id = w.departure_id
         WHERE w.state = 'WAITING' AND d.state = 'OPEN' AND d.starts_at > now() AND seats_left(d) >= w.seats
         UNION
         SELECT d.id FROM waiting w JOIN chances c ON c.waiting_id = w.id JOIN departures d ON d.id = c.departure_id
         WHERE w.state = 'WAITING' AND w.tour_wide AND d.state = 'OPEN' AND d.starts_at > now()
           AND seats_left(d) >= c.seats
         ORDER BY 1 LIMIT $1",
    )
    .bind(most)
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(DepartureId::from_uuid).collect())
}

/// Notes the offers that were made.
pub(crate) async fn offered(tx: &mut PgConnection, entries: &[Entry]) -> ApiResult<()> {
    let ids: Vec<Uuid> = entries.iter().map(|e| e.id.uuid()).collect();
    let done = sqlx::query(
        "UPDATE waiting w SET state = 'OFFERED', booking_id = x.booking_id, offered_at = x.offered_at,
                departure_id = coalesce(c.departure_id, w.departure_id), terms_id = coalesce(c.terms_id, w.terms_id),
                seats = coalesce(c.seats, w.seats), currency = coalesce(c.currency, w.currency),
                total = coalesce(c.total, w.total), pay_on_arrival = coalesce(c.pay_on_arrival, w.pay_on_arrival),
                item_seats = coalesce(c.item_seats, w.item_seats), prices = coalesce(c.prices, w.prices),
                taxes = coalesce(c.taxes, w.taxes), promo_refusal = x.promo_refusal
         FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[], $5::text[])
              x(id, booking_id, offered_at, departure_id, promo_refusal)
         LEFT JOIN chances c ON c.waiting_id = x.id AND c.departure_id = x.departure_id
         WHERE w.id = x.id AND w.state = 'WAITING'",
    )
    .bind(&ids)
    .bind(entries.iter().map(|e| e.booking.map(BookingId::uuid)).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.offered_at).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.chance.as_ref().map(|c| c.departure.uuid())).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.promo.as_ref()?.refused.map(Refusal::as_str)).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await?;
    guard(done.rows_affected(), entries.len(), "waiting")?;
    forget_chances(tx, &ids).await
}

/// A page of entries in the order of joining, each with its place.
pub(crate) async fn list(
    connection: &mut PgConnection,
    whose: Whose,
    departure: Option<DepartureId>,
    after: i64,
    most: i64,
) -> ApiResult<Vec<(i64, Entry)>> {
    let (customer, supplier) = match whose {
        Whose::Customers(customer) => (Some(customer), None),
        Whose::Suppliers(supplier, customer) => (customer, Some(supplier)),
        Whose::All => (None, None),
    };
    let rows: Vec<Row> = sqlx::query_as(entries!(
        "WHERE ($1::uuid IS NULL AND $2::uuid IS NULL OR w.customer_id = $1 OR w.supplier_id = $2)
           AND ($3::uuid IS NULL OR w.departure_id = $3) AND w.place > $4
         ORDER BY w.place LIMIT $5"
    ))
    .bind(customer.map(UserId::uuid))
    .bind(supplier.map(SupplierId::uuid))
    .bind(departure.map(DepartureId::uuid))
    .bind(after)
    .bind(most)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.place, row.entry()?))).collect()
}
