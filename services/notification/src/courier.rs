//! One try of one message: put into words, and handed over on its channel.

use std::sync::Arc;

use kit::{db::Db, voucher::VoucherKeys};
use lettre::message::Mailbox;
use serde_json::json;
use tourmesh_kit as kit;
use uuid::Uuid;

use crate::{
    config::Route,
    domain::{
        BookingId,
        facts::{BookingFacts, Detail},
        message::{Channel, Kind, Language},
        retry::Failure,
    },
    error::NotificationError,
    links::Links,
    mail::{self, Enclosed, Letter},
    push::{Push, PushError},
    sms::Sms,
    store::{delivery, push as browsers},
    templates::{self, Story, Words},
};

/// Handing over failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SendError {
    /// What kind of failure it was.
    pub failure: Failure,
    /// For the delivery's `error`.
    pub text: String,
}

impl SendError {
    /// The text may come from a stranger's server, and goes to the database: one bounded line.
    pub fn new(failure: Failure, text: impl AsRef<str>) -> Self {
        let text = text.as_ref().chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { failure, text }
    }

    /// It will never go out like this.
    pub fn never(text: impl AsRef<str>) -> Self {
        Self::new(Failure::Permanent, text)
    }
}

impl From<NotificationError> for SendError {
    fn from(error: NotificationError) -> Self {
        Self::never(error.to_string())
    }
}

/// What all couriers need.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The database.
    pub db: Db,
    /// Links to stop messages.
    pub links: Links,
    /// Signs QR codes.
    pub vouchers: VoucherKeys,
    /// How long handing one over may take.
    pub send_timeout: std::time::Duration,
}

/// Who hands messages over.
#[derive(Debug)]
pub struct Courier {
    desk: Desk,
    way: Way,
}

/// Which way messages leave.
#[derive(Debug)]
pub enum Way {
    /// E-mail.
    Mail {
        /// Where to.
        route: Route,
        /// The sender.
        from: Mailbox,
    },
    /// Text messages.
    Sms(Arc<Sms>),
    /// Notifications of browsers.
    Push(Arc<Push>),
}

/// A row, read.
struct Read {
    kind: Kind,
    language: Language,
    booking: Option<BookingId>,
    facts: Option<BookingFacts>,
    detail: Detail,
}

impl Read {
    fn story<'a>(&'a self, unsubscribe: &'a str, pictures: bool) -> Story<'a> {
        Story { booking: self.booking, facts: self.facts.as_ref(), detail: &self.detail, unsubscribe, pictures }
    }
}

fn address(row: &delivery::Model) -> Result<&str, SendError> {
    row.address.as_deref().ok_or_else(|| SendError::never("there is no address"))
}

fn read(row: &delivery::Model) -> Result<Read, SendError> {
    let (kind, facts) = (row.kind()?, row.facts()?);
    let unknown = || SendError::never("nothing is known of its booking");
    if facts.is_none() && kind != Kind::WebhookDisabled {
        return Err(unknown());
    }
    let language = row.language()?.ok_or_else(unknown)?;
    Ok(Read { kind, language, booking: row.about(), facts, detail: row.detail()? })
}

impl Courier {
    /// For one way.
    pub fn new(desk: Desk, way: Way) -> Self {
        Self { desk, way }
    }

    /// The channel that it serves.
    pub fn channel(&self) -> Channel {
        match self.way {
            Way::Mail { .. } => Channel::Email,
            Way::Sms(_) => Channel::Sms,
            Way::Push(_) => Channel::Push,
        }
    }

    /// Makes sure of what was handed over, before it is marked as sent.
    pub async fn settle(&self) {
        match &self.way {
            Way::Mail { route, .. } => mail::settle(route).await,
            Way::Sms(_) | Way::Push(_) => {}
        }
    }

    /// One try; `subject` is what the message was called.
    ///
    /// # Errors
    /// When it was not accepted, or not in time; then it is unknown whether it was.
    pub async fn send(&self, row: &delivery::Model, subject: &mut String) -> Result<(), SendError> {
        match &self.way {
            Way::Mail { route, from } => self.mail(route, from, row, subject).await,
            Way::Sms(sms) => {
                let to = address(row)?;
                let (title, text) = self.write_short(row)?;
                *subject = title;
                sms.send(to, &text, self.desk.send_timeout).await
            }
            Way::Push(push) => self.push(push, row, subject).await,
        }
    }

    fn write_short(&self, row: &delivery::Model) -> Result<(String, String), SendError> {
        let read = read(row)?;
        let story = read.story("", false);
        templates::write_short(read.kind, read.language, &story).map_err(|e| SendError::never(e.to_string()))
    }

    async fn push(&self, push: &Push, row: &delivery::Model, subject: &mut String) -> Result<(), SendError> {
        let gone = || SendError::never("the browser wants no messages any more");
        let id: Uuid = address(row)?.parse().map_err(|_| gone())?;
        let to = browsers::get(self.desk.db.pool(), id).await;
        let to = to.map_err(|e| SendError::new(Failure::Unreachable, e.to_string()))?.ok_or_else(gone)?;
        let (title, text) = self.write_short(row)?;
        subject.clone_from(&title);
        let booking = row.about().map(|b| b.to_string()).unwrap_or_default();
        let message = json!({ "title": title, "body": text, "booking": booking, "id": row.delivery_id().to_string() });
        // Of one delivery there is never more than one on a screen.
        let topic = row.id.simple().to_string();
        let urgent = row.kind()?.is_urgent();
        match push.send(&to, &topic, message.to_string().as_bytes(), urgent, self.desk.send_timeout).await {
            Ok(()) => Ok(()),
            Err(PushError::Send(error)) => Err(error),
            Err(PushError::Gone) => {
                if let Err(error) = browsers::forget(self.desk.db.pool(), id).await {
                    tracing::debug!(%error, "a browser that is gone could not be forgotten");
                }
                Err(gone())
            }
        }
    }

    async fn mail(
        &self,
        route: &Route,
        from: &Mailbox,
        row: &delivery::Model,
        subject: &mut String,
    ) -> Result<(), SendError> {
        let read = read(row)?;
        let email = row.email.as_deref().ok_or_else(|| SendError::never("there is no address"))?;
        let unsubscribe = self.desk.links.unsubscribe(row.user(), Channel::Email, read.kind);
        let (words, enclosed) = self.write(&read, &unsubscribe, from, row)?;
        subject.clone_from(&words.subject);
        let letter = Letter {
            id: row.delivery_id(),
            from,
            name: read.facts.as_ref().map(|f| f.name.as_str()).unwrap_or_default(),
            email,
            language: read.language,
            date: row.created_at,
            words,
            enclosed,
            unsubscribe: &unsubscribe,
        };
        let message = mail::compose(letter)?;
        mail::hand_over(route, row.delivery_id(), message, self.desk.send_timeout).await
    }

    fn write(
        &self,
        read: &Read,
        unsubscribe: &str,
        from: &Mailbox,
        row: &delivery::Model,
    ) -> Result<(Words, Enclosed), SendError> {
        let enclosed = match read.booking {
            Some(booking) => Enclosed::of(
                read.kind,
                read.language,
                booking,
                read.facts.as_ref(),
                &self.desk.vouchers,
                from.email.domain(),
                row.created_at,
            )
            .map_err(|e| SendError::never(e.to_string()))?,
            None => Enclosed::default(),
        };
        let story = read.story(unsubscribe, !enclosed.pictures.is_empty());
        let words = templates::write(read.kind, read.language, &story).map_err(|e| SendError::never(e.to_string()))?;
        Ok((words, enclosed))
    }
}
