//! The engines that all tests of a process share, and the templates that their databases are copied from.

use std::{
    collections::HashMap,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::sync::Mutex;
use tourmesh_engines::{Engines, NatsHandle, Options, PostgresHandle};
use tourmesh_kit::{
    auth::{Role, ServiceTokens},
    config::Env,
    db::Schema,
    provision::{self, Account},
    telemetry::{self, LogFormat, TelemetryConfig},
};

use crate::{Room, tokens};

const PASSWORD: &str = "test";
/// Signs calls between services in tests.
pub(crate) const MESH_SECRET: &str = "a secret that only tests know, 32 and more";

/// A real PostgreSQL and a real NATS with JetStream, started once per test process.
#[derive(Debug)]
pub struct World {
    pub(crate) postgres: PostgresHandle,
    pub(crate) nats: NatsHandle,
    /// By role, and where the steps of its schema stand: tests of one role may have different ones.
    templates: Mutex<HashMap<(&'static str, usize), Account>>,
    rooms: AtomicU64,
}

impl World {
    /// The world of this process.
    ///
    /// # Panics
    /// When the engines cannot be started; the message says why and what to do.
    pub async fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        tokio::task::spawn_blocking(|| WORLD.get_or_init(Self::start)).await.unwrap()
    }

    /// Each test has a runtime of its own that ends with it, so the engines are looked after on another one.
    fn start() -> Self {
        // `RUST_LOG=debug cargo test …` shows what happened.
        if std::env::var_os("RUST_LOG").is_some() {
            let env = Env::of_process("test");
            std::mem::forget(telemetry::init(TelemetryConfig::of_env(&env, LogFormat::Pretty, vec!["test"])));
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async move {
                let engines = Engines::ephemeral(Options::from_env()).await;
                let handles = engines.as_ref().map(|e| (e.postgres().clone(), e.nats().clone()));
                sender.send(handles.map_err(ToString::to_string)).unwrap();
                // The engines end with the process.
                std::future::pending::<()>().await;
            });
        });
        let (postgres, nats) = receiver.recv().unwrap().unwrap();
        Self { postgres, nats, templates: Mutex::default(), rooms: AtomicU64::new(0) }
    }

    /// A fresh database with the role's schema, and streams of its own.
    pub async fn room(&'static self, role: &'static str, schema: &Schema) -> Room {
        let mut templates = self.templates.lock().await;
        let mut superuser = PgConnection::connect(&self.postgres.url("postgres")).await.unwrap();
        let key = (role, schema.steps.as_ptr().addr());
        let template = match templates.get(&key) {
            Some(account) => account.clone(),
            None => {
                let database = format!("template_{}_{role}", templates.len());
                let account = Account { database, ..Account::of_role(role) };
                provision::provision(&mut superuser, &account, PASSWORD, PASSWORD).await.unwrap();
                schema.migrate(&Env::of(role, self.database_settings(&account))).await.unwrap();
                templates.insert(key, account.clone());
                account
            }
        };
        let number = self.rooms.fetch_add(1, Ordering::Relaxed);
        let account = Account { database: format!("room_{number}_{role}"), ..template.clone() };
        let (database, owner) = (&account.database, &account.owner);
        let statement = format!("CREATE DATABASE {database} TEMPLATE {} OWNER {owner}", template.database);
        superuser.execute(AssertSqlSafe(statement)).await.unwrap();
        provision::restrict(&mut superuser, &account).await.unwrap();
        superuser.close().await.unwrap();
        let mut settings = self.database_settings(&account);
        settings.extend([
            ("TOURMESH_NATS_URL".to_owned(), self.nats.url_with_credentials()),
            ("TOURMESH_NATS_PREFIX".to_owned(), format!("t{number}")),
            ("TOURMESH_MESH_SECRET".to_owned(), MESH_SECRET.to_owned()),
            ("TOURMESH_JWKS_JSON".to_owned(), tokens::JWKS.to_owned()),
        ]);
        Room::new(Env::of(role, settings), self.postgres.url(&account.database))
    }

    /// A room without a database, for roles that have none.
    pub fn bare_room(&self, role: &'static str) -> Room {
        let settings = [
            ("TOURMESH_MESH_SECRET".to_owned(), MESH_SECRET.to_owned()),
            ("TOURMESH_JWKS_JSON".to_owned(), tokens::JWKS.to_owned()),
        ];
        Room::new(Env::of(role, settings), self.postgres.url("postgres"))
    }

    /// The server, for tests that make databases of their own.
    pub fn postgres(&self) -> &PostgresHandle {
        &self.postgres
    }

    /// The broker.
    pub fn nats(&self) -> &NatsHandle {
        &self.nats
    }

    /// An access token of a person, good for 15 minutes.
    pub fn token(&self, user: &str, roles: &[Role], supplier: Option<&str>) -> String {
        tokens::token(user, roles, supplier, 900)
    }

    /// An access token that ended a minute ago.
    pub fn expired_token(&self, user: &str, roles: &[Role]) -> String {
        tokens::token(user, roles, None, -60)
    }

    /// A token of another service of the mesh.
    pub fn service_token(&self, role: &'static str) -> String {
        let env = Env::of(role, [("TOURMESH_MESH_SECRET".to_owned(), MESH_SECRET.to_owned())]);
        ServiceTokens::of_env(&env).unwrap().token().unwrap()
    }

    fn database_settings(&self, account: &Account) -> Vec<(String, String)> {
        vec![
            ("TOURMESH_DATABASE_URL".to_owned(), self.postgres.url_as(&account.user, PASSWORD, &account.database)),
            (
                "TOURMESH_OWNER_DATABASE_URL".to_owned(),
                self.postgres.url_as(&account.owner, PASSWORD, &account.database),
            ),
            ("TOURMESH_DATABASE_POOL".to_owned(), "8".to_owned()),
        ]
    }
}
