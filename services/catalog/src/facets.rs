//! Facet counts, remembered for a moment: many people look at the same first page.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;

use crate::store::search::Facets;

/// Counts may be this old. Hits never are.
const AGE: Duration = Duration::from_secs(2);
/// Or so many times as old as it took to count them, so that counting what many tours have in common is at most a small
/// part of the work.
const TIMES: u32 = 100;
/// But never older than this.
const OLDEST: Duration = Duration::from_secs(20);
/// How many different searches are remembered.
const ROOM: usize = 1_000;

/// Counts, and until when they are shown.
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
        self.0.get(search).filter(|(until, _)| Instant::now() < *until).map(|(_, facets)| facets)
    }

    /// Remembers what took so long to count.
    pub(crate) fn put(&self, search: Vec<u8>, facets: Arc<Facets>, took: Duration) {
        let age = took.saturating_mul(TIMES).clamp(AGE, OLDEST);
        self.0.insert(search, (Instant::now() + age, facets));
    }

    /// A tour changed here: what this process remembers is not shown any more.
    pub(crate) fn forget(&self) {
        self.0.clear();
    }
}
