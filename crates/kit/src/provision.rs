//! Databases and users of a fresh PostgreSQL: one database and two users per role, each with the least it needs.
//!
//! For `tourmesh up` and for tests, which own their server. In production an operator does the same by other means; the
//! container set-up in deploy/ shows the statements.

use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use crate::{ApiError, ApiResult};

/// The database of a role and its users.
#[derive(Debug, Clone)]
pub struct Account {
    /// Of the database, such as `tourmesh_booking`.
    pub database: String,
    /// Reads and writes rows.
    pub user: String,
    /// Owns the tables.
    pub owner: String,
}

impl Account {
    /// The names that everybody expects.
    pub fn of_role(role: &str) -> Self {
        let database = format!("tourmesh_{role}");
        Self { user: database.clone(), owner: format!("{database}_owner"), database }
    }
}

/// Makes the users (or sets their passwords) and the database, as superuser. Repeating it changes nothing.
///
/// # Errors
/// INTERNAL when a name or password is not plain (letters, digits, underscores), or what the server says.
pub async fn provision(
    superuser: &mut PgConnection,
    account: &Account,
    password: &str,
    owner_password: &str,
) -> ApiResult<()> {
    let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    // These statements take no parameters, so nothing that could end a literal may come in.
    if ![&account.database, &account.user, &account.owner, password, owner_password].iter().all(|s| plain(s)) {
        return Err(ApiError::internal("names and passwords must be letters, digits and underscores"));
    }
    for (user, password) in [(&account.user, password), (&account.owner, owner_password)] {
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
            .bind(user)
            .fetch_one(&mut *superuser)
            .await?;
        let verb = if there { "ALTER" } else { "CREATE" };
        superuser.execute(AssertSqlSafe(format!("{verb} ROLE {user} LOGIN PASSWORD '{password}'"))).await?;
    }
    let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&account.database)
        .fetch_one(&mut *superuser)
        .await?;
    if !there {
        let (database, owner) = (&account.database, &account.owner);
        superuser.execute(AssertSqlSafe(format!("CREATE DATABASE {database} OWNER {owner}"))).await?;
    }
    restrict(superuser, account).await
}

/// Only the role's own users, and superusers, may connect.
///
/// # Errors
/// What the server says.
pub async fn restrict(superuser: &mut PgConnection, account: &Account) -> ApiResult<()> {
    let Account { database, user, owner } = account;
    superuser
        .execute(AssertSqlSafe(format!(
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC; GRANT CONNECT ON DATABASE {database} TO {user}, {owner}"
        )))
        .await?;
    Ok(())
}
