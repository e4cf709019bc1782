//! The sandbox: a payment provider of our own, for development, demonstrations and tests. No money moves.
//!
//! It stands on the other side of the wire although it runs in this process: it has its own tables and its own
//! idempotency keys, knows nothing of payments and bookings, and speaks to us only through the [`Provider`] trait and
//! through signed webhooks ([`webhooks`]). The means of payment ([`methods`]) decide what happens, and nothing else does:
//! the same request has the same end every time.
//!
//! [`Provider`]: crate::provider::Provider

pub mod grpc;
pub(crate) mod intents;
mod listing;
pub mod methods;
mod provider;
pub mod webhooks;

use std::sync::Arc;

use tokio::sync::Notify;
use tourmesh_kit::{db::Db, lanes::Lanes};

use crate::config::SandboxConfig;

/// As payments and the webhook's path name it.
pub const NAME: &str = "sandbox";

/// The sandbox. Clones share everything.
#[derive(Clone, Debug)]
pub struct Sandbox {
    db: Db,
    config: Arc<SandboxConfig>,
    intents: Lanes<intents::Writer>,
    /// There is something to decide or to deliver.
    work: Arc<Notify>,
}

impl Sandbox {
    /// Makes it; nothing is connected yet. Its webhooks need [`webhooks::run`].
    pub fn new(db: Db, config: SandboxConfig, lanes: usize) -> Self {
        let intents = Lanes::start(Arc::new(intents::Writer { db: db.clone() }), lanes, 4096);
        Self { db, config: Arc::new(config), intents, work: Arc::default() }
    }
}
