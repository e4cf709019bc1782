//! Whether a role can do its work right now: the sum of what its parts say.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// What each part of a role says about itself; ready when all parts are. Clones share the state.
#[derive(Debug, Clone)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>,
    ready: watch::Sender<bool>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { parts: Arc::default(), ready: watch::Sender::new(true) }
    }
}

impl Readiness {
    /// A part says how it is; the first `Err` of a part and its recovery are logged.
    pub fn report(&self, part: &'static str, state: Result<(), String>) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let before = parts.insert(part, state.clone());
        match (&before, &state) {
            (Some(Ok(())), Err(problem)) => tracing::warn!(part, problem, "not ready"),
            // Starting up: everybody waits for somebody.
            (None, Err(problem)) => tracing::debug!(part, problem, "not ready yet"),
            (Some(Err(_)), Ok(())) => tracing::info!(part, "ready again"),
            _ => {}
        }
        let ready = parts.values().all(Result::is_ok);
        self.ready.send_if_modified(|r| std::mem::replace(r, ready) != ready);
    }
    /// All parts are well.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }
    /// Follows [`is_ready`](Self::is_ready).
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }
    /// What is not well, for `/readyz`: part and problem.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter_map(|(part, state)| Some((*part, state.clone().err()?))).collect()
    }
}

/// How long a part may fail before it counts as not ready: shorter troubles mend themselves.
const PATIENCE: Duration = Duration::from_secs(10);

/// The failures of a loop that starts anew after each: it waits longer each time, and after a while the part it works
/// for is reported as not ready.
#[derive(Debug)]
pub struct Trouble {
    part: &'static str,
    readiness: Readiness,
    pause: Duration,
    since: Mutex<Option<Instant>>,
}

impl Trouble {
    /// None yet.
    pub fn new(part: &'static str, readiness: Readiness) -> Self {
        Self { part, readiness, pause: Duration::from_millis(100), since: Mutex::default() }
    }

    /// The loop does its work.
    pub fn over(&self) {
        if self.since.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            self.readiness.report(self.part, Ok(()));
        }
    }

    /// The loop ended with this; how long to wait before it starts anew.
    pub fn pause<E: std::fmt::Display>(&mut self, result: Result<(), E>) -> Duration {
        match result {
            Ok(()) => self.pause = Duration::from_millis(100),
            Err(error) => {
                tracing::debug!(part = self.part, %error, "starts anew");
                let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    self.readiness.report(self.part, Err(error.to_string()));
                }
                self.pause = (self.pause * 2).min(Duration::from_secs(5));
            }
        }
        self.pause
    }
}
