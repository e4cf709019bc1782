//! From a hold to a paid booking: extending the hold, and paying for it.
//!
//! ConfirmBooking is three steps, and no transaction is open across the remote one:
//! 1. in a transaction, number the attempt and store it;
//! 2. ask Payment, under a request id made of the booking and that number: after a crash the repeat is the same request;
//! 3. note the payment's id, unless the payment is captured already: then its event does.
//!
//! Steps 1 and 3 are written for many bookings at once (see [`paying`](crate::paying)), or alone where something is
//! unusual.
//!
//! None of them confirms the booking. That does the event of the captured payment alone (see
//! [`confirmation`](crate::confirmation)), so that it does not matter whether the answer of step 2 ever arrives. Only a
//! booking that needs no payment is confirmed in step 1.

use sqlx::PgConnection;
use tonic::Status;
use tonic_types::StatusExt as _;
use tourmesh::{
    booking::v1 as pb,
    payment::v1::{CreatePaymentRequest, Payment, PaymentState, payment_service_client::PaymentServiceClient},
};
use tourmesh_kit::{
    ApiError, ApiResult, ErrorReason, card_number, client::MeshChannel, db::Db, events::outbox,
    idempotency::RequestKey, lanes::Lanes, money::Money,
};

use crate::{
    access::Caller,
    admission::Checkout,
    convert,
    domain::{
        BookingId, PaymentId,
        booking::{Booking, State},
    },
    error::BookingError,
    events,
    offers::peer_error,
    paying::{self, Wish, Written},
    steps::Step,
    store::{
        bookings as store,
        requests::{Remembered, remember},
    },
    vouchers::vouchers,
};

/// What the first step decides.
enum Next {
    /// Nothing more is to be done.
    Done(Booking),
    /// Payment is to be asked.
    Pay { booking: Booking, attempt: i32 },
}

/// Starts a hold's time anew.
pub(crate) async fn extend(
    db: &Db,
    caller: Caller,
    key: RequestKey,
    id: BookingId,
    most: chrono::TimeDelta,
) -> ApiResult<Booking> {
    db.step(Step::Extend, move |tx| {
        let (caller, key) = (caller.clone(), key.clone());
        Box::pin(async move {
            let now = store::lock(tx, &[id]).await?;
            let mut booking = caller.buys(store::load_one(tx, id).await?)?;
            if remember(tx, &caller.scope, "ExtendHold", &key, id.uuid(), 0).await? == Remembered::New {
                booking.extend(now, most)?;
                store::save(tx, &[&booking]).await?;
            }
            Ok(booking)
        })
    })
    .await
}

/// Pays for a hold.
pub(crate) async fn confirm(
    db: &Db,
    paying: &Lanes<paying::Writer>,
    payments: &PaymentServiceClient<MeshChannel>,
    caller: Caller,
    key: RequestKey,
    checkout: Checkout,
    request: pb::ConfirmBookingRequest,
) -> ApiResult<pb::ConfirmBookingResponse> {
    let id = checkout.booking();
    card_number::refuse("payment_method", &request.payment_method)?;
    card_number::refuse("return_url", &request.return_url)?;
    let has_method = !request.payment_method.is_empty();
    let begun = if has_method {
        let wish = Wish::Begin { booking: id, caller: caller.clone(), key: key.clone() };
        paying.submit(id.uuid(), wish).await?
    } else {
        Written::Nothing
    };
    let next = match begun {
        Written::Begun(booking, attempt) => Next::Pay { booking, attempt },
        Written::Noted(_) | Written::Nothing => {
            let next = db.step(Step::PayAlone, move |tx| {
                let (caller, key) = (caller.clone(), key.clone());
                Box::pin(async move { begin(tx, &caller, &key, id, has_method).await })
            });
            next.await?
        }
    };
    let (booking, attempt) = match next {
        Next::Done(booking) => return Ok(answer(&booking, String::new())),
        Next::Pay { booking, attempt } => (booking, attempt),
    };
    let payment = ask(payments, &booking, attempt, request).await?;
    let opened: PaymentId = convert::foreign(&payment.id)?;
    if payment.state() == PaymentState::Captured {
        checkout.paid();
        // Its event is on the way and notes the payment with everything else: what is answered is true a moment later.
        let mut booking = booking;
        booking.note_payment(opened);
        return Ok(answer(&booking, String::new()));
    }
    let booking = match paying.submit(id.uuid(), Wish::Note { booking: id, payment: opened }).await {
        Ok(Written::Noted(booking)) => booking,
        // Payment has the money by now: a full lane is no reason to say that it went wrong.
        Ok(Written::Begun(..) | Written::Nothing) | Err(_) => note(db, id, opened).await?,
    };
    match payment.state() {
        PaymentState::Failed | PaymentState::Cancelled => Err(declined(&payment.decline_code)),
        PaymentState::RequiresAction => Ok(answer(&booking, payment.next_action_url)),
        PaymentState::Unspecified | PaymentState::Pending | PaymentState::Authorized | PaymentState::Captured => {
            Ok(answer(&booking, String::new()))
        }
    }
}

/// Notes the payment of one booking, where there is something to note.
async fn note(db: &Db, id: BookingId, opened: PaymentId) -> ApiResult<Booking> {
    db.step(Step::NotePayment, move |tx| {
        Box::pin(async move {
            store::lock(tx, &[id]).await?;
            let mut booking = store::load_one(tx, id).await?.ok_or(BookingError::BookingNotFound)?;
            if booking.note_payment(opened) {
                store::save(tx, &[&booking]).await?;
            }
            Ok(booking)
        })
    })
    .await
}

fn answer(booking: &Booking, next_action_url: String) -> pb::ConfirmBookingResponse {
    pb::ConfirmBookingResponse { booking: Some(convert::booking(booking)), next_action_url }
}

pub(crate) fn declined(decline_code: &str) -> ApiError {
    ApiError::new(ErrorReason::PaymentDeclined, "the payment was declined; use another card")
        .with("decline_code", decline_code)
}

async fn begin(
    tx: &mut PgConnection,
    caller: &Caller,
    key: &RequestKey,
    id: BookingId,
    has_method: bool,
) -> ApiResult<Next> {
    let now = store::lock(tx, &[id]).await?;
    let mut booking = caller.buys(store::load_one(tx, id).await?)?;
    let free = booking.needs_no_payment();
    let attempt = if free { 0 } else { booking.payment_attempts + 1 };
    let remembered = remember(tx, &caller.scope, "ConfirmBooking", key, id.uuid(), attempt).await?;
    if let Remembered::Repeat { detail, .. } = remembered {
        let open = booking.state == State::OnHold && booking.hold_expires_at.is_some_and(|until| until > now);
        // No new payment may begin once the hold has run out, not even by a repeat that Payment has never seen.
        return Ok(if open && detail > 0 { Next::Pay { booking, attempt: detail } } else { Next::Done(booking) });
    }
    if free {
        let codes = vouchers(&booking);
        booking.confirm_unpaid(now, codes)?;
        store::save(tx, &[&booking]).await?;
        store::save_items(tx, &[&booking]).await?;
        outbox::append(tx, &[events::confirmed(&booking)]).await?;
        return Ok(Next::Done(booking));
    }
    let attempt = booking.begin_payment(now)?;
    if !has_method {
        return Err(ApiError::field("payment_method", "is required: there is something to pay"));
    }
    store::save(tx, &[&booking]).await?;
    Ok(Next::Pay { booking, attempt })
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
