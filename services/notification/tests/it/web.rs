//! An HTTP server that remembers what it was asked and answers as a test tells it to.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What it was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

#[derive(Default)]
struct State {
    script: VecDeque<String>,
    for_ever: String,
    asked: Vec<Asked>,
}

/// The server; it stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Web {
    /// Gives these answers one after the other (status and reason, headers, an empty line, a body), then 200.
    pub(crate) async fn start(script: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script = script.iter().map(|s| (*s).to_owned()).collect();
        let state = Arc::new(Mutex::new(State { script, for_ever: "200 OK".to_owned(), ..State::default() }));
        let web = Self { addr: listener.local_addr().unwrap(), state: state.clone() };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(converse(socket, state.clone()));
            }
        });
        web
    }

    /// Answers like this from now on.
    pub(crate) fn always(&self, answer: &str) {
        self.state.lock().unwrap().for_ever = answer.to_owned();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }
}

async fn converse(socket: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            socket.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length: usize = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or_default();
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await?;
        let answer = {
            let mut state = state.lock().unwrap();
            state.asked.push(Asked { path, headers, body });
            state.script.pop_front().unwrap_or_else(|| state.for_ever.clone())
        };
        let (head, body) = answer.split_once("\n\n").unwrap_or((&answer, ""));
        let head = head.replace('\n', "\r\n");
        let reply = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(reply.as_bytes()).await?;
    }
}
