//! Stopping in order and in bounded time.

use std::{future::Future, time::Duration};

use tokio_util::sync::CancellationToken;

/// How long a role may take to finish what it has begun.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Says when to stop. Clones see the same moment.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// One that nobody has triggered yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// One that ends with this one, or earlier by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
    /// Stop now.
    pub fn trigger(&self) {
        self.0.cancel();
    }
    /// It is time to stop.
    pub fn is_triggered(&self) -> bool {
        self.0.is_cancelled()
    }
    /// Waits for the moment.
    pub async fn triggered(&self) {
        self.0.cancelled().await;
    }
    /// Sleeps, or stops sleeping at the moment; true: go on.
    pub async fn sleep(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.0.cancelled() => false,
            () = tokio::time::sleep(time) => true,
        }
    }
    /// The work's result, or `None` when the moment comes first.
    pub async fn unless<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.0.run_until_cancelled(work).await
    }

    /// Triggers on Ctrl-C and SIGTERM; a second signal ends the process at once.
    pub fn on_signals(&self) {
        let shutdown = self.clone();
        tokio::spawn(async move {
            signal().await;
            tracing::info!("stopping; a second signal stops at once");
            shutdown.trigger();
            signal().await;
            tracing::warn!("stopped at once by a second signal");
            std::process::exit(130);
        });
    }
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
