//! What the mesh tells about bookings, heard by those who wait for it. The moment counts at which the event arrives, which
//! is after the commit; and nobody has to ask again and again, which would be measured too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use prost::Message as _;
use tokio::sync::oneshot;
use tourmesh::{
    booking::v1::BookingConfirmed,
    notification::v1::{DeliverySent, MessageKind},
};
use tourmesh_kit::{
    config::Env,
    events::{Broker, broker::NATS_PREFIX},
};

/// Which news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The booking is confirmed.
    Confirmed,
    /// Its customer was told so.
    Notified,
}

/// It happened.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// When it was heard of.
    pub at: Instant,
    /// When the booking was confirmed, by what is written in it.
    pub confirmed_at: Option<SystemTime>,
}

type Waiting = Mutex<HashMap<(Kind, String), oneshot::Sender<Heard>>>;

/// Who waits for what.
#[derive(Clone)]
pub struct News {
    waiting: Arc<[Waiting]>,
}

impl News {
    /// Listens from now on.
    pub async fn of(env: &Env) -> anyhow::Result<Self> {
        let news = Self { waiting: (0..16).map(|_| Waiting::default()).collect() };
        let prefix = env.optional::<String>(&NATS_PREFIX)?.map(|p| format!("{p}.")).unwrap_or_default();
        let broker = Broker::of_env(env).await?;
        let client = broker.client().clone();
        for (kind, subject) in
            [(Kind::Confirmed, "booking.booking.confirmed.*"), (Kind::Notified, "notification.delivery.sent.*")]
        {
            let subject = format!("{prefix}{subject}");
            let mut events = client.subscribe(subject).await.context("NATS does not let us listen")?;
            let news = news.clone();
            // Ends with the connection, when the last clone of its client is gone with the process.
            tokio::spawn(async move {
                while let Some(event) = events.next().await {
                    let at = Instant::now();
                    let heard = match kind {
                        Kind::Confirmed => confirmed(event.payload),
                        Kind::Notified => confirmation(event.payload).map(|booking| (booking, None)),
                    };
                    if let Some((booking, confirmed_at)) = heard {
                        news.tell(kind, booking, Heard { at, confirmed_at });
                    }
                }
            });
        }
        client.flush().await.context("NATS does not answer")?;
        Ok(news)
    }

    /// The moment at which this will have happened. To be called before it can happen.
    pub fn expect(&self, kind: Kind, booking: &str) -> oneshot::Receiver<Heard> {
        let (told, hears) = oneshot::channel();
        self.shard(booking).lock().unwrap_or_else(PoisonError::into_inner).insert((kind, booking.to_owned()), told);
        hears
    }

    /// Nobody waits for news of this booking any more.
    pub fn forget(&self, booking: &str) {
        let mut waiting = self.shard(booking).lock().unwrap_or_else(PoisonError::into_inner);
        for kind in [Kind::Confirmed, Kind::Notified] {
            waiting.remove(&(kind, booking.to_owned()));
        }
    }

    fn tell(&self, kind: Kind, booking: String, heard: Heard) {
        let told = self.shard(&booking).lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, booking));
        if let Some(told) = told {
            // Who does not wait any more has run out of time.
            let _ = told.send(heard);
        }
    }

    fn shard(&self, booking: &str) -> &Waiting {
        let last = booking.bytes().last().unwrap_or_default();
        &self.waiting[usize::from(last) % self.waiting.len()]
    }
}

/// The booking that was confirmed, and when.
fn confirmed(payload: prost::bytes::Bytes) -> Option<(String, Option<SystemTime>)> {
    let booking = BookingConfirmed::decode(payload).ok()?.booking?;
    Some((booking.id, booking.confirmed_at.and_then(|at| at.try_into().ok())))
}

/// The booking whose confirmation was sent.
fn confirmation(payload: prost::bytes::Bytes) -> Option<String> {
    let delivery = DeliverySent::decode(payload).ok()?.delivery?;
    (delivery.kind() == MessageKind::BookingConfirmed).then_some(delivery.booking_id)
}
