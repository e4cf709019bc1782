//! Keeps one engine running: a crash is reported and the engine started again, later each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::error::Result;
use crate::leftovers;
use crate::process::{Running, Spec};
use crate::progress::{Event, Progress};

/// The waits between attempts: doubled from the first to the longest, forgotten after a time of health.
#[derive(Debug)]
struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(10);
    const HEALTHY: Duration = Duration::from_secs(60);

    fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (self.0 * 2).min(Self::LONGEST);
        wait
    }

    fn ran_for(&mut self, time: Duration) {
        if time >= Self::HEALTHY {
            self.0 = Self::FIRST;
        }
    }
}

/// The task that looks after one engine. Dropping it lets go of the engine, which its watchdog then stops.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pid: Arc<AtomicU32>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Result<()>>>,
}

impl Supervisor {
    pub(crate) fn new(spec: Spec, running: Running, progress: Progress) -> Self {
        let pid = Arc::new(AtomicU32::new(running.pid));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(watch(spec, running, Arc::clone(&pid), progress, stopped));
        Self { pid, stop: Some(stop), task: Some(task) }
    }

    /// The engine's process, if it runs at this moment.
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// Ends the engine and waits for its end.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        match self.task.take() {
            Some(task) => match task.await {
                Ok(result) => result,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Ok(()),
            },
            None => Ok(()),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn watch(
    spec: Spec,
    mut running: Running,
    pid: Arc<AtomicU32>,
    progress: Progress,
    mut stop: oneshot::Receiver<()>,
) -> Result<()> {
    let engine = spec.engine;
    let mut backoff = Backoff(Backoff::FIRST);
    loop {
        let started = Instant::now();
        let mut status = tokio::select! {
            biased;
            _ = &mut stop => {
                progress.tell(Event::Stopping { engine });
                let asked = Instant::now();
                running.stop(&spec).await?;
                pid.store(0, Ordering::Relaxed);
                progress.tell(Event::Stopped { engine, took: asked.elapsed() });
                return Ok(());
            }
            status = running.ended() => status,
        };
        let crashed = Instant::now();
        pid.store(0, Ordering::Relaxed);
        running.release().await;
        backoff.ran_for(started.elapsed());
        running = loop {
            let retry_in = backoff.next();
            tracing::warn!(%engine, status, retry_in_ms = retry_in.as_millis(), log = %spec.log.display(), "engine ended by itself");
            progress.tell(Event::Crashed { engine, status, retry_in });
            let attempt = async {
                sleep(retry_in).await;
                leftovers::clear(&spec, &progress).await?;
                spec.launch().await
            };
            tokio::select! {
                biased;
                // What was starting has lost its leash and is being stopped by its watchdog: wait for that.
                _ = &mut stop => return leftovers::clear(&spec, &progress).await,
                result = attempt => match result {
                    Ok(running) => break running,
                    Err(error) => status = error.to_string(),
                },
            }
        };
        pid.store(running.pid, Ordering::Relaxed);
        tracing::info!(%engine, pid = running.pid, "engine is back");
        progress.tell(Event::Restarted { engine, took: crashed.elapsed() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_health_resets_them() {
        let mut backoff = Backoff(Backoff::FIRST);
        let waits: Vec<u128> = (0..8).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        backoff.ran_for(Duration::from_secs(59));
        assert_eq!(backoff.next().as_millis(), 10_000);
        backoff.ran_for(Duration::from_secs(60));
        assert_eq!(backoff.next().as_millis(), 200);
    }
}
