//! One connection and how much it carries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tonic::body::Body;

use super::Address;

/// How long connecting may take, name resolution included.
const CONNECT: Duration = Duration::from_secs(1);
/// A silent connection is asked whether it lives this often …
const KEEPALIVE: Duration = Duration::from_secs(10);
/// … and is dead when it does not answer for so long.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Body>,
    load: AtomicUsize,
}

/// One call on a connection, until its answer has passed.
#[derive(Debug)]
pub(crate) struct Load(Arc<Connection>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why there is no connection.
#[derive(Debug, Clone)]
pub(super) struct ConnectError(String);

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConnectError {}

impl Connection {
    pub(super) async fn open(address: &Address) -> Result<Arc<Self>, ConnectError> {
        let (host, port) = address.target();
        let failed =
            |problem: &dyn std::fmt::Display| ConnectError(format!("cannot connect to {host}:{port}: {problem}"));
        let handshake = async {
            let stream = TcpStream::connect((host, port)).await.map_err(|e| failed(&e))?;
            // Small messages must not wait for company.
            stream.set_nodelay(true).map_err(|e| failed(&e))?;
            Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(KEEPALIVE_ANSWER)
                .keep_alive_while_idle(true)
                .max_header_list_size(64 * 1024)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|e| failed(&e))
        };
        let opened = tokio::time::timeout(CONNECT, handshake).await;
        let (sender, driver) = opened.map_err(|_| failed(&"no answer in time"))??;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to a service broke");
            }
        });
        Ok(Arc::new(Self { sender, load: AtomicUsize::new(0) }))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// One more call.
    pub(super) fn take(self: &Arc<Self>) -> (SendRequest<Body>, Load) {
        self.load.fetch_add(1, Ordering::Relaxed);
        (self.sender.clone(), Load(self.clone()))
    }
}
