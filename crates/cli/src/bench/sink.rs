//! A mail server on this machine that takes everything, and tells when it took the confirmation of a booking.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::AbortHandle,
};

/// The end of a message. Within one, a point at the beginning of a line is doubled.
const END: &[u8] = b"\r\n.\r\n";

/// The server. It stops when this goes.
#[derive(Debug)]
pub struct Sink {
    url: String,
    taken: Arc<Taken>,
    accepting: AbortHandle,
}

/// What it took.
#[derive(Debug, Default)]
struct Taken {
    messages: AtomicU64,
    bytes: AtomicU64,
    waiting: Mutex<HashMap<String, oneshot::Sender<SystemTime>>>,
}

impl Sink {
    /// Listens on a free port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("smtp://{}", listener.local_addr()?);
        let taken = Arc::new(Taken::default());
        let accepting = tokio::spawn(accept(listener, taken.clone())).abort_handle();
        Ok(Self { url, taken, accepting })
    }

    /// For SMTP_URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many messages it took.
    pub fn messages(&self) -> u64 {
        self.taken.messages.load(Ordering::Relaxed)
    }

    /// How long they were together.
    pub fn bytes(&self) -> u64 {
        self.taken.bytes.load(Ordering::Relaxed)
    }

    /// The moment at which the confirmation of this booking will have been taken. To be called before it can be.
    pub fn expect(&self, booking: &str) -> oneshot::Receiver<SystemTime> {
        let (told, hears) = oneshot::channel();
        self.taken.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(booking.to_owned(), told);
        hears
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Taken {
    fn take(&self, message: &[u8]) {
        let now = SystemTime::now();
        self.bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        self.messages.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.is_empty()
            && let Some(told) = confirmed(message).and_then(|booking| waiting.remove(booking))
        {
            // Who does not wait any more has run out of time.
            let _ = told.send(now);
        }
    }
}

/// The booking of a confirmation: of all messages to a customer it alone carries a ticket.
fn confirmed(message: &[u8]) -> Option<&str> {
    // Id and ticket are named before the pictures begin; only text is looked through.
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let (head, _) = message.split_at(message.len().min(16_000));
    let at = head.windows(4).position(|w| w == b"bkg_")?;
    let carries_ticket = head.windows(15).any(|w| w == b"multipart/mixed");
    if carries_ticket { text(head.get(at..at + 36)?) } else { None }
}

async fn accept(listener: TcpListener, taken: Arc<Taken>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(converse(socket, taken.clone()));
    }
}

/// As mail servers do that take commands in a row: what arrived together is answered together.
async fn converse(mut socket: TcpStream, taken: Arc<Taken>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.write_all(b"220 sink ESMTP\r\n").await?;
    let mut read = Vec::with_capacity(128 * 1024);
    let mut content = false;
    while socket.read_buf(&mut read).await? > 0 {
        if content {
            // Nobody sends on before the content is answered: its end is the end of what is there.
            if read.ends_with(END) {
                taken.take(&read);
                read.clear();
                content = false;
                socket.write_all(b"250 accepted\r\n").await?;
            }
            continue;
        }
        let mut replies: Vec<u8> = Vec::new();
        let mut done = 0;
        for line in read.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            done += line.len();
            let reply: &[u8] = match line.get(..4).unwrap_or_default() {
                b"EHLO" => b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
                b"DATA" => {
                    content = true;
                    b"354 go on\r\n"
                }
                b"QUIT" => return socket.write_all(b"221 bye\r\n").await,
                _ => b"250 ok\r\n",
            };
            replies.extend(reply);
        }
        read.drain(..done);
        socket.write_all(&replies).await?;
    }
    Ok(())
}
