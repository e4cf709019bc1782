//! The demo accounts of `up`. Their passwords are public: `up` listens on this machine only, and `serve` makes none.

use tourmesh_identity::DemoAccount;
use tourmesh_kit::{auth::Role, config::Env, db::Db};

/// A demo account.
pub struct Account {
    /// The address to sign in with.
    pub email: &'static str,
    /// The password.
    pub password: &'static str,
    /// What it can do.
    pub what: &'static str,
    name: &'static str,
    roles: &'static [Role],
}

/// Somebody who books.
pub const TRAVELLER: Account = Account {
    email: "traveller@tourmesh.example",
    password: "demo-traveller",
    what: "traveller: searches, books, pays",
    name: "Tara Traveller",
    roles: &[Role::Traveller],
};
/// Somebody who works for the first seeded supplier.
pub const SUPPLIER: Account = Account {
    email: "supplier@tourmesh.example",
    password: "demo-supplier",
    what: "supplier: its own tours, departures, check-in",
    name: "Sami Supplier",
    roles: &[Role::Traveller, Role::Supplier],
};
/// Somebody who works for the platform.
pub const STAFF: Account = Account {
    email: "staff@tourmesh.example",
    password: "demo-staff-1",
    what: "staff: everything that people may do",
    name: "Stella Staff",
    roles: &[Role::Traveller, Role::Staff],
};
/// All of them.
pub const ALL: [Account; 3] = [TRAVELLER, SUPPLIER, STAFF];

/// Makes them, where they are not there yet.
pub async fn ensure(env: &Env) -> anyhow::Result<()> {
    let db = Db::of_env(&env.for_role(tourmesh_identity::ROLE))?;
    for account in ALL {
        let supplier = account.roles.contains(&Role::Supplier).then(tourmesh_catalog::seed::demo_supplier);
        let account = DemoAccount {
            email: account.email.to_owned(),
            password: account.password.to_owned(),
            full_name: account.name.to_owned(),
            roles: account.roles.to_vec(),
            supplier_id: supplier.map(|s| s.to_string()),
        };
        tourmesh_identity::ensure_account(&db, account).await?;
    }
    Ok(())
}
