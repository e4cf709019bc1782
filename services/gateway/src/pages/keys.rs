//! The public keys of access tokens where everybody looks for them, for programs outside of the mesh that verify tokens.

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
    routing::get,
};
use kit::ApiError;
use tourmesh::identity::v1::GetJwksRequest;
use tourmesh_kit as kit;

use super::{Room, answer};

pub(super) fn router() -> Router<Room> {
    Router::new().route("/.well-known/jwks.json", get(jwks))
}

/// Identity's answer. New keys are published long before they sign, so a minute of caching misses none.
async fn jwks(State(room): State<Room>) -> Response {
    const HEAD: [(header::HeaderName, &str); 2] =
        [(header::CONTENT_TYPE, "application/jwk-set+json"), (header::CACHE_CONTROL, "public, max-age=60")];
    match room.identity.clone().get_jwks(GetJwksRequest {}).await {
        Ok(answer) => (HEAD, answer.into_inner().jwks_json).into_response(),
        Err(status) => answer::status(&ApiError::of_status(&status)).into_response(),
    }
}
