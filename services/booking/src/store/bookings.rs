//! Bookings: locked, loaded, saved; each in batches.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sea_orm::{
    ColumnTrait as _, Condition, DatabaseConnection, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{
    ApiError, ApiResult,
    money::{Currency, Money},
};
use uuid::Uuid;

use super::{corrupt, db_int, entities::booking as entity, guard, of_db_int, promos::discount, terms};
use crate::domain::{
    BookingId, DepartureId, ItemId, PaymentId, PromoId, SupplierId, Unit, UserId,
    booking::{Booking, Contact, Item, State},
    offer::Terms,
    promo::Promo,
};

/// Locks bookings in id order and says what time it is under the lock. Unknown ids are left out.
pub(crate) async fn lock(tx: &mut PgConnection, ids: &[BookingId]) -> ApiResult<DateTime<Utc>> {
    // The clock is read once all rows are locked and counted.
    let locked = sqlx::query_as(
        "SELECT count(*), clock_timestamp()
         FROM (SELECT 1 FROM bookings WHERE id = ANY($1) ORDER BY id FOR UPDATE) locked",
    );
    let (_, now): (i64, DateTime<Utc>) =
        locked.bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>()).fetch_one(tx).await?;
    Ok(now)
}

/// Whether there is a hold that has run out.
pub(crate) async fn any_due(connection: &mut PgConnection) -> ApiResult<bool> {
    let found = sqlx::query_scalar(
        // The order names the index to look in: the first entry tells.
        "SELECT true FROM bookings WHERE state = 'ON_HOLD' AND hold_expires_at <= now() ORDER BY hold_expires_at LIMIT 1",
    );
    Ok(found.fetch_optional(connection).await?.unwrap_or(false))
}

/// Locks bookings whose hold has run out, leaving out those that somebody else is at.
pub(crate) async fn lock_due(tx: &mut PgConnection, most: i64) -> ApiResult<Vec<BookingId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM bookings WHERE state = 'ON_HOLD' AND hold_expires_at <= now()
         ORDER BY hold_expires_at LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(most)
    .fetch_all(tx)
    .await?;
    Ok(ids.into_iter().map(BookingId::from_uuid).collect())
}

/// Locks bookings of a departure that are to be cancelled with it.
pub(crate) async fn lock_of_departure(
    tx: &mut PgConnection,
    departure: DepartureId,
    most: i64,
) -> ApiResult<Vec<BookingId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM bookings WHERE departure_id = $1 AND state IN ('ON_HOLD', 'CONFIRMED')
         ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(departure.uuid())
    .bind(most)
    .fetch_all(tx)
    .await?;
    Ok(ids.into_iter().map(BookingId::from_uuid).collect())
}

/// The database's clock, which decides about holds.
pub(crate) async fn now(tx: &mut PgConnection) -> ApiResult<DateTime<Utc>> {
    Ok(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(tx).await?)
}

/// One booking.
pub(crate) async fn load_one(tx: &mut PgConnection, id: BookingId) -> ApiResult<Option<Booking>> {
    Ok(load(tx, &[id]).await?.remove(&id))
}

/// Which of these payments have confirmed the booking that is named with each, as
/// [`OnCapture::Known`](crate::domain::booking::OnCapture) has it. That does not change any more, so nothing is locked.
pub(crate) async fn known_payments(
    tx: &mut PgConnection,
    payments: impl Iterator<Item = (BookingId, PaymentId)>,
) -> ApiResult<HashSet<PaymentId>> {
    let (bookings, payments): (Vec<Uuid>, Vec<Uuid>) = payments.map(|(b, p)| (b.uuid(), p.uuid())).unzip();
    if bookings.is_empty() {
        return Ok(HashSet::new());
    }
    let known: Vec<Uuid> = sqlx::query_scalar(
        "SELECT b.payment_id FROM unnest($1::uuid[], $2::uuid[]) x(id, payment_id) JOIN bookings b ON b.id = x.id
         WHERE b.payment_id = x.payment_id AND b.confirmed_at IS NOT NULL AND b.paid > 0",
    )
    .bind(bookings)
    .bind(payments)
    .fetch_all(tx)
    .await?;
    Ok(known.into_iter().map(PaymentId::from_uuid).collect())
}

/// Bookings with their terms and guests; unknown ids are left out.
pub(crate) async fn load(tx: &mut PgConnection, ids: &[BookingId]) -> ApiResult<HashMap<BookingId, Booking>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT b.id, b.customer_id, b.departure_id, b.state, b.seats, b.currency, b.total, b.pay_on_arrival,
                b.contact_name, b.contact_email, b.contact_language, b.payment_attempts, b.payment_id, b.paid,
                b.refund, b.returned, b.refund_limit, b.changes, b.moves, b.created_at, b.hold_expires_at, b.confirmed_at, b.cancelled_at, b.version,
                t.id AS terms_id, t.supplier_id, t.tour_id, t.option_id, t.tour_title_en, t.tour_title_fr,
                t.option_title_en, t.option_title_fr, t.local_start, t.time_zone, t.starts_at, t.duration_minutes,
                t.hold_seconds, t.refund_hours, t.refund_percents, t.tax_names, t.tax_percents, t.tax_included,
                p.id AS promo_id, p.code, p.percent, p.amount, p.amount_per_unit, p.depart_from, p.depart_until,
                i.ids, i.units, i.item_seats, i.prices, i.vouchers, i.redeemed,
                i.names, i.cancelled, i.percents, i.discounts, i.taxes
         FROM bookings b
         JOIN terms t ON t.id = b.terms_id
         LEFT JOIN promo_codes p ON p.id = b.promo_id
         CROSS JOIN LATERAL (
             SELECT array_agg(u.id ORDER BY u.position) AS ids, array_agg(u.unit ORDER BY u.position) AS units,
                    array_agg(u.seats ORDER BY u.position) AS item_seats,
                    array_agg(u.price ORDER BY u.position) AS prices,
                    array_agg(u.voucher ORDER BY u.position) AS vouchers,
                    array_agg(u.redeemed_at ORDER BY u.position) AS redeemed,
                    array_agg(u.guest_name ORDER BY u.position) AS names,
                    array_agg(u.cancelled_at ORDER BY u.position) AS cancelled,
                    array_agg(u.refund_percent ORDER BY u.position) AS percents,
                    array_agg(u.discount ORDER BY u.position) AS discounts,
                    array_agg(array_to_string(u.taxes, ' ') ORDER BY u.position) AS taxes
             FROM unit_items u WHERE u.booking_id = b.id) i
         WHERE b.id = ANY($1)",
    )
    .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    let mut known: HashMap<Uuid, Arc<Terms>> = HashMap::new();
    rows.into_iter()
        .map(|row| {
            let booking = row.booking(&mut known)?;
            Ok((booking.id, booking))
        })
        .collect()
}

/// Writes what changed. Each booking was loaded under its lock and has changed exactly once since: the version says so,
/// and a write that would overwrite something else fails.
pub(crate) async fn save(tx: &mut PgConnection, bookings: &[&Booking]) -> ApiResult<()> {
    save_since(tx, &bookings.iter().map(|b| (*b, b.version - 1)).collect::<Vec<_>>()).await
}

/// The same for bookings that may have changed several times since they had this version.
pub(crate) async fn save_since(tx: &mut PgConnection, changed: &[(&Booking, i64)]) -> ApiResult<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let bookings: Vec<&Booking> = changed.iter().map(|(booking, _)| *booking).collect();
    let done = sqlx::query(
        "UPDATE bookings b
         SET state = x.state, payment_attempts = x.payment_attempts, payment_id = x.payment_id, refund = x.refund,
             hold_expires_at = x.hold_expires_at, confirmed_at = x.confirmed_at, cancelled_at = x.cancelled_at,
             version = x.version, seats = x.seats, total = x.total, paid = x.paid, changes = x.changes
         FROM unnest($1::uuid[], $2::text[], $3::int[], $4::uuid[], $5::numeric[], $6::timestamptz[],
                     $7::timestamptz[], $8::timestamptz[], $9::bigint[], $10::int[], $11::numeric[], $12::numeric[],
                     $13::int[], $14::bigint[])
              x(id, state, payment_attempts, payment_id, refund, hold_expires_at, confirmed_at, cancelled_at, version,
                seats, total, paid, changes, before)
         WHERE b.id = x.id AND b.version = x.before",
    )
    .bind(bookings.iter().map(|b| b.id.uuid()).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.state.as_str()).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.payment_attempts).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.payment.map(PaymentId::uuid)).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.refund.map(Money::amount)).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.hold_expires_at).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.confirmed_at).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.cancelled_at).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.version).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| db_int(b.seats)).collect::<ApiResult<Vec<_>>>()?)
    .bind(bookings.iter().map(|b| b.total.amount()).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.paid.amount()).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.changes).collect::<Vec<_>>())
    .bind(changed.iter().map(|(_, before)| *before).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    guard(done.rows_affected(), bookings.len(), "bookings")
}

/// Writes where a booking was moved to, and what its guests take and cost there.
pub(crate) async fn save_move(tx: &mut PgConnection, booking: &Booking) -> ApiResult<()> {
    terms::keep(tx, &booking.terms).await?;
    let done = sqlx::query(
        "UPDATE bookings SET departure_id = $2, terms_id = $3, returned = $4, refund_limit = $5, moves = $6 WHERE id = $1",
    )
    .bind(booking.id.uuid())
    .bind(booking.departure.uuid())
    .bind(booking.terms.id)
    .bind(booking.returned.amount())
    .bind(i16::try_from(booking.refund_limit).map_err(ApiError::internal)?)
    .bind(booking.moves)
    .execute(&mut *tx)
    .await?;
    guard(done.rows_affected(), 1, "bookings")?;
    let seats = booking.items.iter().map(|i| i16::try_from(i.seats).map_err(ApiError::internal));
    let done = sqlx::query(
        "UPDATE unit_items i SET seats = x.seats, price = x.price, discount = x.discount, taxes = x.taxes::numeric[]
         FROM unnest($2::uuid[], $3::smallint[], $4::numeric[], $5::numeric[], $6::text[])
              x(id, seats, price, discount, taxes)
         WHERE i.booking_id = $1 AND i.id = x.id",
    )
    .bind(booking.id.uuid())
    .bind(booking.items.iter().map(|i| i.id.uuid()).collect::<Vec<_>>())
    .bind(seats.collect::<ApiResult<Vec<_>>>()?)
    .bind(booking.items.iter().map(|i| i.price.amount()).collect::<Vec<_>>())
    .bind(booking.items.iter().map(|i| db_discount(i.discount)).collect::<Vec<_>>())
    .bind(booking.items.iter().map(|i| db_taxes(&i.taxes)).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    guard(done.rows_affected(), booking.items.len(), "unit_items")
}

/// Writes who is told.
pub(crate) async fn save_contact(tx: &mut PgConnection, booking: &Booking) -> ApiResult<()> {
    let done =
        sqlx::query("UPDATE bookings SET contact_name = $2, contact_email = $3, contact_language = $4 WHERE id = $1")
            .bind(booking.id.uuid())
            .bind(&booking.contact.full_name)
            .bind(&booking.contact.email)
            .bind(&booking.contact.language)
            .execute(tx)
            .await?;
    guard(done.rows_affected(), 1, "bookings")
}

/// Writes whatever can change of the guests of these bookings.
pub(crate) async fn save_items(tx: &mut PgConnection, bookings: &[&Booking]) -> ApiResult<()> {
    let guests = || bookings.iter().flat_map(|b| (0_i16..).zip(&b.items).map(|(at, item)| (b.id, at, item)));
    let items = guests().count();
    if items == 0 {
        return Ok(());
    }
    let percents = guests().map(|(.., i)| i16::try_from(i.refund_percent).map_err(ApiError::internal));
    let done = sqlx::query(
        "UPDATE unit_items i
         SET voucher = x.voucher, redeemed_at = x.redeemed_at, guest_name = x.guest_name,
             cancelled_at = x.cancelled_at, refund_percent = x.refund_percent
         FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::timestamptz[], $5::text[], $6::timestamptz[],
                     $7::smallint[])
              x(booking_id, position, voucher, redeemed_at, guest_name, cancelled_at, refund_percent)
         WHERE i.booking_id = x.booking_id AND i.position = x.position",
    )
    .bind(guests().map(|(id, ..)| id.uuid()).collect::<Vec<_>>())
    .bind(guests().map(|(_, at, _)| at).collect::<Vec<_>>())
    .bind(guests().map(|(.., i)| i.voucher.as_deref()).collect::<Vec<_>>())
    .bind(guests().map(|(.., i)| i.redeemed_at).collect::<Vec<_>>())
    .bind(guests().map(|(.., i)| i.guest_name.as_str()).collect::<Vec<_>>())
    .bind(guests().map(|(.., i)| i.cancelled_at).collect::<Vec<_>>())
    .bind(percents.collect::<ApiResult<Vec<_>>>()?)
    .execute(tx)
    .await?;
    guard(done.rows_affected(), items, "unit_items")
}

/// The bookings and the positions of the guests that vouchers belong to; unknown ones are left out.
pub(crate) async fn of_vouchers(
    tx: &mut PgConnection,
    vouchers: &[&str],
) -> ApiResult<HashMap<String, (BookingId, i16)>> {
    if vouchers.is_empty() {
        return Ok(HashMap::new());
    }
    let found: Vec<(String, Uuid, i16)> =
        sqlx::query_as("SELECT voucher, booking_id, position FROM unit_items WHERE voucher = ANY($1)")
            .bind(vouchers)
            .fetch_all(tx)
            .await?;
    Ok(found.into_iter().map(|(code, booking, place)| (code, (BookingId::from_uuid(booking), place))).collect())
}

/// The booking that a customer's request made, with the hash of its content.
pub(crate) async fn of_request(
    tx: &mut PgConnection,
    customer: UserId,
    request_id: &str,
) -> ApiResult<Option<(BookingId, Vec<u8>)>> {
    let found: Option<(Uuid, Vec<u8>)> =
        sqlx::query_as("SELECT id, request_hash FROM bookings WHERE customer_id = $1 AND request_id = $2")
            .bind(customer.uuid())
            .bind(request_id)
            .fetch_optional(tx)
            .await?;
    Ok(found.map(|(booking, hash)| (BookingId::from_uuid(booking), hash)))
}

/// Whose bookings a list shows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose {
    Customers(UserId),
    /// Those of its tours, and those that the user made.
    Suppliers(SupplierId, Option<UserId>),
    All,
}

/// The ids of a list, newest first, after `before`.
pub(crate) async fn list(
    orm: &DatabaseConnection,
    whose: Whose,
    departure: Option<DepartureId>,
    states: &[State],
    before: Option<BookingId>,
    most: u64,
) -> ApiResult<Vec<BookingId>> {
    let mut query = entity::Entity::find().select_only().column(entity::Column::Id);
    query = match whose {
        Whose::Customers(customer) => query.filter(entity::Column::CustomerId.eq(customer.uuid())),
        Whose::Suppliers(supplier, None) => query.filter(entity::Column::SupplierId.eq(supplier.uuid())),
        Whose::Suppliers(supplier, Some(customer)) => query.filter(
            Condition::any()
                .add(entity::Column::SupplierId.eq(supplier.uuid()))
                .add(entity::Column::CustomerId.eq(customer.uuid())),
        ),
        Whose::All => query,
    };
    if let Some(departure) = departure {
        query = query.filter(entity::Column::DepartureId.eq(departure.uuid()));
    }
    if !states.is_empty() {
        query = query.filter(entity::Column::State.is_in(states.iter().map(|s| s.as_str())));
    }
    if let Some(before) = before {
        query = query.filter(entity::Column::Id.lt(before.uuid()));
    }
    let ids: Vec<Uuid> = query.order_by_desc(entity::Column::Id).limit(most).into_tuple().all(orm).await?;
    Ok(ids.into_iter().map(BookingId::from_uuid).collect())
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    customer_id: Uuid,
    departure_id: Uuid,
    state: String,
    seats: i32,
    currency: String,
    total: Decimal,
    pay_on_arrival: bool,
    contact_name: String,
    contact_email: String,
    contact_language: String,
    payment_attempts: i32,
    payment_id: Option<Uuid>,
    paid: Decimal,
    refund: Option<Decimal>,
    returned: Decimal,
    refund_limit: i16,
    changes: i32,
    moves: i32,
    created_at: DateTime<Utc>,
    hold_expires_at: Option<DateTime<Utc>>,
    confirmed_at: Option<DateTime<Utc>>,
    cancelled_at: Option<DateTime<Utc>>,
    version: i64,
    ids: Vec<Uuid>,
    units: Vec<i16>,
    item_seats: Vec<i16>,
    prices: Vec<Decimal>,
    vouchers: Vec<Option<String>>,
    redeemed: Vec<Option<DateTime<Utc>>>,
    names: Vec<String>,
    cancelled: Vec<Option<DateTime<Utc>>>,
    percents: Vec<i16>,
    discounts: Vec<Option<Decimal>>,
    taxes: Vec<Option<String>>,
    #[sqlx(flatten)]
    terms: terms::Row,
    #[sqlx(flatten)]
    promo: PromoRow,
}

/// What a booking keeps of its promo code; all NULL: it has none.
#[derive(FromRow)]
struct PromoRow {
    promo_id: Option<Uuid>,
    code: Option<String>,
    percent: Option<Decimal>,
    amount: Option<Decimal>,
    amount_per_unit: Option<Decimal>,
    depart_from: Option<NaiveDate>,
    depart_until: Option<NaiveDate>,
}

impl PromoRow {
    fn promo(self, currency: Currency) -> ApiResult<Option<Promo>> {
        let (Some(id), Some(code)) = (self.promo_id, self.code) else { return Ok(None) };
        let discount = discount(self.percent, self.amount, self.amount_per_unit, Some(currency))?;
        let (depart_from, depart_until) = (self.depart_from, self.depart_until);
        Ok(Some(Promo { id: PromoId::from_uuid(id), code, discount, depart_from, depart_until }))
    }
}

/// A discount as a column has it.
pub(super) fn db_discount(discount: Money) -> Option<Decimal> {
    Some(discount.amount()).filter(|_| discount.is_positive())
}

/// Taxes as an array's text, so that many guests' fit into one array.
pub(super) fn db_taxes(taxes: &[Money]) -> Option<String> {
    if taxes.is_empty() {
        return None;
    }
    let amounts: Vec<String> = taxes.iter().map(|tax| tax.amount().to_string()).collect();
    Some(format!("{{{}}}", amounts.join(",")))
}

impl Row {
    fn booking(self, known: &mut HashMap<Uuid, Arc<Terms>>) -> ApiResult<Booking> {
        let currency: Currency = self.currency.parse().map_err(ApiError::internal)?;
        // NUMERIC(19,4) comes with four decimals; 12.50 and 12.5000 are one amount.
        let money = |amount: Decimal| Money::new(amount.normalize(), currency);
        let items = self.ids.into_iter().zip(self.units).zip(self.item_seats).zip(self.prices).zip(self.vouchers);
        let changes = self.redeemed.into_iter().zip(self.names).zip(self.cancelled).zip(self.percents);
        let parts = self.discounts.into_iter().zip(self.taxes);
        let items = items.zip(changes).zip(parts).map(|((((((id, unit), seats), price), voucher), change), parts)| {
            let (((redeemed_at, guest_name), cancelled_at), percent) = change;
            let taxes = parts.1.as_deref().unwrap_or_default().split_ascii_whitespace();
            let taxes = taxes.map(|text| text.parse().map(money).map_err(|_| corrupt("tax")));
            Ok(Item {
                id: ItemId::from_uuid(id),
                unit: Unit::of_number(i32::from(unit)).ok_or_else(|| corrupt("unit"))?,
                seats: of_db_int(i32::from(seats))?,
                price: money(price),
                discount: money(parts.0.unwrap_or_default()),
                taxes: taxes.collect::<ApiResult<_>>()?,
                voucher,
                redeemed_at,
                guest_name,
                cancelled_at,
                refund_percent: i32::from(percent),
            })
        });
        let terms = known.entry(self.terms.terms_id).or_insert_with(|| Arc::new(self.terms.terms()));
        Ok(Booking {
            id: BookingId::from_uuid(self.id),
            customer: UserId::from_uuid(self.customer_id),
            departure: DepartureId::from_uuid(self.departure_id),
            terms: terms.clone(),
            state: State::of_text(&self.state).ok_or_else(|| corrupt("booking state"))?,
            contact: Contact {
                full_name: self.contact_name,
                email: self.contact_email,
                language: self.contact_language,
            },
            items: items.collect::<ApiResult<_>>()?,
            seats: of_db_int(self.seats)?,
            total: money(self.total),
            pay_on_arrival: self.pay_on_arrival,
            promo: self.promo.promo(currency)?.map(Arc::new),
            payment: self.payment_id.map(PaymentId::from_uuid),
            payment_attempts: self.payment_attempts,
            paid: money(self.paid),
            refund: self.refund.map(money),
            returned: money(self.returned),
            refund_limit: i32::from(self.refund_limit),
            changes: self.changes,
            moves: self.moves,
            created_at: self.created_at,
            hold_expires_at: self.hold_expires_at,
            confirmed_at: self.confirmed_at,
            cancelled_at: self.cancelled_at,
            version: self.version,
        })
    }
}
