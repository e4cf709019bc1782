//! Bookings and waiting lists.

use tourmesh::booking::v1::{
    CancelBookingRequest, ConfirmBookingRequest, CreateBookingRequest, CreatePromoCodeRequest, EndPromoCodeRequest,
    ExtendHoldRequest, GuestName, JoinWaitingListRequest, LeaveWaitingListRequest, PromoCode, RedeemVoucherRequest,
    RescheduleBookingRequest, UpdateBookingRequest, promo_code::Discount,
};
use tourmesh_testkit::bearer;

use super::{
    Case, Wish,
    mesh::{Mesh, request_id},
};

/// The rows of BookingService.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("tourmesh.booking.v1.BookingService/CreateBooking", |m| Box::pin(create(m))),
        Case::new("tourmesh.booking.v1.BookingService/ExtendHold", |m| Box::pin(extend(m))),
        // The payment may arrive between two answers.
        Case::new("tourmesh.booking.v1.BookingService/ConfirmBooking", |m| Box::pin(confirm(m))).same(&[
            "booking.id",
            "booking.payment_id",
            "booking.total",
            "next_action_url",
        ]),
        Case::new("tourmesh.booking.v1.BookingService/UpdateBooking", |m| Box::pin(update(m))),
        Case::new("tourmesh.booking.v1.BookingService/CancelBooking", |m| Box::pin(cancel(m))),
        Case::new("tourmesh.booking.v1.BookingService/RescheduleBooking", |m| Box::pin(reschedule(m))),
        Case::new("tourmesh.booking.v1.BookingService/RedeemVoucher", |m| Box::pin(redeem(m))),
        Case::new("tourmesh.booking.v1.BookingService/CreatePromoCode", |m| Box::pin(create_promo(m))),
        Case::new("tourmesh.booking.v1.BookingService/EndPromoCode", |m| Box::pin(end_promo(m))),
        Case::new("tourmesh.booking.v1.BookingService/JoinWaitingList", |m| Box::pin(join(m))),
        Case::new("tourmesh.booking.v1.BookingService/LeaveWaitingList", |m| Box::pin(leave(m))),
    ]
}

async fn create(mesh: &Mesh) -> Wish {
    let request = CreateBookingRequest {
        promo_code: String::new(),
        request_id: request_id(),
        departure_id: mesh.departure(500).await.id,
        units: mesh.party(2),
        contact: mesh.contact(),
    };
    Wish::new(&mesh.traveller(), request, |r| r.units[0].quantity = 3)
}

async fn extend(mesh: &Mesh) -> Wish {
    let (traveller, departure) = (mesh.traveller(), mesh.departure(10).await.id);
    let (held, other) = (mesh.held(&traveller, &departure).await, mesh.held(&traveller, &departure).await);
    let request = ExtendHoldRequest { request_id: request_id(), booking_id: held.id };
    Wish::new(&traveller, request, |r| r.booking_id = other.id)
}

async fn confirm(mesh: &Mesh) -> Wish {
    let traveller = mesh.traveller();
    let held = mesh.held(&traveller, &mesh.departure(10).await.id).await;
    let request = ConfirmBookingRequest {
        request_id: request_id(),
        booking_id: held.id,
        payment_method: "card_ok".into(),
        return_url: String::new(),
    };
    Wish::new(&traveller, request, |r| r.return_url = "https://example.org/back".into())
}

async fn update(mesh: &Mesh) -> Wish {
    let traveller = mesh.traveller();
    let held = mesh.held(&traveller, &mesh.departure(10).await.id).await;
    let request = UpdateBookingRequest {
        request_id: request_id(),
        booking_id: held.id,
        guests: vec![GuestName { item_id: held.items[0].id.clone(), guest_name: "Grace".into() }],
        update_mask: Some(prost_types::FieldMask { paths: vec!["guests".into()] }),
        contact: None,
    };
    Wish::new(&traveller, request, |r| r.guests[0].guest_name = "Hedy".into())
}

async fn cancel(mesh: &Mesh) -> Wish {
    let traveller = mesh.traveller();
    let booking = mesh.confirmed(&traveller, &mesh.departure(10).await.id).await;
    let request = CancelBookingRequest {
        request_id: request_id(),
        booking_id: booking.id,
        reason: "rain".into(),
        item_ids: vec![booking.items[0].id.clone()],
    };
    // All guests instead of one.
    Wish::new(&traveller, request, |r| r.item_ids.clear())
}

async fn reschedule(mesh: &Mesh) -> Wish {
    let (traveller, option) = (mesh.traveller(), mesh.on_sale().await.id);
    let from = mesh.departure_of(&option, 10).await.id;
    let (to, elsewhere) = (mesh.departure_of(&option, 10).await.id, mesh.departure_of(&option, 10).await.id);
    let booking = mesh.confirmed(&traveller, &from).await;
    let request = RescheduleBookingRequest {
        request_id: request_id(),
        booking_id: booking.id,
        departure_id: to,
        ..RescheduleBookingRequest::default()
    };
    Wish::new(&traveller, request, |r| r.departure_id = elsewhere)
}

async fn redeem(mesh: &Mesh) -> Wish {
    let booking = mesh.confirmed(&mesh.traveller(), &mesh.departure(10).await.id).await;
    let voucher = |at: usize| booking.items[at].voucher_code.clone();
    let request = RedeemVoucherRequest { request_id: request_id(), voucher_code: voucher(0) };
    Wish::new(&mesh.staff, request, |r| r.voucher_code = voucher(1))
}

async fn join(mesh: &Mesh) -> Wish {
    let departure = mesh.departure(2).await.id;
    mesh.held(&mesh.traveller(), &departure).await;
    let request = JoinWaitingListRequest {
        request_id: request_id(),
        departure_id: departure,
        units: mesh.party(1),
        contact: mesh.contact(),
        ..JoinWaitingListRequest::default()
    };
    Wish::new(&mesh.traveller(), request, |r| r.units[0].quantity = 2)
}

async fn leave(mesh: &Mesh) -> Wish {
    let traveller = mesh.traveller();
    let mut entries = Vec::new();
    for _ in 0..2 {
        let departure = mesh.departure(2).await.id;
        mesh.held(&mesh.traveller(), &departure).await;
        let request = JoinWaitingListRequest {
            request_id: request_id(),
            departure_id: departure,
            units: mesh.party(1),
            contact: mesh.contact(),
            ..JoinWaitingListRequest::default()
        };
        let joined = mesh.booking().join_waiting_list(bearer(request, &traveller)).await.unwrap();
        entries.push(joined.into_inner().entry.unwrap().id);
    }
    let request = LeaveWaitingListRequest { request_id: request_id(), entry_id: entries.remove(0) };
    Wish::new(&traveller, request, |r| r.entry_id = entries.remove(0))
}

fn a_promo() -> CreatePromoCodeRequest {
    let code = PromoCode {
        code: request_id().to_uppercase(),
        discount: Some(Discount::Percent("10".into())),
        ..Default::default()
    };
    CreatePromoCodeRequest { request_id: request_id(), promo_code: Some(code) }
}

async fn create_promo(mesh: &Mesh) -> Wish {
    Wish::new(&mesh.staff, a_promo(), |r| r.promo_code.as_mut().unwrap().max_uses = 5)
}

async fn end_promo(mesh: &Mesh) -> Wish {
    let mut codes = Vec::new();
    for _ in 0..2 {
        let made = mesh.booking().create_promo_code(bearer(a_promo(), &mesh.staff)).await.unwrap();
        codes.push(made.into_inner().promo_code.unwrap().id);
    }
    let request = EndPromoCodeRequest { request_id: request_id(), promo_code_id: codes.remove(0) };
    Wish::new(&mesh.staff, request, |r| r.promo_code_id = codes.remove(0))
}
