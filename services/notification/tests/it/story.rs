//! Bookings and payments as their services would tell of them.

use tourmesh::{
    booking::v1::{
        Booking, BookingCancelled, BookingConfirmed, BookingHeld, BookingPaymentFailed, BookingRescheduled,
        BookingState, CancellationCause, Contact, UnitItem,
    },
    common::v1::{LocalizedText, Tax, TaxLine, UnitType},
    google::r#type::Money,
};
use tourmesh_kit::events::Event;
use tourmesh_notification::domain::{BookingId, PaymentId, UserId};

pub(crate) fn euros(units: i64, cents: i32) -> Money {
    Money { currency_code: "EUR".to_owned(), units, nanos: cents * 10_000_000 }
}

pub(crate) fn user() -> String {
    UserId::new().to_string()
}

/// A booking on hold; two adults on New Year's morning in Paris.
pub(crate) fn booking(user: &str, email: &str, language: &str) -> Booking {
    let item = |n: i32| UnitItem {
        id: format!("itm_{n}"),
        unit: UnitType::Adult.into(),
        price: Some(euros(49, 50)),
        ..UnitItem::default()
    };
    Booking {
        id: BookingId::new().to_string(),
        customer_id: user.to_owned(),
        state: BookingState::OnHold.into(),
        contact: Some(Contact {
            full_name: "Amélie Durand".to_owned(),
            email: email.to_owned(),
            language: language.to_owned(),
        }),
        items: vec![item(1), item(2)],
        seats: 2,
        total: Some(euros(99, 0)),
        tour_title: Some(LocalizedText { en: "Banks of the Seine".to_owned(), fr: "Rives de la Seine".to_owned() }),
        option_title: Some(LocalizedText { en: "Small group".to_owned(), fr: "Petit groupe".to_owned() }),
        local_start: "2027-01-01T09:00".to_owned(),
        time_zone: "Europe/Paris".to_owned(),
        starts_at: Some(prost_types::Timestamp { seconds: 1_798_790_400, nanos: 0 }),
        duration_minutes: 150,
        version: 1,
        ..Booking::default()
    }
}

pub(crate) fn held(booking: &Booking) -> Event {
    Event::new(format!("booking.booking.held.{}", booking.id), &BookingHeld { booking: Some(booking.clone()) })
}

/// A booking that starts in so many hours from now, in Paris.
pub(crate) fn at(hours: i64, email: &str) -> Booking {
    let starts = chrono::Utc::now() + chrono::Duration::hours(hours);
    let mut booking = booking(&user(), email, "en");
    booking.starts_at = Some(prost_types::Timestamp { seconds: starts.timestamp(), nanos: 0 });
    booking.local_start = starts.with_timezone(&chrono_tz::Tz::Europe__Paris).format("%Y-%m-%dT%H:%M").to_string();
    booking
}

/// A booking that starts in so many days.
pub(crate) fn in_days(days: i64, email: &str) -> Booking {
    at(24 * days, email)
}

/// The same booking, sold.
pub(crate) fn sold(booking: &Booking) -> Booking {
    let mut sold = booking.clone();
    sold.state = BookingState::Confirmed.into();
    sold.version += 1;
    sold.confirmed_at = Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 });
    for (index, item) in sold.items.iter_mut().enumerate() {
        item.voucher_code = format!("VCH-{index}-{}", &booking.id[30..]);
    }
    sold
}

/// The same booking with what was paid for it, a tenth of which are taxes.
pub(crate) fn paid(booking: &Booking) -> Booking {
    let tax = Tax { name: "VAT".to_owned(), percent: "10".to_owned(), included: true };
    let mut paid = booking.clone();
    paid.paid.clone_from(&paid.total);
    paid.payment_id = PaymentId::new().to_string();
    paid.taxes = vec![TaxLine { tax: Some(tax), amount: Some(euros(9, 0)) }];
    paid.net = Some(euros(90, 0));
    paid
}

/// The booking cost nothing and was moved to a departure that costs what it costs now.
pub(crate) fn first_paid_by_its_move(booking: &Booking, version: i64) -> Event {
    let mut moved = paid(&sold(booking));
    moved.version = version;
    let event = BookingRescheduled {
        price_difference: moved.paid.clone(),
        payment_id: moved.payment_id.clone(),
        booking: Some(moved),
        refund: Some(euros(0, 0)),
        move_id: format!("mov_{}", uuid::Uuid::now_v7().simple()),
        ..BookingRescheduled::default()
    };
    Event::new(format!("booking.booking.rescheduled.{}", booking.id), &event)
}

pub(crate) fn confirmed(booking: &Booking) -> Event {
    let sold = sold(booking);
    Event::new(format!("booking.booking.confirmed.{}", sold.id), &BookingConfirmed { booking: Some(sold) })
}

pub(crate) fn cancelled(booking: &Booking, refund: Money) -> Event {
    cancelled_because(booking, refund, CancellationCause::Traveller)
}

pub(crate) fn cancelled_because(booking: &Booking, refund: Money, cause: CancellationCause) -> Event {
    let mut gone = booking.clone();
    gone.state = BookingState::Cancelled.into();
    gone.version += 1;
    gone.cancelled_at = Some(prost_types::Timestamp { seconds: 1_790_000_100, nanos: 0 });
    gone.refund = Some(refund);
    let event = BookingCancelled { booking: Some(gone), cause: cause.into() };
    Event::new(format!("booking.booking.cancelled.{}", booking.id), &event)
}

pub(crate) fn payment_failed(booking: &Booking) -> Event {
    let event = BookingPaymentFailed {
        booking: Some(booking.clone()),
        payment_id: PaymentId::new().to_string(),
        amount: booking.total.clone(),
        decline_code: "insufficient_funds".to_owned(),
        ..BookingPaymentFailed::default()
    };
    Event::new(format!("booking.payment.failed.{}", event.payment_id), &event)
}
