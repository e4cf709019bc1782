//! Stripe as a provider, against two programs that others wrote and against what Stripe's documentation says.
//!
//! - `local.rs`: localstripe, which has a memory and sends webhooks; `wire.rs` adds what it leaves out.
//! - `mock.rs`: stripe-mock, Stripe's own, which knows the shape of every call.
//! - `recorded.rs`: what neither has, in the shapes of Stripe's documentation: idempotency keys, webhooks about refunds.
//! - `scripted.rs`: a Stripe of a few hundred lines that fails when it is told to, for thousands of payments.

mod local;
mod mock;
mod recorded;
pub(crate) mod scripted;
mod web;
mod wire;

use tourmesh_payment::stripe::{Stripe, StripeConfig};
use tourmesh_testkit::Room;

/// Signs Stripe's events in these tests.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_stripe_test_secret";
/// Authenticates our calls.
pub(crate) const KEY: &str = "sk_test_tourmesh";

/// Stripe at this address.
fn stripe(api_url: &str) -> Stripe {
    let config = StripeConfig {
        api_url: api_url.to_owned(),
        secret_key: KEY.to_owned(),
        webhook_secrets: vec![WEBHOOK_SECRET.to_owned()],
        publishable_key: "pk_test_tourmesh".to_owned(),
    };
    Stripe::new(config).unwrap()
}

/// The same room, whose payments go to Stripe at this address.
pub(crate) fn with_stripe(room: &Room, api_url: &str) -> Room {
    room.with("PROVIDERS", "stripe")
        .with("STRIPE_API_URL", api_url)
        .with("STRIPE_SECRET_KEY", KEY)
        .with("STRIPE_WEBHOOK_SECRETS", WEBHOOK_SECRET)
        .with("STRIPE_PUBLISHABLE_KEY", "pk_test_tourmesh")
}
