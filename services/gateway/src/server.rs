//! The port: HTTP/1.1 and HTTP/2 without TLS, with limits on whatever a client could hold on to.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use kit::shutdown::{DRAIN, Shutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tourmesh_kit as kit;

use crate::{client::Client, config::Config, edge::Edge};

/// How long a client may take to say which HTTP it speaks, and to send the head of a request over HTTP/1.1.
const HEAD: Duration = Duration::from_secs(10);
/// How HTTP/2 begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest head of a request.
const LARGEST_HEAD: u32 = 16 * 1024;

/// Accepts until shutdown, then lets what has begun come to its end, in bounded time.
pub(crate) async fn run(listener: TcpListener, edge: Edge, config: &Config, shutdown: Shutdown) {
    let connections = Arc::new(Semaphore::new(config.max_connections));
    let builder = Arc::new(builder(config));
    let tasks = TaskTracker::new();
    loop {
        // Who comes when all are taken waits in the kernel's queue.
        let Some(Ok(permit)) = shutdown.unless(connections.clone().acquire_owned()).await else { break };
        let (stream, peer) = match shutdown.unless(listener.accept()).await {
            None => break,
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                // Mostly too many open files; the listener itself is well, so wait and go on.
                tracing::warn!(%error, "a connection could not be accepted");
                shutdown.sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (edge, builder, age, shutdown) = (edge.clone(), builder.clone(), config.connection_age, shutdown.clone());
        let client = Client::new(config, peer.ip());
        tasks.spawn(async move {
            connection(stream, client, edge, &builder, age, shutdown).await;
            drop(permit);
        });
    }
    drop(listener);
    tasks.close();
    // Streams that nobody ends, such as a watched departure, would keep us for ever.
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!(open = tasks.len(), "connections were still open after the drain time");
    }
}

fn builder(config: &Config) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 * 1024).max_headers(100);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(LARGEST_HEAD)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

async fn connection(
    stream: TcpStream,
    client: Client,
    edge: Edge,
    builder: &Builder<TokioExecutor>,
    age: Duration,
    shutdown: Shutdown,
) {
    drop(stream.set_nodelay(true));
    // hyper waits without limit for the first bytes, so the limit is ours.
    if !matches!(tokio::time::timeout(HEAD, says_something(&stream)).await, Ok(true)) {
        return;
    }
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let edge = edge.clone();
        let mut request = request.map(Body::new);
        client.mark(&mut request);
        async move { Ok::<_, Infallible>(edge.answer(request).await) }
    });
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let retired = tokio::select! {
        ended = served.as_mut() => { debug(ended); false }
        () = shutdown.triggered() => true,
        () = tokio::time::sleep(age) => true,
    };
    if retired {
        served.as_mut().graceful_shutdown();
        debug(served.await);
    }
}

/// The first bytes are there, all of those that HTTP/2 begins with, or some that it does not begin with.
async fn says_something(stream: &TcpStream) -> bool {
    let mut head = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut head).await {
            Ok(0) | Err(_) => return false,
            Ok(n) if n == PREFACE.len() || head[..n] != PREFACE[..n] => return true,
            // A preface in pieces: it stays in the socket, and more of it cannot be waited for otherwise.
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Clients break off all the time; that is no news.
fn debug(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error, "a client's connection broke");
    }
}
