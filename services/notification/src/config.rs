//! The settings, with defaults and checks.

use std::{num::NonZeroU32, path::PathBuf, str::FromStr, time::Duration};

use kit::{
    config::{ConfigError, Env, Setting},
    voucher::{VOUCHER_SECRET, VoucherKeys},
};
use lettre::{
    AsyncSmtpTransport, Tokio1Executor,
    message::Mailbox,
    transport::smtp::{AsyncSmtpTransportBuilder, PoolConfig},
};
use tourmesh_kit as kit;

use crate::{
    domain::retry::Policy,
    links::{LINK_SECRET, Links},
    sender::Pace,
};

/// Which way messages leave.
pub const MAIL_TRANSPORT: Setting = Setting::new(
    "MAIL_TRANSPORT",
    "auto",
    "How e-mails leave: smtp, file (one .eml each), null (nowhere; for benchmarks), or auto: smtp when SMTP_URL is set, else file.",
);
/// The mail server.
pub const SMTP_URL: Setting = Setting::secret(
    "SMTP_URL",
    "The mail server: smtps://user:password@host (TLS, port 465), smtp://user:password@host:587?tls=required (STARTTLS), or smtp://host:25 (in the clear).",
);
/// Where files go.
pub const MAIL_DIR: Setting =
    Setting::optional("MAIL_DIR", "The directory that e-mails are written to when no mail server is set.");
/// The sender.
pub const MAIL_FROM: Setting = Setting::new(
    "MAIL_FROM",
    "Tourmesh <no-reply@tourmesh.example>",
    "The sender of e-mails; its domain is also the one of the message ids.",
);
/// How long the mail server may take.
pub const SMTP_TIMEOUT_SECONDS: Setting =
    Setting::new("SMTP_TIMEOUT_SECONDS", "10", "How long handing one e-mail over may take, in seconds.");
/// How many at once.
pub const SENDERS: Setting = Setting::new(
    "SENDERS",
    "4",
    "How many e-mails are handed over at once, 1 to 64; each has a connection of its own.",
);
/// The lease.
pub const LEASE_SECONDS: Setting = Setting::new(
    "LEASE_SECONDS",
    "30",
    "After so many seconds a message that a killed replica had taken is sent by another one; must exceed SMTP_TIMEOUT_SECONDS.",
);
/// The first pause.
pub const RETRY_PAUSE_MILLIS: Setting = Setting::new(
    "RETRY_PAUSE_MILLIS",
    "5000",
    "The first pause after a mail server said \"not now\", in milliseconds; it doubles each time. A server that does not answer is asked again ten times sooner.",
);
/// The limit.
pub const GIVE_UP_SECONDS: Setting =
    Setting::new("GIVE_UP_SECONDS", "86400", "How old a message may become before it is given up, in seconds.");

/// How many e-mails a second.
pub const MAIL_PER_SECOND: Setting = Setting::new(
    "MAIL_PER_SECOND",
    "0",
    "How many e-mails a replica hands over in a second at most, as mail providers limit it; 0: as many as it can.",
);
/// When reminders are due.
pub const REMINDER_HOURS: Setting = Setting::new(
    "REMINDER_HOURS",
    "24",
    "How many hours before the start a reminder goes out, 0 to 720; 0: there are none. Counts for bookings that are sold or changed from then on.",
);
/// How often reminders are looked for.
pub const REMINDER_PAUSE_MILLIS: Setting =
    Setting::new("REMINDER_PAUSE_MILLIS", "10000", "How often due reminders are looked for, in milliseconds.");
/// Where people reach us.
pub const PUBLIC_URL: Setting = Setting::optional(
    "PUBLIC_URL",
    "Where people reach the gateway, such as https://tours.example; for links in messages. By default what GATEWAY_URL says.",
);

/// What this service can set beside what kit reads.
pub const SETTINGS: &[Setting] = &[
    MAIL_TRANSPORT,
    SMTP_URL,
    MAIL_DIR,
    MAIL_FROM,
    SMTP_TIMEOUT_SECONDS,
    SENDERS,
    LEASE_SECONDS,
    RETRY_PAUSE_MILLIS,
    GIVE_UP_SECONDS,
    MAIL_PER_SECOND,
    REMINDER_HOURS,
    REMINDER_PAUSE_MILLIS,
    PUBLIC_URL,
    LINK_SECRET,
    VOUCHER_SECRET,
];

/// The SMTP client that SMTP_URL describes.
pub type Smtp = AsyncSmtpTransport<Tokio1Executor>;

/// Which way messages leave.
#[derive(Clone, Debug)]
pub enum Route {
    /// To a mail server.
    Smtp(Smtp),
    /// Into a directory.
    File(PathBuf),
    /// Nowhere.
    Null,
}

/// The settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which way messages leave.
    pub route: Route,
    /// The sender.
    pub from: Mailbox,
    /// How e-mails leave.
    pub mail: Pace,
    /// How long before the start reminders go out.
    pub remind_before: chrono::Duration,
    /// How often they are looked for.
    pub reminder_pause: Duration,
    /// Links to stop messages.
    pub links: Links,
    /// Signs QR codes.
    pub vouchers: VoucherKeys,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is missing, does not parse or contradicts another.
    pub fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let senders = within(env, &SENDERS, 1, 64)?;
        let send_timeout = Duration::from_secs(within(env, &SMTP_TIMEOUT_SECONDS, 1, 300)?);
        let lease = Duration::from_secs(within(env, &LEASE_SECONDS, 2, 3600)?);
        if lease <= send_timeout {
            return Err(env.error(
                &LEASE_SECONDS,
                "must be more than SMTP_TIMEOUT_SECONDS, or a slow e-mail would be sent twice",
            ));
        }
        let from = env.get::<String>(&MAIL_FROM)?;
        let from = from.parse().map_err(|e| env.error(&MAIL_FROM, &format!("{from:?} is not a mailbox: {e}")))?;
        Ok(Self {
            route: route(env, senders, send_timeout)?,
            from,
            mail: Pace {
                senders: usize::try_from(senders).unwrap_or(1),
                per_second: NonZeroU32::new(within(env, &MAIL_PER_SECOND, 0, 100_000)?),
                send_timeout,
                lease,
                policy: Policy {
                    pause: Duration::from_millis(within(env, &RETRY_PAUSE_MILLIS, 10, 3_600_000)?),
                    give_up_after: Duration::from_secs(within(env, &GIVE_UP_SECONDS, 1, 30 * 86_400)?),
                },
            },
            remind_before: chrono::Duration::hours(within(env, &REMINDER_HOURS, 0, 720)?),
            reminder_pause: Duration::from_millis(within(env, &REMINDER_PAUSE_MILLIS, 10, 3_600_000)?),
            links: Links::of_env(env, &public_url(env)?)?,
            vouchers: VoucherKeys::of_env(env)?,
        })
    }
}

fn public_url(env: &Env) -> Result<String, ConfigError> {
    let given = env.optional::<String>(&PUBLIC_URL)?;
    let gateway = || env.foreign("TOURMESH_GATEWAY_URL").map(str::to_owned);
    Ok(given.or_else(gateway).unwrap_or_else(|| "http://127.0.0.1:8080".to_owned()))
}

fn route(env: &Env, senders: u64, timeout: Duration) -> Result<Route, ConfigError> {
    let url = env.optional::<String>(&SMTP_URL)?;
    let dir = env.optional::<PathBuf>(&MAIL_DIR)?;
    match (env.get::<String>(&MAIL_TRANSPORT)?.as_str(), url, dir) {
        ("null", ..) => Ok(Route::Null),
        ("smtp" | "auto", Some(url), _) => {
            // The problem is told without the URL, which holds a password.
            let builder: AsyncSmtpTransportBuilder =
                Smtp::from_url(&url).map_err(|e| env.error(&SMTP_URL, &format!("is not usable: {e}")))?;
            let pool = PoolConfig::new().max_size(u32::try_from(senders).unwrap_or(4));
            Ok(Route::Smtp(builder.timeout(Some(timeout)).pool_config(pool).build()))
        }
        ("smtp", None, _) => Err(env.error(&SMTP_URL, "is not set, but MAIL_TRANSPORT is smtp")),
        ("file" | "auto", _, Some(dir)) => Ok(Route::File(dir)),
        ("file", _, None) => Err(env.error(&MAIL_DIR, "is not set, but MAIL_TRANSPORT is file")),
        ("auto", None, None) => {
            Err(env.error(&SMTP_URL, "is not set, and neither is MAIL_DIR: e-mails have nowhere to go"))
        }
        (other, ..) => Err(env.error(&MAIL_TRANSPORT, &format!("{other:?} is none of auto, smtp, file, null"))),
    }
}

fn within<T: FromStr<Err: std::fmt::Display> + PartialOrd + std::fmt::Display>(
    env: &Env,
    setting: &Setting,
    least: T,
    most: T,
) -> Result<T, ConfigError> {
    let value: T = env.get(setting)?;
    if value < least || value > most {
        return Err(env.error(setting, &format!("{value} does not lie between {least} and {most}")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let secret = [("MESH_SECRET", "a secret that is long enough for everybody")];
        let pairs = secret.iter().chain(pairs).map(|(k, v)| (format!("TOURMESH_NOTIFICATION_{k}"), (*v).to_owned()));
        Config::of_env(&Env::of("notification", pairs)).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn auto_prefers_the_mail_server_to_files() {
        assert!(matches!(config(&[("MAIL_DIR", "m")]).unwrap().route, Route::File(_)));
        let both = config(&[("MAIL_DIR", "m"), ("SMTP_URL", "smtp://localhost:2525")]).unwrap();
        assert!(matches!(both.route, Route::Smtp(_)));
        for url in ["smtps://u:p@mail.example", "smtp://u:p@mail.example:587?tls=required"] {
            assert!(matches!(config(&[("SMTP_URL", url)]).unwrap().route, Route::Smtp(_)), "{url}");
        }
        assert!(matches!(config(&[("MAIL_TRANSPORT", "null")]).unwrap().route, Route::Null));
    }

    #[tokio::test]
    async fn a_contradiction_names_the_setting_and_shows_no_password() {
        for (pairs, named) in [
            (&[][..], "SMTP_URL"),
            (&[("MAIL_TRANSPORT", "smtp")][..], "SMTP_URL"),
            (&[("MAIL_TRANSPORT", "pigeon"), ("MAIL_DIR", "m")][..], "MAIL_TRANSPORT"),
            (&[("MAIL_DIR", "m"), ("SENDERS", "0")][..], "SENDERS"),
            (&[("MAIL_DIR", "m"), ("LEASE_SECONDS", "5")][..], "LEASE_SECONDS"),
            (&[("MAIL_DIR", "m"), ("MAIL_FROM", "nobody")][..], "MAIL_FROM"),
            (&[("SMTP_URL", "http://u:hunter2@mail.example")][..], "SMTP_URL"),
        ] {
            let Err(error) = config(pairs) else { panic!("{pairs:?} was accepted") };
            assert!(error.contains(named) && !error.contains("hunter2"), "{error}");
        }
    }
}
