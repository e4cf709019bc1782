//! From a hold to a paid booking.
//!
//! ConfirmBooking is three steps, and no transaction is open across the remote one:
//! 1. in a transaction, number the attempt and store it, for many bookings at once (see [`changes`](crate::changes));
//! 2. ask Payment, under a request id made of the booking and that number: after a crash the repeat is the same request;
//! 3. write what Payment has answered: the payment's id, or that the booking is confirmed, when it is captured already.
//!
//! Whether the answer of step 2 ever arrives does not matter: the event of the captured payment says the same, and
//! confirms what is not (see [`confirmation`](crate::confirmation)). A booking that needs no payment is confirmed in step 1.

use chrono::{DateTime, Utc};
use tonic::Status;
use tonic_types::StatusExt as _;
use tourmesh::{
    booking::v1 as pb,
    payment::v1::{CreatePaymentRequest, Payment, PaymentState, payment_service_client::PaymentServiceClient},
};
use tourmesh_kit::{
    ApiError, ApiResult, ErrorReason, card_number, client::MeshChannel, idempotency::RequestKey, money::Money,
};

use crate::{
    access::Caller,
    admission::Checkout,
    changes::{Changes, Wish},
    convert,
    domain::{PaymentId, booking::Booking},
    offers::peer_error,
    vouchers::vouchers,
};

/// Pays for a hold.
pub(crate) async fn confirm(
    changes: &Changes,
    payments: &PaymentServiceClient<MeshChannel>,
    caller: Caller,
    key: RequestKey,
    checkout: Checkout,
    request: pb::ConfirmBookingRequest,
) -> ApiResult<pb::ConfirmBookingResponse> {
    let id = checkout.booking();
    card_number::refuse("payment_method", &request.payment_method)?;
    card_number::refuse("return_url", &request.return_url)?;
    let wish = Wish::Begin { has_method: !request.payment_method.is_empty() };
    let begun = checkout.writes(changes.ask(caller, key, Some(id), wish)).await?;
    // No new payment may begin once the hold has run out, not even by a repeat that Payment has never seen.
    if begun.detail == 0 || begun.repeat && !begun.booking.is_open_hold(begun.at) {
        return Ok(answer(&begun.booking, String::new()));
    }
    let mut booking = begun.booking;
    let payment = ask(payments, &booking, begun.detail, request).await?;
    let opened: PaymentId = convert::foreign(&payment.id)?;
    let captured = payment.captured.as_ref().filter(|_| payment.state() == PaymentState::Captured);
    let captured = captured.map(Money::of_wire).transpose().map_err(ApiError::internal)?;
    let booking = match checkout.writes(changes.note(id, opened, captured)).await {
        Ok(booking) => booking,
        // The money is there, so this is no failure of the call: the event confirms the booking.
        Err(error) if captured.is_some() => {
            tracing::warn!(booking = %id, payment = %opened, %error, "a captured payment waits for its event to confirm its booking");
            booking.note_payment(opened);
            booking
        }
        Err(error) => return Err(error),
    };
    match payment.state() {
        PaymentState::Failed | PaymentState::Cancelled => Err(declined(&payment.decline_code)),
        PaymentState::RequiresAction => Ok(answer(&booking, payment.next_action_url)),
        PaymentState::Unspecified | PaymentState::Pending | PaymentState::Authorized | PaymentState::Captured => {
            Ok(answer(&booking, String::new()))
        }
    }
}

/// The first step of a payment: the number of the attempt; zero, when the booking needs none and is confirmed by this.
pub(crate) fn begin(booking: &mut Booking, has_method: bool, now: DateTime<Utc>) -> ApiResult<i32> {
    if booking.needs_no_payment() {
        let codes = vouchers(booking);
        booking.confirm_unpaid(now, codes)?;
        return Ok(0);
    }
    let attempt = booking.begin_payment(now)?;
    if !has_method {
        return Err(ApiError::field("payment_method", "is required: there is something to pay"));
    }
    Ok(attempt)
}

fn answer(booking: &Booking, next_action_url: String) -> pb::ConfirmBookingResponse {
    pb::ConfirmBookingResponse { booking: Some(convert::booking(booking)), next_action_url }
}

pub(crate) fn declined(decline_code: &str) -> ApiError {
    ApiError::new(ErrorReason::PaymentDeclined, "the payment was declined; use another card")
        .with("decline_code", decline_code)
}

async fn ask(
    payments: &PaymentServiceClient<MeshChannel>,
    booking: &Booking,
    attempt: i32,
    request: pb::ConfirmBookingRequest,
) -> ApiResult<Payment> {
    let request = CreatePaymentRequest {
        request_id: format!("{}.{attempt}", booking.id),
        booking_id: booking.id.to_string(),
        customer_id: booking.customer.to_string(),
        supplier_id: booking.terms.supplier.to_string(),
        amount: Some(booking.total.to_wire()),
        tax: booking.tax()?.map(Money::to_wire),
        payment_method: request.payment_method,
        return_url: request.return_url,
        ..CreatePaymentRequest::default()
    };
    let answer = payments.clone().create_payment(request).await.map_err(|status| payment_error(&status))?;
    answer.into_inner().payment.ok_or_else(|| ApiError::internal("CreatePayment gave no payment"))
}

pub(crate) fn payment_error(status: &Status) -> ApiError {
    let error = ApiError::of_status(status);
    if error.reason() == ErrorReason::PaymentDeclined {
        let info = status.get_details_error_info();
        return declined(info.as_ref().and_then(|i| i.metadata.get("decline_code")).map_or("", String::as_str));
    }
    peer_error("payment", error)
}
