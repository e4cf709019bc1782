//! Which tours have the words that people look for, remembered: ranking all tours with a common word costs far more than
//! the page that is shown of them. What is remembered is only used by a statement that finds it still true.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;

use crate::store::ranked::Best;

/// How long they are remembered. Never too long to be right; but the longer, the more changes have to be looked through.
const AGE: Duration = Duration::from_secs(60);
/// How many texts are remembered: at most 4 kB each.
const ROOM: usize = 1_000;

/// The best tours, and until when they are remembered.
type Known = (Instant, Arc<Best>);

/// Remembered tours by the text that they were found by. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct RankCache(Arc<Cache<String, Known>>);

impl Default for RankCache {
    fn default() -> Self {
        Self(Arc::new(Cache::new(ROOM)))
    }
}

impl RankCache {
    /// What is remembered.
    pub(crate) fn get(&self, text: &str) -> Option<Arc<Best>> {
        self.0.get(text).filter(|(until, _)| Instant::now() < *until).map(|(_, best)| best)
    }

    /// Remembers them.
    pub(crate) fn put(&self, text: &str, best: Best) -> Arc<Best> {
        let best = Arc::new(best);
        self.0.insert(text.to_owned(), (Instant::now() + AGE, best.clone()));
        best
    }

    /// These hold no longer. Others may have been remembered meanwhile; they stay.
    pub(crate) fn forget(&self, text: &str, best: &Arc<Best>) {
        self.0.remove_if(text, |(_, known)| Arc::ptr_eq(known, best));
    }
}
