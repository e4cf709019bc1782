//! `tourmesh serve`: roles against engines that somebody else runs.

use anyhow::Context as _;
use clap::Args;
use tourmesh_kit::{
    config::Env,
    server::{LISTEN, METRICS_LISTEN},
    shutdown::Shutdown,
    telemetry::{self, LogFormat, TelemetryConfig},
};

use crate::{
    mesh::{self, RoleSockets},
    roles::Role,
    settings,
};

/// Run some roles.
///
/// Settings come from the environment: TOURMESH_<ROLE>_<NAME>, or TOURMESH_<NAME> for all roles, and a secret may come
/// from a file named by the same variable with _FILE at its end. `--settings` lists them.
#[derive(Args)]
pub struct Serve {
    /// Which roles; each keeps its own port, database and credentials also when they share this process.
    #[arg(value_enum, required_unless_present = "settings_page")]
    roles: Vec<Role>,
    /// List the settings of these roles, with their defaults, and stop.
    #[arg(long)]
    settings: bool,
    /// Print the page that lists the settings of all roles, docs/settings.md, and stop.
    #[arg(long)]
    settings_page: bool,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "json", env = "TOURMESH_LOG_FORMAT")]
    log_format: LogFormat,
}

impl Serve {
    pub async fn run(self) -> anyhow::Result<()> {
        if self.settings_page {
            print!("{}", settings::page());
            return Ok(());
        }
        if self.settings {
            self.roles.iter().for_each(|role| print_settings(*role));
            return Ok(());
        }
        let env = Env::of_process("tourmesh");
        let names = self.roles.iter().map(|r| r.name()).collect();
        let telemetry = telemetry::init(TelemetryConfig::of_env(&env, self.log_format, names));
        let shutdown = Shutdown::new();
        shutdown.on_signals();
        let mut sockets = Vec::new();
        for role in &self.roles {
            let env = env.for_role(role.name());
            let grpc = env.optional(&LISTEN)?.unwrap_or_else(|| format!("127.0.0.1:{}", role.port()));
            let metrics =
                env.optional(&METRICS_LISTEN)?.unwrap_or_else(|| format!("127.0.0.1:{}", role.metrics_port()));
            sockets.push((*role, env, RoleSockets::bind(*role, &grpc, &metrics).await?));
        }
        mesh::run_roles(sockets, &shutdown).await.context("a role could not start")?;
        telemetry.shutdown(std::time::Duration::from_secs(3)).await;
        Ok(())
    }
}

fn print_settings(role: Role) {
    println!("{}: {}", role.name(), role.task());
    for setting in role.settings() {
        let name = format!("TOURMESH_{}_{}", role.name().to_uppercase(), setting.name);
        let default = setting.default.map(|d| format!(" [default: {d}]")).unwrap_or_default();
        println!("  {name}{default}\n      {}", setting.help);
    }
}
