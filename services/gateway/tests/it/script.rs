//! A service that answers as it is told, and remembers what it was asked. It writes gRPC by hand, so that what arrives
//! is what it wrote and not what a library made of it.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use prost::Message;
use tokio::{net::TcpListener, task::AbortHandle};
use tonic::{Status, body::Body};

/// What it says.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "a few per test")]
pub(crate) enum Answer {
    /// Head, messages with a pause before each, and the end.
    Messages { head: HeaderMap, messages: Vec<Vec<u8>>, pause: Duration, trailers: HeaderMap },
    /// A refusal by headers alone, as tonic gives it.
    Refusal(Status),
    /// Nothing, ever.
    Silence,
    /// A first message, and then a stream that stays open.
    Open(Vec<u8>),
}

impl Answer {
    pub(crate) fn of(message: &impl Message) -> Self {
        Self::stream([message], Duration::ZERO)
    }
    pub(crate) fn stream<'a, M: Message + 'a>(messages: impl IntoIterator<Item = &'a M>, pause: Duration) -> Self {
        let messages = messages.into_iter().map(Message::encode_to_vec).collect();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        Self::Messages { head: HeaderMap::new(), messages, pause, trailers }
    }
}

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// `None`: the body broke off.
    pub(crate) body: Option<Bytes>,
}

impl Asked {
    pub(crate) fn message<M: Message + Default>(&self) -> M {
        M::decode(self.body.as_ref().unwrap().slice(5..)).unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct Script {
    address: SocketAddr,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    serving: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    accepting: Arc<Mutex<Option<AbortHandle>>>,
}

impl Script {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let script = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::default(),
            asked: Arc::default(),
            serving: Arc::new(AtomicBool::new(true)),
            connections: Arc::default(),
            accepting: Arc::default(),
        };
        let task = tokio::spawn(script.clone().accept(listener));
        *script.accepting.lock().unwrap() = Some(task.abort_handle());
        script
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub(crate) fn answer(&self, path: &str, answer: Answer) -> &Self {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
        self
    }

    /// What its health service says.
    pub(crate) fn serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// The calls so far, without those of the health service.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many connections it ever had.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// Breaks all connections but the newest.
    pub(crate) fn cut_older(&self) {
        if let Some((_, older)) = self.connections.lock().unwrap().split_last() {
            older.iter().for_each(AbortHandle::abort);
        }
    }

    /// Breaks all connections, as a server does that is killed.
    pub(crate) fn cut(&self) {
        for connection in self.connections.lock().unwrap().iter() {
            connection.abort();
        }
    }

    /// Is gone.
    pub(crate) fn stop(&self) {
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            accepting.abort();
        }
        self.cut();
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let script = self.clone();
            let task = tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let script = script.clone();
                    async move { Ok::<_, Infallible>(script.respond(request).await) }
                });
                let mut builder = Builder::new(TokioExecutor::new());
                // As the kit's server has it.
                builder.http2().max_concurrent_streams(128);
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            });
            self.connections.lock().unwrap().push(task.abort_handle());
        }
    }

    async fn respond(self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/grpc.health.v1.Health/Check" {
            // HealthCheckResponse { status: SERVING = 1 | NOT_SERVING = 2 }
            let status = if self.serving.load(Ordering::Relaxed) { 1 } else { 2 };
            return written(Answer::Messages {
                head: HeaderMap::new(),
                messages: vec![vec![0x08, status]],
                pause: Duration::ZERO,
                trailers: [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect(),
            })
            .await;
        }
        let headers = request.headers().clone();
        let body = request.into_body().collect().await.ok().map(http_body_util::Collected::to_bytes);
        self.asked.lock().unwrap().push(Asked { path: path.clone(), headers, body });
        let answer = self.answers.lock().unwrap().get(&path).cloned();
        written(answer.unwrap_or_else(|| Answer::Refusal(Status::unimplemented("not in the script")))).await
    }
}

async fn written(answer: Answer) -> Response<Body> {
    match answer {
        Answer::Refusal(status) => status.into_http(),
        Answer::Silence => std::future::pending().await,
        Answer::Open(message) => {
            let body = stream::once(async move { Ok::<_, Infallible>(Frame::data(framed(&message))) });
            response(HeaderMap::new(), Body::new(StreamBody::new(body.chain(stream::pending()))))
        }
        Answer::Messages { head, messages, pause, trailers } => {
            let frames = stream::iter(messages).then(move |message| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, Infallible>(Frame::data(framed(&message)))
            });
            let end = stream::once(async move { Ok(Frame::trailers(trailers)) });
            response(head, Body::new(StreamBody::new(frames.chain(end))))
        }
    }
}

fn response(mut head: HeaderMap, body: Body) -> Response<Body> {
    head.insert("content-type", "application/grpc".parse().unwrap());
    let mut response = Response::new(body);
    *response.headers_mut() = head;
    response
}

/// A message as gRPC frames it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}
