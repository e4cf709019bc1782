//! Who waits for which departure.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{
    ApiError, ApiResult,
    money::{Currency, Money},
};
use uuid::Uuid;

use super::{bookings::Whose, corrupt, db_int, guard, of_db_int};
use crate::domain::{
    BookingId, DepartureId, SupplierId, TourId, Unit, UserId, WaitingId,
    booking::Contact,
    price::PricedItem,
    waiting::{Entry, Standing},
};

/// All of an entry; where it is follows from its offer's booking and from the departure.
macro_rules! entries {
    ($rest:literal) => {
        concat!(
            "SELECT w.id, w.place, w.customer_id, w.supplier_id, w.tour_id, w.departure_id, w.terms_id, w.seats,
                    w.currency, w.total, w.pay_on_arrival, w.units, w.item_seats, w.prices, w.taxes, w.contact_name,
                    w.contact_email, w.contact_language, w.offer_seconds, w.booking_id, w.created_at, w.offered_at,
                    CASE WHEN w.state = 'LEFT' THEN 'LEFT'
                         WHEN b.confirmed_at IS NOT NULL THEN 'TAKEN'
                         WHEN b.state = 'ON_HOLD' THEN 'OFFERED'
                         WHEN b.id IS NOT NULL OR d.state = 'CANCELLED' OR d.starts_at <= now() THEN 'LAPSED'
                         ELSE w.state END AS standing
             FROM waiting w JOIN departures d ON d.id = w.departure_id LEFT JOIN bookings b ON b.id = w.booking_id ",
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
    departure_id: Uuid,
    terms_id: Uuid,
    seats: i32,
    currency: String,
    total: Decimal,
    pay_on_arrival: bool,
    units: Vec<i16>,
    item_seats: Vec<i16>,
    prices: Vec<Decimal>,
    taxes: Vec<Decimal>,
    contact_name: String,
    contact_email: String,
    contact_language: String,
    offer_seconds: i32,
    booking_id: Option<Uuid>,
    created_at: DateTime<Utc>,
    offered_at: Option<DateTime<Utc>>,
    standing: String,
}

impl Row {
    fn entry(self) -> ApiResult<Entry> {
        let currency: Currency = self.currency.parse().map_err(ApiError::internal)?;
        let money = |amount: Decimal| Money::new(amount.normalize(), currency);
        let each = self.taxes.len() / self.units.len().max(1);
        let taxes = (0..).map(|at| self.taxes.iter().skip(at * each).take(each).map(|tax| money(*tax)).collect());
        let items = self.units.into_iter().zip(self.item_seats).zip(self.prices).zip(taxes);
        let items = items.map(|(((unit, seats), price), taxes)| {
            Ok(PricedItem {
                unit: Unit::of_number(i32::from(unit)).ok_or_else(|| corrupt("unit"))?,
                seats: of_db_int(i32::from(seats))?,
                price: money(price),
                discount: Money::zero(currency),
                taxes,
            })
        });
        Ok(Entry {
            id: WaitingId::from_uuid(self.id),
            customer: UserId::from_uuid(self.customer_id),
            supplier: SupplierId::from_uuid(self.supplier_id),
            tour: TourId::from_uuid(self.tour_id),
            departure: DepartureId::from_uuid(self.departure_id),
            terms: self.terms_id,
            standing: Standing::of_text(&self.standing).ok_or_else(|| corrupt("waiting state"))?,
            items: items.collect::<ApiResult<_>>()?,
            seats: of_db_int(self.seats)?,
            total: money(self.total),
            pay_on_arrival: self.pay_on_arrival,
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

/// Puts a party at the end of its line; false: its customer is there already. The departure is locked.
pub(crate) async fn join(tx: &mut PgConnection, entry: &Entry) -> ApiResult<bool> {
    let small = |number: i32| i16::try_from(number).map_err(ApiError::internal);
    let done = sqlx::query(
        "INSERT INTO waiting (id, customer_id, supplier_id, tour_id, departure_id, terms_id, seats, currency, total,
                              pay_on_arrival, units, item_seats, prices, contact_name, contact_email, contact_language,
                              offer_seconds, created_at, taxes)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
         ON CONFLICT (customer_id, departure_id) WHERE state = 'WAITING' DO NOTHING",
    )
    .bind(entry.id.uuid())
    .bind(entry.customer.uuid())
    .bind(entry.supplier.uuid())
    .bind(entry.tour.uuid())
    .bind(entry.departure.uuid())
    .bind(entry.terms)
    .bind(db_int(entry.seats)?)
    .bind(entry.total.currency().to_string())
    .bind(entry.total.amount())
    .bind(entry.pay_on_arrival)
    .bind(entry.items.iter().map(|i| small(i.unit.number())).collect::<ApiResult<Vec<_>>>()?)
    .bind(entry.items.iter().map(|i| small(db_int(i.seats)?)).collect::<ApiResult<Vec<_>>>()?)
    .bind(entry.items.iter().map(|i| i.price.amount()).collect::<Vec<_>>())
    .bind(&entry.contact.full_name)
    .bind(&entry.contact.email)
    .bind(&entry.contact.language)
    .bind(entry.offer_seconds)
    .bind(entry.created_at)
    .bind(entry.items.iter().flat_map(|i| &i.taxes).map(|tax| tax.amount()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes a party that waits out of its line; false: it does not wait.
pub(crate) async fn leave(tx: &mut PgConnection, id: WaitingId) -> ApiResult<bool> {
    let done = sqlx::query("UPDATE waiting SET state = 'LEFT' WHERE id = $1 AND state = 'WAITING'")
        .bind(id.uuid())
        .execute(tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// One entry.
pub(crate) async fn load(tx: &mut PgConnection, id: WaitingId) -> ApiResult<Option<Entry>> {
    let row: Option<Row> = sqlx::query_as(entries!("WHERE w.id = $1")).bind(id.uuid()).fetch_optional(tx).await?;
    row.map(Row::entry).transpose()
}

/// Who of the lines of these departures fits by itself into what is left, in order and locked. The departures are locked.
pub(crate) async fn lines(tx: &mut PgConnection, departures: &[DepartureId], most: i64) -> ApiResult<Vec<Entry>> {
    let rows: Vec<Row> = sqlx::query_as(entries!(
        "WHERE w.departure_id = ANY($1) AND w.state = 'WAITING' AND w.seats <= d.capacity - d.held
         ORDER BY w.place LIMIT $2 FOR UPDATE OF w"
    ))
    .bind(departures.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .bind(most)
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(Row::entry).collect()
}

/// Departures with seats for somebody who waits for them.
pub(crate) async fn ready(connection: &mut PgConnection, most: i64) -> ApiResult<Vec<DepartureId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT DISTINCT d.id FROM waiting w JOIN departures d ON d.id = w.departure_id
         WHERE w.state = 'WAITING' AND d.state = 'OPEN' AND d.starts_at > now() AND d.capacity - d.held >= w.seats
         ORDER BY d.id LIMIT $1",
    )
    .bind(most)
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(DepartureId::from_uuid).collect())
}

/// Notes the offers that were made.
pub(crate) async fn offered(tx: &mut PgConnection, entries: &[Entry]) -> ApiResult<()> {
    let done = sqlx::query(
        "UPDATE waiting w SET state = 'OFFERED', booking_id = x.booking_id, offered_at = x.offered_at
         FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) x(id, booking_id, offered_at)
         WHERE w.id = x.id AND w.state = 'WAITING'",
    )
    .bind(entries.iter().map(|e| e.id.uuid()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.booking.map(BookingId::uuid)).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.offered_at).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    guard(done.rows_affected(), entries.len(), "waiting")
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
