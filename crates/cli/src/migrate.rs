//! `tourmesh migrate`: the databases of roles, brought up to date by their owners.

use anyhow::Context as _;
use clap::Args;
use tourmesh_kit::config::Env;

use crate::roles::{ALL, Role};

/// Bring databases up to date.
///
/// Each role's database is found at TOURMESH_<ROLE>_OWNER_DATABASE_URL (the user who owns the tables; by default the
/// runtime user at TOURMESH_<ROLE>_DATABASE_URL). Steps run once, in order, under a lock: several may migrate at once.
#[derive(Args)]
pub struct Migrate {
    /// Which roles; all by default.
    #[arg(value_enum)]
    roles: Vec<Role>,
}

impl Migrate {
    pub async fn run(self) -> anyhow::Result<()> {
        let roles = if self.roles.is_empty() { ALL.to_vec() } else { self.roles };
        for role in roles {
            let Some(schema) = role.schema() else { continue };
            let env = Env::of_process(role.name());
            schema.migrate(&env).await.with_context(|| format!("cannot migrate {}", role.name()))?;
            println!("{} is up to date", role.name());
        }
        Ok(())
    }
}
