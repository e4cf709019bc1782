//! Accounts that an operator makes without the API, such as those that `tourmesh up` prints.

use kit::{ApiResult, auth::Role, config::Env, db::Db};
use tourmesh_kit as kit;

use crate::{
    accounts::{self, NewUser},
    config::Config,
    domain::user::{Email, Grants, Language, SupplierId, UserId},
    error::IdentityError,
    passwords::{Cost, Passwords},
    store::users::{self, role_texts},
};

/// An account that has to be there.
#[derive(Clone)]
pub struct DemoAccount {
    /// The address to sign in with.
    pub email: String,
    /// At least 10 characters, as everywhere.
    pub password: String,
    /// The name.
    pub full_name: String,
    /// At least one.
    pub roles: Vec<Role>,
    /// "sup_…": exactly with the role supplier.
    pub supplier_id: Option<String>,
}

impl std::fmt::Debug for DemoAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DemoAccount").field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// Makes the account, or gives an existing one this password and these roles; a second time changes nothing.
///
/// # Errors
/// FIELD_INVALID for roles that cannot be granted, DEPENDENCY_UNAVAILABLE.
pub async fn ensure_account(db: &Db, account: DemoAccount) -> ApiResult<UserId> {
    let supplier = account.supplier_id.as_deref().map(|s| SupplierId::of_field("supplier_id", s)).transpose()?;
    let grants = Grants::new(&account.roles, supplier).map_err(IdentityError::Grants)?;
    let email = Email::new(&account.email).map_err(IdentityError::Email)?;
    let passwords = Passwords::new(standard_cost()?, 1);

    let there = users::by_email(db, &email).await?;
    if let Some(there) = &there
        && there.user.grants == grants
        && passwords.verify(&account.password, Some(&there.password)).await?
    {
        return Ok(there.user.id);
    }
    let password = passwords.hash(&account.password).await?;
    db.write(move |tx| {
        let (grants, password) = (grants.clone(), password.clone());
        let new = NewUser { email: email.clone(), full_name: account.full_name.clone(), language: Language::default() };
        Box::pin(async move {
            if let Some(user) = accounts::insert(tx, &new, &grants, &password, None).await? {
                return Ok(user.id);
            }
            let id = sqlx::query_scalar(
                "UPDATE users SET password_hash = $2, roles = $3, supplier_id = $4 WHERE email = $1 RETURNING id",
            )
            .bind(new.email.as_str())
            .bind(&password.0)
            .bind(role_texts(&grants))
            .bind(grants.supplier().map(|s| s.uuid()))
            .fetch_one(tx)
            .await?;
            Ok(UserId::from_uuid(id))
        })
    })
    .await
}

/// The cost that the settings have by default.
fn standard_cost() -> ApiResult<Cost> {
    Ok(Config::of_env(&Env::of(crate::ROLE, [])).map_err(kit::ApiError::internal)?.password_cost)
}
