//! The connections to one address.

use std::{
    error::Error as StdError,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::{
    Request, Response, Uri,
    uri::{PathAndQuery, Scheme},
};
use hyper::body::Incoming;
use tokio::sync::Mutex;
use tonic::body::Body;

use super::{
    Address,
    connection::{ConnectError, Connection, Load},
};

/// A connection that carries fewer calls than this is not worth relieving.
const RELAXED: usize = 16;
/// So many connections share the work of a busy role, because one connection is one task at both ends.
const SPREAD: usize = 4;
/// Beyond so many calls one more connection is opened. Every server takes a hundred; those of the house take more.
const FULL: usize = 100;
/// Never more than this.
const MOST: usize = 64;
/// After a failure to connect, callers are told the same for so long.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a request that was not sent is given to another connection.
const TRIES: usize = 3;

#[derive(Debug)]
pub(super) struct Pool {
    address: Address,
    connections: ArcSwap<Vec<Arc<Connection>>>,
    /// Held while connecting: one connects, the others wait for its outcome.
    connecting: Mutex<Option<(Instant, ConnectError)>>,
}

type Sent = (Response<Incoming>, Load);

impl Pool {
    pub(super) fn new(address: Address) -> Self {
        Self { address, connections: ArcSwap::default(), connecting: Mutex::default() }
    }

    /// Sends on the connection that carries least.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<Sent, Box<dyn StdError + Send + Sync>> {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(self.address.authority().clone()).path_and_query(path);
        *request.uri_mut() = uri.build()?;
        *request.version_mut() = http::Version::HTTP_2;
        let mut tries = 0;
        loop {
            tries += 1;
            let (mut sender, load) = self.connection().await?.take();
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, load)),
                Err(error) => error,
            };
            match error.take_message() {
                // The connection was retired before anything was sent, so nothing can happen twice.
                Some(unsent) if tries < TRIES => request = unsent,
                _ => return Err(error.into_error().into()),
            }
        }
    }

    async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, ConnectError> {
        let open = self.connections.load();
        // Those that have ended are replaced only with the next one, and do not stand in its way.
        let living = open.iter().filter(|c| !c.is_closed()).count();
        match least(&open) {
            Some(least) if least.load() >= FULL && living < MOST => self.open(least.load()).await.or(Ok(least)),
            Some(least) => {
                if least.load() >= RELAXED && living < SPREAD {
                    self.open_aside(least.load());
                }
                Ok(least)
            }
            None => self.open(usize::MAX).await,
        }
    }

    /// Opens one more, unless meanwhile there is one that carries less than `load`.
    async fn open(self: &Arc<Self>, load: usize) -> Result<Arc<Connection>, ConnectError> {
        let mut failed = self.connecting.lock().await;
        if let Some(least) = least(&self.connections.load())
            && least.load() < load
        {
            return Ok(least);
        }
        if let Some((at, error)) = &*failed
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        match Connection::open(&self.address).await {
            Ok(connection) => {
                *failed = None;
                let mut open: Vec<_> = self.connections.load().iter().filter(|c| !c.is_closed()).cloned().collect();
                open.push(connection.clone());
                self.connections.store(Arc::new(open));
                Ok(connection)
            }
            Err(error) => {
                *failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// The same without waiting for it.
    fn open_aside(self: &Arc<Self>, load: usize) {
        if self.connecting.try_lock().is_err() {
            return;
        }
        let pool: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            if let Some(pool) = pool.upgrade() {
                drop(pool.open(load.min(RELAXED)).await);
            }
        });
    }
}

/// The living connection that carries least.
fn least(open: &[Arc<Connection>]) -> Option<Arc<Connection>> {
    open.iter().filter(|c| !c.is_closed()).min_by_key(|c| c.load()).cloned()
}
