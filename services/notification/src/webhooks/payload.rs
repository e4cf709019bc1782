//! What a message to a program says: a stable shape of JSON of its own, whatever the API's messages become.

use kit::{ApiResult, events::Received, time};
use serde_json::{Value, json};
use tourmesh::{
    booking::v1::{
        Booking, BookingCancelled, BookingChanged, BookingConfirmed, BookingExpired, BookingHeld, BookingRedeemed,
        BookingRescheduled,
    },
    google::r#type::Money as WireMoney,
};
use tourmesh_kit as kit;

use crate::{
    convert,
    domain::{SupplierId, UserId},
    error::NotificationError,
    store::webhook_messages::Happened,
};

/// Reads an event; `None`: nobody can hear of it.
///
/// # Errors
/// INTERNAL when the event lacks what it must have: events come from us.
pub(super) fn happened(event: &Received) -> ApiResult<Option<Happened>> {
    macro_rules! first {
        ($($message:ident => $name:literal),* $(,)?) => {
            $(if let Some(told) = event.decode::<$message>()? { (told.booking, $name) } else)* { return Ok(None) }
        };
    }
    let (booking, kind): (Option<Booking>, &'static str) = first! {
        BookingHeld => "booking.held",
        BookingConfirmed => "booking.confirmed",
        BookingChanged => "booking.changed",
        BookingRescheduled => "booking.rescheduled",
        BookingCancelled => "booking.cancelled",
        BookingExpired => "booking.expired",
        BookingRedeemed => "booking.redeemed",
    };
    let booking = booking.ok_or(NotificationError::EventIncomplete("booking"))?;
    let customer: UserId = booking.customer_id.parse().map_err(kit::ApiError::internal)?;
    let body = |vouchers| {
        let data = data(&booking, vouchers)?;
        ApiResult::Ok(json!({ "type": kind, "timestamp": event.time.to_rfc3339(), "data": data }).to_string())
    };
    Ok(Some(Happened {
        event: event.id,
        kind,
        booking: convert::id_of_event(&booking.id)?.uuid(),
        version: booking.version,
        supplier: booking.supplier_id.parse::<SupplierId>().ok().map(SupplierId::uuid),
        customer: customer.uuid(),
        // Who has a voucher is let in: the one who lets in gets it from the guest.
        for_supplier: body(false)?,
        for_customer: body(true)?,
    }))
}

fn money(amount: Option<&WireMoney>) -> ApiResult<Value> {
    let Some(amount) = amount else { return Ok(Value::Null) };
    let amount = convert::amount_of_wire(amount)?;
    Ok(json!({ "amount": amount.amount.to_string(), "currency": amount.currency }))
}

fn data(booking: &Booking, vouchers: bool) -> ApiResult<Value> {
    let at = |time: Option<&prost_types::Timestamp>| time.and_then(time::of_wire).map(|t| t.to_rfc3339());
    let plain = |name: &'static str, prefix: &str| name.strip_prefix(prefix).unwrap_or(name);
    let mut items = Vec::with_capacity(booking.items.len());
    for item in &booking.items {
        let mut shown = json!({
            "id": item.id,
            "unit": plain(item.unit().as_str_name(), "UNIT_TYPE_"),
            "price": money(item.price.as_ref())?,
            "guest_name": item.guest_name,
            "redeemed_at": at(item.redeemed_at.as_ref()),
            "cancelled_at": at(item.cancelled_at.as_ref()),
        });
        if vouchers && let Some(fields) = shown.as_object_mut() {
            fields.insert("voucher_code".to_owned(), item.voucher_code.as_str().into());
        }
        items.push(shown);
    }
    let contact = booking.contact.clone().unwrap_or_default();
    Ok(json!({
        "id": booking.id,
        "version": booking.version,
        "state": plain(booking.state().as_str_name(), "BOOKING_STATE_"),
        "customer_id": booking.customer_id,
        "supplier_id": booking.supplier_id,
        "tour_id": booking.tour_id,
        "option_id": booking.option_id,
        "departure_id": booking.departure_id,
        "local_start": booking.local_start,
        "time_zone": booking.time_zone,
        "starts_at": at(booking.starts_at.as_ref()),
        "duration_minutes": booking.duration_minutes,
        "seats": booking.seats,
        "contact": { "full_name": contact.full_name, "email": contact.email, "language": contact.language },
        "items": items,
        "total": money(booking.total.as_ref())?,
        "paid": money(booking.paid.as_ref())?,
        "refund": money(booking.refund.as_ref())?,
        "pay_on_arrival": booking.pay_on_arrival,
        "created_at": at(booking.created_at.as_ref()),
        "confirmed_at": at(booking.confirmed_at.as_ref()),
        "cancelled_at": at(booking.cancelled_at.as_ref()),
    }))
}
