//! The mesh that is measured: started for it, running already, or somewhere behind a URL.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use sqlx::PgPool;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tourmesh::{
    booking::v1::booking_service_client::BookingServiceClient,
    catalog::v1::{
        catalog_admin_service_client::CatalogAdminServiceClient, catalog_service_client::CatalogServiceClient,
    },
};
use tourmesh_engines::{Pids, PostgresHandle};
use tourmesh_kit::{auth, config::Env, db::Db, shutdown::Shutdown};

use super::{Mailer, mint::Mint, sink::Sink};
use crate::{
    accounts, journey,
    platform::{self, Platform},
    roles::{self, Role},
    seed,
    up::{self, Mesh, Ports},
    visitor::Visitor,
};

/// How long what is under way may take to come to rest.
const REST: Duration = Duration::from_secs(300);
/// How many holds a customer of a standalone mesh may have open.
const OPEN_HOLDS: &str = "100000";

/// A token, ready for the header.
pub type Token = MetadataValue<Ascii>;

/// Which mesh, and how it is reached.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Start one for this.
    pub standalone: bool,
    /// The gateway of one that runs somewhere.
    pub url: Option<String>,
    /// The data directory of one that runs here, or of the one that is started.
    pub data_dir: Option<PathBuf>,
    /// Call the gateway instead of the roles.
    pub gateway: bool,
    /// How many connections to each role.
    pub connections: u16,
    /// How many customers there are; `None`: as many as is usual.
    pub customers: Option<u32>,
    /// How many sites a standalone mesh is seeded with; `None`: all.
    pub seed_sites: Option<usize>,
    /// Where the e-mails of a standalone mesh go.
    pub mail: Mailer,
}

/// The mesh that is measured.
pub struct Ground {
    mesh: Option<Mesh>,
    /// Removed at the end.
    temporary: Option<PathBuf>,
    /// The settings of the mesh; `None` behind a URL.
    pub env: Option<Env>,
    /// Where Booking's outbox is looked at.
    booking: Option<PgPool>,
    notification: Option<PgPool>,
    lines: BTreeMap<&'static str, Vec<Channel>>,
    /// What people may do who look after the catalog.
    pub staff: Token,
    /// Who books.
    pub customers: Vec<Token>,
    /// In words.
    pub told: String,
    /// Where its e-mails go; `None`: that is not ours to say, or nowhere.
    pub sink: Option<Arc<Sink>>,
}

impl Ground {
    /// Starts or finds it.
    pub async fn prepare(wanted: &Wanted, bar: &ProgressBar) -> anyhow::Result<Self> {
        if wanted.standalone {
            return Self::standalone(wanted, bar).await;
        }
        match &wanted.url {
            Some(url) => Self::behind(url.clone(), None, wanted, bar).await,
            None => {
                let env = platform::reach(wanted.data_dir.as_deref())?;
                let gateway = env
                    .foreign("TOURMESH_GATEWAY_URL")
                    .context("nothing says where the gateway is; set TOURMESH_GATEWAY_URL")?;
                Self::behind(gateway.to_owned(), Some(env.clone()), wanted, bar).await
            }
        }
    }

    async fn standalone(wanted: &Wanted, bar: &ProgressBar) -> anyhow::Result<Self> {
        let mint = Mint::new()?;
        let temporary = match &wanted.data_dir {
            Some(_) => None,
            None => Some(std::env::temp_dir().join(format!("tourmesh-{}", std::process::id()))),
        };
        let dir = wanted.data_dir.clone().or_else(|| temporary.clone());
        let sink = match wanted.mail {
            Mailer::Null => None,
            Mailer::Smtp => Some(Arc::new(Sink::start().await?)),
        };
        let more = [
            ("TOURMESH_JWKS_JSON", mint.jwks.as_str()),
            ("TOURMESH_NOTIFICATION_MAIL_TRANSPORT", if sink.is_some() { "smtp" } else { "null" }),
            ("TOURMESH_NOTIFICATION_SMTP_URL", sink.as_ref().map(|sink| sink.url()).unwrap_or_default()),
            ("TOURMESH_BOOKING_MAX_OPEN_HOLDS", OPEN_HOLDS),
        ];
        let platform = Platform::start(dir.as_deref(), bar).await?.with(more);
        let sockets = up::bind(&roles::ALL, &Ports::Free).await?;
        let mesh = Mesh::start(platform, sockets, Shutdown::new(), bar).await?;
        let prepared = async {
            if wanted.seed_sites != Some(0) {
                seed::seed(&mesh.env, wanted.seed_sites, bar).await?;
            }
            mesh.ready(bar).await?;
            bar.set_message("making customers");
            let people = wanted.customers.unwrap_or(10_000);
            let customers = (0..people).map(|_| bearer(&mint.token(&[auth::Role::Traveller])?));
            let customers = customers.collect::<anyhow::Result<Vec<_>>>()?;
            let staff = bearer(&mint.token(&[auth::Role::Staff])?)?;
            anyhow::Ok((customers, staff))
        };
        let (customers, staff) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                mesh.stop().await?;
                return Err(error);
            }
        };
        let env = mesh.env.clone();
        let lines = lines(&env, wanted).await?;
        let told = format!(
            "to {} over gRPC on {} connections each; clients, roles, PostgreSQL and NATS on this machine",
            if wanted.gateway { "the gateway" } else { "the roles" },
            wanted.connections
        );
        let (booking, notification) = (pool(&env, Role::Booking)?, pool(&env, Role::Notification)?);
        Ok(Self {
            mesh: Some(mesh),
            temporary,
            env: Some(env),
            booking: Some(booking),
            notification: Some(notification),
            lines,
            staff,
            customers,
            told,
            sink,
        })
    }

    async fn behind(gateway: String, env: Option<Env>, wanted: &Wanted, bar: &ProgressBar) -> anyhow::Result<Self> {
        bar.set_message("signing customers up");
        let visitor = Visitor::at(&gateway, Duration::from_secs(5))?;
        let mut customers = Vec::new();
        for _ in 0..wanted.customers.unwrap_or(64) {
            let email = journey::sign_up(&visitor).await?;
            customers.push(bearer(journey::token(&visitor, &email, None).await?.as_str())?);
        }
        let staff = journey::token(&visitor, accounts::STAFF.email, Some(accounts::STAFF.password)).await?;
        let to = if env.is_some() && !wanted.gateway { "the roles" } else { "the gateway" };
        let lines = match &env {
            Some(env) => lines(env, wanted).await?,
            None => {
                let there = connect(&gateway, wanted.connections).await?;
                roles::ALL.iter().map(|role| (role.name(), there.clone())).collect()
            }
        };
        let pools =
            env.as_ref().map(|env| Ok::<_, anyhow::Error>((pool(env, Role::Booking)?, pool(env, Role::Notification)?)));
        let (booking, notification) = pools.transpose()?.unzip();
        let told = format!("to {to} of a running mesh over gRPC on {} connections each", wanted.connections);
        Ok(Self {
            mesh: None,
            temporary: None,
            env,
            booking,
            notification,
            lines,
            staff: bearer(&staff)?,
            customers,
            told,
            sink: None,
        })
    }

    fn line(&self, role: Role, client: usize) -> anyhow::Result<Channel> {
        let lines = self.lines.get(role.name()).with_context(|| format!("{} is not reached", role.name()))?;
        lines.get(client % lines.len().max(1)).cloned().context("there is no connection")
    }

    /// Catalog, as this client calls it.
    pub fn catalog(&self, client: usize) -> anyhow::Result<CatalogServiceClient<Channel>> {
        Ok(CatalogServiceClient::new(self.line(Role::Catalog, client)?))
    }
    /// Catalog's administration.
    pub fn admin(&self, client: usize) -> anyhow::Result<CatalogAdminServiceClient<Channel>> {
        Ok(CatalogAdminServiceClient::new(self.line(Role::Catalog, client)?))
    }
    /// Booking.
    pub fn booking(&self, client: usize) -> anyhow::Result<BookingServiceClient<Channel>> {
        Ok(BookingServiceClient::new(self.line(Role::Booking, client)?))
    }

    /// One client of a service for each connection.
    pub fn each<T>(&self, make: impl Fn(&Self, usize) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
        let connections = self.lines.values().map(Vec::len).max().unwrap_or(1);
        (0..connections).map(|n| make(self, n)).collect()
    }

    /// The PostgreSQL of a standalone mesh.
    pub fn postgres(&self) -> anyhow::Result<&PostgresHandle> {
        let mesh = self.mesh.as_ref().context("only a standalone mesh can be compared")?;
        mesh.platform.postgres().context("only a PostgreSQL of our own can be compared")
    }

    /// The processes of a standalone mesh's engines.
    pub fn pids(&self) -> anyhow::Result<Pids> {
        let mesh = self.mesh.as_ref().context("only a standalone mesh's engines are known")?;
        mesh.platform.pids().context("only engines of our own are known")
    }

    /// How many bookings there are in each state.
    pub async fn bookings(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let pool = self.booking.as_ref().context("the bookings cannot be seen from here")?;
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, count(*) FROM bookings GROUP BY state").fetch_all(pool).await?;
        Ok(rows.into_iter().map(|(state, count)| (state, count.unsigned_abs())).collect())
    }

    /// How many events of Booking wait to be published; `None`: that cannot be seen from here.
    pub async fn waiting_events(&self) -> anyhow::Result<Option<u64>> {
        let Some(pool) = &self.booking else { return Ok(None) };
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_waiting").fetch_one(pool).await?;
        Ok(u64::try_from(waiting).ok())
    }

    /// Waits until Booking's events are published and Notification has taken them in; how long that took.
    pub async fn quiet(&self, bar: &ProgressBar) -> anyhow::Result<Option<Duration>> {
        let Some(notification) = &self.notification else { return Ok(None) };
        let begun = Instant::now();
        let mut taken_before: Option<i64> = None;
        loop {
            let waiting = self.waiting_events().await?.unwrap_or_default();
            let taken: i64 = sqlx::query_scalar("SELECT count(*) FROM inbox").fetch_one(notification).await?;
            if waiting == 0 && taken_before == Some(taken) {
                break;
            }
            if begun.elapsed() > REST {
                bail!("{waiting} events still wait after {REST:?}");
            }
            bar.set_message(format!("waiting until {waiting} events are published and taken in"));
            taken_before = Some(taken);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(Some(begun.elapsed()))
    }

    /// Ends what was started.
    pub async fn stop(self) -> anyhow::Result<()> {
        for pool in [self.booking, self.notification].into_iter().flatten() {
            pool.close().await;
        }
        if let Some(mesh) = self.mesh {
            mesh.stop().await?;
        }
        if let Some(dir) = self.temporary {
            tokio::fs::remove_dir_all(&dir).await.with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        Ok(())
    }
}

fn pool(env: &Env, role: Role) -> anyhow::Result<PgPool> {
    Ok(Db::of_env(&env.for_role(role.name()))?.pool().clone())
}

/// The header's value.
fn bearer(token: &str) -> anyhow::Result<Token> {
    Ok(format!("Bearer {token}").parse()?)
}

/// A request in somebody's name.
pub fn signed<T>(token: &Token, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", token.clone());
    request
}

async fn lines(env: &Env, wanted: &Wanted) -> anyhow::Result<BTreeMap<&'static str, Vec<Channel>>> {
    let mut lines = BTreeMap::new();
    for role in [Role::Catalog, Role::Booking] {
        let called = if wanted.gateway { Role::Gateway } else { role };
        let name = format!("TOURMESH_{}_URL", called.name().to_uppercase());
        let url = env.foreign(&name).with_context(|| format!("{name} is not set"))?;
        lines.insert(role.name(), connect(url, wanted.connections).await?);
    }
    Ok(lines)
}

async fn connect(url: &str, connections: u16) -> anyhow::Result<Vec<Channel>> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .with_context(|| format!("{url} is not a URL such as http://127.0.0.1:50052"))?
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(2));
    let mut channels = Vec::new();
    for _ in 0..connections {
        channels.push(endpoint.connect().await.with_context(|| format!("nobody answers at {url}"))?);
    }
    Ok(channels)
}
