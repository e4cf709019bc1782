//! A room whose e-mails land in a directory of its own, and what tests ask about them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use sqlx::PgPool;
use tourmesh_testkit::{Room, World};
use uuid::Uuid;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The directory, which goes away with the test.
pub(crate) struct Mailbox {
    dir: PathBuf,
    pub(crate) room: Room,
    pub(crate) pool: PgPool,
}

impl Mailbox {
    /// A fresh room that writes e-mails as files.
    pub(crate) async fn new() -> Self {
        let room = World::get().await.room("notification", &tourmesh_notification::SCHEMA).await;
        // It does not exist yet: the service makes it.
        let dir = std::env::temp_dir().join(format!("tourmesh-mail-{}", Uuid::now_v7().simple()));
        let room = room.with("MAIL_DIR", dir.display()).with("RETRY_PAUSE_MILLIS", 100);
        let pool = room.pool().await;
        Self { dir, room, pool }
    }

    /// The same with another setting.
    pub(crate) fn with(mut self, setting: &str, value: impl ToString) -> Self {
        self.room = self.room.with(setting, value);
        self
    }

    /// Every e-mail by its file's name, decoded.
    pub(crate) fn mails(&self) -> BTreeMap<String, String> {
        let Ok(files) = std::fs::read_dir(&self.dir) else { return BTreeMap::new() };
        let read = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            name.ends_with(".eml").then(|| (name, readable(&std::fs::read_to_string(entry.path()).unwrap())))
        };
        files.filter_map(|entry| read(entry.unwrap())).collect()
    }

    /// Waits until there are exactly so many e-mails, and every delivery has ended.
    pub(crate) async fn settled(&self, mails: usize) {
        // Every e-mail carries a ticket, which takes its time where nothing is optimized.
        let begun = Instant::now();
        while self.count("state = 'PENDING'").await > 0 || self.mails().len() < mails {
            assert!(begun.elapsed() < PATIENCE, "{} of {mails} e-mails in {PATIENCE:?}", self.mails().len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.mails().len(), mails);
    }

    /// How many deliveries are like this.
    pub(crate) async fn count(&self, condition: &'static str) -> i64 {
        let sql = format!("SELECT count(*) FROM deliveries WHERE {condition}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap()
    }

    /// Waits for so many deliveries like this.
    pub(crate) async fn await_count(&self, condition: &'static str, count: i64) {
        let begun = Instant::now();
        while self.count(condition).await != count {
            assert!(begun.elapsed() < PATIENCE, "{condition}: {} instead of {count}", self.count(condition).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many events were taken in.
    pub(crate) async fn heard(&self) -> i64 {
        let sql = "SELECT count(*) FROM inbox WHERE consumer <> 'notification-webhooks'";
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    /// Every event of the outbox: its type's last part and its subject's id. Each delivery has one end at most.
    pub(crate) async fn ends(&self) -> Vec<(String, String)> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT type, subject FROM outbox ORDER BY seq").fetch_all(&self.pool).await.unwrap();
        let last = |text: &str| text.rsplit('.').next().unwrap().to_owned();
        rows.iter().map(|(kind, subject)| (last(kind), last(subject))).collect()
    }

    /// Every delivery that has ended told so exactly once.
    pub(crate) async fn every_end_is_told_once(&self) {
        let mut told = self.ends().await;
        told.sort();
        let rows: Vec<(Uuid, String)> =
            sqlx::query_as("SELECT id, state FROM deliveries WHERE state IN ('SENT', 'FAILED')")
                .fetch_all(&self.pool)
                .await
                .unwrap();
        let mut ended: Vec<(String, String)> = rows
            .into_iter()
            .map(|(id, state)| {
                let kind = if state == "SENT" { "DeliverySent" } else { "DeliveryFailed" };
                (kind.to_owned(), format!("dlv_{}", id.simple()))
            })
            .collect();
        ended.sort();
        assert_eq!(told, ended);
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// An e-mail with its quoted-printable and base64 parts and its encoded subject made readable, well enough for tests.
pub(crate) fn readable(mail: &str) -> String {
    let joined = mail.replace("=\r\n", "");
    let mut bytes = Vec::with_capacity(joined.len());
    let raw = joined.as_bytes();
    let mut at = 0;
    while at < raw.len() {
        let code =
            joined.get(at + 1..at + 3).filter(|_| raw[at] == b'=').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(code.unwrap_or(raw[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
