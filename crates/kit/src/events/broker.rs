//! The connection to NATS JetStream, and the streams.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectOptions, Event as ConnectionEvent, ServerAddr,
    connection::State,
    jetstream::{self, stream},
};

use crate::{
    ApiError, ApiResult,
    config::{ConfigError, Env, Setting},
    readiness::Readiness,
    shutdown::Shutdown,
};

/// Where the broker is.
pub const NATS_URL: Setting =
    Setting::secret("NATS_URL", "The NATS server with JetStream, such as nats://user:password@localhost:4222.");
/// How many servers keep each stream.
pub const NATS_REPLICAS: Setting =
    Setting::new("NATS_REPLICAS", "1", "How many NATS servers keep each stream: 1 on a laptop, 3 in production.");

/// Several installations can share one NATS.
pub const NATS_PREFIX: Setting = Setting::optional(
    "NATS_PREFIX",
    "Letters and digits before every stream and subject, so that several installations can share one NATS.",
);

/// What every service that publishes or consumes can set.
pub const SETTINGS: &[Setting] = &[NATS_URL, NATS_REPLICAS, NATS_PREFIX];

/// How long JetStream keeps an event. Outbox and inbox rows are kept longer.
pub const STREAM_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// A message id that came within this time is not stored twice.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// A connection that comes up by itself, also when the broker is not there yet. Clones share it.
#[derive(Clone, Debug)]
pub struct Broker {
    client: Client,
    jetstream: jetstream::Context,
    replicas: usize,
    /// Empty, or ends with a dot.
    prefix: Arc<str>,
}

impl Broker {
    /// Begins to connect and returns at once.
    ///
    /// # Errors
    /// When NATS_URL is missing or not a URL.
    pub async fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let url: String = env.get(&NATS_URL)?;
        let role = env.role();
        let prefix = env.optional::<String>(&NATS_PREFIX)?.unwrap_or_default();
        if !prefix.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(env.error(&NATS_PREFIX, "may hold letters and digits only"));
        }
        let prefix = if prefix.is_empty() { prefix } else { prefix + "." };
        // The credentials are taken out of the URL: async-nats logs the URL, and does not always use what is in it.
        let (mut servers, mut credentials) = (Vec::new(), None);
        for server in url.split(',') {
            let server: ServerAddr =
                server.trim().parse().map_err(|e| env.error(&NATS_URL, &format!("is not a NATS URL: {e}")))?;
            if let (Some(user), Some(password)) = (server.username(), server.password()) {
                credentials = Some((user.to_owned(), password.to_owned()));
            }
            let scheme = if server.tls_required() { "tls" } else { "nats" };
            let bare = format!("{scheme}://{}:{}", server.host(), server.port()).parse::<ServerAddr>();
            servers.push(bare.map_err(|e| env.error(&NATS_URL, &format!("is not a NATS URL: {e}")))?);
        }
        let options = match credentials {
            Some((user, password)) => ConnectOptions::with_user_and_password(user, password),
            None => ConnectOptions::new(),
        };
        let client = options
            .name(format!("tourmesh-{role}"))
            .retry_on_initial_connect()
            .connection_timeout(Duration::from_secs(2))
            .ping_interval(Duration::from_secs(10))
            .request_timeout(Some(Duration::from_secs(5)))
            // Full jitter is async-nats' own affair; the cap keeps recovery quick.
            .reconnect_delay_callback(|tries| Duration::from_millis(50 * (1 << tries.min(5)) as u64))
            .event_callback(move |event| async move {
                match event {
                    ConnectionEvent::Connected => tracing::debug!(tourmesh.role = role, "connected to NATS"),
                    other => tracing::debug!(tourmesh.role = role, event = %other, "NATS connection"),
                }
            })
            .connect(servers)
            .await
            .map_err(|e| env.error(&NATS_URL, &format!("is not usable: {e}")))?;
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(Duration::from_secs(5));
        Ok(Self { client, jetstream, replicas: env.get(&NATS_REPLICAS)?, prefix: prefix.into() })
    }

    /// The core connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// JetStream.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// A subject as this installation has it on the wire.
    pub fn subject(&self, subject: &str) -> String {
        format!("{}{subject}", self.prefix)
    }

    /// The other way round: a subject of the wire without the installation's prefix.
    pub fn bare<'a>(&self, subject: &'a str) -> &'a str {
        subject.strip_prefix(&*self.prefix).unwrap_or(subject)
    }

    /// The name of a domain's stream.
    pub fn stream_name(&self, domain: &str) -> String {
        format!("{}{domain}", self.prefix.replace('.', "_")).to_uppercase()
    }

    /// The stream of a domain (`booking` owns `BOOKING` with the subjects `booking.>`), made when it is not there.
    ///
    /// # Errors
    /// DEPENDENCY_UNAVAILABLE.
    pub async fn stream(&self, domain: &str) -> ApiResult<stream::Stream> {
        let config = stream::Config {
            name: self.stream_name(domain),
            subjects: vec![self.subject(&format!("{domain}.>"))],
            // Dead letters stay until somebody has looked at them.
            max_age: if domain == super::dead_letters::DOMAIN { Duration::ZERO } else { STREAM_AGE },
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: self.replicas,
            storage: stream::StorageType::File,
            allow_direct: true,
            // The relay writes long backlogs as atomic batches.
            allow_atomic_publish: true,
            ..stream::Config::default()
        };
        self.jetstream
            .create_or_update_stream(config)
            .await
            .map_err(|e| ApiError::unavailable("the event broker", e))?;
        self.jetstream
            .get_stream(self.stream_name(domain))
            .await
            .map_err(|e| ApiError::unavailable("the event broker", e))
    }

    /// Watches the connection and reports it as the part `nats` until shutdown.
    pub async fn watch(self, readiness: Readiness, shutdown: Shutdown) {
        loop {
            let state = match self.client.connection_state() {
                State::Connected => match self.jetstream.query_account().await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(format!("JetStream does not answer: {error}")),
                },
                state => Err(format!("the connection is {state}")),
            };
            let pause = if state.is_ok() { Duration::from_secs(2) } else { Duration::from_millis(100) };
            readiness.report("nats", state);
            if !shutdown.sleep(pause).await {
                return;
            }
        }
    }
}
