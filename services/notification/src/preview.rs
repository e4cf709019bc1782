//! Messages about a booking that never was, for people to look at: `tourmesh notify preview`.

use kit::voucher::VoucherKeys;
use lettre::message::Mailbox;
use tourmesh_kit as kit;

use crate::{
    domain::{
        BookingId, DeliveryId,
        facts::{Amount, BookingFacts, Cause, Detail, Item, TaxLine, Text},
        message::{Kind, Language},
    },
    mail::{self, Enclosed, Letter},
    templates::{self, Story},
};

/// A file of a preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// `booking_confirmed.fr.html`.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// Why a preview could not be made: a defect of ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PreviewError(String);

fn euros(text: &str) -> Amount {
    Amount { amount: text.parse().unwrap_or_default(), currency: "EUR".to_owned() }
}

fn text(en: &str, fr: &str) -> Text {
    Text { en: en.to_owned(), fr: fr.to_owned() }
}

/// The booking of all previews: two adults and a child on New Year's morning in Paris.
pub fn booking() -> BookingFacts {
    let item = |unit: &str, price: &str, voucher: &str, guest: &str| Item {
        unit: unit.to_owned(),
        price: euros(price),
        voucher: voucher.to_owned(),
        guest: guest.to_owned(),
    };
    BookingFacts {
        name: "Amélie Durand".to_owned(),
        tour: text(
            "Banks of the Seine: islands, bridges and cathedrals",
            "Rives de la Seine : îles, ponts et cathédrales",
        ),
        option: text("Small group, guide in English", "Petit groupe, guide en français"),
        local_start: "2027-01-01T09:00".to_owned(),
        time_zone: "Europe/Paris".to_owned(),
        duration_minutes: 150,
        starts_at: None,
        version: 2,
        items: vec![
            item("ADULT", "49.5", "6R0ZC3T9M4XQ1JW8KHVPAYGD2N", "Amélie Durand"),
            item("ADULT", "49.5", "B7E5F0S1VQK9ZD3W4M8XTHJC6R", "Łukasz Żółtowski"),
            item("CHILD", "20", "1YG8NPJ2A0KQW5R3TDXMZ7V4CE", ""),
        ],
        total: euros("119"),
        pay_on_arrival: false,
        paid: Some(euros("119")),
        payment: "pay_0199aa31c0de7000800000000000beef".to_owned(),
        taxes: vec![
            TaxLine { name: text("VAT", "TVA"), percent: "10".parse().ok(), amount: euros("10.27"), included: true },
            TaxLine { name: text("City tax", "Taxe de séjour"), percent: None, amount: euros("6"), included: false },
        ],
        net: Some(euros("102.73")),
        discount: Some(euros("5")),
    }
}

/// What belongs to the message of this kind.
pub fn detail(kind: Kind) -> Detail {
    let none = Detail::default();
    match kind {
        Kind::BookingCancelled => Detail { refund: Some(euros("59.5")), ..none },
        Kind::DepartureCancelled => Detail { refund: Some(euros("119")), cause: Cause::Departure, ..none },
        Kind::PaymentFailed => Detail { amount: Some(euros("119")), ..none },
        Kind::BookingChanged => Detail { refund: Some(euros("49.5")), ..none },
        Kind::BookingRescheduled => Detail {
            start_before: "2026-12-31T14:30".to_owned(),
            difference: Some(euros("-30")),
            refund: Some(euros("30")),
            ..none
        },
        Kind::DepartureChanged => {
            Detail { start_before: "2027-01-01T10:00".to_owned(), minutes_before: Some(180), ..none }
        }
        Kind::WaitingListOffer => Detail { held_until: "2026-12-30T17:00:00Z".parse().ok(), ..none },
        Kind::WebhookDisabled => Detail {
            endpoint: "https://shop.example/hooks/tourmesh".to_owned(),
            reason: "503 Service Unavailable for 3 days".to_owned(),
            ..none
        },
        Kind::BookingConfirmed | Kind::Receipt => Detail { paid_at: "2026-11-21T09:59:00Z".parse().ok(), ..none },
        Kind::DepartureReminder => none,
    }
}

/// Everything that goes out for a message: the words, the attachments, the whole e-mail.
///
/// # Errors
/// A defect of ours.
pub fn files(kind: Kind, language: Language) -> Result<Vec<File>, PreviewError> {
    let failed = |e: &dyn std::fmt::Display| PreviewError(e.to_string());
    let (facts, detail) = (booking(), detail(kind));
    let booking = BookingId::from_uuid(uuid::Uuid::from_u128(0x0199_aa31_c0de_7000_8000_0000_0000_cafe));
    let unsubscribe = if kind.is_mandatory() { "" } else { "https://tourmesh.example/unsubscribe/example" };
    let keys = VoucherKeys::of(&["a key that signs nothing but previews"]);
    let from: Mailbox = "Tourmesh <no-reply@tourmesh.example>".parse().map_err(|e| failed(&e))?;
    let made_at = "2026-11-21T10:00:00Z".parse().unwrap_or_default();
    let about = (kind != Kind::WebhookDisabled).then_some(&facts);
    let enclosed =
        Enclosed::of(kind, language, booking, about, &keys, from.email.domain(), made_at).map_err(|e| failed(&e))?;
    let pictures = !enclosed.pictures.is_empty();
    let story = Story { booking: Some(booking), facts: about, detail: &detail, unsubscribe, pictures };
    let words = templates::write(kind, language, &story).map_err(|e| failed(&e))?;
    let (_, short) = templates::write_short(kind, language, &story).map_err(|e| failed(&e))?;

    let stem = format!("{}.{}", kind.as_str().to_lowercase(), language.as_str());
    let mut files = Vec::new();
    let mut add = |end: &str, content: Vec<u8>| files.push(File { name: format!("{stem}.{end}"), content });
    add("txt", format!("{}\n\n{}", words.subject, words.text).into_bytes());
    add("short.txt", format!("{short}\n").into_bytes());
    let mut html = words.html.clone();
    for (id, picture) in &enclosed.pictures {
        html = html.replace(&format!("cid:{id}"), &format!("data:image/png;base64,{}", mail::base64(picture)));
    }
    add("html", html.into_bytes());
    if let Some(event) = &enclosed.calendar {
        add("ics", event.clone().into_bytes());
    }
    if let Some(ticket) = &enclosed.ticket {
        add("pdf", ticket.clone());
    }
    let id = DeliveryId::from_uuid(uuid::Uuid::from_u128(0x0199_aa31_c0de_7000_8000_0000_0000_f00d));
    let letter = Letter {
        id,
        from: &from,
        name: &facts.name,
        email: "amelie@example.com",
        language,
        date: made_at,
        words,
        enclosed,
        unsubscribe,
    };
    add("eml", mail::compose(letter).map_err(|e| failed(&e))?.formatted());
    Ok(files)
}
