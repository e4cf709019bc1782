//! What a message says, before it is put into words: stored with the delivery, so that it can be written again as it was.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::message::Language;

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
        match language {
            Language::Fr if !self.fr.is_empty() => &self.fr,
            _ => &self.en,
        }
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
    /// The guests.
    pub items: Vec<Item>,
    /// The price of all.
    pub total: Amount,
    /// It is paid to the supplier on arrival.
    pub pay_on_arrival: bool,
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

/// What belongs to one message alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// What a cancellation gives back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund: Option<Amount>,
    /// Who or what cancelled.
    pub cause: Cause,
    /// What could not be paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// Why not, in the provider's words; for staff.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub decline_code: String,
}
