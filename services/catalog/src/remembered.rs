//! What was worked out and may be asked for again soon, each for a while of its own.

use std::{
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;

/// How many are remembered; what is asked for least goes first.
const ROOM: usize = 1_000;

/// A value, and until when it is remembered.
type Known<T> = (Instant, Arc<T>);

/// Values by what they belong to. Clones share them.
#[derive(Debug)]
pub(crate) struct Remembered<K, T>(Arc<Cache<K, Known<T>>>);

impl<K, T> Clone for Remembered<K, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash, T> Default for Remembered<K, T> {
    fn default() -> Self {
        Self(Arc::new(Cache::new(ROOM)))
    }
}

impl<K: Eq + Hash, T> Remembered<K, T> {
    /// What is remembered.
    pub(crate) fn get(&self, key: &K) -> Option<Arc<T>> {
        self.0.get(key).filter(|(until, _)| Instant::now() < *until).map(|(_, value)| value)
    }

    /// Remembers a value for so long.
    pub(crate) fn put(&self, key: K, value: T, age: Duration) -> Arc<T> {
        let value = Arc::new(value);
        self.0.insert(key, (Instant::now() + age, value.clone()));
        value
    }

    /// This value holds no longer. Another one may have been remembered meanwhile; it stays.
    pub(crate) fn forget(&self, key: &K, value: &Arc<T>) {
        self.0.remove_if(key, |(_, known)| Arc::ptr_eq(known, value));
    }

    /// None of them holds any more.
    pub(crate) fn clear(&self) {
        self.0.clear();
    }
}
