//! Payments, messages, accounts.

use tourmesh::{
    identity::v1::SetRolesRequest,
    notification::v1::{Preferences, ResendDeliveryRequest, SetPreferencesRequest},
    options::v1::Role,
    payment::v1::{CapturePaymentRequest, CreatePaymentRequest, Payment, RefundPaymentRequest, RetryRefundRequest},
};
use tourmesh_testkit::bearer;

use super::{
    Case, Wish,
    mesh::{Mesh, euros, id, request_id},
};

/// The rows of PaymentService, NotificationService and IdentityService.
pub fn cases() -> Vec<Case> {
    vec![
        // The provider may answer, and its events arrive, between two answers.
        Case::new("tourmesh.payment.v1.PaymentService/CreatePayment", |m| Box::pin(create_payment(m))).same(&[
            "payment.id",
            "payment.booking_id",
            "payment.amount",
        ]),
        Case::new("tourmesh.payment.v1.PaymentService/CapturePayment", |m| Box::pin(capture_payment(m)))
            .same(&["payment.id", "payment.amount"]),
        Case::new("tourmesh.payment.v1.PaymentService/RefundPayment", |m| Box::pin(refund_payment(m))).same(&[
            "refund.id",
            "refund.amount",
            "payment.id",
            "payment.refunded",
        ]),
        Case::new("tourmesh.payment.v1.PaymentService/RetryRefund", |m| Box::pin(retry_refund(m)))
            .same(&["refund.id", "refund.amount"]),
        Case::new("tourmesh.notification.v1.NotificationService/SetPreferences", |m| Box::pin(set_preferences(m))),
        // It is sent between two answers.
        Case::new("tourmesh.notification.v1.NotificationService/ResendDelivery", |m| Box::pin(resend_delivery(m)))
            .same(&["delivery.id", "delivery.booking_id", "delivery.kind"]),
        // A repeat signs in: it gets tokens of its own, as the contract says.
        Case::new("tourmesh.identity.v1.IdentityService/SignUp", |m| Box::pin(sign_up(m))).same(&["user"]).but(&[
            ("identity.sessions", "a repeat is a session of its own"),
            ("identity.refresh_tokens", "likewise"),
            ("identity.attempts", "one for all in the same while"),
        ]),
        Case::new("tourmesh.identity.v1.IdentityService/SetRoles", |m| Box::pin(set_roles(m))),
    ]
}

async fn paid(mesh: &Mesh, request: CreatePaymentRequest) -> Payment {
    let made = mesh.payment().create_payment(bearer(request, &mesh.service)).await.unwrap();
    made.into_inner().payment.unwrap()
}

async fn create_payment(mesh: &Mesh) -> Wish {
    Wish::new(&mesh.service, mesh.a_payment(), |r| r.amount = euros(61))
}

async fn capture_payment(mesh: &Mesh) -> Wish {
    let reserve = || CreatePaymentRequest { manual_capture: true, ..mesh.a_payment() };
    let (payment, other) = (paid(mesh, reserve()).await.id, paid(mesh, reserve()).await.id);
    let request = CapturePaymentRequest { request_id: request_id(), payment_id: payment };
    Wish::new(&mesh.service, request, |r| r.payment_id = other)
}

async fn refund_payment(mesh: &Mesh) -> Wish {
    let request = RefundPaymentRequest {
        request_id: request_id(),
        payment_id: paid(mesh, mesh.a_payment()).await.id,
        // A hundred times it would be far more than was paid, and ten times less than that.
        amount: euros(6),
        reason: "rain".into(),
    };
    Wish::new(&mesh.service, request, |r| r.amount = euros(7))
}

async fn retry_refund(mesh: &Mesh) -> Wish {
    let mut refunds = Vec::new();
    for _ in 0..2 {
        // The provider gives the money back and does not say so.
        let silent = CreatePaymentRequest { payment_method: "card_refund_timeout".into(), ..mesh.a_payment() };
        let request = RefundPaymentRequest {
            request_id: request_id(),
            payment_id: paid(mesh, silent).await.id,
            amount: euros(6),
            reason: "rain".into(),
        };
        let made = mesh.payment().refund_payment(bearer(request, &mesh.service)).await.unwrap();
        let refund = made.into_inner().refund.unwrap().id;
        mesh.give_up(&refund).await;
        refunds.push(refund);
    }
    let request = RetryRefundRequest { request_id: request_id(), refund_id: refunds.remove(0) };
    Wish::new(&mesh.staff, request, |r| r.refund_id = refunds.remove(0))
}

async fn set_preferences(mesh: &Mesh) -> Wish {
    let preferences = Preferences { language: "fr".into(), ..Default::default() };
    let request = SetPreferencesRequest { request_id: request_id(), preferences: Some(preferences) };
    Wish::new(&mesh.traveller(), request, |r| r.preferences.as_mut().unwrap().language = "en".into())
}

async fn resend_delivery(mesh: &Mesh) -> Wish {
    let (traveller, departure) = (mesh.traveller(), mesh.departure(10).await.id);
    let first = mesh.confirmed(&traveller, &departure).await;
    let second = mesh.confirmed(&traveller, &departure).await;
    let (delivery, other) = (mesh.delivery(&first.id).await.id, mesh.delivery(&second.id).await.id);
    let request = ResendDeliveryRequest { request_id: request_id(), delivery_id: delivery };
    Wish::new(&mesh.staff, request, |r| r.delivery_id = other)
}

async fn sign_up(mesh: &Mesh) -> Wish {
    Wish::new("", mesh.a_sign_up(), |r| r.full_name = "Grace".into())
}

async fn set_roles(mesh: &Mesh) -> Wish {
    let request = SetRolesRequest {
        request_id: request_id(),
        user_id: mesh.user().await.id,
        roles: vec![Role::Traveller.into(), Role::Supplier.into()],
        supplier_id: id("sup"),
    };
    Wish::new(&mesh.staff, request, |r| r.supplier_id = id("sup"))
}
