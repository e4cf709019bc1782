//! Promo codes and their uses.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{
    ApiError, ApiResult,
    money::{Currency, Money},
};
use uuid::Uuid;

use super::{corrupt, db_int, guard, of_db_int};
use crate::domain::{
    PromoId, SupplierId, TourId, UserId,
    promo::{Discount, Limits, Promo, PromoCode, Uses},
};

/// All of a code.
macro_rules! codes {
    ($rest:literal) => {
        concat!(
            "SELECT id, supplier_id, code, tours, percent, amount, amount_per_unit, currency, book_from, book_until,
                    depart_from, depart_until, max_uses, max_uses_per_customer, uses, created_at, ended_at
             FROM promo_codes ",
            $rest
        )
    };
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    supplier_id: Option<Uuid>,
    code: String,
    tours: Vec<Uuid>,
    percent: Option<Decimal>,
    amount: Option<Decimal>,
    amount_per_unit: Option<Decimal>,
    currency: Option<String>,
    book_from: Option<DateTime<Utc>>,
    book_until: Option<DateTime<Utc>>,
    depart_from: Option<NaiveDate>,
    depart_until: Option<NaiveDate>,
    max_uses: Option<i32>,
    max_uses_per_customer: Option<i32>,
    uses: i32,
    created_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

/// The discount of a code or of a booking's; the amounts are in this currency.
pub(super) fn discount(
    percent: Option<Decimal>,
    amount: Option<Decimal>,
    amount_per_unit: Option<Decimal>,
    currency: Option<Currency>,
) -> ApiResult<Discount> {
    let money = |amount: Decimal| {
        currency
            .map(|currency| Money::new(amount.normalize(), currency))
            .ok_or_else(|| corrupt("promo code's currency"))
    };
    match (percent, amount, amount_per_unit) {
        (Some(percent), None, None) => Ok(Discount::Percent(percent.normalize())),
        (None, Some(amount), None) => Ok(Discount::Amount(money(amount)?)),
        (None, None, Some(amount)) => Ok(Discount::PerUnit(money(amount)?)),
        _ => Err(corrupt("promo code")),
    }
}

impl Row {
    fn limits(&self) -> ApiResult<Limits> {
        Ok(Limits {
            book_from: self.book_from,
            book_until: self.book_until,
            ended_at: self.ended_at,
            max_uses: self.max_uses.map(of_db_int).transpose()?,
            max_per_customer: self.max_uses_per_customer.map(of_db_int).transpose()?,
        })
    }

    fn code(self) -> ApiResult<PromoCode> {
        let currency = self.currency.as_deref().map(str::parse).transpose().map_err(ApiError::internal)?;
        let limits = self.limits()?;
        let discount = discount(self.percent, self.amount, self.amount_per_unit, currency)?;
        let (depart_from, depart_until) = (self.depart_from, self.depart_until);
        Ok(PromoCode {
            promo: Promo { id: PromoId::from_uuid(self.id), code: self.code, discount, depart_from, depart_until },
            supplier: self.supplier_id.map(SupplierId::from_uuid),
            tours: self.tours.into_iter().map(TourId::from_uuid).collect(),
            limits,
            uses: of_db_int(self.uses)?,
            created_at: self.created_at,
        })
    }
}

/// Adds a code; false: there is one of this text that was not ended.
pub(crate) async fn insert(tx: &mut PgConnection, code: &PromoCode) -> ApiResult<bool> {
    let (mut percent, mut amount, mut amount_per_unit, mut currency) = (None, None, None, None);
    match code.promo.discount {
        Discount::Percent(share) => percent = Some(share),
        Discount::Amount(money) => (amount, currency) = (Some(money.amount()), Some(money.currency())),
        Discount::PerUnit(money) => (amount_per_unit, currency) = (Some(money.amount()), Some(money.currency())),
    }
    let done = sqlx::query(
        "INSERT INTO promo_codes (id, supplier_id, code, tours, percent, amount, amount_per_unit, currency, book_from,
                                  book_until, depart_from, depart_until, max_uses, max_uses_per_customer, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT DO NOTHING",
    )
    .bind(code.promo.id.uuid())
    .bind(code.supplier.map(SupplierId::uuid))
    .bind(&code.promo.code)
    .bind(code.tours.iter().map(|tour| tour.uuid()).collect::<Vec<_>>())
    .bind(percent)
    .bind(amount)
    .bind(amount_per_unit)
    .bind(currency.map(|c| c.to_string()))
    .bind(code.limits.book_from)
    .bind(code.limits.book_until)
    .bind(code.promo.depart_from)
    .bind(code.promo.depart_until)
    .bind(code.limits.max_uses.map(db_int).transpose()?)
    .bind(code.limits.max_per_customer.map(db_int).transpose()?)
    .bind(code.created_at)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The code, locked until the transaction ends.
pub(crate) async fn lock(tx: &mut PgConnection, id: PromoId) -> ApiResult<Option<PromoCode>> {
    let row: Option<Row> =
        sqlx::query_as(codes!("WHERE id = $1 FOR NO KEY UPDATE")).bind(id.uuid()).fetch_optional(tx).await?;
    row.map(Row::code).transpose()
}

/// The codes, locked until the transaction ends, in order.
pub(crate) async fn lock_all(tx: &mut PgConnection, ids: &[PromoId]) -> ApiResult<HashMap<PromoId, PromoCode>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<Row> = sqlx::query_as(codes!("WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE"))
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .fetch_all(tx)
        .await?;
    rows.into_iter().map(|row| Ok((PromoId::from_uuid(row.id), row.code()?))).collect()
}

/// Ends it.
pub(crate) async fn end(tx: &mut PgConnection, id: PromoId, now: DateTime<Utc>) -> ApiResult<()> {
    let done =
        sqlx::query("UPDATE promo_codes SET ended_at = $2 WHERE id = $1").bind(id.uuid()).bind(now).execute(tx).await?;
    guard(done.rows_affected(), 1, "promo_codes")
}

/// What a text means at a supplier: the supplier's own code before one of the platform, one that counts before one that
/// was ended, the last one of those.
pub(crate) async fn of_text(
    connection: &mut PgConnection,
    code: &str,
    supplier: SupplierId,
) -> ApiResult<Option<PromoCode>> {
    let row: Option<Row> = sqlx::query_as(codes!(
        "WHERE code = $1 AND (supplier_id = $2 OR supplier_id IS NULL)
         ORDER BY ended_at IS NOT NULL, supplier_id IS NULL, id DESC LIMIT 1"
    ))
    .bind(code)
    .bind(supplier.uuid())
    .fetch_optional(connection)
    .await?;
    row.map(Row::code).transpose()
}

/// A page of codes, newest first.
pub(crate) async fn list(
    connection: &mut PgConnection,
    supplier: Option<SupplierId>,
    with_ended: bool,
    before: Option<Uuid>,
    most: i64,
) -> ApiResult<Vec<PromoCode>> {
    let rows: Vec<Row> = sqlx::query_as(codes!(
        "WHERE ($1::uuid IS NULL OR supplier_id = $1) AND ($2 OR ended_at IS NULL) AND ($3::uuid IS NULL OR id < $3)
         ORDER BY id DESC LIMIT $4"
    ))
    .bind(supplier.map(SupplierId::uuid))
    .bind(with_ended)
    .bind(before)
    .bind(most)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::code).collect()
}

/// The uses of codes by these customers, as they are now.
pub(crate) async fn uses(
    connection: &mut PgConnection,
    wanted: &[(PromoId, UserId)],
) -> ApiResult<HashMap<PromoId, Uses>> {
    read_uses(connection, wanted, codes!("WHERE id = ANY($1)")).await
}

/// The uses of codes by these customers, locked until the transaction ends.
pub(crate) async fn lock_uses(
    tx: &mut PgConnection,
    wanted: &[(PromoId, UserId)],
) -> ApiResult<HashMap<PromoId, Uses>> {
    read_uses(tx, wanted, codes!("WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE")).await
}

async fn read_uses(
    connection: &mut PgConnection,
    wanted: &[(PromoId, UserId)],
    codes: &'static str,
) -> ApiResult<HashMap<PromoId, Uses>> {
    let ids = || wanted.iter().map(|(promo, _)| promo.uuid()).collect::<Vec<_>>();
    let rows: Vec<Row> = sqlx::query_as(codes).bind(ids()).fetch_all(&mut *connection).await?;
    let mut uses = HashMap::with_capacity(rows.len());
    for row in rows {
        let all = of_db_int(row.uses)?;
        uses.insert(PromoId::from_uuid(row.id), Uses { limits: row.limits()?, all, of: HashMap::new() });
    }
    if uses.values().any(|u| u.limits.max_per_customer.is_some()) {
        // A statement of its own, after the lock: it sees what those before have taken.
        let rows: Vec<(Uuid, Uuid, i32)> = sqlx::query_as(
            "SELECT DISTINCT c.promo_id, c.customer_id, c.uses FROM unnest($1::uuid[], $2::uuid[]) x(promo_id, customer_id)
             JOIN promo_customers c ON c.promo_id = x.promo_id AND c.customer_id = x.customer_id",
        )
        .bind(ids())
        .bind(wanted.iter().map(|(_, customer)| customer.uuid()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        for (promo, customer, own) in rows {
            if let Some(uses) = uses.get_mut(&PromoId::from_uuid(promo)) {
                uses.of.insert(UserId::from_uuid(customer), of_db_int(own)?);
            }
        }
    }
    Ok(uses)
}

/// How often each code is used, and how often by each customer.
struct Counted {
    codes: Vec<Uuid>,
    all: Vec<i32>,
    codes_of: Vec<Uuid>,
    customers: Vec<Uuid>,
    own: Vec<i32>,
}

impl Counted {
    fn of(uses: &[(PromoId, UserId)]) -> Self {
        let (mut codes, mut customers) = (BTreeMap::<Uuid, i32>::new(), BTreeMap::<(Uuid, Uuid), i32>::new());
        for (promo, customer) in uses {
            *codes.entry(promo.uuid()).or_default() += 1;
            *customers.entry((promo.uuid(), customer.uuid())).or_default() += 1;
        }
        let (codes, all) = codes.into_iter().unzip();
        let (pairs, own): (Vec<_>, Vec<_>) = customers.into_iter().unzip();
        let (codes_of, customers) = pairs.into_iter().unzip();
        Self { codes, all, codes_of, customers, own }
    }
}

/// Takes uses. The codes are locked; the guards hold all the same. False: one of them held something back, and nothing
/// may be committed.
pub(crate) async fn take(tx: &mut PgConnection, uses: &[(PromoId, UserId)]) -> ApiResult<bool> {
    let counted = Counted::of(uses);
    let (used, own, limited): (i64, i64, i64) = sqlx::query_as(
        "WITH limited AS (
             SELECT x.promo_id, x.customer_id, x.uses, p.max_uses_per_customer AS most
             FROM unnest($3::uuid[], $4::uuid[], $5::int[]) x(promo_id, customer_id, uses)
             JOIN promo_codes p ON p.id = x.promo_id WHERE p.max_uses_per_customer IS NOT NULL
         ), used AS (
             UPDATE promo_codes p SET uses = p.uses + x.uses FROM unnest($1::uuid[], $2::int[]) x(id, uses)
             WHERE p.id = x.id AND p.ended_at IS NULL AND (p.max_uses IS NULL OR p.uses + x.uses <= p.max_uses)
             RETURNING 1
         ), own AS (
             INSERT INTO promo_customers AS c (promo_id, customer_id, uses, most)
             SELECT promo_id, customer_id, uses, most FROM limited WHERE uses <= most
             ON CONFLICT (promo_id, customer_id) DO UPDATE SET uses = c.uses + excluded.uses
             WHERE c.uses + excluded.uses <= c.most RETURNING 1
         )
         SELECT (SELECT count(*) FROM used), (SELECT count(*) FROM own), (SELECT count(*) FROM limited)",
    )
    .bind(&counted.codes)
    .bind(&counted.all)
    .bind(&counted.codes_of)
    .bind(&counted.customers)
    .bind(&counted.own)
    .fetch_one(tx)
    .await?;
    Ok(usize::try_from(used).ok() == Some(counted.codes.len()) && own == limited)
}

/// Gives uses back, of bookings that are locked.
pub(crate) async fn give_back(
    tx: &mut PgConnection,
    uses: impl IntoIterator<Item = (PromoId, UserId)>,
) -> ApiResult<()> {
    let uses: Vec<(PromoId, UserId)> = uses.into_iter().collect();
    if uses.is_empty() {
        return Ok(());
    }
    let counted = Counted::of(&uses);
    sqlx::query("SELECT 1 FROM promo_codes WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE")
        .bind(&counted.codes)
        .execute(&mut *tx)
        .await?;
    let done: i64 = sqlx::query_scalar(
        "WITH own AS (
             UPDATE promo_customers c SET uses = c.uses - x.uses
             FROM unnest($3::uuid[], $4::uuid[], $5::int[]) x(promo_id, customer_id, uses)
             WHERE c.promo_id = x.promo_id AND c.customer_id = x.customer_id
         ), used AS (
             UPDATE promo_codes p SET uses = p.uses - x.uses FROM unnest($1::uuid[], $2::int[]) x(id, uses)
             WHERE p.id = x.id RETURNING 1
         )
         SELECT count(*) FROM used",
    )
    .bind(&counted.codes)
    .bind(&counted.all)
    .bind(&counted.codes_of)
    .bind(&counted.customers)
    .bind(&counted.own)
    .fetch_one(tx)
    .await?;
    guard(u64::try_from(done).map_err(ApiError::internal)?, counted.codes.len(), "promo_codes")
}
