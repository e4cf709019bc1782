//! Stripe as a payment provider: PaymentIntents with automatic or manual capture, refunds, signed webhooks.
//!
//! A thin typed client (`client`) for the eight calls that are needed, on the HTTP and TLS crates that the workspace has
//! anyway; Stripe's own crates bring thousands of generated types for the same. `shapes` says which fields are read.
//!
//! How a card is paid with: the browser shows Stripe's own element and turns what the customer enters into a token
//! (`pm_…` or `ctoken_…`) without it passing us; the token comes with CreatePayment, and the intent is created and confirmed
//! in one call. A second step is at the address that Stripe names (when there is a return address), or is taken by
//! Stripe's script with the client secret, which is asked for when it is needed and never stored.
//!
//! What makes repeats harmless: the payment's id is the `Idempotency-Key` of the creation, and a refund's id that of the
//! refund. Stripe remembers keys for 24 hours, so an older key is never sent. Captures and cancellations need none: Stripe
//! does them once, and the second answer leads to a look at how the intent stands. Our ids are in the metadata, by which
//! an intent is found whose creation was never answered, and to which payment an event belongs.

mod amount;
mod client;
mod events;
mod listing;
mod provider;
mod shapes;

use std::{fmt, sync::Arc};

use http::Uri;
use tourmesh_kit::config::{ConfigError, Env, Setting};

/// As payments and the webhook's path name it.
pub const NAME: &str = "stripe";

/// The version of Stripe's API whose shapes `shapes` reads; stripe-mock checks our calls against the same.
pub const VERSION: &str = "2026-08-26.dahlia";

/// The metadata that ties Stripe's objects to ours.
const PAYMENT_ID: &str = "payment_id";
const REFUND_ID: &str = "refund_id";
const ATTEMPT: &str = "attempt";

const API_URL: Setting = Setting::new(
    "STRIPE_API_URL",
    "https://api.stripe.com",
    "Where Stripe's API is. Without TLS only on this machine, for tests.",
);
const SECRET_KEY: Setting = Setting::secret(
    "STRIPE_SECRET_KEY",
    "Stripe's secret or restricted API key (sk_…, rk_…); needed when PROVIDERS names stripe.",
);
const WEBHOOK_SECRETS: Setting = Setting::secret(
    "STRIPE_WEBHOOK_SECRETS",
    "The signing secrets of Stripe's webhook endpoint (whsec_…), with commas between them: two while one is rolled.",
);
const PUBLISHABLE_KEY: Setting = Setting::new(
    "STRIPE_PUBLISHABLE_KEY",
    "",
    "Stripe's publishable key (pk_…), with which the browser shows the field for cards.",
);

/// What can be set.
pub const SETTINGS: &[Setting] = &[API_URL, SECRET_KEY, WEBHOOK_SECRETS, PUBLISHABLE_KEY];

/// Stripe's settings.
#[derive(Clone)]
pub struct StripeConfig {
    /// Where the API is, without a slash at the end.
    pub api_url: String,
    /// Authenticates our calls.
    pub secret_key: String,
    /// One of them signs each event.
    pub webhook_secrets: Vec<String>,
    /// For the browser.
    pub publishable_key: String,
}

impl fmt::Debug for StripeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the secrets.
        f.debug_struct("StripeConfig").field("api_url", &self.api_url).finish_non_exhaustive()
    }
}

impl StripeConfig {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is missing or wrong.
    pub fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let api: Uri = env.get(&API_URL)?;
        let loopback = matches!(api.host(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if !(api.scheme_str() == Some("https") || (api.scheme_str() == Some("http") && loopback)) {
            return Err(env.error(&API_URL, "is not an https:// address"));
        }
        let secret_key: String = env.get(&SECRET_KEY)?;
        if !(secret_key.starts_with("sk_") || secret_key.starts_with("rk_")) || !is_token(&secret_key) {
            return Err(env.error(&SECRET_KEY, "is not a secret key: those begin with sk_ or rk_"));
        }
        let secrets: String = env.get(&WEBHOOK_SECRETS)?;
        let webhook_secrets: Vec<_> =
            secrets.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect();
        if webhook_secrets.is_empty() || webhook_secrets.iter().any(|s| s.len() < 16) {
            return Err(env.error(&WEBHOOK_SECRETS, "has none, or one that is shorter than 16 characters"));
        }
        let publishable_key: String = env.get(&PUBLISHABLE_KEY)?;
        let is_key = publishable_key.starts_with("pk_") && is_token(&publishable_key);
        if !(publishable_key.is_empty() || is_key) {
            return Err(env.error(&PUBLISHABLE_KEY, "is not a publishable key: those begin with pk_"));
        }
        Ok(Self {
            api_url: api.to_string().trim_end_matches('/').to_owned(),
            secret_key,
            webhook_secrets,
            publishable_key,
        })
    }
}

/// Letters, digits and underscores only: what all of Stripe's ids and keys are made of.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Stripe. Clones share everything.
#[derive(Clone, Debug)]
pub struct Stripe {
    api: Arc<client::Api>,
    config: Arc<StripeConfig>,
}

impl Stripe {
    /// Makes it; nothing is connected yet.
    ///
    /// # Errors
    /// When there is no TLS, or the key cannot be sent in a header.
    pub fn new(config: StripeConfig) -> Result<Self, String> {
        let api = Arc::new(client::Api::new(&config.api_url, &config.secret_key)?);
        Ok(Self { api, config: Arc::new(config) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(more: &[(&str, &str)]) -> Env {
        let given = [("SECRET_KEY", "sk_test_1"), ("WEBHOOK_SECRETS", "whsec_0123456789abcdef")];
        let pairs = given.iter().chain(more);
        Env::of("payment", pairs.map(|(k, v)| (format!("TOURMESH_PAYMENT_STRIPE_{k}"), (*v).to_owned())))
    }

    #[test]
    fn settings_that_cannot_be_right_are_refused_by_name_and_no_secret_is_shown() {
        let config =
            StripeConfig::of_env(&env(&[("WEBHOOK_SECRETS", "whsec_0123456789abcdef, whsec_fedcba9876543210")]));
        let config = config.unwrap();
        assert_eq!(config.webhook_secrets, ["whsec_0123456789abcdef", "whsec_fedcba9876543210"]);
        let shown = format!("{config:?} {:?}", Stripe::new(config.clone()).unwrap());
        assert!(!shown.contains("sk_test_1") && !shown.contains("whsec_"), "{shown}");
        for (name, value) in [
            ("API_URL", "http://api.stripe.com"),
            ("API_URL", "ftp://127.0.0.1"),
            ("SECRET_KEY", "pk_test_hunter2"),
            ("SECRET_KEY", "sk_test hunter2"),
            ("WEBHOOK_SECRETS", "hunter2"),
            ("WEBHOOK_SECRETS", " , "),
            ("PUBLISHABLE_KEY", "sk_live_hunter2"),
        ] {
            let error = StripeConfig::of_env(&env(&[(name, value)])).unwrap_err().to_string();
            assert!(error.contains(&format!("TOURMESH_PAYMENT_STRIPE_{name}")), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
