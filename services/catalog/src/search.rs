//! SearchTours: from a request to filters, an order and a place to go on; the work is done in store/search.rs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use prost::Message as _;
use rust_decimal::Decimal;
use tourmesh::catalog::v1 as wire;
use tourmesh_kit::{ApiError, ApiResult, page};
use uuid::Uuid;

use crate::{
    catalog::Catalog,
    convert,
    domain::geo,
    error::CatalogError,
    store::{
        ranked::{self, Answer},
        search::{self, Facets, Filters, Hit, Key, Order},
    },
};

/// How long it is remembered which tours have some words: ranking all with a common word costs far more than the page that is
/// shown of them. Never too long to be right, because a statement uses it only where it still holds; but the longer, the more
/// changes have to be looked through.
const RANKS_AGE: Duration = Duration::from_secs(60);

/// Where a page goes on: text, number and id of the last hit, and the query that found it when it is another one.
type Token = (String, Decimal, Uuid, Option<String>);

impl Catalog {
    pub(crate) async fn search(
        &self,
        request: wire::SearchToursRequest,
        now: DateTime<Utc>,
    ) -> ApiResult<wire::SearchToursResponse> {
        let mut filters = read_filters(&request)?;
        let order = read_order(&request, &filters)?;
        // What shapes the list: everything but which page of it, and whether it is counted too.
        let shape =
            wire::SearchToursRequest { page_size: 0, page_token: String::new(), with_facets: false, ..request.clone() };
        let shape = [b"SearchTours".as_slice(), &shape.encode_to_vec()].concat();
        let token: Option<Token> = page::read(&request.page_token, &shape)?;
        let first = token.is_none();
        let (after, mut correction) = match token {
            Some((text, number, tour, correction)) => (Some(Key { text, number, tour }), correction),
            None => (None, None),
        };
        if let Some(text) = &correction {
            filters.text.clone_from(text);
        }
        let size = page::size(request.page_size, 20, 100);
        let limit = i64::from(size) + 1;
        let mut hits = self.page(&filters, order, after.as_ref(), limit, now).await?;
        // Nothing at all: perhaps a word is mistyped, or it was one word too many.
        if hits.is_empty() && first && !filters.text.is_empty() {
            let corrected = search::corrected(&self.db, &filters.text).await?;
            let any = any_word(corrected.as_ref().unwrap_or(&filters.text));
            for text in [corrected, any].into_iter().flatten() {
                filters.text.clone_from(&text);
                hits = self.page(&filters, order, None, limit, now).await?;
                correction = Some(text);
                if !hits.is_empty() {
                    break;
                }
            }
        }
        let more = hits.len() > size as usize;
        hits.truncate(size as usize);
        let facets = if request.with_facets { self.count(shape.clone(), &filters, now).await? } else { Arc::default() };
        let next = hits.last().filter(|_| more).map(|hit| {
            let token: Token = (hit.key.text.clone(), hit.key.number, hit.key.tour, correction);
            page::token(&token, &shape)
        });
        Ok(wire::SearchToursResponse {
            hits: hits.iter().map(convert::hit).collect(),
            next_page_token: next.unwrap_or_default(),
            category_facets: facets.categories.iter().map(|(c, n)| facet(c.name(), *n)).collect(),
            country_facets: facets.countries.iter().map(|(c, n)| facet(c, *n)).collect(),
            total: i32::try_from(facets.total).unwrap_or(i32::MAX),
        })
    }

    /// A page of hits. Which tours have the words, best first, is remembered where that still holds.
    async fn page(
        &self,
        filters: &Filters,
        order: Order,
        after: Option<&Key>,
        limit: i64,
        now: DateTime<Utc>,
    ) -> ApiResult<Vec<Hit>> {
        if order == Order::Relevance && !filters.text.is_empty() {
            let best = match self.ranks.get(&filters.text) {
                Some(best) => best,
                None => self.ranks.put(filters.text.clone(), ranked::best(&self.db, &filters.text).await?, RANKS_AGE),
            };
            match ranked::page(&self.db, filters, &best, after, limit, now).await? {
                Answer::Hits(hits) => return Ok(hits),
                Answer::Short => {}
                Answer::Changed => self.ranks.forget(&filters.text, &best),
            }
        }
        search::page(&self.db, filters, order, after, limit, now).await
    }

    async fn count(&self, shape: Vec<u8>, filters: &Filters, now: DateTime<Utc>) -> ApiResult<Arc<Facets>> {
        if let Some(known) = self.facets.get(&shape) {
            return Ok(known);
        }
        let begun = Instant::now();
        let facets = search::facets(&self.db, filters, now).await?;
        Ok(self.facets.put(shape, facets, begun.elapsed()))
    }
}

/// The query that is met by any of its longer words; `None` for a single word, and where quotes or minus signs say
/// exactly what is meant.
fn any_word(text: &str) -> Option<String> {
    if text.contains('"') || text.split_whitespace().any(|word| word.starts_with('-')) {
        return None;
    }
    let words: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let longer: Vec<_> = words.iter().copied().filter(|word| word.chars().count() > 3).collect();
    (words.len() > 1 && !longer.is_empty()).then(|| longer.join(" or "))
}

fn facet(value: &str, count: i64) -> wire::FacetCount {
    wire::FacetCount { value: value.to_owned(), count: i32::try_from(count).unwrap_or(i32::MAX) }
}

fn read_filters(request: &wire::SearchToursRequest) -> Result<Filters, CatalogError> {
    let dates =
        (convert::read_date("date_from", &request.date_from)?, convert::read_date("date_to", &request.date_to)?);
    if matches!(dates, (Some(from), Some(to)) if to < from) {
        return Err(CatalogError::field("date_to", "must not lie before date_from"));
    }
    let near = match &request.near {
        None => None,
        Some(near) => {
            let center = near.center.as_ref().ok_or_else(|| CatalogError::field("near.center", "must be set"))?;
            let center = convert::read_place("near.center", center)?;
            Some((center, near.radius_meters, geo::boxes_around(center, near.radius_meters)))
        }
    };
    let min_price = request.min_price.as_ref().map(|m| convert::read_money("min_price", m)).transpose()?;
    let max_price = request.max_price.as_ref().map(|m| convert::read_money("max_price", m)).transpose()?;
    if let Some((min, max)) = min_price.zip(max_price) {
        if min.currency() != max.currency() {
            return Err(CatalogError::field("max_price", "must be in the currency of min_price"));
        }
        if max.amount() < min.amount() {
            return Err(CatalogError::field("max_price", "must not be less than min_price"));
        }
    }
    let category = |(i, n): (usize, &i32)| {
        let field = format!("categories[{i}]");
        convert::read_category(&field, *n)?.ok_or_else(|| CatalogError::field(field, "must be set"))
    };
    Ok(Filters {
        text: request.query.trim().to_owned(),
        near,
        dates,
        min_price,
        max_price,
        categories: request.categories.iter().enumerate().map(category).collect::<Result<_, _>>()?,
        countries: request.countries.clone(),
        party: request.party_size,
    })
}

fn read_order(request: &wire::SearchToursRequest, filters: &Filters) -> ApiResult<Order> {
    let by_title = if request.language == "fr" { Order::TitleFr } else { Order::TitleEn };
    Ok(match wire::SearchOrder::try_from(request.order) {
        Ok(wire::SearchOrder::Unspecified) if !filters.text.is_empty() => Order::Relevance,
        Ok(wire::SearchOrder::Unspecified) if filters.near.is_some() => Order::Distance,
        Ok(wire::SearchOrder::Unspecified | wire::SearchOrder::Title) => by_title,
        Ok(wire::SearchOrder::Price) => Order::Price,
        Ok(wire::SearchOrder::Distance) if filters.near.is_some() => Order::Distance,
        Ok(wire::SearchOrder::Distance) => return Err(ApiError::field("order", "by distance needs near")),
        Err(_) => return Err(ApiError::field("order", "must be a known order")),
    })
}
