//! A gate that lets so many through in a second, evenly, in the order of arrival.

use std::{num::NonZeroU32, time::Duration};

use tokio::{sync::Mutex, time::Instant};

/// The gate.
#[derive(Debug)]
pub struct Gate {
    gap: Duration,
    next: Mutex<Instant>,
}

impl Gate {
    /// So many in a second.
    pub fn new(per_second: NonZeroU32) -> Self {
        Self { gap: Duration::from_secs(1) / per_second.get(), next: Mutex::new(Instant::now()) }
    }

    /// Waits for the next opening. Who gives up waiting takes nobody's turn.
    pub async fn pass(&self) {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until(*next).await;
        *next = (*next + self.gap).max(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn forty_at_a_hundred_a_second_take_their_time() {
        let gate = Arc::new(Gate::new(NonZeroU32::new(100).unwrap()));
        let begun = Instant::now();
        let passing = (0..40).map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move { gate.pass().await })
        });
        for passed in passing.collect::<Vec<_>>() {
            passed.await.unwrap();
        }
        assert!(begun.elapsed() >= Duration::from_millis(385), "{:?}", begun.elapsed());
    }
}
