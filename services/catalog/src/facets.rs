//! Facet counts, remembered for a moment: many people look at the same first page.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;

use crate::store::search::Facets;

/// Counts may be this old. Hits never are.
const AGE: Duration = Duration::from_secs(2);
/// How many different searches are remembered.
const ROOM: usize = 1_000;

/// Counts, and when they were made.
type Counted = (Instant, Arc<Facets>);

/// Remembered counts by the search that they belong to. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct FacetCache(Arc<Cache<Vec<u8>, Counted>>);

impl Default for FacetCache {
    fn default() -> Self {
        Self(Arc::new(Cache::new(ROOM)))
    }
}

impl FacetCache {
    /// What is remembered and still fresh.
    pub(crate) fn get(&self, search: &[u8]) -> Option<Arc<Facets>> {
        self.0.get(search).filter(|(at, _)| at.elapsed() < AGE).map(|(_, facets)| facets)
    }

    /// Remembers.
    pub(crate) fn put(&self, search: Vec<u8>, facets: Arc<Facets>) {
        self.0.insert(search, (Instant::now(), facets));
    }

    /// A tour changed here: what this process remembers is not shown any more.
    pub(crate) fn forget(&self) {
        self.0.clear();
    }
}
