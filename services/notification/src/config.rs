//! The settings, with defaults and checks.

use std::{num::NonZeroU32, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use kit::{
    config::{ConfigError, Env, Setting},
    voucher::{VOUCHER_SECRET, VoucherKeys},
};
use lettre::message::Mailbox;
use tourmesh_kit as kit;

use crate::{
    domain::{retry::Policy, webhook},
    links::{LINK_SECRET, Links},
    mail::smtp::{Server, Smtp},
    out::{Http, guard::Guard},
    push::Push,
    sender::Pace,
    sms::Sms,
    webhooks::keys::{Keys, WEBHOOK_KEY},
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
/// Whom it is believed.
pub const SMTP_CA: Setting = Setting::optional(
    "SMTP_CA",
    "Certificates (PEM) by which the mail server is believed beside the public ones, for one with a certificate of its own house; SMTP_CA_FILE names a file.",
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
    "16",
    "How many e-mails are handed over at once, 1 to 64; each has a connection of its own, and most of its time is waiting.",
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

/// The telephone company.
pub const SMS_URL: Setting = Setting::optional(
    "SMS_URL",
    "The base URL of an SMS provider with Twilio's API, such as https://api.twilio.com. Not set: there are no text messages.",
);
/// The account there.
pub const SMS_ACCOUNT: Setting = Setting::optional("SMS_ACCOUNT", "The account at the SMS provider, AC….");
/// Its password.
pub const SMS_TOKEN: Setting = Setting::secret("SMS_TOKEN", "The token of the account at the SMS provider.");
/// The sender of text messages.
pub const SMS_FROM: Setting =
    Setting::optional("SMS_FROM", "The sender of text messages: a number such as +33700000000, or a name.");
/// How many text messages a second.
pub const SMS_PER_SECOND: Setting = Setting::new(
    "SMS_PER_SECOND",
    "10",
    "How many text messages a replica hands over in a second at most; 0: as many as it can.",
);
/// Who we are towards browsers.
pub const PUSH_KEY: Setting = Setting::secret(
    "PUSH_KEY",
    "The VAPID key of push messages, a P-256 key as PEM: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256. Not set: there are no push messages.",
);
/// Whom the makers of browsers ask.
pub const PUSH_CONTACT: Setting = Setting::new(
    "PUSH_CONTACT",
    "mailto:postmaster@tourmesh.example",
    "Whom the makers of browsers ask when push messages go wrong: a mailto: or https: URL.",
);
/// How many push messages a second.
pub const PUSH_PER_SECOND: Setting = Setting::new(
    "PUSH_PER_SECOND",
    "100",
    "How many push messages a replica hands over in a second at most; 0: as many as it can.",
);
/// The pauses of webhooks.
pub const WEBHOOK_PAUSES: Setting = Setting::new(
    "WEBHOOK_PAUSES",
    webhook::PAUSES,
    "The pauses after each failed try of a webhook message, in seconds with commas between; after the last one it is given up.",
);
/// When endpoints are switched off.
pub const WEBHOOK_DISABLE_SECONDS: Setting = Setting::new(
    "WEBHOOK_DISABLE_SECONDS",
    "259200",
    "A webhook endpoint of which every try failed for so long is switched off and its owner told, in seconds.",
);
/// Where webhooks and push messages may go.
pub const ALLOW_PRIVATE_TARGETS: Setting = Setting::new(
    "ALLOW_PRIVATE_TARGETS",
    "false",
    "true: webhooks and push messages may also go to private networks and over http; for development alone.",
);

/// What this service can set beside what kit reads.
pub const SETTINGS: &[Setting] = &[
    MAIL_TRANSPORT,
    SMTP_URL,
    SMTP_CA,
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
    SMS_URL,
    SMS_ACCOUNT,
    SMS_TOKEN,
    SMS_FROM,
    SMS_PER_SECOND,
    PUSH_KEY,
    PUSH_CONTACT,
    PUSH_PER_SECOND,
    WEBHOOK_KEY,
    WEBHOOK_PAUSES,
    WEBHOOK_DISABLE_SECONDS,
    ALLOW_PRIVATE_TARGETS,
];

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
    /// How text messages leave, and by whom; `None`: there are none.
    pub sms: Option<(Pace, Sms)>,
    /// How push messages leave; `None`: there are none.
    pub push: Option<(Pace, Arc<Push>)>,
    /// Calls webhooks and push services: nobody inside of our network.
    pub http: Http,
    /// Seal the secrets of webhooks.
    pub webhook_keys: Keys,
    /// The pauses after failed tries of webhook messages.
    pub webhook_pauses: Arc<[Duration]>,
    /// When endpoints are switched off.
    pub webhook_disable: chrono::Duration,
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
        let mail = Pace {
            senders: usize::try_from(senders).unwrap_or(1),
            per_second: NonZeroU32::new(within(env, &MAIL_PER_SECOND, 0, 100_000)?),
            send_timeout,
            lease,
            policy: Policy {
                pause: Duration::from_millis(within(env, &RETRY_PAUSE_MILLIS, 10, 3_600_000)?),
                give_up_after: Duration::from_secs(within(env, &GIVE_UP_SECONDS, 1, 30 * 86_400)?),
            },
        };
        let private: bool = env.get(&ALLOW_PRIVATE_TARGETS)?;
        let http = http(env, if private { Guard::open() } else { Guard::public() })?;
        Ok(Self {
            route: route(env)?,
            from,
            sms: sms(env, mail)?,
            push: push(env, mail, &http)?,
            http,
            webhook_keys: Keys::of_env(env)?,
            webhook_pauses: pauses(env)?,
            webhook_disable: chrono::Duration::seconds(within(env, &WEBHOOK_DISABLE_SECONDS, 1, 90 * 86_400)?),
            mail,
            remind_before: chrono::Duration::hours(within(env, &REMINDER_HOURS, 0, 720)?),
            reminder_pause: Duration::from_millis(within(env, &REMINDER_PAUSE_MILLIS, 10, 3_600_000)?),
            links: Links::of_env(env, &public_url(env)?)?,
            vouchers: VoucherKeys::of_env(env)?,
        })
    }
}

fn http(env: &Env, guard: Guard) -> Result<Http, ConfigError> {
    Http::new(guard).map_err(|e| env.error(&ALLOW_PRIVATE_TARGETS, &format!("TLS cannot be set up: {e}")))
}

fn sms(env: &Env, mail: Pace) -> Result<Option<(Pace, Sms)>, ConfigError> {
    let Some(base) = env.optional::<String>(&SMS_URL)? else { return Ok(None) };
    let (account, token): (String, String) = (env.get(&SMS_ACCOUNT)?, env.get(&SMS_TOKEN)?);
    // An operator may have the provider's gateway inside of its own network.
    let sms = Sms::new(http(env, Guard::open())?, &base, &account, &token, &env.get::<String>(&SMS_FROM)?);
    let sms = sms.map_err(|e| env.error(&SMS_URL, &e))?;
    let per_second = NonZeroU32::new(within(env, &SMS_PER_SECOND, 0, 100_000)?);
    Ok(Some((Pace { per_second, ..mail }, sms)))
}

fn push(env: &Env, mail: Pace, http: &Http) -> Result<Option<(Pace, Arc<Push>)>, ConfigError> {
    let Some(key) = env.optional::<String>(&PUSH_KEY)? else { return Ok(None) };
    let push = Push::new(http.clone(), &key, &env.get::<String>(&PUSH_CONTACT)?);
    let push = Arc::new(push.map_err(|e| env.error(&PUSH_KEY, &e))?);
    let per_second = NonZeroU32::new(within(env, &PUSH_PER_SECOND, 0, 100_000)?);
    Ok(Some((Pace { per_second, ..mail }, push)))
}

fn pauses(env: &Env) -> Result<Arc<[Duration]>, ConfigError> {
    let text: String = env.get(&WEBHOOK_PAUSES)?;
    let read = text.split(',').map(|part| part.trim().parse().map(Duration::from_secs));
    read.collect::<Result<_, _>>()
        .map_err(|e| env.error(&WEBHOOK_PAUSES, &format!("{text:?} is no list of seconds: {e}")))
}

fn public_url(env: &Env) -> Result<String, ConfigError> {
    let given = env.optional::<String>(&PUBLIC_URL)?;
    let gateway = || env.foreign("TOURMESH_GATEWAY_URL").map(str::to_owned);
    Ok(given.or_else(gateway).unwrap_or_else(|| "http://127.0.0.1:8080".to_owned()))
}

fn route(env: &Env) -> Result<Route, ConfigError> {
    let url = env.optional::<String>(&SMTP_URL)?;
    let dir = env.optional::<PathBuf>(&MAIL_DIR)?;
    match (env.get::<String>(&MAIL_TRANSPORT)?.as_str(), url, dir) {
        ("null", ..) => Ok(Route::Null),
        ("smtp" | "auto", Some(url), _) => {
            let ca = env.optional::<String>(&SMTP_CA)?;
            // The problem is told without the URL, which holds a password.
            let server = Server::of_url(&url, ca.as_deref());
            Ok(Route::Smtp(Smtp::new(server.map_err(|e| env.error(&SMTP_URL, &format!("is not usable: {e}")))?)))
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
