//! Who calls, and what of it they may see. What belongs to others is BOOKING_NOT_FOUND, never a hint that it exists.

use tourmesh_kit::{
    ApiError, ApiResult, ErrorReason,
    auth::{Principal, Role},
};

use crate::{
    domain::{SupplierId, UserId, booking::Booking, promo::PromoCode, refund::Cause, waiting::Entry},
    error::BookingError,
    store::bookings::Whose,
};

/// The caller of one request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Stable text for request ids.
    pub(crate) scope: String,
    pub(crate) user: Option<UserId>,
    supplier: Option<SupplierId>,
    staff: bool,
}

impl Caller {
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> ApiResult<Self> {
        let principal = Principal::of(request.extensions());
        let wrong = |_| ApiError::new(ErrorReason::TokenInvalid, "the token names an unknown kind of subject");
        let supplier = principal.supplier_id().filter(|_| principal.has(Role::Supplier));
        Ok(Self {
            scope: principal.scope(),
            user: principal.user_id().map(str::parse).transpose().map_err(wrong)?,
            supplier: supplier.map(str::parse).transpose().map_err(wrong)?,
            staff: principal.has(Role::Staff),
        })
    }

    /// The person who calls.
    pub(crate) fn customer(&self) -> ApiResult<UserId> {
        self.user.ok_or_else(|| ApiError::new(ErrorReason::RoleMissing, "only people can book"))
    }

    /// A booking as this caller may see it.
    pub(crate) fn sees(&self, booking: Option<Booking>) -> Result<Booking, BookingError> {
        booking.filter(|b| self.staff || self.owns(b) || self.runs(b)).ok_or(BookingError::BookingNotFound)
    }

    /// A booking that this caller may extend and pay for.
    pub(crate) fn buys(&self, booking: Option<Booking>) -> Result<Booking, BookingError> {
        booking.filter(|b| self.staff || self.owns(b)).ok_or(BookingError::BookingNotFound)
    }

    /// A booking whose guests this caller may check in.
    pub(crate) fn checks_in(&self, booking: Option<Booking>) -> Result<Booking, BookingError> {
        booking.filter(|b| self.staff || self.runs(b)).ok_or(BookingError::VoucherNotFound)
    }

    /// A party on a waiting list that this caller may see.
    pub(crate) fn waits(&self, entry: Option<Entry>) -> Result<Entry, BookingError> {
        entry.filter(|e| self.staff || self.user == Some(e.customer)).ok_or(BookingError::WaitingNotFound)
    }

    /// A promo code that this caller may see and end.
    pub(crate) fn runs_promo(&self, code: Option<PromoCode>) -> Result<PromoCode, BookingError> {
        let runs = |code: &PromoCode| self.staff || (code.supplier.is_some() && code.supplier == self.supplier);
        code.filter(runs).ok_or(BookingError::PromoUnknown)
    }

    /// Whose promo codes a request is about. Staff: whose it names, `None` when it names nobody; a supplier: its own.
    pub(crate) fn promo_supplier(&self, named: Option<SupplierId>) -> ApiResult<Option<SupplierId>> {
        if self.staff {
            return Ok(named);
        }
        let own = self.supplier.filter(|own| named.is_none_or(|named| named == *own));
        own.map(Some).ok_or_else(|| ApiError::new(ErrorReason::SupplierNotFound, "there is no such supplier"))
    }

    /// On whose account a cancellation by this caller goes: who cancels an own booking is a traveller, whatever else
    /// they are, so that nobody can better an own refund by a role.
    pub(crate) fn cause(&self, booking: &Booking) -> Cause {
        if self.owns(booking) { Cause::Traveller } else { Cause::Supplier }
    }

    /// Which bookings a list of this caller shows.
    pub(crate) fn whose(&self) -> ApiResult<Whose> {
        if self.staff {
            return Ok(Whose::All);
        }
        match (self.supplier, self.user) {
            (Some(supplier), user) => Ok(Whose::Suppliers(supplier, user)),
            (None, Some(user)) => Ok(Whose::Customers(user)),
            (None, None) => Err(ApiError::new(ErrorReason::RoleMissing, "only people have bookings")),
        }
    }

    fn owns(&self, booking: &Booking) -> bool {
        self.user == Some(booking.customer)
    }

    fn runs(&self, booking: &Booking) -> bool {
        self.supplier == Some(booking.terms.supplier)
    }
}
