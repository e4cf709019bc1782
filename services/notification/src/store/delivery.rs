//! The table `deliveries` as SeaORM reads it; the same row comes back from the writes in plain SQL.

use sea_orm::entity::prelude::*;
use serde::Deserialize as _;

use crate::{
    domain::{
        BookingId, DeliveryId, UserId,
        facts::{BookingFacts, Detail},
        message::{Channel, Kind, Language, State},
    },
    error::NotificationError,
};

/// The columns of a [`Model`] in a statement that calls the table `d`. By name: with `*` a prepared statement fails for
/// good as soon as a newer version adds a column.
macro_rules! columns {
    () => {
        "d.id, d.channel, d.kind, d.topic, d.event_id, d.resend_of, d.user_id, d.booking_id, d.language, d.email, \
         d.booking, d.detail, d.state, d.due_at, d.attempts, d.error, d.subject, d.created_at, d.sent_at, d.traceparent, \
         d.requested_by, d.request_id, d.request_hash, d.priority, d.address"
    };
}
pub(super) use columns;

/// A row, in the order of the migration.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sqlx::FromRow)]
#[sea_orm(table_name = "deliveries")]
#[allow(missing_docs, reason = "the migration describes the columns")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub channel: String,
    pub kind: String,
    pub topic: String,
    pub event_id: Option<Uuid>,
    pub resend_of: Option<Uuid>,
    pub user_id: Uuid,
    pub booking_id: Option<Uuid>,
    pub language: Option<String>,
    pub email: Option<String>,
    pub booking: Option<Json>,
    pub detail: Json,
    pub state: String,
    pub due_at: Option<DateTimeUtc>,
    pub attempts: i32,
    pub error: String,
    pub subject: String,
    pub created_at: DateTimeUtc,
    pub sent_at: Option<DateTimeUtc>,
    pub traceparent: Option<String>,
    pub requested_by: Option<String>,
    pub request_id: Option<String>,
    pub request_hash: Option<Vec<u8>>,
    pub priority: i16,
    pub address: Option<String>,
}

/// None are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

fn unreadable(what: &'static str, value: &impl std::fmt::Debug) -> NotificationError {
    NotificationError::Unreadable { what, value: format!("{value:?}").chars().take(80).collect() }
}

impl Model {
    /// The delivery's id.
    pub fn delivery_id(&self) -> DeliveryId {
        DeliveryId::from_uuid(self.id)
    }
    /// To whom.
    pub fn user(&self) -> UserId {
        UserId::from_uuid(self.user_id)
    }
    /// About which booking.
    pub fn about(&self) -> Option<BookingId> {
        self.booking_id.map(BookingId::from_uuid)
    }
    /// What it is about.
    ///
    /// # Errors
    /// When the column holds what this version does not know.
    pub fn kind(&self) -> Result<Kind, NotificationError> {
        Kind::of_str(&self.kind).ok_or_else(|| unreadable("kind", &self.kind))
    }
    /// How it travels.
    ///
    /// # Errors
    /// When the column holds what this version does not know.
    pub fn channel(&self) -> Result<Channel, NotificationError> {
        Channel::of_str(&self.channel).ok_or_else(|| unreadable("channel", &self.channel))
    }
    /// Where it is in its life.
    ///
    /// # Errors
    /// When the column holds what this version does not know.
    pub fn state(&self) -> Result<State, NotificationError> {
        State::of_str(&self.state).ok_or_else(|| unreadable("state", &self.state))
    }
    /// What language it is in.
    ///
    /// # Errors
    /// When the column holds what this version does not know.
    pub fn language(&self) -> Result<Option<Language>, NotificationError> {
        let read = |text: &String| Language::of_str(text).ok_or_else(|| unreadable("language", text));
        self.language.as_ref().map(read).transpose()
    }
    /// The booking as the message tells it, if it is about one.
    ///
    /// # Errors
    /// When the column holds what this version does not know.
    pub fn facts(&self) -> Result<Option<BookingFacts>, NotificationError> {
        let read = |json: &Json| BookingFacts::deserialize(json).map_err(|e| unreadable("booking", &e));
        self.booking.as_ref().map(read).transpose()
    }
    /// What belongs to this message alone.
    ///
    /// # Errors
    /// When the column holds what this version does not know.
    pub fn detail(&self) -> Result<Detail, NotificationError> {
        Detail::deserialize(&self.detail).map_err(|e| unreadable("detail", &e))
    }
}
