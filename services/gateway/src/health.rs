//! Whether the mesh answers: the health of every role, asked for every second, told by gRPC and by HTTP.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kit::shutdown::Shutdown;
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_check_response::ServingStatus as Wire, health_client::HealthClient},
    server::HealthReporter,
};
use tourmesh_kit as kit;

use crate::{proxy::Proxy, upstream::Upstream};

/// How often each role is asked.
const PAUSE: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// What a role says of itself, as `/readyz` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Not asked yet.
    #[default]
    Unknown,
    /// It does its work.
    Serving,
    /// It answers, and says that it cannot work now.
    NotServing,
    /// It does not answer.
    Unreachable,
}

impl State {
    /// For machines.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::Unreachable => "UNREACHABLE",
        }
    }
}

/// What all roles say. Clones share it.
#[derive(Debug, Clone)]
pub struct MeshHealth {
    states: Arc<Mutex<BTreeMap<&'static str, State>>>,
    reporter: HealthReporter,
}

impl MeshHealth {
    /// Of these roles, none of which was asked yet.
    pub async fn new(upstreams: &[Upstream], reporter: HealthReporter) -> Self {
        let states = upstreams.iter().map(|u| (u.role(), State::Unknown)).collect();
        // The reporter's own beginning is "serving", which nobody knows yet.
        reporter.set_service_status("", ServingStatus::NotServing).await;
        Self { states: Arc::new(Mutex::new(states)), reporter }
    }

    /// Every role and its state.
    pub fn states(&self) -> BTreeMap<&'static str, State> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All roles do their work.
    pub fn is_serving(&self) -> bool {
        self.states().values().all(|s| *s == State::Serving)
    }

    /// Asks one role until shutdown.
    pub async fn follow(self, upstream: Upstream, proxy: Proxy, shutdown: Shutdown) {
        let mut client = HealthClient::new(upstream.client(ANSWER));
        loop {
            let answer = shutdown.unless(client.check(HealthCheckRequest { service: String::new() })).await;
            let state = match answer {
                None => break,
                Some(Ok(answer)) if answer.get_ref().status() == Wire::Serving => State::Serving,
                Some(Ok(_)) => State::NotServing,
                Some(Err(_)) => State::Unreachable,
            };
            self.report(&upstream, &proxy, state, &shutdown).await;
            if !shutdown.sleep(PAUSE).await {
                break;
            }
        }
        // We go, so nobody should come here any more.
        self.reporter.set_service_status("", ServingStatus::NotServing).await;
    }

    async fn report(&self, upstream: &Upstream, proxy: &Proxy, state: State, shutdown: &Shutdown) {
        let before = self.states.lock().unwrap_or_else(PoisonError::into_inner).insert(upstream.role(), state);
        if before == Some(state) {
            return;
        }
        tracing::info!(upstream = upstream.role(), state = state.text(), "a role's health changed");
        let told = |serving| if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in proxy.services_of(upstream.role()) {
            self.reporter.set_service_status(service, told(state == State::Serving)).await;
        }
        // Whoever goes must not be called back by a late answer.
        let serving = self.is_serving() && !shutdown.is_triggered();
        self.reporter.set_service_status("", told(serving)).await;
    }
}
