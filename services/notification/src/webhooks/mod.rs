//! Messages to programs: bookings become JSON for the endpoints of suppliers and resellers, signed as Standard Webhooks
//! says, in the order of each booking, tried for three days, logged, and replayed on request. An endpoint that never
//! answers is switched off, and its owner is told.
//!
//! [`Listening`] takes events in, [`Caller`] sends, [`api::Hooks`] is what owners see, [`keys::Keys`] keep their secrets.

pub mod api;
pub mod keys;
mod payload;
mod send;

use chrono::{DateTime, Utc};
use futures_util::{FutureExt as _, future::BoxFuture};
use kit::{
    ApiResult,
    db::Db,
    events::{Consumer, Handler, Interest, Received},
};
use sqlx::PgConnection;
use tourmesh_kit as kit;

pub use send::Caller;

use crate::store::webhook_messages;

/// Where bookings come from.
pub const HAPPENINGS: Consumer =
    Consumer { name: "notification-webhooks", domain: "booking", subjects: &["booking.booking.*.*"] };

/// Keeps what happens to bookings for the endpoints that want to hear of it.
#[derive(Debug, Clone, Copy)]
pub struct Listening;

impl Handler for Listening {
    fn handle<'a>(&'a self, tx: &'a mut PgConnection, events: &'a [Received]) -> BoxFuture<'a, ApiResult<()>> {
        async move {
            let happened = events.iter().filter_map(|e| payload::happened(e).transpose());
            webhook_messages::add(tx, &happened.collect::<ApiResult<Vec<_>>>()?).await
        }
        .boxed()
    }

    /// Most platforms have no endpoint at all; an endpoint hears of what happens from its making on.
    fn interest<'a>(&'a self, db: &'a Db) -> BoxFuture<'a, ApiResult<Interest>> {
        let first = sqlx::query_scalar("SELECT min(created_at) FROM webhook_endpoints").fetch_one(db.pool());
        async move {
            let first: Option<DateTime<Utc>> = first.await?;
            Ok(first.map_or(Interest::None, Interest::Since))
        }
        .boxed()
    }
}
