//! A mail server that accepts, refuses or hangs up as a test tells it to.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// What it does with the next message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// Takes the message.
    Accept,
    /// This reply to MAIL.
    Sender(&'static str),
    /// This reply to RCPT.
    Recipient(&'static str),
    /// This reply to RCPT, and it asks for the content all the same.
    Stubborn(&'static str),
    /// This reply to the content.
    Content(&'static str),
    /// Takes the message, then hangs up without a word.
    HangUp,
    /// Takes the message, says so, then hangs up.
    Leave,
    /// Takes the message, after this many milliseconds.
    Slow(u64),
}

/// When it speaks TLS.
#[derive(Clone, Default)]
pub(crate) enum Secrecy {
    /// Never.
    #[default]
    None,
    /// When it is asked to.
    Asked(TlsAcceptor),
    /// From the first byte.
    Always(TlsAcceptor),
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    for_ever: Option<Answer>,
    accepted: Vec<String>,
    lost: Vec<String>,
    asked: usize,
    connections: usize,
    /// What was said before each accepted message: whether in secret, and by whom.
    how: Vec<(bool, String)>,
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
        Self::with(listener, script, true, Secrecy::None)
    }

    /// One that takes commands in a row or says that it does not, and keeps secrets or not.
    pub(crate) fn with(listener: TcpListener, script: &[Answer], in_a_row: bool, secrecy: Secrecy) -> Self {
        let state = Arc::new(Mutex::new(State { script: script.iter().copied().collect(), ..State::default() }));
        let sink = Self { addr: listener.local_addr().unwrap(), state: state.clone() };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(Talk::begin(socket, state.clone(), in_a_row, secrecy.clone()));
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

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// Of each accepted message, whether it came in secret, and who had signed in.
    pub(crate) fn how(&self) -> Vec<(bool, String)> {
        self.state.lock().unwrap().how.clone()
    }
}

/// One connection.
struct Talk {
    state: Arc<Mutex<State>>,
    in_a_row: bool,
    /// It can be made secret.
    offer: bool,
    secret: bool,
    user: String,
}

/// What comes after a conversation.
#[derive(PartialEq, Eq)]
enum Then {
    End,
    Secrecy,
}

impl Talk {
    async fn begin(
        socket: TcpStream,
        state: Arc<Mutex<State>>,
        in_a_row: bool,
        secrecy: Secrecy,
    ) -> std::io::Result<()> {
        state.lock().unwrap().connections += 1;
        let offer = matches!(secrecy, Secrecy::Asked(_));
        let mut talk = Self { state, in_a_row, offer, secret: false, user: String::new() };
        match secrecy {
            Secrecy::None => talk.converse(socket, true).await.map(drop),
            Secrecy::Always(acceptor) => {
                talk.secret = true;
                talk.converse(acceptor.accept(socket).await?, true).await.map(drop)
            }
            Secrecy::Asked(acceptor) => {
                let mut socket = socket;
                if talk.converse(&mut socket, true).await? == Then::Secrecy {
                    (talk.secret, talk.offer) = (true, false);
                    talk.converse(acceptor.accept(socket).await?, false).await?;
                }
                Ok(())
            }
        }
    }

    async fn converse(&mut self, socket: impl AsyncRead + AsyncWrite + Unpin, greet: bool) -> std::io::Result<Then> {
        let mut socket = BufReader::new(socket);
        if greet {
            socket.write_all(b"220 sink ESMTP\r\n").await?;
        }
        let mut answer = Answer::Accept;
        let (mut wanted, mut known) = (false, false);
        let mut line = String::new();
        loop {
            socket.flush().await?;
            line.clear();
            if socket.read_line(&mut line).await? == 0 {
                return Ok(Then::End);
            }
            let verb = line.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            let reply = match verb.as_str() {
                "EHLO" => {
                    let row = if self.in_a_row { "250-PIPELINING\r\n" } else { "" };
                    let offer = if self.offer { "250-STARTTLS\r\n" } else { "" };
                    &format!("250-sink\r\n{row}{offer}250-AUTH PLAIN LOGIN\r\n250 8BITMIME")
                }
                "STARTTLS" if self.offer => {
                    socket.write_all(b"220 go on in secret\r\n").await?;
                    return Ok(Then::Secrecy);
                }
                "AUTH" => {
                    self.user = line.trim_end().to_owned();
                    "235 welcome"
                }
                // Whoever begins anew in the middle has lost count.
                "MAIL" if wanted => "503 5.5.1 one message at a time",
                "MAIL" => {
                    let mut state = self.state.lock().unwrap();
                    state.asked += 1;
                    answer = state.script.pop_front().or(state.for_ever).unwrap_or(Answer::Accept);
                    let refused = if let Answer::Sender(reply) = answer { Some(reply) } else { None };
                    wanted = refused.is_none();
                    refused.unwrap_or("250 ok")
                }
                "RCPT" if !wanted => "503 5.5.1 from whom?",
                "RCPT" => match answer {
                    Answer::Recipient(reply) | Answer::Stubborn(reply) => {
                        known = reply.starts_with('2');
                        reply
                    }
                    _ => {
                        known = true;
                        "250 ok"
                    }
                },
                "RSET" => {
                    (wanted, known) = (false, false);
                    "250 ok"
                }
                "DATA" if !known && !matches!(answer, Answer::Stubborn(_)) => "554 5.5.1 to whom?",
                "DATA" => {
                    socket.write_all(b"354 go on\r\n").await?;
                    socket.flush().await?;
                    let mut message = String::new();
                    loop {
                        line.clear();
                        if socket.read_line(&mut line).await? == 0 {
                            return Ok(Then::End);
                        }
                        if line == ".\r\n" {
                            break;
                        }
                        message.push_str(line.strip_prefix('.').unwrap_or(&line));
                    }
                    (wanted, known) = (false, false);
                    if let Answer::Slow(millis) = answer {
                        tokio::time::sleep(Duration::from_millis(millis)).await;
                    }
                    let mut state = self.state.lock().unwrap();
                    match answer {
                        Answer::HangUp => {
                            state.lost.push(message);
                            return Ok(Then::End);
                        }
                        Answer::Content(reply) => reply,
                        _ => {
                            state.accepted.push(message);
                            state.how.push((self.secret, self.user.clone()));
                            "250 accepted"
                        }
                    }
                }
                "QUIT" => {
                    socket.write_all(b"221 bye\r\n").await?;
                    socket.flush().await?;
                    return Ok(Then::End);
                }
                _ => "250 ok",
            };
            socket.write_all(format!("{reply}\r\n").as_bytes()).await?;
            if matches!(answer, Answer::Leave) && verb == "DATA" {
                socket.flush().await?;
                return Ok(Then::End);
            }
        }
    }
}
