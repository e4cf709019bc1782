//! Ranges of local dates without departures.

use chrono::{DateTime, NaiveDate, Utc};

use super::{BlackoutId, SupplierId, TourId};

/// A blackout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blackout {
    pub id: BlackoutId,
    pub supplier: SupplierId,
    /// `None`: all tours of the supplier.
    pub tour: Option<TourId>,
    pub first_date: NaiveDate,
    /// Inclusive.
    pub last_date: NaiveDate,
    pub reason: String,
    pub created_at: DateTime<Utc>,
}

/// All blackouts that may concern some tours.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blackouts(pub Vec<Blackout>);

impl Blackouts {
    /// The one that keeps a tour of a supplier from departing on a local date.
    pub(crate) fn on(&self, supplier: SupplierId, tour: TourId, date: NaiveDate) -> Option<&Blackout> {
        self.0.iter().find(|b| {
            b.supplier == supplier
                && b.tour.is_none_or(|only| only == tour)
                && (b.first_date..=b.last_date).contains(&date)
        })
    }
}
