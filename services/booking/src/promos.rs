//! Promo codes: made, listed, ended, and looked up for a price. Their uses are taken where the seats are held (see
//! [`holds`](crate::holds)) and given back where a hold ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;
use tokio::sync::Mutex;
use tourmesh::booking::v1 as pb;
use tourmesh_kit::{ApiError, ApiResult, db::Db, events::outbox, idempotency::RequestKey, page};
use uuid::Uuid;

use crate::{
    access::Caller,
    convert,
    domain::{PromoId, SupplierId, UserId, offer::Offer, promo::PromoCode},
    error::BookingError,
    events,
    steps::Step,
    store::{
        bookings, promos as store,
        requests::{Remembered, remember},
    },
};

/// How long a code that was looked up is believed. What it gives never changes, and whether it was ended is looked at
/// where it is used; only a text that means another code by now can be taken for the one before.
const AGE: Duration = Duration::from_secs(1);
/// How many codes are kept in memory.
const KEPT: usize = 1_000;

/// What the texts of codes mean, so that a rush on one asks the database once. Clones share it.
#[derive(Clone)]
pub(crate) struct Codes(Arc<Cache<(String, SupplierId), Arc<Slot>>>);

/// One caller asks, the others wait for its answer.
type Slot = Mutex<Option<(Instant, PromoCode)>>;

impl Codes {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Cache::new(KEPT)))
    }

    /// The code that a text means for an offer; none: no text.
    pub(crate) async fn of_text(&self, db: &Db, text: &str, offer: &Offer) -> ApiResult<Option<PromoCode>> {
        let Some(found) = self.find(db, text, offer.terms.supplier).await? else { return Ok(None) };
        found.is_for(&offer.terms)?;
        Ok(Some(found))
    }

    /// The code that a text means at a supplier, whatever it is for; none: no text.
    pub(crate) async fn find(&self, db: &Db, text: &str, supplier: SupplierId) -> ApiResult<Option<PromoCode>> {
        let Some(code) = convert::promo::code(text) else { return Ok(None) };
        let slot = self.0.get_or_insert_with(&(code.clone(), supplier), || Ok::<_, ApiError>(Arc::default()))?;
        let mut slot = slot.lock().await;
        let found = match slot.as_ref().filter(|(asked_at, _)| asked_at.elapsed() < AGE) {
            Some((_, known)) => known.clone(),
            None => {
                let asked_at = Instant::now();
                let mut connection = db.pool().acquire().await?;
                let found = store::of_text(&mut connection, &code, supplier).await?;
                let found = found.ok_or(BookingError::PromoUnknown)?;
                *slot = Some((asked_at, found.clone()));
                found
            }
        };
        Ok(Some(found))
    }

    /// Texts may mean something else now.
    fn forget(&self) {
        self.0.clear();
    }
}

/// Whether a customer could use a code now.
pub(crate) async fn usable(db: &Db, code: &PromoCode, customer: Option<UserId>) -> ApiResult<()> {
    let mut connection = db.pool().acquire().await?;
    // Who has no account has no uses.
    let customer = customer.unwrap_or_else(UserId::new);
    let now = bookings::now(&mut connection).await?;
    let mut uses = store::uses(&mut connection, &[(code.promo.id, customer)]).await?;
    let uses = uses.remove(&code.promo.id).ok_or(BookingError::PromoUnknown)?;
    Ok(uses.may_take(customer, now)?)
}

/// Adds a code.
pub(crate) async fn create(
    db: &Db,
    codes: &Codes,
    caller: Caller,
    key: RequestKey,
    new: Option<pb::PromoCode>,
) -> ApiResult<PromoCode> {
    let new = new.ok_or_else(|| ApiError::field("promo_code", "is required"))?;
    let supplier = caller.promo_supplier(named("promo_code.supplier_id", &new.supplier_id)?)?;
    let done = db.step(Step::CreatePromo, move |tx| {
        let (caller, key, new) = (caller.clone(), key.clone(), new.clone());
        Box::pin(async move {
            let code = convert::promo::read(&new, supplier, bookings::now(tx).await?)?;
            let id = code.promo.id;
            if let Remembered::Repeat { subject, .. } =
                remember(tx, &caller.scope, "CreatePromoCode", &key, id.uuid(), 0).await?
            {
                return known(store::lock(tx, PromoId::from_uuid(subject)).await?);
            }
            if !store::insert(tx, &code).await? {
                return Err(BookingError::PromoTaken.into());
            }
            outbox::append(tx, &[events::promo_created(&code)]).await?;
            Ok(code)
        })
    });
    let code = done.await?;
    codes.forget();
    Ok(code)
}

/// Ends a code.
pub(crate) async fn end(db: &Db, codes: &Codes, caller: Caller, key: RequestKey, id: PromoId) -> ApiResult<PromoCode> {
    let done = db.step(Step::EndPromo, move |tx| {
        let (caller, key) = (caller.clone(), key.clone());
        Box::pin(async move {
            let mut code = caller.runs_promo(store::lock(tx, id).await?)?;
            let remembered = remember(tx, &caller.scope, "EndPromoCode", &key, id.uuid(), 0).await?;
            if remembered != Remembered::New || code.limits.ended_at.is_some() {
                return Ok(code);
            }
            let now = bookings::now(tx).await?;
            store::end(tx, id, now).await?;
            code.limits.ended_at = Some(now);
            outbox::append(tx, &[events::promo_ended(&code)]).await?;
            Ok(code)
        })
    });
    let code = done.await?;
    codes.forget();
    Ok(code)
}

/// A page of codes.
pub(crate) async fn list(
    db: &Db,
    caller: &Caller,
    request: &pb::ListPromoCodesRequest,
) -> ApiResult<pb::ListPromoCodesResponse> {
    let supplier = caller.promo_supplier(named("supplier_id", &request.supplier_id)?)?;
    let filters = format!("ListPromoCodes:{}:{supplier:?}:{}", caller.scope, request.with_ended);
    let before: Option<Uuid> = page::read(&request.page_token, filters.as_bytes())?;
    let size = page::size(request.page_size, 20, 100);
    let mut connection = db.pool().acquire().await?;
    let most = i64::from(size) + 1;
    let mut codes = store::list(&mut connection, supplier, request.with_ended, before, most).await?;
    let shown = usize::try_from(size).map_err(ApiError::internal)?;
    let next_page_token = match codes.get(shown.saturating_sub(1)) {
        Some(last) if codes.len() > shown => page::token(&last.promo.id.uuid(), filters.as_bytes()),
        _ => String::new(),
    };
    codes.truncate(shown);
    let promo_codes = codes.iter().map(convert::promo::promo_code).collect();
    Ok(pb::ListPromoCodesResponse { promo_codes, next_page_token })
}

fn named(field: &str, text: &str) -> ApiResult<Option<SupplierId>> {
    if text.is_empty() { Ok(None) } else { SupplierId::of_field(field, text).map(Some) }
}

fn known(code: Option<PromoCode>) -> ApiResult<PromoCode> {
    code.ok_or_else(|| ApiError::internal("a promo code is gone"))
}
