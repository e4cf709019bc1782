//! What payment providers tell us, handed to Payment byte for byte: the signature is over the bytes.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use kit::{ApiError, ErrorReason};
use serde_json::json;
use tourmesh::payment::v1::HandleProviderEventRequest;
use tourmesh_kit as kit;

use super::{Room, answer};

pub(super) fn router() -> Router<Room> {
    Router::new().route("/webhooks/{provider}", post(event))
}

async fn event(State(room): State<Room>, Path(provider): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    // `stripe-signature`, `sandbox-signature`: providers call the header after themselves.
    let signature = headers.get(format!("{provider}-signature")).and_then(|value| value.to_str().ok());
    let Some(signature) = signature else {
        return refused(&ApiError::new(ErrorReason::SignatureInvalid, "there is no signature header"));
    };
    let request = HandleProviderEventRequest { provider, body, signature: signature.to_owned() };
    match room.payments.clone().handle_provider_event(request).await {
        Ok(answer) => Json(json!({ "applied": answer.into_inner().applied })).into_response(),
        Err(status) => refused(&ApiError::of_status(&status)),
    }
}

/// Providers try again after every 5xx and 429, for days; what will never be right gets a 4xx.
fn refused(error: &ApiError) -> Response {
    let status = answer::status(error);
    let reason = kit::error::name(error.reason());
    let mut response = (status, Json(json!({ "error": reason, "message": error.message() }))).into_response();
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}
