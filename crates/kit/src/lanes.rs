//! The write combiner: work that arrives together is written together.
//!
//! Requests queue into a few lanes, chosen by key, so that everything about one key meets in one lane of this process. A
//! lane works back to back: it takes everything that is queued, up to [`BATCH`], writes it in one go, answers every
//! caller, and takes what queued meanwhile. There is no timer: a lone request goes through at once. A full queue refuses
//! at once instead of letting everybody wait.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::{ApiError, ApiResult, ErrorReason};

/// The most items that one write takes.
pub const BATCH: usize = 256;

/// Writes a batch.
pub trait Combined: Send + Sync + 'static {
    /// One caller's wish.
    type Item: Send + Sync + 'static;
    /// One caller's answer.
    type Output: Send + 'static;

    /// Writes the items in order of arrival and answers each, in the same order. An outer error says that nothing at all
    /// was written: then a batch of several is written again one by one, so that one bad item fails alone.
    fn write<'a>(&'a self, items: &'a [Self::Item]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<Self::Output>>>>;
}

type Queued<C> = (<C as Combined>::Item, oneshot::Sender<ApiResult<<C as Combined>::Output>>);

/// Lanes that share one way of writing.
pub struct Lanes<C: Combined> {
    queues: Arc<[mpsc::Sender<Queued<C>>]>,
}

impl<C: Combined> Clone for Lanes<C> {
    fn clone(&self) -> Self {
        Self { queues: self.queues.clone() }
    }
}

impl<C: Combined> fmt::Debug for Lanes<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("lanes", &self.queues.len()).finish()
    }
}

impl<C: Combined> Lanes<C> {
    /// Starts so many lanes with room for so many waiting items each. They end when the last clone is dropped.
    pub fn start(writer: Arc<C>, lanes: usize, room: usize) -> Self {
        let queues = (0..lanes.max(1)).map(|_| {
            let (sender, receiver) = mpsc::channel(room);
            tokio::spawn(work(writer.clone(), receiver));
            sender
        });
        Self { queues: queues.collect() }
    }

    /// Queues an item in the lane of its key and waits for its answer. An item whose caller goes away before it is taken
    /// is not written; one that is taken is written to the end.
    ///
    /// # Errors
    /// OVERLOADED at once when the lane is full, or what the writer answers.
    pub async fn submit(&self, key: impl Hash, item: C::Item) -> ApiResult<C::Output> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % self.queues.len() as u64).unwrap_or_default();
        let (answer, answered) = oneshot::channel();
        self.queues[lane].try_send((item, answer)).map_err(|_| ApiError::overloaded(Duration::from_millis(100)))?;
        answered.await.map_err(ApiError::internal)?
    }
}

async fn work<C: Combined>(writer: Arc<C>, mut queue: mpsc::Receiver<Queued<C>>) {
    let mut taken = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut taken, BATCH).await > 0 {
        // Whoever gave up while queueing is told nothing and gets nothing: its seats would be ghosts.
        taken.retain(|(_, answer)| !answer.is_closed());
        if taken.is_empty() {
            continue;
        }
        let (items, answers): (Vec<_>, Vec<_>) = taken.drain(..).unzip();
        // A panic in a write must not end the lane: it is caught in a task of its own.
        let writer = writer.clone();
        let written = tokio::spawn(async move { write_all(&*writer, &items).await }).await;
        match written {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    // A caller that went away is not waited for.
                    let _ = answer.send(outcome);
                }
            }
            Err(panic) => {
                let error = ApiError::internal(panic);
                for answer in answers {
                    let _ = answer.send(Err(error.told_again()));
                }
            }
        }
    }
}

async fn write_all<C: Combined>(writer: &C, items: &[C::Item]) -> Vec<ApiResult<C::Output>> {
    match writer.write(items).await {
        Ok(outcomes) if outcomes.len() == items.len() => outcomes,
        Ok(outcomes) => {
            let error = ApiError::internal(format!("{} answers for {} items", outcomes.len(), items.len()));
            items.iter().map(|_| Err(error.told_again())).collect()
        }
        Err(error) if items.len() == 1 => vec![Err(error)],
        // Nobody's fault, and trying each alone would take as long for each.
        Err(error) if matches!(error.reason(), ErrorReason::DependencyUnavailable | ErrorReason::Overloaded) => {
            items.iter().map(|_| Err(error.told_again())).collect()
        }
        Err(_) => {
            let mut outcomes = Vec::with_capacity(items.len());
            for item in items {
                let one = writer.write(std::slice::from_ref(item)).await;
                outcomes.push(one.and_then(|mut answers| {
                    answers.pop().unwrap_or_else(|| Err(ApiError::internal("no answer for one item")))
                }));
            }
            outcomes
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Refuses any batch with a 13 in it, and remembers what was written.
    #[derive(Default)]
    struct Unlucky(Mutex<Vec<u32>>);

    impl Combined for Unlucky {
        type Item = u32;
        type Output = u32;
        fn write<'a>(&'a self, items: &'a [u32]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<u32>>>> {
            Box::pin(async move {
                if items.contains(&13) {
                    return Err(ApiError::new(ErrorReason::FieldInvalid, "13"));
                }
                self.0.lock().unwrap().extend(items);
                Ok(items.iter().map(|i| Ok(i * 2)).collect())
            })
        }
    }

    #[tokio::test]
    async fn one_bad_item_fails_alone_and_the_rest_keep_their_order() {
        let writer = Arc::new(Unlucky::default());
        let lanes = Lanes::start(writer.clone(), 1, 100);
        let answers = futures_util::future::join_all((0..30).map(|i| lanes.submit((), i))).await;
        for (i, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.ok(), (i != 13).then_some(u32::try_from(i).unwrap() * 2));
        }
        assert_eq!(*writer.0.lock().unwrap(), (0..30).filter(|i| *i != 13).collect::<Vec<_>>());
    }

    /// Never answers until told.
    struct Stuck(tokio::sync::Semaphore);

    impl Combined for Stuck {
        type Item = ();
        type Output = ();
        fn write<'a>(&'a self, items: &'a [()]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<()>>>> {
            Box::pin(async move {
                let _ = self.0.acquire().await;
                Ok(items.iter().map(|()| Ok(())).collect())
            })
        }
    }

    #[tokio::test]
    async fn a_full_lane_refuses_at_once() {
        let writer = Arc::new(Stuck(tokio::sync::Semaphore::new(0)));
        let lanes = Lanes::start(writer.clone(), 1, 2);
        let first = tokio::spawn({
            let lanes = lanes.clone();
            async move { lanes.submit((), ()).await }
        });
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let waiting = (0..2)
            .map(|_| {
                tokio::spawn({
                    let lanes = lanes.clone();
                    async move { lanes.submit((), ()).await }
                })
            })
            .collect::<Vec<_>>();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(lanes.submit((), ()).await.unwrap_err().reason(), ErrorReason::Overloaded);
        writer.0.add_permits(100);
        assert!(first.await.unwrap().is_ok());
        for task in waiting {
            assert!(task.await.unwrap().is_ok());
        }
    }
}
