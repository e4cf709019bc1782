//! A tour and its life: draft, published, archived.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use tourmesh_kit::money::{Currency, Money};

use super::{
    SupplierId, TourId,
    geo::Place,
    numbered,
    option::TourOption,
    pricing::{self, UnitType},
    text::LocalizedText,
};

numbered!(
    /// What kind of tour it is.
    Category { GuidedWalk = 1, DayTrip = 2, MultiDay = 3, Activity = 4 }
);

impl Category {
    /// The API's name of it, without the enum's prefix.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::GuidedWalk => "GUIDED_WALK",
            Self::DayTrip => "DAY_TRIP",
            Self::MultiDay => "MULTI_DAY",
            Self::Activity => "ACTIVITY",
        }
    }
}

numbered!(
    /// Where a tour is in its life. Nothing leads back: a published tour is not a draft again, and archived is for good.
    TourState { Draft = 1, Published = 2, Archived = 3 }
);

/// A tour, without its options.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tour {
    pub id: TourId,
    pub supplier: SupplierId,
    /// The supplier's own key; empty when it has none.
    pub external_id: String,
    pub title: LocalizedText,
    pub description: LocalizedText,
    pub category: Option<Category>,
    pub location: Option<Place>,
    /// ISO 3166-1 alpha-2, or empty.
    pub country: String,
    pub time_zone: Tz,
    pub currency: Currency,
    pub state: TourState,
    /// Grows by one with every change of the tour or of one of its options.
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A tour with its options: what is published.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WholeTour {
    pub tour: Tour,
    pub options: Vec<TourOption>,
}

/// The most options of a tour.
pub(crate) const MOST_OPTIONS: usize = 20;

impl WholeTour {
    /// What a published tour needs and this one lacks: field and problem.
    pub(crate) fn missing(&self) -> Vec<(String, String)> {
        let tour = &self.tour;
        let mut missing = Vec::new();
        let mut need = |there: bool, field: &str, problem: &str| {
            if !there {
                missing.push((field.to_owned(), problem.to_owned()));
            }
        };
        need(!tour.title.en.trim().is_empty(), "tour.title.en", "is needed on sale");
        need(!tour.description.en.trim().is_empty(), "tour.description.en", "is needed on sale");
        need(tour.category.is_some(), "tour.category", "is needed on sale");
        need(tour.location.is_some(), "tour.location", "is needed on sale");
        need(!self.options.is_empty(), "tour.options", "needs one option at least");
        missing
    }

    /// The lowest adult price of its options that counts on a local date.
    pub(crate) fn lowest_adult_price(&self, date: NaiveDate) -> Option<Money> {
        let adult = |option: &TourOption| pricing::price_on(&option.price_lists, date, UnitType::Adult);
        self.options.iter().filter_map(adult).min_by_key(|price| price.amount())
    }

    /// The next local date after `date` on which another price may count; `None`: never.
    pub(crate) fn price_changes_after(&self, date: NaiveDate) -> Option<NaiveDate> {
        let lists = self.options.iter().flat_map(|o| &o.price_lists);
        let borders = lists.flat_map(|list| [list.valid_from, list.valid_until.and_then(|last| last.succ_opt())]);
        borders.flatten().filter(|border| *border > date).min()
    }
}
