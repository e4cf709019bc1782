//! Browsers that are pushed to, bounces, and programs that are told.

use tourmesh::notification::v1::{
    AddPushSubscriptionRequest, CreateWebhookEndpointRequest, DeleteWebhookEndpointRequest,
    RemovePushSubscriptionRequest, ReplayWebhookMessagesRequest, ReportBounceRequest, RotateWebhookSecretRequest,
    SwitchWebhookEndpointRequest,
};
use tourmesh_testkit::bearer;

use super::{
    Case, Wish,
    mesh::{Mesh, request_id},
};

/// The rows of NotificationService that are about channels, and those of WebhookService.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("tourmesh.notification.v1.NotificationService/AddPushSubscription", |m| Box::pin(add_push(m))),
        Case::new("tourmesh.notification.v1.NotificationService/RemovePushSubscription", |m| Box::pin(remove_push(m))),
        Case::new("tourmesh.notification.v1.NotificationService/ReportBounce", |m| Box::pin(bounce(m))),
        Case::new("tourmesh.notification.v1.WebhookService/CreateWebhookEndpoint", |m| Box::pin(create(m))),
        Case::new("tourmesh.notification.v1.WebhookService/SwitchWebhookEndpoint", |m| Box::pin(switch(m))),
        Case::new("tourmesh.notification.v1.WebhookService/RotateWebhookSecret", |m| Box::pin(rotate(m))),
        Case::new("tourmesh.notification.v1.WebhookService/DeleteWebhookEndpoint", |m| Box::pin(delete(m))),
        Case::new("tourmesh.notification.v1.WebhookService/ReplayWebhookMessages", |m| Box::pin(replay(m))),
    ]
}

/// The keys are those of the example in RFC 8291.
fn a_browser() -> AddPushSubscriptionRequest {
    AddPushSubscriptionRequest {
        request_id: request_id(),
        endpoint: format!("https://push.example.com/{}", request_id()),
        p256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4".into(),
        auth: "BTBZMqHH6r4Tts7J_aSIgg".into(),
    }
}

async fn add_push(mesh: &Mesh) -> Wish {
    Wish::new(&mesh.traveller(), a_browser(), |r| r.endpoint.push('2'))
}

async fn remove_push(mesh: &Mesh) -> Wish {
    let (traveller, browser) = (mesh.traveller(), a_browser());
    let endpoint = browser.endpoint.clone();
    mesh.notification().add_push_subscription(bearer(browser, &traveller)).await.unwrap();
    let request = RemovePushSubscriptionRequest { request_id: request_id(), endpoint };
    Wish::new(&traveller, request, |r| r.endpoint.push('2'))
}

async fn bounce(mesh: &Mesh) -> Wish {
    let booking = mesh.confirmed(&mesh.traveller(), &mesh.departure(10).await.id).await;
    let delivery = mesh.delivery(&booking.id).await.id;
    // A mailbox that is full: the address stays a good one.
    let message = format!(
        "From: MAILER-DAEMON@mx.example\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\nStatus: 5.2.2\r\n\
         Diagnostic-Code: smtp; 552 5.2.2 mailbox full\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
         Message-ID: <{delivery}@tourmesh.example>\r\n\r\n--b--\r\n"
    );
    let request = ReportBounceRequest { request_id: request_id(), message: message.into_bytes() };
    Wish::new(&mesh.staff, request, |r| r.message.extend_from_slice(b"\r\n"))
}

fn an_endpoint() -> CreateWebhookEndpointRequest {
    CreateWebhookEndpointRequest {
        request_id: request_id(),
        url: "https://hooks.example.com/tourmesh".into(),
        events: vec!["booking.confirmed".into()],
        contact_email: "ops@example.com".into(),
        language: "en".into(),
    }
}

/// Somebody with two endpoints, who never books.
async fn with_two(mesh: &Mesh) -> (String, String, String) {
    let traveller = mesh.traveller();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let made = mesh.webhooks().create_webhook_endpoint(bearer(an_endpoint(), &traveller)).await.unwrap();
        ids.push(made.into_inner().endpoint.unwrap().id);
    }
    (traveller, ids.remove(0), ids.remove(0))
}

async fn create(mesh: &Mesh) -> Wish {
    Wish::new(&mesh.traveller(), an_endpoint(), |r| r.url.push('2'))
}

async fn switch(mesh: &Mesh) -> Wish {
    let (traveller, endpoint_id, _) = with_two(mesh).await;
    let request = SwitchWebhookEndpointRequest { request_id: request_id(), endpoint_id, enabled: false };
    Wish::new(&traveller, request, |r| r.enabled = true)
}

async fn rotate(mesh: &Mesh) -> Wish {
    let (traveller, endpoint_id, other) = with_two(mesh).await;
    let request = RotateWebhookSecretRequest { request_id: request_id(), endpoint_id };
    Wish::new(&traveller, request, |r| r.endpoint_id = other)
}

async fn delete(mesh: &Mesh) -> Wish {
    let (traveller, endpoint_id, other) = with_two(mesh).await;
    let request = DeleteWebhookEndpointRequest { request_id: request_id(), endpoint_id };
    Wish::new(&traveller, request, |r| r.endpoint_id = other)
}

async fn replay(mesh: &Mesh) -> Wish {
    let (traveller, endpoint_id, other) = with_two(mesh).await;
    let request = ReplayWebhookMessagesRequest { request_id: request_id(), endpoint_id, message_id: String::new() };
    Wish::new(&traveller, request, |r| r.endpoint_id = other)
}
