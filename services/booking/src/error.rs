//! Why Booking refuses, and the one mapping to the API's stable reasons.

use chrono::{DateTime, SecondsFormat, Utc};
use tourmesh_kit::{
    ApiError, ErrorReason,
    money::{Money, MoneyError},
};

use crate::domain::{ItemId, Unit, booking::State, waiting::Standing};

/// A refusal of the domain.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum BookingError {
    #[error("there is no such departure")]
    DepartureNotFound,
    #[error("the tour is not on sale")]
    TourNotPublished,
    #[error("the departure is closed for sale")]
    DepartureClosed,
    #[error("the departure was cancelled")]
    DepartureCancelled,
    #[error("the departure has started")]
    DepartureInPast,
    #[error("the option does not sell the unit {0:?} at this date")]
    UnitNotSold(Unit),
    #[error("a party of {seats} seats is not taken; at least {least}{}", most_text(*.most))]
    PartySize { seats: u32, least: u32, most: u32 },
    #[error("only {seats_left} seats are left; try another departure")]
    SoldOut { seats_left: u32 },
    #[error("there are {limit} open holds already; pay or cancel one")]
    TooManyHolds { limit: u32 },
    #[error("request_id was used with other content; use a new request_id for a new request")]
    RequestIdReused,
    #[error("there is no such booking")]
    BookingNotFound,
    #[error("the booking is {}, which does not allow this", .0.as_str())]
    State(State),
    #[error("guests have been checked in, which does not allow this")]
    CheckedIn(State),
    #[error("the guest {0} was cancelled, which does not allow this")]
    GuestCancelled(ItemId),
    #[error("{0} is no guest of this booking")]
    GuestUnknown(ItemId),
    #[error("a payment of the hold has begun; cancel all of it, or some guests once it is confirmed")]
    PaymentBegun(State),
    #[error("is not another departure of the booking's tour")]
    NotAnotherDeparture,
    #[error("the other departure is sold in another currency")]
    OtherCurrency,
    #[error("the other departure costs {0} more; choose another one, or book anew and cancel")]
    Dearer(Money),
    #[error("the price has changed: the difference is {0} now; look at it again")]
    OtherDifference(Money),
    #[error("there is no such promo code")]
    PromoUnknown,
    #[error("the promo code has ended, or has not begun yet")]
    PromoEnded,
    #[error("the promo code was used as often as it may be")]
    PromoUsedUp { limit: &'static str },
    #[error("the promo code is not for this {0}")]
    PromoNotApplicable(&'static str),
    #[error("there is such a promo code already")]
    PromoTaken,
    #[error("the hold has run out; book again")]
    HoldExpired,
    #[error("the hold cannot be extended any further")]
    HoldLimit,
    #[error("there are {seats_left} seats left; book them")]
    SeatsLeft { seats_left: u32 },
    #[error("there is a party of this customer on the list already")]
    AlreadyWaiting,
    #[error("nobody waits under this id")]
    WaitingNotFound,
    #[error("the party is {}, which does not allow this", .0.as_str())]
    Waiting(Standing),
    #[error("there is no such voucher")]
    VoucherNotFound,
    #[error("the voucher was redeemed before, at {}", time_text(.0))]
    VoucherRedeemed(DateTime<Utc>),
    #[error("the price cannot be computed: {0}")]
    Money(#[from] MoneyError),
    #[error("{0} was captured where another amount is due")]
    WrongAmount(Money),
}

fn most_text(most: u32) -> String {
    if most == 0 { String::new() } else { format!(", at most {most}") }
}

fn time_text(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl From<BookingError> for ApiError {
    fn from(error: BookingError) -> Self {
        use BookingError as E;
        use ErrorReason as R;
        let reason = match &error {
            E::DepartureNotFound => R::DepartureNotFound,
            E::TourNotPublished => R::TourNotPublished,
            E::DepartureClosed => R::DepartureClosed,
            E::DepartureCancelled => R::DepartureCancelled,
            E::DepartureInPast => R::DepartureInPast,
            E::UnitNotSold(_) => R::UnitNotSold,
            E::PartySize { .. } => R::PartySize,
            E::SoldOut { .. } => R::DepartureSoldOut,
            E::TooManyHolds { .. } => R::TooManyHolds,
            E::RequestIdReused => R::RequestIdReused,
            E::BookingNotFound => R::BookingNotFound,
            E::State(_) | E::CheckedIn(_) | E::GuestCancelled(_) | E::PaymentBegun(_) => R::BookingState,
            E::GuestUnknown(_) | E::NotAnotherDeparture => R::FieldInvalid,
            E::OtherCurrency => R::CurrencyMismatch,
            E::Dearer(_) => R::RescheduleDearer,
            E::OtherDifference(_) => R::ChangedMeanwhile,
            E::PromoUnknown => R::PromoCodeUnknown,
            E::PromoEnded => R::PromoCodeEnded,
            E::PromoUsedUp { .. } => R::PromoCodeUsedUp,
            E::PromoNotApplicable(_) => R::PromoCodeNotApplicable,
            E::PromoTaken => R::PromoCodeTaken,
            E::HoldExpired => R::HoldExpired,
            E::HoldLimit => R::HoldLimit,
            E::SeatsLeft { .. } => R::SeatsLeft,
            E::AlreadyWaiting => R::AlreadyWaiting,
            E::WaitingNotFound => R::WaitingNotFound,
            E::Waiting(_) => R::BookingState,
            E::VoucherNotFound => R::VoucherNotFound,
            E::VoucherRedeemed(_) => R::VoucherRedeemed,
            E::Money(_) | E::WrongAmount(_) => return Self::internal(error),
        };
        let api = Self::new(reason, error.to_string());
        match &error {
            E::Waiting(standing) => api.with("state", standing.as_str()),
            E::PromoUsedUp { limit } => api.with("limit", limit),
            E::SoldOut { seats_left } | E::SeatsLeft { seats_left } => api.with("seats_left", seats_left),
            E::State(state) | E::CheckedIn(state) | E::PaymentBegun(state) => api.with("state", state.as_str()),
            E::GuestCancelled(item) => api.with("state", State::Cancelled.as_str()).with("item_id", item),
            E::NotAnotherDeparture => api.violation("departure_id", error.to_string()),
            E::Dearer(difference) | E::OtherDifference(difference) => {
                api.with("price_difference", difference.amount()).with("currency", difference.currency())
            }
            E::GuestUnknown(_) => api.violation("item_id", error.to_string()),
            E::VoucherRedeemed(at) => api.with("redeemed_at", time_text(at)),
            E::RequestIdReused => api.violation("request_id", "was used with other content"),
            _ => api,
        }
    }
}
