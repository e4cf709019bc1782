//! Wire <-> domain, nothing else.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::NaiveTime;
use kit::{ApiError, ApiResult, ErrorReason, money::Money, time};
use tourmesh::{
    booking::v1::{Booking, CancellationCause},
    common::v1::{LocalizedText, TaxLine as WireTaxLine},
    google::r#type::Money as WireMoney,
    notification::v1 as wire,
};
use tourmesh_kit as kit;
use uuid::Uuid;

use crate::{
    domain::{
        BookingId, UserId,
        facts::{Amount, BookingFacts, Cause, Item, TaxLine, Text},
        message::{Channel, Kind, Language, Preferences, QuietHours, State},
    },
    error::NotificationError,
    store::{bookings::Snapshot, delivery, push::Subscription},
};

/// Pairs of the wire's values and ours.
macro_rules! pairs {
    ($(#[$meta:meta])* $to:ident, $of:ident, $ours:ident, $wire:ident { $($value:ident),* $(,)? }) => {
        $(#[$meta])*
        pub fn $to(ours: $ours) -> wire::$wire {
            match ours { $($ours::$value => wire::$wire::$value),* }
        }
        fn $of(number: i32) -> Option<$ours> {
            match wire::$wire::try_from(number).ok()? {
                wire::$wire::Unspecified => None,
                $(wire::$wire::$value => Some($ours::$value)),*
            }
        }
    };
}

pairs! {
    /// The kind on the wire.
    kind_to_wire, kind_of_wire, Kind, MessageKind {
        BookingConfirmed, BookingCancelled, PaymentFailed, BookingChanged, BookingRescheduled, DepartureCancelled,
        DepartureChanged, WaitingListOffer, Receipt, DepartureReminder, WebhookDisabled,
    }
}
pairs! {
    /// The channel on the wire.
    channel_to_wire, channel_of_wire, Channel, Channel { Email, Sms, Push }
}
pairs! {
    /// The state on the wire.
    state_to_wire, state_of_wire, State, DeliveryState { Pending, Sent, Failed, Suppressed, Bounced }
}

/// Preferences for the wire.
pub fn preferences_to_wire(preferences: &Preferences) -> wire::Preferences {
    let time = |time: Option<NaiveTime>| time.map(|t| t.format("%H:%M").to_string()).unwrap_or_default();
    let muted_on = |channel: &Channel| {
        let kinds = preferences.muted_on.iter().filter(|(c, _)| c == channel).map(|(_, k)| kind_to_wire(*k).into());
        let muted: Vec<i32> = kinds.collect();
        let preference = wire::ChannelPreference { channel: channel_to_wire(*channel).into(), muted };
        (!preference.muted.is_empty()).then_some(preference)
    };
    wire::Preferences {
        language: preferences.language.map(|l| l.as_str().to_owned()).unwrap_or_default(),
        muted: preferences.muted.iter().map(|k| kind_to_wire(*k).into()).collect(),
        time_zone: preferences.time_zone.map(|z| z.name().to_owned()).unwrap_or_default(),
        quiet_from: time(preferences.quiet.map(|q| q.from)),
        quiet_until: time(preferences.quiet.map(|q| q.until)),
        phone: preferences.phone.clone().unwrap_or_default(),
        channels: Channel::ALL.iter().filter_map(muted_on).collect(),
    }
}

/// Preferences from the wire; each kind once, in a stable order.
///
/// # Errors
/// FIELD_INVALID on what is none.
pub fn preferences_of_wire(preferences: &wire::Preferences) -> ApiResult<Preferences> {
    let wrong = |field: &str, problem: &str| ApiError::field(format!("preferences.{field}"), problem);
    let language = match preferences.language.as_str() {
        "" => None,
        text => Some(Language::of_str(text).ok_or_else(|| wrong("language", "must be \"en\" or \"fr\""))?),
    };
    let kinds = |field: &str, numbers: &[i32]| {
        let mut kinds = Vec::new();
        for (index, number) in numbers.iter().enumerate() {
            let unknown = || wrong(&format!("{field}[{index}]"), "is not a kind of message");
            kinds.push(kind_of_wire(*number).ok_or_else(unknown)?);
        }
        kinds.sort_unstable();
        kinds.dedup();
        ApiResult::Ok(kinds)
    };
    let muted = kinds("muted", &preferences.muted)?;
    let mut muted_on = Vec::new();
    for (index, preference) in preferences.channels.iter().enumerate() {
        let unknown = || wrong(&format!("channels[{index}].channel"), "is not a channel");
        let channel = channel_of_wire(preference.channel).ok_or_else(unknown)?;
        let kinds = kinds(&format!("channels[{index}].muted"), &preference.muted)?;
        muted_on.extend(kinds.into_iter().map(|kind| (channel, kind)));
    }
    muted_on.sort_unstable();
    muted_on.dedup();
    let time_zone = match preferences.time_zone.as_str() {
        "" => None,
        zone => Some(zone.parse().map_err(|_| wrong("time_zone", "is not a time zone such as \"Europe/Paris\""))?),
    };
    let time = |field: &str, text: &str| match text {
        "" => Ok(None),
        text => NaiveTime::parse_from_str(text, "%H:%M")
            .map(Some)
            .map_err(|_| wrong(field, "is not a time of day such as \"22:00\"")),
    };
    let quiet = match (time("quiet_from", &preferences.quiet_from)?, time("quiet_until", &preferences.quiet_until)?) {
        (Some(from), Some(until)) if from != until => Some(QuietHours { from, until }),
        (None, None) => None,
        (Some(_), Some(_)) => return Err(wrong("quiet_until", "must differ from quiet_from")),
        _ => return Err(wrong("quiet_until", "must be set when quiet_from is, and not else")),
    };
    let phone = Some(preferences.phone.clone()).filter(|p| !p.is_empty());
    if phone.as_deref().is_some_and(|p| !is_phone(p)) {
        return Err(wrong("phone", "must be \"+\" and 7 to 15 digits, with the country's first"));
    }
    Ok(Preferences { language, muted, muted_on, phone, time_zone, quiet })
}

/// E.164.
fn is_phone(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// The states of a filter.
///
/// # Errors
/// FIELD_INVALID on what is none.
pub fn states_of_wire(states: &[i32]) -> ApiResult<Vec<State>> {
    let read = |(index, number): (usize, &i32)| {
        state_of_wire(*number).ok_or_else(|| ApiError::field(format!("states[{index}]"), "is not a state"))
    };
    states.iter().enumerate().map(read).collect()
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
        state: state_to_wire(row.state()?).into(),
        channel: channel_to_wire(row.channel()?).into(),
        attempts: row.attempts,
        error: row.error.clone(),
        created_at: Some(time::to_wire(row.created_at)),
        sent_at: row.sent_at.map(time::to_wire),
        subject: row.subject.clone(),
    })
}

/// A browser's subscription.
///
/// # Errors
/// FIELD_INVALID when its keys are none.
pub fn subscription_of_wire(request: &wire::AddPushSubscriptionRequest) -> ApiResult<Subscription> {
    let key = |field: &str, text: &str, length: usize| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok().filter(|b| b.len() == length);
        bytes.ok_or_else(|| ApiError::field(field, format!("must be {length} bytes in base64url")))
    };
    let p256dh = key("p256dh", &request.p256dh, 65)?;
    if p256dh.first() != Some(&4) {
        return Err(ApiError::field("p256dh", "must be an uncompressed point"));
    }
    let auth = key("auth", &request.auth, 16)?;
    Ok(Subscription { id: Uuid::now_v7(), endpoint: request.endpoint.clone(), p256dh, auth })
}

/// An amount of an event.
///
/// # Errors
/// INTERNAL when it is no money: events come from us.
pub fn amount_of_wire(money: &WireMoney) -> ApiResult<Amount> {
    let money = Money::of_wire(money).map_err(ApiError::internal)?;
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
    // Who left is no guest any more, and the voucher opens no door.
    let items = booking
        .items
        .iter()
        .filter(|item| item.cancelled_at.is_none())
        .map(|item| {
            let price = item.price.as_ref().ok_or(NotificationError::EventIncomplete("booking.items.price"))?;
            let unit = item.unit().as_str_name();
            Ok(Item {
                unit: unit.strip_prefix("UNIT_TYPE_").unwrap_or(unit).to_owned(),
                price: amount_of_wire(price)?,
                voucher: item.voucher_code.clone(),
                guest: item.guest_name.clone(),
            })
        })
        .collect::<ApiResult<Vec<_>>>()?;
    let starts_at = booking.starts_at.as_ref().and_then(time::of_wire);
    let state = booking.state().as_str_name();
    Ok(Snapshot {
        id: id_of_event(&booking.id)?,
        state: state.strip_prefix("BOOKING_STATE_").unwrap_or(state).to_owned(),
        departure: kit::id::parse("dep", &booking.departure_id).ok(),
        remind_at: None,
        version: booking.version.max(0),
        user: booking.customer_id.parse::<UserId>().map_err(ApiError::internal)?,
        email: contact.email.clone(),
        language: Language::of_str(&contact.language).unwrap_or(Language::En),
        facts: BookingFacts {
            name: contact.full_name.clone(),
            tour: text_of_wire(booking.tour_title.as_ref()),
            option: text_of_wire(booking.option_title.as_ref()),
            local_start: booking.local_start.clone(),
            time_zone: booking.time_zone.clone(),
            duration_minutes: booking.duration_minutes,
            starts_at,
            version: booking.version.max(0),
            items,
            total: amount_of_wire(total)?,
            pay_on_arrival: booking.pay_on_arrival,
            paid: booking.paid.as_ref().map(amount_of_wire).transpose()?,
            payment: booking.payment_id.clone(),
            taxes: booking.taxes.iter().map(tax_of_wire).collect::<ApiResult<_>>()?,
            net: booking.net.as_ref().map(amount_of_wire).transpose()?,
            discount: booking.discount.as_ref().map(amount_of_wire).transpose()?,
        },
        starts_at,
    })
}

/// A booking id in an event.
///
/// # Errors
/// INTERNAL when it is none: events come from us.
pub fn id_of_event(id: &str) -> ApiResult<BookingId> {
    id.parse().map_err(|e: kit::id::IdError| {
        ApiError::new(ErrorReason::Internal, "an event holds no booking id").caused_by(e)
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

fn tax_of_wire(line: &WireTaxLine) -> ApiResult<TaxLine> {
    let tax = line.tax.clone().unwrap_or_default();
    let amount = line.amount.as_ref().ok_or(NotificationError::EventIncomplete("booking.taxes.amount"))?;
    Ok(TaxLine {
        name: Text { en: tax.name, fr: String::new() },
        percent: tax.percent.parse().ok(),
        amount: amount_of_wire(amount)?,
        included: tax.included,
    })
}

fn text_of_wire(text: Option<&LocalizedText>) -> Text {
    text.map(|t| Text { en: t.en.clone(), fr: t.fr.clone() }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tourmesh::common::v1::UnitType;

    use super::*;

    #[test]
    fn preferences_come_back_as_they_went_in() {
        let wanted = wire::Preferences {
            language: "fr".to_owned(),
            muted: vec![wire::MessageKind::Receipt.into()],
            time_zone: "Asia/Tokyo".to_owned(),
            quiet_from: "22:00".to_owned(),
            quiet_until: "07:30".to_owned(),
            phone: "+33612345678".to_owned(),
            channels: vec![wire::ChannelPreference {
                channel: wire::Channel::Sms.into(),
                muted: vec![wire::MessageKind::PaymentFailed.into(), wire::MessageKind::DepartureReminder.into()],
            }],
        };
        assert_eq!(preferences_to_wire(&preferences_of_wire(&wanted).unwrap()), wanted);
        for phone in ["0612345678", "+", "+12345", "+0123456789", "+1234567890123456", "+33 6 12 34 56 78"] {
            assert!(preferences_of_wire(&wire::Preferences { phone: phone.to_owned(), ..wanted.clone() }).is_err());
        }
        let half = wire::Preferences { quiet_until: String::new(), ..wanted.clone() };
        assert!(preferences_of_wire(&half).is_err());
        for kind in Kind::ALL {
            assert_eq!(kind_of_wire(kind_to_wire(*kind).into()), Some(*kind));
        }
    }

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
