//! A mail server that accepts, refuses or hangs up as a test tells it to.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What it does with the next message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// This reply to RCPT.
    Recipient(&'static str),
    /// Takes the message, then hangs up without a word.
    HangUp,
    /// Takes the message, after this many milliseconds.
    Slow(u64),
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    for_ever: Option<Answer>,
    accepted: Vec<String>,
    lost: Vec<String>,
    asked: usize,
}

/// The server; it stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Sink {
    /// Answers as scripted, then accepts everything.
    pub(crate) async fn start(script: &[Answer]) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    /// The same on a socket that is there already.
    pub(crate) fn on(listener: TcpListener, script: &[Answer]) -> Self {
        let state = Arc::new(Mutex::new(State { script: script.iter().copied().collect(), ..State::default() }));
        let sink = Self { addr: listener.local_addr().unwrap(), state: state.clone() };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(converse(socket, state.clone()));
            }
        });
        sink
    }

    /// Answers like this from now on; `None`: accepts.
    pub(crate) fn always(&self, answer: Option<Answer>) {
        self.state.lock().unwrap().for_ever = answer;
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.addr)
    }

    /// What was accepted.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.state.lock().unwrap().accepted.clone()
    }

    /// What was taken before it hung up.
    pub(crate) fn lost(&self) -> Vec<String> {
        self.state.lock().unwrap().lost.clone()
    }

    /// How many messages were offered.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }
}

async fn converse(socket: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    socket.write_all(b"220 sink ESMTP\r\n").await?;
    let mut answer = None;
    let mut line = String::new();
    loop {
        line.clear();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-sink\r\n250 8BITMIME",
            "MAIL" => {
                let mut state = state.lock().unwrap();
                state.asked += 1;
                answer = state.script.pop_front().or(state.for_ever);
                "250 ok"
            }
            "RCPT" => match answer {
                Some(Answer::Recipient(reply)) => reply,
                _ => "250 ok",
            },
            "DATA" => {
                socket.write_all(b"354 go on\r\n").await?;
                let mut message = String::new();
                loop {
                    line.clear();
                    if socket.read_line(&mut line).await? == 0 {
                        return Ok(());
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    message.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                if let Some(Answer::Slow(millis)) = answer {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                }
                if matches!(answer, Some(Answer::HangUp)) {
                    state.lock().unwrap().lost.push(message);
                    return Ok(());
                }
                state.lock().unwrap().accepted.push(message);
                "250 accepted"
            }
            "QUIT" => {
                socket.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 ok",
        };
        socket.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
}
