//! What a message says, before it is put into words: stored with the delivery, so that it can be written again as it was.

use chrono::{DateTime, Duration, NaiveDateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{message::Language, quiet};

/// A text in both languages; an empty French one falls back to English.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// English.
    pub en: String,
    /// French, or empty.
    pub fr: String,
}

impl Text {
    /// The text to show.
    pub fn shown_in(&self, language: Language) -> &str {
        let texts = language.order().iter().map(|l| match l {
            Language::En => &self.en,
            Language::Fr => &self.fr,
        });
        texts.into_iter().find(|t| !t.is_empty()).unwrap_or(&self.en)
    }
}

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// How much.
    pub amount: Decimal,
    /// ISO 4217.
    pub currency: String,
}

/// One guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The unit's name in the API without its prefix: `ADULT`.
    pub unit: String,
    /// What it costs.
    pub price: Amount,
    /// What is shown at check-in; empty before the confirmation.
    pub voucher: String,
    /// Who comes; empty: not said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub guest: String,
}

/// A tax that the price holds, or that comes on top of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxLine {
    /// What it is called: `VAT`.
    pub name: Text,
    /// In percent; `None`: it is no share of the price, such as a fee for each night.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Decimal>,
    /// How much.
    pub amount: Amount,
    /// The prices hold it already.
    pub included: bool,
}

/// A booking, as far as messages speak of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookingFacts {
    /// Who booked.
    pub name: String,
    /// The tour's title.
    pub tour: Text,
    /// The option's title.
    pub option: Text,
    /// The start in the tour's own time: `2026-12-31T09:00`.
    pub local_start: String,
    /// IANA.
    pub time_zone: String,
    /// How long it takes.
    pub duration_minutes: i32,
    /// When it starts; `None` in what older versions stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<DateTime<Utc>>,
    /// The booking's version; what calendars know an event's changes by.
    #[serde(default)]
    pub version: i64,
    /// The guests who come.
    pub items: Vec<Item>,
    /// The price of all.
    pub total: Amount,
    /// It is paid to the supplier on arrival.
    pub pay_on_arrival: bool,
    /// What was paid here; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid: Option<Amount>,
    /// The payment's number, for receipts; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub payment: String,
    /// The taxes in or on the price, as far as the booking tells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taxes: Vec<TaxLine>,
    /// The price without its taxes; `None`: no tax counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<Amount>,
    /// What a promo code took off; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount: Option<Amount>,
}

impl BookingFacts {
    /// The tour's time zone; UTC when it is none that is known.
    pub fn zone(&self) -> Tz {
        self.time_zone.parse().unwrap_or(Tz::UTC)
    }

    /// When it starts; `None`: what is stored is no date.
    pub fn start(&self) -> Option<DateTime<Utc>> {
        self.starts_at.or_else(|| Some(quiet::instant(local_time(&self.local_start)?, self.zone())))
    }

    /// When it ends, by the time that it takes.
    pub fn end(&self) -> Option<DateTime<Utc>> {
        self.start()?.checked_add_signed(Duration::minutes(self.duration_minutes.max(0).into()))
    }
}

/// Reads `2026-12-31T09:00`.
pub fn local_time(text: &str) -> Option<NaiveDateTime> {
    ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"].iter().find_map(|f| NaiveDateTime::parse_from_str(text, f).ok())
}

/// Who or what cancelled a booking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Cause {
    /// The traveller, or nobody said who.
    #[default]
    Traveller,
    /// The supplier or staff.
    Supplier,
    /// The departure was called off.
    Departure,
}

/// A payment of a part of what a booking costs: of a move to a departure that costs more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The payment's number.
    pub payment: String,
    /// What was paid.
    pub amount: Amount,
    /// How much of it is taxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax: Option<Amount>,
}

/// What belongs to one message alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// What a cancellation gives back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund: Option<Amount>,
    /// Who or what cancelled.
    pub cause: Cause,
    /// When what the receipt tells was paid; `None`: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<DateTime<Utc>>,
    /// What the receipt is of; `None`: of all that was paid for the booking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// What could not be paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// Why not, in the provider's words; for staff.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub decline_code: String,
    /// How a booking that was moved changed its price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Amount>,
    /// When it was to start before, in the tour's own time; empty: as now, or not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub start_before: String,
    /// How long it was to take before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes_before: Option<i32>,
    /// Until when seats are held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_until: Option<DateTime<Utc>>,
    /// The promo code that an offer was made without; empty: it was made with it, or there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub promo_code: String,
    /// Why without, as Booking says it: `PROMO_CODE_USED_UP`, `PROMO_CODE_ENDED`, `PROMO_CODE_NOT_APPLICABLE`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub promo_refusal: String,
    /// The webhook endpoint that was switched off.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}
