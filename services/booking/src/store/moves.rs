//! Moves that have to be paid for.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{
    ApiError, ApiResult,
    money::{Currency, Money},
};
use uuid::Uuid;

use super::{corrupt, db_int, guard, of_db_int};
use crate::domain::{
    BookingId, DepartureId, MoveId, PaymentId, Unit, UserId,
    moves::{Move, Stage},
    price::PricedItem,
    refund::Kept,
};

macro_rules! moves {
    ($rest:literal) => {
        concat!(
            "SELECT id, booking_id, customer_id, departure_id, terms_id, state, seats, currency, difference,
                    refund_limit, units, item_seats, prices, discounts, taxes, payment_id, created_at, expires_at
             FROM moves ",
            $rest
        )
    };
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    booking_id: Uuid,
    customer_id: Uuid,
    departure_id: Uuid,
    terms_id: Uuid,
    state: String,
    seats: i32,
    currency: String,
    difference: Decimal,
    refund_limit: i16,
    units: Vec<i16>,
    item_seats: Vec<i16>,
    prices: Vec<Decimal>,
    discounts: Vec<Decimal>,
    taxes: Vec<Decimal>,
    payment_id: Option<Uuid>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl Row {
    fn domain(self) -> ApiResult<Move> {
        let currency: Currency = self.currency.parse().map_err(ApiError::internal)?;
        let money = |amount: Decimal| Money::new(amount.normalize(), currency);
        let each = self.taxes.len() / self.units.len().max(1);
        let taxes = (0..).map(|at| self.taxes.iter().skip(at * each).take(each).map(|tax| money(*tax)).collect());
        let guests = self.units.into_iter().zip(self.item_seats).zip(self.prices).zip(self.discounts).zip(taxes);
        let guests = guests.map(|((((unit, seats), price), discount), taxes)| {
            Ok(PricedItem {
                unit: Unit::of_number(i32::from(unit)).ok_or_else(|| corrupt("unit"))?,
                seats: of_db_int(i32::from(seats))?,
                price: money(price),
                discount: money(discount),
                taxes,
            })
        });
        Ok(Move {
            id: MoveId::from_uuid(self.id),
            booking: BookingId::from_uuid(self.booking_id),
            customer: UserId::from_uuid(self.customer_id),
            to: DepartureId::from_uuid(self.departure_id),
            terms: self.terms_id,
            stage: Stage::of_text(&self.state).ok_or_else(|| corrupt("state of a move"))?,
            seats: of_db_int(self.seats)?,
            difference: money(self.difference),
            refund_limit: i32::from(self.refund_limit),
            guests: guests.collect::<ApiResult<_>>()?,
            payment: self.payment_id.map(PaymentId::from_uuid),
            created_at: self.created_at,
            expires_at: self.expires_at,
        })
    }
}

fn all(rows: Vec<Row>) -> ApiResult<Vec<Move>> {
    rows.into_iter().map(Row::domain).collect()
}

/// Keeps a new move; its booking is locked.
pub(crate) async fn begin(tx: &mut PgConnection, new: &Move) -> ApiResult<()> {
    let small = |number: i32| i16::try_from(number).map_err(ApiError::internal);
    let guests = || new.guests.iter();
    sqlx::query(
        "INSERT INTO moves (id, booking_id, customer_id, departure_id, terms_id, state, seats, currency, difference,
                            refund_limit, units, item_seats, prices, discounts, taxes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(new.id.uuid())
    .bind(new.booking.uuid())
    .bind(new.customer.uuid())
    .bind(new.to.uuid())
    .bind(new.terms)
    .bind(new.stage.as_str())
    .bind(db_int(new.seats)?)
    .bind(new.difference.currency().to_string())
    .bind(new.difference.amount())
    .bind(small(new.refund_limit)?)
    .bind(guests().map(|g| small(g.unit.number())).collect::<ApiResult<Vec<_>>>()?)
    .bind(guests().map(|g| small(db_int(g.seats)?)).collect::<ApiResult<Vec<_>>>()?)
    .bind(guests().map(|g| g.price.amount()).collect::<Vec<_>>())
    .bind(guests().map(|g| g.discount.amount()).collect::<Vec<_>>())
    .bind(guests().flat_map(|g| &g.taxes).map(|tax| tax.amount()).collect::<Vec<_>>())
    .bind(new.created_at)
    .bind(new.expires_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes what became of moves that were OPEN. They and their bookings are locked.
pub(crate) async fn save(tx: &mut PgConnection, moves: &[&Move]) -> ApiResult<()> {
    if moves.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "UPDATE moves m SET state = x.state, payment_id = x.payment_id,
                            ended_at = CASE WHEN x.state <> 'OPEN' THEN now() END
         FROM unnest($1::uuid[], $2::text[], $3::uuid[]) x(id, state, payment_id)
         WHERE m.id = x.id AND m.state = 'OPEN'",
    )
    .bind(moves.iter().map(|m| m.id.uuid()).collect::<Vec<_>>())
    .bind(moves.iter().map(|m| m.stage.as_str()).collect::<Vec<_>>())
    .bind(moves.iter().map(|m| m.payment.map(PaymentId::uuid)).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    guard(done.rows_affected(), moves.len(), "moves")
}

/// One move.
pub(crate) async fn load(tx: &mut PgConnection, id: MoveId) -> ApiResult<Option<Move>> {
    let row: Option<Row> = sqlx::query_as(moves!("WHERE id = $1")).bind(id.uuid()).fetch_optional(tx).await?;
    row.map(Row::domain).transpose()
}

/// Locks moves whose bookings are locked; unknown ones are left out.
pub(crate) async fn lock(tx: &mut PgConnection, ids: &[MoveId]) -> ApiResult<HashMap<MoveId, Move>> {
    let rows: Vec<Row> = sqlx::query_as(moves!("WHERE id = ANY($1) ORDER BY id FOR UPDATE"))
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .fetch_all(tx)
        .await?;
    Ok(all(rows)?.into_iter().map(|m| (m.id, m)).collect())
}

/// Locks the open moves of bookings that are locked.
pub(crate) async fn lock_open(tx: &mut PgConnection, bookings: &[BookingId]) -> ApiResult<Vec<Move>> {
    let rows: Vec<Row> = sqlx::query_as(moves!("WHERE booking_id = ANY($1) AND state = 'OPEN' ORDER BY id FOR UPDATE"))
        .bind(bookings.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .fetch_all(tx)
        .await?;
    all(rows)
}

/// Whether a move has run out.
pub(crate) async fn any_due(connection: &mut PgConnection) -> ApiResult<bool> {
    let found = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM moves WHERE state = 'OPEN' AND expires_at <= now())");
    Ok(found.fetch_one(connection).await?)
}

/// Locks bookings with a move that has run out, leaving out those that somebody else is at; then those moves.
pub(crate) async fn lock_due(tx: &mut PgConnection, most: i64) -> ApiResult<Vec<Move>> {
    lock_where(
        tx,
        sqlx::query_scalar(
            "SELECT b.id FROM moves m JOIN bookings b ON b.id = m.booking_id
             WHERE m.state = 'OPEN' AND m.expires_at <= now()
             ORDER BY m.expires_at LIMIT $1 FOR UPDATE OF b SKIP LOCKED",
        )
        .bind(most),
    )
    .await
    .map(|moves| moves.into_iter().filter(|(_, due)| *due).map(|(m, _)| m).collect())
}

/// The same for moves to a departure, run out or not.
pub(crate) async fn lock_to(tx: &mut PgConnection, departure: DepartureId, most: i64) -> ApiResult<Vec<Move>> {
    lock_where(
        tx,
        sqlx::query_scalar(
            "SELECT b.id FROM moves m JOIN bookings b ON b.id = m.booking_id
             WHERE m.state = 'OPEN' AND m.departure_id = $1 ORDER BY b.id LIMIT $2 FOR UPDATE OF b SKIP LOCKED",
        )
        .bind(departure.uuid())
        .bind(most),
    )
    .await
    .map(|moves| moves.into_iter().map(|(m, _)| m).filter(|m| m.to == departure).collect())
}

/// The open moves of the bookings that a query has locked, each with whether it has run out. They are read after the
/// lock: one of them may have ended before it.
async fn lock_where(
    tx: &mut PgConnection,
    bookings: sqlx::query::QueryScalar<'_, sqlx::Postgres, Uuid, sqlx::postgres::PgArguments>,
) -> ApiResult<Vec<(Move, bool)>> {
    let bookings: Vec<Uuid> = bookings.fetch_all(&mut *tx).await?;
    if bookings.is_empty() {
        return Ok(Vec::new());
    }
    let bookings: Vec<BookingId> = bookings.into_iter().map(BookingId::from_uuid).collect();
    let now = super::bookings::now(tx).await?;
    let open = lock_open(tx, &bookings).await?;
    Ok(open
        .into_iter()
        .map(|m| {
            let due = m.expires_at <= now;
            (m, due)
        })
        .collect())
}

/// The payments of a booking and what each of them has not given back yet, the last one first.
pub(crate) async fn kept(tx: &mut PgConnection, booking: BookingId, currency: Currency) -> ApiResult<Vec<Kept>> {
    let rows: Vec<(Uuid, Decimal)> = sqlx::query_as(
        "WITH paid AS (SELECT id, payment_id, difference FROM moves WHERE booking_id = $1 AND state = 'DONE'),
              parts AS (
                  SELECT payment_id, difference AS captured, id AS place FROM paid
                  UNION ALL
                  SELECT payment_id, paid - coalesce((SELECT sum(difference) FROM paid), 0), NULL FROM bookings
                  WHERE id = $1 AND payment_id IS NOT NULL)
         SELECT p.payment_id, p.captured - coalesce((SELECT sum(t.amount) FROM refund_tasks t
                                                     WHERE t.booking_id = $1 AND t.payment_id = p.payment_id
                                                       AND t.cause <> 'LATE'), 0)
         FROM parts p WHERE p.captured > 0 ORDER BY p.place DESC NULLS LAST",
    )
    .bind(booking.uuid())
    .fetch_all(tx)
    .await?;
    let kept = |(payment, amount): (Uuid, Decimal)| Kept {
        payment: PaymentId::from_uuid(payment),
        amount: Money::new(amount.normalize(), currency),
    };
    Ok(rows.into_iter().map(kept).collect())
}
