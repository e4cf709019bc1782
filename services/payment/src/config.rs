//! The settings of this role.

use std::time::Duration;

use rust_decimal::Decimal;
use tourmesh_kit::config::{ConfigError, Env, Setting};

use crate::{
    sandbox,
    stripe::{self, StripeConfig},
};

const COMMISSION_PERCENT: Setting =
    Setting::new("COMMISSION_PERCENT", "15", "The platform's part of what is captured, in percent, 0 to 100.");
const PROVIDER_TIMEOUT_MS: Setting = Setting::new(
    "PROVIDER_TIMEOUT_MS",
    "4000",
    "How long a call to a payment provider may take before its outcome counts as unknown, in milliseconds.",
);
const PENDING_GRACE_MS: Setting = Setting::new(
    "PENDING_GRACE_MS",
    "5000",
    "How long an open payment or refund is left alone before the provider is asked about it, in milliseconds. Longer than \
     PROVIDER_TIMEOUT_MS, so that no two calls are under way with one key.",
);
const ACTION_MINUTES: Setting = Setting::new(
    "ACTION_MINUTES",
    "30",
    "How long a customer may take for a second step before the payment is given up, in minutes.",
);
const AUTHORIZATION_HOURS: Setting = Setting::new(
    "AUTHORIZATION_HOURS",
    "96",
    "How long money stays reserved that nobody captures, in hours, 1 to 8760. Issuers forget it after four to seven days.",
);
const REFUND_TRIES: Setting = Setting::new(
    "REFUND_TRIES",
    "12",
    "How often a refund is asked for without an answer, with growing waits, before staff has to decide; 1 or more.",
);
const PROVIDERS: Setting = Setting::new(
    "PROVIDERS",
    "sandbox",
    "The payment providers, `sandbox` and `stripe`, with commas between them; the first one is the default. The sandbox \
     takes no money: leave it out where money counts.",
);
const RECONCILE_HOURS: Setting = Setting::new(
    "RECONCILE_HOURS",
    "24",
    "How often our payments are compared with the provider's list, in hours; 0: only when `tourmesh payments reconcile` \
     says so.",
);
const LANES: Setting = Setting::new("LANES", "1", "How many batches of payments are written side by side.");
const PUBLIC_URL: Setting =
    Setting::new("PUBLIC_URL", "http://127.0.0.1:8080", "Where customers reach the gateway; links begin with it.");
const SANDBOX_WEBHOOK_SECRET: Setting = Setting::secret(
    "SANDBOX_WEBHOOK_SECRET",
    "Signs the sandbox's events, 16 characters or more; the same for all replicas. Needed when PROVIDERS names sandbox.",
);
const SANDBOX_WEBHOOK_URL: Setting = Setting::optional(
    "SANDBOX_WEBHOOK_URL",
    "Where the sandbox sends its events (http://<gateway>/webhooks/sandbox); without it they are handed over in process.",
);
const SANDBOX_EVENTS: Setting = Setting::new(
    "SANDBOX_EVENTS",
    "late",
    "Which events the sandbox sends: `late` (what its answers did not tell) or `all` (as real providers do).",
);
const SANDBOX_TIMEOUT_MS: Setting = Setting::new(
    "SANDBOX_TIMEOUT_MS",
    "200",
    "After how long the sandbox's card_timeout gives no answer, in milliseconds.",
);
const SANDBOX_LATE_MS: Setting = Setting::new(
    "SANDBOX_LATE_MS",
    "1000",
    "After how long the sandbox decides what it gave no answer to, in milliseconds.",
);

/// Everything that this role can be told, besides what every role can.
pub const SETTINGS: &[Setting] = &[
    COMMISSION_PERCENT,
    PROVIDER_TIMEOUT_MS,
    PENDING_GRACE_MS,
    ACTION_MINUTES,
    AUTHORIZATION_HOURS,
    REFUND_TRIES,
    PROVIDERS,
    stripe::SETTINGS[0],
    stripe::SETTINGS[1],
    stripe::SETTINGS[2],
    stripe::SETTINGS[3],
    RECONCILE_HOURS,
    LANES,
    PUBLIC_URL,
    SANDBOX_WEBHOOK_SECRET,
    SANDBOX_WEBHOOK_URL,
    SANDBOX_EVENTS,
    SANDBOX_TIMEOUT_MS,
    SANDBOX_LATE_MS,
];

/// The settings, read and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The platform's part, 0 to 100.
    pub commission_percent: Decimal,
    /// The most that a call to a provider may take.
    pub provider_timeout: Duration,
    /// How long what is open is left alone.
    pub pending_grace: Duration,
    /// How long a second step may take.
    pub action_time: Duration,
    /// How long money stays reserved.
    pub authorization_time: Duration,
    /// How many asks for a refund may go without an answer.
    pub refund_tries: i32,
    /// How often we compare with the providers; `None`: never by itself.
    pub reconcile_every: Option<Duration>,
    /// Batches side by side.
    pub lanes: usize,
    /// The providers, the default one first.
    pub providers: Vec<ProviderConfig>,
}

/// One provider's settings.
#[derive(Debug, Clone)]
pub enum ProviderConfig {
    /// [`crate::sandbox`].
    Sandbox(SandboxConfig),
    /// [`crate::stripe`].
    Stripe(StripeConfig),
}

/// The sandbox provider's settings.
#[derive(Clone)]
pub struct SandboxConfig {
    /// Signs its events.
    pub secret: String,
    /// Where they go; `None`: handed over in process.
    pub webhook_url: Option<http::Uri>,
    /// Also events of what the answers told already.
    pub all_events: bool,
    /// When no answer comes.
    pub timeout: Duration,
    /// When it is decided then.
    pub late: Duration,
    /// The challenge pages are below it; no slash at the end.
    pub public_url: String,
}

impl std::fmt::Debug for SandboxConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the secret.
        f.debug_struct("SandboxConfig").field("webhook_url", &self.webhook_url).finish_non_exhaustive()
    }
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is missing or wrong.
    pub fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let millis = |setting| env.get::<u64>(setting).map(Duration::from_millis);
        let commission_percent: Decimal = env.get(&COMMISSION_PERCENT)?;
        if commission_percent < Decimal::ZERO || commission_percent > Decimal::ONE_HUNDRED {
            return Err(env.error(&COMMISSION_PERCENT, "is not between 0 and 100"));
        }
        let mut providers = Vec::new();
        let names: String = env.get(&PROVIDERS)?;
        for name in names.split(',').map(str::trim) {
            let provider = match name {
                sandbox::NAME => ProviderConfig::Sandbox(SandboxConfig::of_env(env)?),
                stripe::NAME => ProviderConfig::Stripe(StripeConfig::of_env(env)?),
                _ => return Err(env.error(&PROVIDERS, "names a provider that is neither `sandbox` nor `stripe`")),
            };
            if providers.iter().any(|p| std::mem::discriminant(p) == std::mem::discriminant(&provider)) {
                return Err(env.error(&PROVIDERS, "names a provider twice"));
            }
            providers.push(provider);
        }
        let hours: u64 = env.get(&AUTHORIZATION_HOURS)?;
        if !(1..=8760).contains(&hours) {
            return Err(env.error(&AUTHORIZATION_HOURS, "is not between 1 and 8760"));
        }
        let refund_tries: i32 = env.get(&REFUND_TRIES)?;
        if refund_tries < 1 {
            return Err(env.error(&REFUND_TRIES, "is less than 1"));
        }
        let reconcile_hours: u64 = env.get(&RECONCILE_HOURS)?;
        Ok(Self {
            commission_percent,
            provider_timeout: millis(&PROVIDER_TIMEOUT_MS)?,
            pending_grace: millis(&PENDING_GRACE_MS)?,
            action_time: Duration::from_secs(env.get::<u64>(&ACTION_MINUTES)?.saturating_mul(60)),
            authorization_time: Duration::from_secs(hours * 3600),
            refund_tries,
            reconcile_every: (reconcile_hours > 0).then(|| Duration::from_secs(reconcile_hours.saturating_mul(3600))),
            lanes: env.get(&LANES)?,
            providers,
        })
    }
}

impl SandboxConfig {
    fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let millis = |setting| env.get::<u64>(setting).map(Duration::from_millis);
        let secret: String = env.get(&SANDBOX_WEBHOOK_SECRET)?;
        if secret.len() < 16 {
            return Err(env.error(&SANDBOX_WEBHOOK_SECRET, "is shorter than 16 characters"));
        }
        let webhook_url: Option<http::Uri> = env.optional(&SANDBOX_WEBHOOK_URL)?;
        if webhook_url.as_ref().is_some_and(|url| url.scheme() != Some(&http::uri::Scheme::HTTP)) {
            return Err(env.error(&SANDBOX_WEBHOOK_URL, "is not an http:// URL"));
        }
        let all_events = match env.get::<String>(&SANDBOX_EVENTS)?.as_str() {
            "all" => true,
            "late" => false,
            _ => return Err(env.error(&SANDBOX_EVENTS, "is neither `late` nor `all`")),
        };
        Ok(Self {
            secret,
            webhook_url,
            all_events,
            timeout: millis(&SANDBOX_TIMEOUT_MS)?,
            late: millis(&SANDBOX_LATE_MS)?,
            public_url: env.get::<String>(&PUBLIC_URL)?.trim_end_matches('/').to_owned(),
        })
    }
}
