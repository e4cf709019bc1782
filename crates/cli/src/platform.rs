//! What the roles of one machine stand on: engines, databases, secrets, and each role's settings.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection};
use tourmesh_engines::{DataDirLock, Engines, Options, Pids, PostgresHandle, default_data_dir};
use tourmesh_kit::{
    config::Env,
    provision::{self, Account},
};

use crate::{
    output,
    roles::{ALL, Role},
    secrets::Secrets,
};

/// The file in the data directory that says how to reach a running mesh.
const REACH: &str = "mesh.env";

/// Migrated databases and a broker: on engines of our own, or wherever the user's settings say.
pub struct Platform {
    /// `None`: the user's settings name all databases and the broker.
    engines: Option<Engines>,
    /// Held while there are no engines that would hold it.
    _lock: Option<DataDirLock>,
    data_dir: PathBuf,
    secrets: Secrets,
    more: Vec<(String, String)>,
}

impl Platform {
    /// Starts the engines in this data directory (the user's by default) and brings all databases up to date. Where
    /// TOURMESH_NATS_URL and the DATABASE_URL of every role are set, those are used and nothing is started.
    pub async fn start(data_dir: Option<&Path>, bar: &ProgressBar) -> anyhow::Result<Self> {
        if all_given() {
            let data_dir = match data_dir {
                Some(dir) => dir.to_owned(),
                None => default_data_dir()?,
            };
            fs::create_dir_all(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
            let lock = DataDirLock::acquire(&data_dir)?;
            return Self::on(None, Some(lock), data_dir, bar).await;
        }
        let mut options = Options::from_env();
        options.data_dir = data_dir.map(Path::to_path_buf);
        let shown = bar.clone();
        let engines = Engines::start(options, move |event| output::engine_event(&shown, &event)).await?;
        let data_dir = engines.data_dir().to_owned();
        Self::on(Some(engines), None, data_dir, bar).await
    }

    /// The same on throwaway engines.
    pub async fn ephemeral(bar: &ProgressBar) -> anyhow::Result<Self> {
        bar.set_message("starting throwaway engines");
        let engines = Engines::ephemeral(Options::from_env()).await?;
        let data_dir = engines.data_dir().to_owned();
        Self::on(Some(engines), None, data_dir, bar).await
    }

    async fn on(
        engines: Option<Engines>,
        lock: Option<DataDirLock>,
        data_dir: PathBuf,
        bar: &ProgressBar,
    ) -> anyhow::Result<Self> {
        let platform = Self { secrets: Secrets::of(&data_dir)?, data_dir, engines, _lock: lock, more: Vec::new() };
        bar.set_message("bringing the databases up to date");
        if let Err(error) = platform.databases().await {
            platform.stop().await?;
            return Err(error);
        }
        Ok(platform)
    }

    /// The same with more settings for its roles, under full names.
    pub fn with<'a>(mut self, more: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.more.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    /// Our own PostgreSQL, also as its superuser.
    pub fn postgres(&self) -> Option<&PostgresHandle> {
        self.engines.as_ref().map(Engines::postgres)
    }

    /// The processes of our own engines.
    pub fn pids(&self) -> Option<Pids> {
        self.engines.as_ref().map(Engines::pids)
    }

    async fn databases(&self) -> anyhow::Result<()> {
        if let Some(postgres) = self.postgres() {
            let superuser = postgres.url("postgres");
            let mut superuser =
                PgConnection::connect(&superuser).await.context("the new PostgreSQL does not answer")?;
            for role in ALL.into_iter().filter(|r| r.schema().is_some()) {
                let (user, owner) = (self.password(role, "user"), self.password(role, "owner"));
                provision::provision(&mut superuser, &Account::of_role(role.name()), &user, &owner).await?;
            }
            superuser.close().await?;
        }
        let environment = self.environment(&BTreeMap::new());
        try_join_all(ALL.into_iter().filter_map(|role| {
            let schema = role.schema()?;
            let env = Env::of(role.name(), environment.clone());
            Some(async move { schema.migrate(&env).await.with_context(|| format!("cannot migrate {}", role.name())) })
        }))
        .await?;
        Ok(())
    }

    /// Everything that the roles need to know, under full names. What the user's own environment says wins.
    pub fn environment(&self, addresses: &BTreeMap<&'static str, String>) -> Vec<(String, String)> {
        let mut all = BTreeMap::new();
        let own = self.engines.iter().flat_map(|e| ALL.map(|role| (e.postgres(), role)));
        for (postgres, role) in own.filter(|(_, role)| role.schema().is_some()) {
            let account = Account::of_role(role.name());
            let url = |user: &str, kind: &str| postgres.url_as(user, &self.password(role, kind), &account.database);
            let name = role.name().to_uppercase();
            all.insert(format!("TOURMESH_{name}_DATABASE_URL"), url(&account.user, "user"));
            all.insert(format!("TOURMESH_{name}_OWNER_DATABASE_URL"), url(&account.owner, "owner"));
        }
        if let Some(engines) = &self.engines {
            all.insert("TOURMESH_NATS_URL".to_owned(), engines.nats().url_with_credentials());
        }
        all.insert("TOURMESH_MESH_SECRET".to_owned(), self.secrets.mesh.clone());
        all.insert("TOURMESH_IDENTITY_KEY_SECRET".to_owned(), self.secrets.signing_keys.clone());
        all.insert("TOURMESH_PAYMENT_SANDBOX_WEBHOOK_SECRET".to_owned(), self.secrets.sandbox_webhooks.clone());
        all.insert("TOURMESH_NOTIFICATION_MAIL_DIR".to_owned(), self.mail_dir().display().to_string());
        for (role, url) in addresses {
            all.insert(format!("TOURMESH_{}_URL", role.to_uppercase()), url.clone());
        }
        if let Some(gateway) = addresses.get("gateway") {
            all.insert("TOURMESH_PAYMENT_SANDBOX_WEBHOOK_URL".to_owned(), format!("{gateway}/webhooks/sandbox"));
            all.insert("TOURMESH_PUBLIC_URL".to_owned(), gateway.clone());
        }
        all.extend(self.more.iter().cloned());
        all.extend(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))));
        all.into_iter().collect()
    }

    /// Where e-mails are written when no mail server is set.
    pub fn mail_dir(&self) -> PathBuf {
        self.data_dir.join("mail")
    }

    /// Where everything is.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where PostgreSQL and NATS listen.
    pub fn engine_addresses(&self) -> (String, String) {
        let Some(engines) = &self.engines else { return ("as set".to_owned(), "as set".to_owned()) };
        let (postgres, nats) = (engines.postgres(), engines.nats());
        (format!("{}:{}", postgres.host, postgres.port), format!("{}:{}", nats.host, nats.port))
    }

    /// Tells other commands how to reach this mesh, in a file that only its owner reads.
    pub fn write_reach(&self, environment: &[(String, String)]) -> anyhow::Result<()> {
        let lines = environment.iter().filter(|(k, _)| k.starts_with("TOURMESH_"));
        let text: String = lines.map(|(k, v)| format!("{k}={v}\n")).collect();
        let path = self.data_dir.join(REACH);
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Stops the engines.
    pub async fn stop(self) -> anyhow::Result<()> {
        match self.engines {
            Some(engines) => Ok(engines.stop().await?),
            None => Ok(()),
        }
    }

    /// The password of a role's database user, the same at every start.
    fn password(&self, role: Role, kind: &str) -> String {
        hex::encode(Sha256::digest(format!("{} {} {kind}", self.secrets.databases, role.name())))
    }
}

/// The user's environment names every database and the broker.
fn all_given() -> bool {
    let process = Env::of_process("tourmesh");
    let is_set = |name: &str| process.foreign(name).is_some() || process.foreign(&format!("{name}_FILE")).is_some();
    let database = |role: &Role| {
        is_set("TOURMESH_DATABASE_URL") || is_set(&format!("TOURMESH_{}_DATABASE_URL", role.name().to_uppercase()))
    };
    is_set("TOURMESH_NATS_URL") && ALL.iter().filter(|r| r.schema().is_some()).all(database)
}

/// The settings of a mesh that runs: those of the environment, or else those that `up` left in its data directory, which
/// `TOURMESH_DATA_DIR` names here as it does for `up`.
pub fn reach(data_dir: Option<&Path>) -> anyhow::Result<Env> {
    let process = Env::of_process("tourmesh");
    let given =
        ALL.iter().any(|r| process.foreign(&format!("TOURMESH_{}_DATABASE_URL", r.name().to_uppercase())).is_some());
    if data_dir.is_none() && (given || process.foreign("TOURMESH_DATABASE_URL").is_some()) {
        return Ok(process);
    }
    let dir = match data_dir {
        Some(dir) => dir.to_owned(),
        None => match process.foreign("TOURMESH_DATA_DIR") {
            Some(dir) => dir.into(),
            None => default_data_dir()?,
        },
    };
    let path = dir.join(REACH);
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}: start `tourmesh up` with this data directory first, or set TOURMESH_<ROLE>_DATABASE_URL",
            path.display()
        )
    })?;
    let pairs = text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned()));
    Ok(process.with(pairs))
}
