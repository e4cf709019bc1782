//! Wire <-> domain, nothing else.

use kit::{ApiResult, ErrorReason, money::Money, time};
use tourmesh::{
    booking::v1::{Booking, CancellationCause},
    common::v1::LocalizedText,
    google::r#type::Money as WireMoney,
    notification::v1 as wire,
};
use tourmesh_kit as kit;

use crate::{
    domain::{
        BookingId, UserId,
        facts::{Amount, BookingFacts, Cause, Item, Text},
        message::{Kind, Language, Preferences, State},
    },
    error::NotificationError,
    store::{bookings::Snapshot, delivery},
};

/// The kind on the wire.
pub fn kind_to_wire(kind: Kind) -> wire::MessageKind {
    match kind {
        Kind::BookingConfirmed => wire::MessageKind::BookingConfirmed,
        Kind::BookingCancelled => wire::MessageKind::BookingCancelled,
        Kind::PaymentFailed => wire::MessageKind::PaymentFailed,
    }
}

fn kind_of_wire(kind: i32) -> Option<Kind> {
    match wire::MessageKind::try_from(kind).ok()? {
        wire::MessageKind::Unspecified => None,
        wire::MessageKind::BookingConfirmed => Some(Kind::BookingConfirmed),
        wire::MessageKind::BookingCancelled => Some(Kind::BookingCancelled),
        wire::MessageKind::PaymentFailed => Some(Kind::PaymentFailed),
    }
}

/// Preferences for the wire.
pub fn preferences_to_wire(preferences: &Preferences) -> wire::Preferences {
    wire::Preferences {
        language: preferences.language.map(|l| l.as_str().to_owned()).unwrap_or_default(),
        muted: preferences.muted.iter().map(|k| kind_to_wire(*k).into()).collect(),
    }
}

/// Preferences from the wire; each kind once, in a stable order.
///
/// # Errors
/// FIELD_INVALID on a kind or language that is none.
pub fn preferences_of_wire(preferences: &wire::Preferences) -> ApiResult<Preferences> {
    let language = match preferences.language.as_str() {
        "" => None,
        text => Some(
            Language::of_str(text)
                .ok_or_else(|| kit::ApiError::field("preferences.language", "must be \"en\" or \"fr\""))?,
        ),
    };
    let mut muted = Vec::new();
    for (index, kind) in preferences.muted.iter().enumerate() {
        muted.push(kind_of_wire(*kind).ok_or(NotificationError::UnknownKind(index))?);
    }
    muted.sort_unstable();
    muted.dedup();
    Ok(Preferences { language, muted })
}

/// A delivery for the wire.
///
/// # Errors
/// When the row holds what this version does not know.
pub fn delivery_to_wire(row: &delivery::Model) -> Result<wire::Delivery, NotificationError> {
    Ok(wire::Delivery {
        id: row.delivery_id().to_string(),
        user_id: row.user().to_string(),
        booking_id: row.about().map(|b| b.to_string()).unwrap_or_default(),
        kind: kind_to_wire(row.kind()?).into(),
        language: row.language.clone().unwrap_or_default(),
        state: match row.state()? {
            State::Pending => wire::DeliveryState::Pending,
            State::Sent => wire::DeliveryState::Sent,
            State::Failed => wire::DeliveryState::Failed,
            State::Suppressed => wire::DeliveryState::Suppressed,
        }
        .into(),
        attempts: row.attempts,
        error: row.error.clone(),
        created_at: Some(time::to_wire(row.created_at)),
        sent_at: row.sent_at.map(time::to_wire),
        subject: row.subject.clone(),
    })
}

/// An amount of an event.
///
/// # Errors
/// INTERNAL when it is no money: events come from us.
pub fn amount_of_wire(money: &WireMoney) -> ApiResult<Amount> {
    let money = Money::of_wire(money).map_err(kit::ApiError::internal)?;
    Ok(Amount { amount: money.amount(), currency: money.currency().to_string() })
}

/// What messages need of a booking.
///
/// # Errors
/// INTERNAL when the event lacks what it must have: events come from us.
pub fn snapshot_of_wire(booking: &Booking) -> ApiResult<Snapshot> {
    let contact = booking.contact.as_ref().ok_or(NotificationError::EventIncomplete("booking.contact"))?;
    if contact.email.is_empty() {
        return Err(NotificationError::EventIncomplete("booking.contact.email").into());
    }
    let total = booking.total.as_ref().ok_or(NotificationError::EventIncomplete("booking.total"))?;
    let items = booking
        .items
        .iter()
        .map(|item| {
            let price = item.price.as_ref().ok_or(NotificationError::EventIncomplete("booking.items.price"))?;
            let unit = item.unit().as_str_name();
            Ok(Item {
                unit: unit.strip_prefix("UNIT_TYPE_").unwrap_or(unit).to_owned(),
                price: amount_of_wire(price)?,
                voucher: item.voucher_code.clone(),
            })
        })
        .collect::<ApiResult<Vec<_>>>()?;
    Ok(Snapshot {
        id: id_of_event(&booking.id)?,
        version: booking.version.max(0),
        user: booking.customer_id.parse::<UserId>().map_err(kit::ApiError::internal)?,
        email: contact.email.clone(),
        language: Language::of_str(&contact.language).unwrap_or(Language::En),
        facts: BookingFacts {
            name: contact.full_name.clone(),
            tour: text_of_wire(booking.tour_title.as_ref()),
            option: text_of_wire(booking.option_title.as_ref()),
            local_start: booking.local_start.clone(),
            time_zone: booking.time_zone.clone(),
            duration_minutes: booking.duration_minutes,
            items,
            total: amount_of_wire(total)?,
            pay_on_arrival: booking.pay_on_arrival,
        },
        starts_at: booking.starts_at.as_ref().and_then(time::of_wire),
    })
}

/// A booking id in an event.
///
/// # Errors
/// INTERNAL when it is none: events come from us.
pub fn id_of_event(id: &str) -> ApiResult<BookingId> {
    id.parse().map_err(|e: kit::id::IdError| {
        kit::ApiError::new(ErrorReason::Internal, "an event holds no booking id").caused_by(e)
    })
}

/// Who or what cancelled.
pub fn cause_of_wire(cause: CancellationCause) -> Cause {
    match cause {
        CancellationCause::Unspecified | CancellationCause::Traveller => Cause::Traveller,
        CancellationCause::Supplier => Cause::Supplier,
        CancellationCause::Departure => Cause::Departure,
    }
}

fn text_of_wire(text: Option<&LocalizedText>) -> Text {
    text.map(|t| Text { en: t.en.clone(), fr: t.fr.clone() }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tourmesh::common::v1::UnitType;

    use super::*;

    /// The unit's name in the API is what `locale::unit` translates.
    #[test]
    fn every_unit_of_the_api_has_a_name_of_its_own_in_both_languages() {
        for language in Language::ALL {
            let named = (1..9).map(|n| {
                let unit = UnitType::try_from(n).unwrap().as_str_name();
                crate::domain::locale::unit(unit.strip_prefix("UNIT_TYPE_").unwrap(), *language)
            });
            let names: std::collections::HashSet<_> = named.collect();
            assert_eq!(names.len(), 8);
        }
    }
}
