//! What the catalog offers for one departure: everything that is needed to price and sell its seats.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tourmesh_kit::{
    money::{Currency, Money},
    tax::Tax,
};
use uuid::Uuid;

use super::{
    DepartureId, OptionId, SupplierId, TourId, Unit,
    pool::{OptionPools, Pool},
    refund::RefundPolicy,
};

/// Whether a departure is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DepartureState {
    Open,
    Closed,
    Cancelled,
}

impl DepartureState {
    /// As the database has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Closed => "CLOSED",
            Self::Cancelled => "CANCELLED",
        }
    }
    /// Reads the database's text.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        [Self::Open, Self::Closed, Self::Cancelled].into_iter().find(|state| state.as_str() == text)
    }
}

/// A departure as the catalog tells it: the part that the seat inventory copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Departure {
    pub(crate) id: DepartureId,
    pub(crate) tour: TourId,
    pub(crate) option: OptionId,
    pub(crate) supplier: SupplierId,
    pub(crate) starts_at: DateTime<Utc>,
    pub(crate) capacity: u32,
    pub(crate) state: DepartureState,
    pub(crate) version: i64,
}

/// A text in both languages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) en: String,
    pub(crate) fr: String,
}

/// What a booking keeps of the offer, whatever the catalog says later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    /// A hash of the rest: equal terms are stored once.
    pub(crate) id: Uuid,
    pub(crate) supplier: SupplierId,
    pub(crate) tour: TourId,
    pub(crate) option: OptionId,
    pub(crate) tour_title: Text,
    pub(crate) option_title: Text,
    /// "2026-12-31T09:00".
    pub(crate) local_start: String,
    pub(crate) time_zone: String,
    pub(crate) starts_at: DateTime<Utc>,
    pub(crate) duration_minutes: i32,
    pub(crate) hold_seconds: i32,
    pub(crate) refund_policy: RefundPolicy,
    /// The taxes that prices are under.
    pub(crate) taxes: Vec<Tax>,
}

/// One unit of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitOffer {
    pub(crate) unit: Unit,
    /// How many seats one of it takes.
    pub(crate) seats: u32,
    /// The listed price of one: included taxes are in it, added ones come on top.
    pub(crate) price: Money,
}

/// Everything about one departure that a hold needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) departure: Departure,
    /// The tour is published.
    pub(crate) on_sale: bool,
    /// The units that have a price on the departure's date.
    pub(crate) units: Vec<UnitOffer>,
    pub(crate) currency: Currency,
    pub(crate) min_party: u32,
    /// 0: as many as there are seats.
    pub(crate) max_party: u32,
    pub(crate) pay_on_arrival: bool,
    /// ISO 3166-1 alpha-2, or empty: whose tax rules count.
    pub(crate) country: String,
    pub(crate) terms: Arc<Terms>,
    /// How many open holds on departures of the option one customer may have; 0: the platform's limit counts.
    pub(crate) max_open_holds: u32,
    /// What its departures use of pools, and these.
    pub(crate) uses: OptionPools,
    pub(crate) pools: Vec<Pool>,
}

impl Offer {
    /// The departure shares pools with others.
    pub(crate) fn is_shared(&self) -> bool {
        !self.uses.uses.is_empty()
    }
}
