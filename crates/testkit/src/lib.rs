//! What tests stand on: the real PostgreSQL and the real NATS, a database and a stream prefix per test, tokens, waiting.
//!
//! It promises that two tests never see each other's data, that nothing survives the test process, and that no test has
//! to sleep: [`eventually`] waits for what will be true. Start with [`World::get`], take a [`Room`] per test, serve one
//! or more roles in it. A development dependency only.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up should stop right there and say where")]

mod otlp;
pub mod programs;
mod proxy;
mod room;
mod running;
mod tokens;
mod world;

use std::{future::Future, time::Duration};

pub use otlp::{OtlpReceiver, ReceivedSpan};
pub use proxy::Wire;
pub use room::Room;
pub use running::Running;
pub use tourmesh_kit::auth::Role;
pub use world::World;

/// The reason of a refusal, such as `DEPARTURE_SOLD_OUT`; empty when the status carries none.
pub fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The request with an access token.
pub fn bearer<T>(message: T, token: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Waits until the condition holds.
///
/// # Panics
/// When it does not within 10 s.
#[track_caller]
pub fn eventually<F, Fut>(condition: F) -> impl Future<Output = ()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let caller = std::panic::Location::caller();
    within(Duration::from_secs(10), caller, condition)
}

async fn within<F, Fut>(most: Duration, caller: &'static std::panic::Location<'static>, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let end = tokio::time::Instant::now() + most;
    let mut pause = Duration::from_millis(5);
    while !condition().await {
        assert!(tokio::time::Instant::now() < end, "not true within {most:?}, at {caller}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
