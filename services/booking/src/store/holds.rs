//! The two reads and the one write of a batch of holds.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{ApiError, ApiResult, events::Event};
use uuid::Uuid;

use super::{
    bookings::{db_discount, db_taxes},
    corrupt, db_int, of_db_int,
};
use crate::domain::{
    BookingId, DepartureId, UserId,
    booking::Booking,
    hold::{Earlier, Seats, View, Wish},
    offer::DepartureState,
};

#[derive(FromRow)]
struct SeatsRow {
    id: Uuid,
    capacity: i32,
    held: i32,
    state: String,
    starts_at: DateTime<Utc>,
    now: DateTime<Utc>,
}

#[derive(FromRow)]
struct EarlierRow {
    customer_id: Uuid,
    request_id: Option<String>,
    id: Option<Uuid>,
    request_hash: Option<Vec<u8>>,
    open: Option<i64>,
}

/// Locks the departures of the wishes, in id order, and reads all that the decision needs. A repeat that commits at this
/// very moment elsewhere may be missed; then [`write`] finds it.
pub(crate) async fn read<'a>(tx: &mut PgConnection, wishes: &[Wish<'a>], max_open_holds: u32) -> ApiResult<View<'a>> {
    let mut ids: Vec<Uuid> = wishes.iter().map(|w| w.departure.uuid()).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows: Vec<SeatsRow> = sqlx::query_as(
        "SELECT id, capacity, held, state, starts_at, clock_timestamp() AS now
         FROM departures WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
    )
    .bind(ids)
    .fetch_all(&mut *tx)
    .await?;
    // No departure, no hold: then the time does not matter.
    let now = rows.iter().map(|r| r.now).max().unwrap_or(DateTime::UNIX_EPOCH);
    let mut departures = HashMap::with_capacity(rows.len());
    for row in rows {
        let seats = Seats {
            capacity: of_db_int(row.capacity)?,
            held: of_db_int(row.held)?,
            state: DepartureState::of_text(&row.state).ok_or_else(|| corrupt("departure state"))?,
            starts_at: row.starts_at,
        };
        departures.insert(DepartureId::from_uuid(row.id), seats);
    }
    let mut customers: Vec<Uuid> = wishes.iter().map(|w| w.customer.uuid()).collect();
    let asked = customers.clone();
    customers.sort_unstable();
    customers.dedup();
    let rows: Vec<EarlierRow> = sqlx::query_as(
        "SELECT b.customer_id, b.request_id, b.id, b.request_hash, NULL::bigint AS open
         FROM unnest($1::uuid[], $2::text[]) w(customer_id, request_id)
         JOIN bookings b ON b.customer_id = w.customer_id AND b.request_id = w.request_id
         UNION ALL
         SELECT customer_id, NULL, NULL, NULL, count(*) FROM bookings
         WHERE state = 'ON_HOLD' AND customer_id = ANY($3) GROUP BY customer_id",
    )
    .bind(asked)
    .bind(wishes.iter().map(|w| w.request_id).collect::<Vec<_>>())
    .bind(customers)
    .fetch_all(tx)
    .await?;
    let (mut known, mut open_holds) = (HashMap::new(), HashMap::new());
    for row in rows {
        let customer = UserId::from_uuid(row.customer_id);
        match (row.request_id, row.id, row.request_hash, row.open) {
            (Some(request_id), Some(id), Some(hash), _) => {
                let hash = hash.try_into().map_err(|_| corrupt("request hash"))?;
                known.insert((customer, request_id), Earlier { booking: BookingId::from_uuid(id), hash });
            }
            (.., open) => {
                open_holds.insert(customer, u32::try_from(open.unwrap_or_default()).unwrap_or(u32::MAX));
            }
        }
    }
    let mut earlier = HashMap::with_capacity(known.len());
    if !known.is_empty() {
        for wish in wishes {
            if let Some(found) = known.get(&(wish.customer, wish.request_id.to_owned())) {
                earlier.insert((wish.customer, wish.request_id), *found);
            }
        }
    }
    Ok(View { now, departures, earlier, open_holds, max_open_holds, promos: HashMap::new() })
}

/// A granted hold, ready to be written.
#[derive(Debug)]
pub(crate) struct Granted<'a> {
    pub(crate) booking: &'a Booking,
    pub(crate) request_id: &'a str,
    pub(crate) request_hash: &'a [u8; 32],
    pub(crate) event: &'a Event,
}

/// Writes all granted holds in one statement: seats, bookings, guests, events. False: a guard held some of it back,
/// because another replica was faster; then nothing may be committed.
pub(crate) async fn write(tx: &mut PgConnection, granted: &[Granted<'_>]) -> ApiResult<bool> {
    let mut seats: BTreeMap<DepartureId, u32> = BTreeMap::new();
    for hold in granted {
        *seats.entry(hold.booking.departure).or_default() += hold.booking.seats;
    }
    let departures: Vec<Uuid> = seats.keys().map(|id| id.uuid()).collect();
    let taken = seats.into_values().map(db_int).collect::<ApiResult<Vec<_>>>()?;
    let (mut of, mut positions, mut items, mut units, mut item_seats, mut prices) =
        (vec![], vec![], vec![], vec![], vec![], Vec::<Decimal>::new());
    for hold in granted {
        for (position, item) in (0_i16..).zip(&hold.booking.items) {
            of.push(hold.booking.id.uuid());
            positions.push(position);
            items.push(item.id.uuid());
            units.push(i16::try_from(item.unit.number()).map_err(ApiError::internal)?);
            item_seats.push(i16::try_from(item.seats).map_err(ApiError::internal)?);
            prices.push(item.price.amount());
        }
    }
    // What nobody has is not sent: unnest fills up with NULL.
    let guests = || granted.iter().flat_map(|hold| &hold.booking.items);
    let discounts = guests().map(|item| db_discount(item.discount)).collect::<Vec<_>>();
    let taxes = guests().map(|item| db_taxes(&item.taxes)).collect::<Vec<_>>();
    let promos = granted.iter().map(|hold| hold.booking.promo.as_ref().map(|p| p.id.uuid())).collect::<Vec<_>>();
    macro_rules! column {
        (|$hold:ident| $value:expr) => {
            granted.iter().map(|$hold| $value).collect::<Vec<_>>()
        };
    }
    let booked_seats = granted.iter().map(|h| db_int(h.booking.seats)).collect::<ApiResult<Vec<_>>>()?;
    let (seated, made): (i64, i64) = sqlx::query_as(
        "WITH seated AS (
             UPDATE departures d SET held = d.held + x.seats FROM unnest($1::uuid[], $2::int[]) x(id, seats)
             WHERE d.id = x.id AND d.held + x.seats <= d.capacity RETURNING 1
         ), made AS (
             INSERT INTO bookings (id, customer_id, supplier_id, departure_id, terms_id, state, seats, currency, total,
                                   pay_on_arrival, contact_name, contact_email, contact_language, request_id,
                                   request_hash, created_at, hold_expires_at, promo_id)
             SELECT x.id, x.customer_id, x.supplier_id, x.departure_id, x.terms_id, 'ON_HOLD', x.seats, x.currency,
                    x.total, x.pay_on_arrival, x.contact_name, x.contact_email, x.contact_language, x.request_id,
                    x.request_hash, x.created_at, x.hold_expires_at, x.promo_id
             FROM unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[], $8::int[], $9::text[],
                         $10::numeric[], $11::bool[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bytea[],
                         $17::timestamptz[], $18::timestamptz[], $30::uuid[])
                  x(id, customer_id, supplier_id, departure_id, terms_id, seats, currency, total, pay_on_arrival,
                    contact_name, contact_email, contact_language, request_id, request_hash, created_at,
                    hold_expires_at, promo_id)
             ON CONFLICT (customer_id, request_id) DO NOTHING RETURNING 1
         ), guests AS (
             INSERT INTO unit_items (booking_id, position, id, unit, seats, price, discount, taxes)
             SELECT x.booking_id, x.position, x.id, x.unit, x.seats, x.price, x.discount, x.taxes::numeric[]
             FROM unnest($19::uuid[], $20::smallint[], $21::uuid[], $22::smallint[], $23::smallint[], $24::numeric[],
                         $31::numeric[], $32::text[])
                  x(booking_id, position, id, unit, seats, price, discount, taxes)
         ), told AS (
             INSERT INTO outbox (id, type, subject, payload, traceparent)
             SELECT * FROM unnest($25::uuid[], $26::text[], $27::text[], $28::bytea[], $29::text[])
         )
         SELECT (SELECT count(*) FROM seated), (SELECT count(*) FROM made)",
    )
    .bind(&departures)
    .bind(taken)
    .bind(column!(|h| h.booking.id.uuid()))
    .bind(column!(|h| h.booking.customer.uuid()))
    .bind(column!(|h| h.booking.terms.supplier.uuid()))
    .bind(column!(|h| h.booking.departure.uuid()))
    .bind(column!(|h| h.booking.terms.id))
    .bind(booked_seats)
    .bind(column!(|h| h.booking.total.currency().to_string()))
    .bind(column!(|h| h.booking.total.amount()))
    .bind(column!(|h| h.booking.pay_on_arrival))
    .bind(column!(|h| h.booking.contact.full_name.as_str()))
    .bind(column!(|h| h.booking.contact.email.as_str()))
    .bind(column!(|h| h.booking.contact.language.as_str()))
    .bind(column!(|h| h.request_id))
    .bind(column!(|h| &h.request_hash[..]))
    .bind(column!(|h| h.booking.created_at))
    .bind(column!(|h| h.booking.hold_expires_at))
    .bind(of)
    .bind(positions)
    .bind(items)
    .bind(units)
    .bind(item_seats)
    .bind(prices)
    .bind(column!(|h| h.event.id))
    .bind(column!(|h| h.event.kind.as_str()))
    .bind(column!(|h| h.event.subject.as_str()))
    .bind(column!(|h| h.event.payload.as_slice()))
    .bind(column!(|h| h.event.traceparent.as_deref()))
    .bind(or_nothing(promos))
    .bind(or_nothing(discounts))
    .bind(or_nothing(taxes))
    .fetch_one(tx)
    .await?;
    Ok(usize::try_from(seated).ok() == Some(departures.len()) && usize::try_from(made).ok() == Some(granted.len()))
}

/// The column, or nothing of it when all of it is NULL.
fn or_nothing<T>(column: Vec<Option<T>>) -> Vec<Option<T>> {
    if column.iter().any(Option::is_some) { column } else { Vec::new() }
}
