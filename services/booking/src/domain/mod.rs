//! What a booking is and may become: pure types and decisions, without a database, a clock or randomness.

pub(crate) mod booking;
pub(crate) mod hold;
pub(crate) mod moves;
pub(crate) mod offer;
pub(crate) mod pool;
pub(crate) mod price;
pub(crate) mod promo;
pub(crate) mod refund;
pub(crate) mod reschedule;
pub(crate) mod waiting;

use tourmesh_kit as kit;

kit::define_id!(
    /// A booking.
    BookingId,
    "bkg"
);
kit::define_id!(
    /// One guest or ticket of a booking.
    ItemId,
    "itm"
);
kit::define_id!(
    /// A party on a waiting list.
    WaitingId,
    "wtg"
);
kit::define_id!(
    /// A move that has to be paid for.
    MoveId,
    "mov"
);
kit::define_id!(
    /// One start of an option.
    DepartureId,
    "dep"
);
kit::define_id!(
    /// A tour.
    TourId,
    "tour"
);
kit::define_id!(
    /// A way to take a tour.
    OptionId,
    "opt"
);
kit::define_id!(
    /// Who runs tours.
    SupplierId,
    "sup"
);
kit::define_id!(
    /// Who books.
    UserId,
    "usr"
);
kit::define_id!(
    /// A payment, as Payment knows it.
    PaymentId,
    "pay"
);
kit::define_id!(
    /// A promo code.
    PromoId,
    "prm"
);
kit::define_id!(
    /// What departures share.
    PoolId,
    "pool"
);

/// Who pays a price (OCTO unit types). The number is the one of the API and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Unit {
    Adult = 1,
    Youth = 2,
    Child = 3,
    Infant = 4,
    Family = 5,
    Senior = 6,
    Student = 7,
    Military = 8,
    Other = 9,
}

impl Unit {
    const ALL: [Self; 9] = [
        Self::Adult,
        Self::Youth,
        Self::Child,
        Self::Infant,
        Self::Family,
        Self::Senior,
        Self::Student,
        Self::Military,
        Self::Other,
    ];

    /// The unit of a number.
    pub(crate) fn of_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.number() == number)
    }
    /// Its number.
    pub(crate) const fn number(self) -> i32 {
        self as i32
    }
}
