//! Facet counts, remembered for a moment: many people look at the same first page.

use std::{sync::Arc, time::Duration};

use crate::{remembered::Remembered, store::search::Facets};

/// Counts may be this old. Hits never are.
const AGE: Duration = Duration::from_secs(2);
/// Or so many times as old as it took to count them, so that counting what many tours have in common is at most a small
/// part of the work.
const TIMES: u32 = 100;
/// But never older than this.
const OLDEST: Duration = Duration::from_secs(20);

/// Remembered counts by the search that they belong to. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct FacetCache(Remembered<Vec<u8>, Facets>);

impl FacetCache {
    /// What is remembered and still fresh.
    pub(crate) fn get(&self, search: &Vec<u8>) -> Option<Arc<Facets>> {
        self.0.get(search)
    }

    /// Remembers what took so long to count.
    pub(crate) fn put(&self, search: Vec<u8>, facets: Facets, took: Duration) -> Arc<Facets> {
        self.0.put(search, facets, took.saturating_mul(TIMES).clamp(AGE, OLDEST))
    }

    /// A tour changed here: what this process remembers is not shown any more.
    pub(crate) fn forget(&self) {
        self.0.clear();
    }
}
