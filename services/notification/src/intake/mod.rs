//! From events to deliveries: what is told to whom, on which channels, and when at the earliest.

mod bookings;
mod departures;
mod doors;

use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;
use futures_util::{FutureExt as _, future::BoxFuture};
use kit::{
    ApiError, ApiResult,
    events::{Consumer, Handler, Received},
    telemetry,
};
use serde_json::Value;
use sqlx::PgConnection;
use tourmesh_kit as kit;
use uuid::Uuid;

use crate::{
    domain::{
        BookingId, UserId,
        facts::Detail,
        message::{Channel, Kind, Language, Preferences},
        quiet,
    },
    store::deliveries::NewDelivery,
};

/// Where bookings come from. Each event brings its booking as it is, so that a message needs nothing else; a hold is told to
/// nobody, and so not listened to.
pub const BOOKINGS: Consumer = Consumer {
    name: "notification-bookings",
    domain: "booking",
    subjects: &[
        "booking.booking.confirmed.*",
        "booking.booking.cancelled.*",
        "booking.booking.changed.*",
        "booking.booking.rescheduled.*",
        "booking.booking.redeemed.*",
        "booking.payment.failed.*",
        "booking.waiting.offered.*",
    ],
};
/// Where departures that change come from. That one is called off is told by its bookings.
pub const DEPARTURES: Consumer =
    Consumer { name: "notification-departures", domain: "catalog", subjects: &["catalog.departure.changed.*"] };

pub use doors::Doors;

/// Turns events into deliveries.
#[derive(Debug, Clone, Copy)]
pub struct Intake {
    /// How long before the start a reminder is due; zero: there are none.
    pub remind_before: Duration,
    /// Text messages can be sent.
    pub sms: bool,
    /// Push messages can be sent.
    pub push: bool,
}

/// Bookings: every event brings the newest snapshot, and most are told. Their messages go straight to the senders, as
/// far as there is room.
#[derive(Debug)]
pub struct OfBookings {
    /// How events become messages.
    pub intake: Intake,
    /// Where messages go.
    pub doors: Doors,
}

/// Departures that start at another time, or take longer or shorter.
#[derive(Debug, Clone, Copy)]
pub struct OfDepartures(pub Intake);

impl Handler for OfBookings {
    fn handle<'a>(&'a self, tx: &'a mut PgConnection, events: &'a [Received]) -> BoxFuture<'a, ApiResult<()>> {
        self.intake.bookings(tx, events, &self.doors).boxed()
    }

    fn committed(&self) {
        self.doors.committed();
    }
}

impl Handler for OfDepartures {
    fn handle<'a>(&'a self, tx: &'a mut PgConnection, events: &'a [Received]) -> BoxFuture<'a, ApiResult<()>> {
        self.0.departures(tx, events).boxed()
    }
}

/// Something that is to be told to one person.
#[derive(Debug, Clone)]
pub struct News<'a> {
    /// What it is about.
    pub kind: Kind,
    /// `bkg_…:confirmed`.
    pub topic: String,
    /// Which event asked for it.
    pub event: Option<&'a Received>,
    /// To whom.
    pub user: UserId,
    /// About which booking.
    pub booking: BookingId,
    /// What is known of the booking.
    pub known: Known,
    /// What belongs to this message alone.
    pub detail: Detail,
}

/// A booking, as far as addressing needs it.
#[derive(Debug, Clone)]
pub struct Known {
    /// The language of the booking.
    pub language: Language,
    /// Where e-mails go.
    pub email: String,
    /// The tour's time zone.
    pub zone: Tz,
    /// What messages say.
    pub facts: Value,
}

impl Known {
    pub(crate) fn of_stored(language: &str, email: String, facts: Value) -> Self {
        let zone = facts.get("time_zone").and_then(Value::as_str).and_then(|zone| zone.parse().ok());
        let language = Language::of_str(language).unwrap_or(Language::En);
        Self { language, email, zone: zone.unwrap_or(Tz::UTC), facts }
    }
}

impl Intake {
    /// The messages that news become: one for each channel that the person has and wants.
    ///
    /// # Errors
    /// INTERNAL when the facts cannot be kept.
    pub(crate) fn messages(
        &self,
        news: &News<'_>,
        wish: &Preferences,
        browsers: &[Uuid],
        now: DateTime<Utc>,
    ) -> ApiResult<Vec<NewDelivery>> {
        let kind = news.kind;
        let detail = json(&news.detail)?;
        let zone = wish.time_zone.unwrap_or(news.known.zone);
        let quiet = wish.quiet.filter(|_| !kind.is_urgent());
        let not_before = quiet.map(|quiet| quiet::next_allowed(now, zone, quiet));
        let on = |channel, topic: String, to: String| NewDelivery {
            channel,
            kind,
            topic,
            event: news.event.map(|e| e.id),
            user: news.user,
            booking: Some(news.booking),
            language: wish.language_or(news.known.language),
            to,
            facts: Some(news.known.facts.clone()),
            detail: detail.clone(),
            suppressed: !wish.want(channel, kind),
            not_before,
            traceparent: news.event.and_then(|e| telemetry::traceparent(&e.span)),
        };
        let mut all = vec![on(Channel::Email, news.topic.clone(), news.known.email.clone())];
        let phone = wish.phone.clone().filter(|_| self.sms && wish.want(Channel::Sms, kind));
        all.extend(phone.map(|phone| on(Channel::Sms, news.topic.clone(), phone)));
        let browsers = browsers.iter().filter(|_| self.push && wish.want(Channel::Push, kind));
        all.extend(browsers.map(|id| on(Channel::Push, format!("{}:{}", news.topic, id.simple()), id.to_string())));
        Ok(all)
    }

    /// When the reminder of a booking is due; `None`: it gets none, because there are none, or because it was sold so
    /// late that its confirmation is one.
    fn remind_at(&self, starts_at: Option<DateTime<Utc>>, told_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let at = starts_at.filter(|_| self.remind_before > Duration::zero())?.checked_sub_signed(self.remind_before)?;
        (at > told_at).then_some(at)
    }
}

fn json(value: &impl serde::Serialize) -> ApiResult<Value> {
    serde_json::to_value(value).map_err(ApiError::internal)
}
