//! Searching: words, near, dates, price and facets in turn, with what the catalog really has.

use std::sync::Arc;

use indicatif::ProgressBar;
use tonic::{Status, transport::Channel};
use tourmesh::{
    catalog::v1::{Near, SearchToursRequest, Tour, catalog_service_client::CatalogServiceClient},
    google::r#type::Money,
};

use super::{
    Bench,
    drive::{Done, Missed, Work},
    ground::Ground,
    grow,
    stock::{self, scattered},
};

/// How many hits are asked for.
const PAGE: i32 = 20;

/// Searches.
pub struct Searches {
    catalog: Vec<CatalogServiceClient<Channel>>,
    tours: Vec<Tour>,
    /// How many the catalog has, where that can be seen.
    departures: Option<u64>,
}

impl Searches {
    /// Looks at what there is to be found.
    pub async fn prepare(bench: &Bench, ground: &Ground, bar: &ProgressBar) -> anyhow::Result<Arc<Self>> {
        let departures = match &ground.env {
            // Nobody's own catalog is filled with copies.
            Some(env) if bench.standalone => Some(grow::grow(env, bench.departures, bar).await?),
            _ => None,
        };
        bar.set_message("looking at the catalog");
        let (catalog, tours) = (ground.each(Ground::catalog)?, stock::tours(ground).await?);
        Ok(Arc::new(Self { catalog, tours, departures }))
    }

    /// One search; its kind.
    pub async fn search(&self, client: usize, turn: u64) -> Result<&'static str, Status> {
        let (kind, request) = self.wish(turn);
        self.catalog[client % self.catalog.len()].clone().search_tours(request).await?;
        Ok(kind)
    }

    fn wish(&self, turn: u64) -> (&'static str, SearchToursRequest) {
        let tour = &self.tours[scattered(turn / 5, self.tours.len())];
        let day = |n| (chrono::Utc::now().date_naive() + chrono::Days::new(n)).to_string();
        let mut wish = SearchToursRequest { page_size: PAGE, ..Default::default() };
        let kind = match turn % 5 {
            0 => {
                wish.query = word(tour);
                "text"
            }
            1 => {
                wish.near = tour.location.map(|center| Near { center: Some(center), radius_meters: 200_000 });
                "near"
            }
            2 => {
                let first = 2 + turn % 60;
                (wish.date_from, wish.date_to) = (day(first), day(first + 3));
                // A site that belongs to several countries names none.
                wish.countries = Some(&tour.country).filter(|c| !c.is_empty()).cloned().into_iter().collect();
                "dates"
            }
            3 => {
                let euros = |units| Some(Money { currency_code: tour.currency.clone(), units, nanos: 0 });
                (wish.min_price, wish.max_price) = (euros(10), euros(60));
                wish.party_size = 2;
                "price"
            }
            _ => {
                wish.query = word(tour);
                (wish.date_from, wish.date_to) = (day(7), day(14));
                wish.with_facets = true;
                "facets"
            }
        };
        (kind, wish)
    }
}

/// The longest word of the title: the name of a place, mostly.
fn word(tour: &Tour) -> String {
    let title = tour.title.as_ref().map(|t| t.en.as_str()).unwrap_or_default();
    title.split(|c: char| !c.is_alphabetic()).max_by_key(|w| w.chars().count()).unwrap_or_default().to_owned()
}

impl Work for Searches {
    async fn once(&self, client: usize, turn: u64) -> Result<Done, Missed> {
        Ok(Done::of(self.search(client, turn).await?))
    }

    fn told(&self) -> String {
        let departures = self.departures.map(|n| format!(" with {n} departures")).unwrap_or_default();
        format!("SearchTours over {} tours{departures}: text, near, dates, price and facets in turn", self.tours.len())
    }
}
