//! Identity against a real PostgreSQL and a real NATS, through its gRPC port.

#![allow(clippy::unwrap_used, reason = "a test says where it failed")]

mod guessing;
mod keys;
mod roles;
mod sessions;
mod sign_up;

use tonic::transport::Channel;
use tourmesh::identity::v1::{
    SignInRequest, SignUpRequest, SignUpResponse, identity_service_client::IdentityServiceClient,
};
use tourmesh_testkit::{Room, Running, World};

pub(crate) type Client = IdentityServiceClient<Channel>;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A room whose tokens are verified with the keys that it makes itself, and whose hashes are cheap.
pub(crate) async fn room() -> Room {
    let room = World::get().await.room("identity", &tourmesh_identity::SCHEMA).await;
    room.with("PASSWORD_MEMORY_KIB", 64).with("PASSWORD_PASSES", 1)
}

pub(crate) async fn start(room: &Room) -> (Running, Client) {
    let running = room.serve(tourmesh_identity::serve).await;
    let client = Client::new(running.channel());
    (running, client)
}

pub(crate) fn newcomer(email: &str) -> SignUpRequest {
    SignUpRequest {
        request_id: format!("sign-up-{}", email.to_lowercase().replace('@', ".")),
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
        full_name: "Ada Lovelace".to_owned(),
        language: "fr".to_owned(),
    }
}

pub(crate) async fn sign_up(client: &mut Client, email: &str) -> SignUpResponse {
    client.sign_up(newcomer(email)).await.unwrap().into_inner()
}

pub(crate) fn sign_in(email: &str, password: &str) -> SignInRequest {
    SignInRequest { email: email.to_owned(), password: password.to_owned() }
}
