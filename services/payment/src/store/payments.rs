//! The table of payments.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use sea_orm::entity::prelude::*;
use sqlx::PgConnection;
use tourmesh_kit::{ApiError, ApiResult, db::Db, idempotency::RequestKey};

use super::money;
use crate::domain::{
    BookingId, CustomerId, PaymentId, SupplierId,
    payment::{Payment, State},
};

/// A row of the table, without what only statements use.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sqlx::FromRow)]
#[sea_orm(table_name = "payments")]
pub struct Model {
    /// The payment.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What it is for.
    pub booking_id: Uuid,
    /// Which change of it; empty: none.
    pub purpose: String,
    /// Who pays.
    pub customer_id: Uuid,
    /// Who earns.
    pub supplier_id: Uuid,
    /// [`State::as_str`].
    pub state: String,
    /// What is to be paid.
    pub amount: Decimal,
    /// The part of it that is taxes.
    pub tax: Decimal,
    /// What has been taken.
    pub captured: Decimal,
    /// Given back, or on its way.
    pub refunded: Decimal,
    /// Given back, confirmed.
    pub returned: Decimal,
    /// The platform's part.
    pub commission: Decimal,
    /// ISO 4217.
    pub currency: String,
    /// Which provider.
    pub provider: String,
    /// The provider's own id.
    pub provider_reference: Option<String>,
    /// The provider's token.
    pub payment_method: String,
    /// Where the customer is sent afterwards.
    pub return_url: String,
    /// Only reserve.
    pub manual_capture: bool,
    /// CapturePayment was called.
    pub capture_wanted: bool,
    /// The bank's page.
    pub next_action_url: Option<String>,
    /// Why it failed.
    pub decline_code: Option<String>,
    /// The hash of the request that opened it.
    pub request_hash: Vec<u8>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it was captured.
    pub captured_at: Option<DateTime<Utc>>,
    /// Grows by one with every change.
    pub version: i64,
}

/// None: reads of other tables go by id.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The columns of [`Model`], for statements.
macro_rules! columns {
    () => {
        "id, booking_id, purpose, customer_id, supplier_id, state, amount, tax, captured, refunded, returned, commission, currency, \
         provider, provider_reference, payment_method, return_url, manual_capture, capture_wanted, next_action_url, \
         decline_code, request_hash, created_at, captured_at, version"
    };
}

impl Model {
    /// As the domain sees it.
    ///
    /// # Errors
    /// INTERNAL when the row is not one that we write.
    pub fn into_domain(self) -> ApiResult<Payment> {
        let state = State::of_str(&self.state)
            .ok_or_else(|| ApiError::internal(format!("payment {} has the unknown state {}", self.id, self.state)))?;
        let money = |amount| money(amount, &self.currency);
        Ok(Payment {
            id: PaymentId::from_uuid(self.id),
            booking: BookingId::from_uuid(self.booking_id),
            purpose: self.purpose,
            customer: CustomerId::from_uuid(self.customer_id),
            supplier: SupplierId::from_uuid(self.supplier_id),
            state,
            amount: money(self.amount)?,
            tax: money(self.tax)?,
            captured: money(self.captured)?,
            refunded: money(self.refunded)?,
            returned: money(self.returned)?,
            commission: money(self.commission)?,
            provider: self.provider,
            reference: self.provider_reference,
            method: self.payment_method,
            return_url: self.return_url,
            manual_capture: self.manual_capture,
            capture_wanted: self.capture_wanted,
            next_action_url: self.next_action_url,
            decline_code: self.decline_code,
            created_at: self.created_at,
            captured_at: self.captured_at,
            version: self.version,
        })
    }
}

/// A payment to be opened, with the request that opens it.
#[derive(Debug, Clone)]
pub struct New {
    /// As it is to be stored.
    pub payment: Payment,
    /// Who asked.
    pub caller: String,
    /// The request.
    pub request: RequestKey,
}

/// Inserts the payments that nothing speaks against: no payment of the same request, no live one of the same booking and
/// purpose, and no request that was answered with another payment. Answers the ids of those that were inserted.
pub(crate) async fn insert(tx: &mut PgConnection, new: &[&New], grace: TimeDelta) -> ApiResult<Vec<Uuid>> {
    macro_rules! each {
        ($f:expr) => {
            new.iter().map(|n| $f(*n)).collect::<Vec<_>>()
        };
    }
    let ids = sqlx::query_scalar(
        "INSERT INTO payments (id, booking_id, customer_id, supplier_id, state, amount, currency, provider, payment_method,
                               return_url, manual_capture, caller, request_id, request_hash, created_at, purpose, tax, check_at)
         SELECT n.id, n.booking, n.customer, n.supplier, 'PENDING', n.amount, n.currency, n.provider, n.method, n.return_url,
                n.manual, n.caller, n.request, n.hash, n.at, n.purpose, n.tax, now() + make_interval(secs => $16 / 1000.0)
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::numeric[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::bool[], $11::text[], $12::text[], $13::bytea[], $14::timestamptz[], $15::text[], $17::numeric[])
              AS n (id, booking, customer, supplier, amount, currency, provider, method, return_url, manual, caller, request,
                    hash, at, purpose, tax)
         WHERE NOT EXISTS (SELECT FROM requests r
                           WHERE r.caller = n.caller AND r.method = 'CreatePayment' AND r.request_id = n.request)
         ON CONFLICT DO NOTHING
         RETURNING id",
    )
    .bind(each!(|n: &New| n.payment.id.uuid()))
    .bind(each!(|n: &New| n.payment.booking.uuid()))
    .bind(each!(|n: &New| n.payment.customer.uuid()))
    .bind(each!(|n: &New| n.payment.supplier.uuid()))
    .bind(each!(|n: &New| n.payment.amount.amount()))
    .bind(each!(|n: &New| n.payment.amount.currency().to_string()))
    .bind(each!(|n: &New| n.payment.provider.clone()))
    .bind(each!(|n: &New| n.payment.method.clone()))
    .bind(each!(|n: &New| n.payment.return_url.clone()))
    .bind(each!(|n: &New| n.payment.manual_capture))
    .bind(each!(|n: &New| n.caller.clone()))
    .bind(each!(|n: &New| n.request.id.clone()))
    .bind(each!(|n: &New| n.request.hash.to_vec()))
    .bind(each!(|n: &New| n.payment.created_at))
    .bind(each!(|n: &New| n.payment.purpose.clone()))
    .bind(grace.num_milliseconds())
    .bind(each!(|n: &New| n.payment.tax.amount()))
    .fetch_all(tx)
    .await?;
    Ok(ids)
}

/// The payment that this request opened, with the request's hash.
pub(crate) async fn of_request(tx: &mut PgConnection, caller: &str, id: &str) -> ApiResult<Option<(Payment, Vec<u8>)>> {
    let row: Option<Model> =
        sqlx::query_as(concat!("SELECT ", columns!(), " FROM payments WHERE caller = $1 AND request_id = $2"))
            .bind(caller)
            .bind(id)
            .fetch_optional(tx)
            .await?;
    row.map(|r| {
        let hash = r.request_hash.clone();
        Ok((r.into_domain()?, hash))
    })
    .transpose()
}

/// The live payment of a booking for one purpose.
pub(crate) async fn live_one(tx: &mut PgConnection, booking: BookingId, purpose: &str) -> ApiResult<Option<Payment>> {
    let row: Option<Model> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM payments
         WHERE booking_id = $1 AND purpose = $2 AND state IN ('PENDING', 'REQUIRES_ACTION', 'AUTHORIZED', 'CAPTURED')"
    ))
    .bind(booking.uuid())
    .bind(purpose)
    .fetch_optional(tx)
    .await?;
    row.map(Model::into_domain).transpose()
}

/// One payment, not locked.
pub(crate) async fn read(tx: &mut PgConnection, id: Uuid) -> ApiResult<Option<Payment>> {
    let row: Option<Model> = sqlx::query_as(concat!("SELECT ", columns!(), " FROM payments WHERE id = $1"))
        .bind(id)
        .fetch_optional(tx)
        .await?;
    row.map(Model::into_domain).transpose()
}

/// The payments, locked in the order of their ids so that two batches never wait for each other in a circle.
pub(crate) async fn lock(tx: &mut PgConnection, ids: &[Uuid]) -> ApiResult<Vec<Payment>> {
    let rows: Vec<Model> =
        sqlx::query_as(concat!("SELECT ", columns!(), " FROM payments WHERE id = ANY($1) ORDER BY id FOR UPDATE"))
            .bind(ids)
            .fetch_all(tx)
            .await?;
    rows.into_iter().map(Model::into_domain).collect()
}

/// One payment, locked.
pub(crate) async fn lock_one(tx: &mut PgConnection, id: PaymentId) -> ApiResult<Option<Payment>> {
    Ok(lock(tx, &[id.uuid()]).await?.pop())
}

/// Stores what payments have become. `watch` says after how long the reconciler is to look at each; `None`: never.
pub(crate) async fn update(tx: &mut PgConnection, changed: &[(&Payment, Option<TimeDelta>)]) -> ApiResult<()> {
    if changed.is_empty() {
        return Ok(());
    }
    macro_rules! each {
        ($f:expr) => {
            changed.iter().map(|(p, _)| $f(*p)).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "UPDATE payments p
         SET state = n.state, captured = n.captured, refunded = n.refunded, returned = n.returned, commission = n.commission,
             provider_reference = n.reference, capture_wanted = n.wanted, next_action_url = n.url, decline_code = n.decline,
             captured_at = n.captured_at, version = n.version, check_at = now() + make_interval(secs => n.watch / 1000.0), checks = 0
         FROM unnest($1::uuid[], $2::text[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[], $7::text[], $8::bool[],
                     $9::text[], $10::text[], $11::timestamptz[], $12::bigint[], $13::bigint[])
              AS n (id, state, captured, refunded, returned, commission, reference, wanted, url, decline, captured_at, version, watch)
         WHERE p.id = n.id",
    )
    .bind(each!(|p: &Payment| p.id.uuid()))
    .bind(each!(|p: &Payment| p.state.as_str()))
    .bind(each!(|p: &Payment| p.captured.amount()))
    .bind(each!(|p: &Payment| p.refunded.amount()))
    .bind(each!(|p: &Payment| p.returned.amount()))
    .bind(each!(|p: &Payment| p.commission.amount()))
    .bind(each!(|p: &Payment| p.reference.clone()))
    .bind(each!(|p: &Payment| p.capture_wanted))
    .bind(each!(|p: &Payment| p.next_action_url.clone()))
    .bind(each!(|p: &Payment| p.decline_code.clone()))
    .bind(each!(|p: &Payment| p.captured_at))
    .bind(each!(|p: &Payment| p.version))
    .bind(changed.iter().map(|(_, watch)| watch.map(|w| w.num_milliseconds())).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes payments whose time to be looked at has come, and puts them off: whoever takes them has so long for it, and
/// they come back by themselves, ever more rarely, when nothing comes of it. Other replicas take others.
pub(crate) async fn take_due(db: &Db, most: i64) -> ApiResult<Vec<Payment>> {
    let rows: Vec<Model> = sqlx::query_as(concat!(
        "WITH due AS (SELECT id AS due_id FROM payments WHERE check_at <= now() ORDER BY check_at LIMIT $1 FOR UPDATE SKIP LOCKED)
         UPDATE payments SET checks = checks + 1,
                             check_at = now() + least(interval '1 minute', interval '3 seconds' * power(2, least(checks, 8)))
         FROM due WHERE id = due_id RETURNING ",
        columns!()
    ))
    .bind(most)
    .fetch_all(db.pool())
    .await?;
    rows.into_iter().map(Model::into_domain).collect()
}

/// One payment, for readers.
pub(crate) async fn find(db: &Db, id: PaymentId) -> ApiResult<Option<Payment>> {
    Entity::find_by_id(id.uuid()).one(&db.orm()).await?.map(Model::into_domain).transpose()
}

/// The payment whose charge a provider calls so.
pub(crate) async fn of_reference(db: &Db, provider: &str, reference: &str) -> ApiResult<Option<PaymentId>> {
    let query = Entity::find().filter(Column::Provider.eq(provider)).filter(Column::ProviderReference.eq(reference));
    Ok(query.one(&db.orm()).await?.map(|found| PaymentId::from_uuid(found.id)))
}
