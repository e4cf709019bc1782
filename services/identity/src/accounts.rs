//! Accounts: signing up, signing in, and what somebody may do.

use std::time::Duration;

use kit::{
    ApiError, ApiResult,
    db::Db,
    events::outbox,
    idempotency::{RequestKey, remember},
};
use sqlx::PgConnection;
use tourmesh_kit as kit;

use crate::{
    attempts::{self, Limits},
    config::Config,
    domain::user::{Email, Grants, Language, User, UserId},
    error::IdentityError,
    events,
    keys::Keyring,
    passwords::{Hash, Passwords},
    sessions::{self, Tokens},
    store::users::{self, Account, role_texts},
};

/// Nobody is signed in who signs up, so all sign-ups share one caller.
const SIGN_UP_CALLER: &str = "anonymous";

/// The use cases of accounts. Clones share everything.
#[derive(Debug, Clone)]
pub struct Accounts {
    db: Db,
    keyring: Keyring,
    passwords: Passwords,
    /// The queue of those who sign up.
    newcomers: Passwords,
    limits: Limits,
    session_age: Duration,
}

/// Somebody who wants an account.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The address to sign in with.
    pub email: Email,
    /// The name.
    pub full_name: String,
    /// The language.
    pub language: Language,
}

impl Accounts {
    /// On this database, with these keys.
    pub fn new(db: Db, keyring: Keyring, config: &Config) -> Self {
        let passwords = Passwords::new(config.password_cost.clone(), config.password_queue);
        let newcomers = passwords.smaller_share(config.sign_up_queue);
        Self { db, keyring, passwords, newcomers, limits: config.limits, session_age: config.session_age }
    }

    /// Adds an account with the role traveller, and begins its first session. `key` covers everything but the password:
    /// a repeat is known by comparing the password with the account's own hash, so nothing else of it is stored.
    ///
    /// # Errors
    /// EMAIL_TAKEN, REQUEST_ID_REUSED, OVERLOADED, TOO_MANY_ATTEMPTS for repeats that guess the password and when there
    /// were too many sign-ups.
    pub async fn sign_up(&self, key: RequestKey, new: NewUser, password: &str) -> ApiResult<(User, Tokens)> {
        if let Some(found) = self.already(&key, &new, password).await? {
            return Ok(found);
        }
        attempts::check_sign_ups(&self.db, self.limits).await?;
        let hash = self.newcomers.hash(password).await?;
        attempts::sign_up(&self.db, self.limits).await?;
        let (accounts, row, request) = (self.clone(), new.clone(), key.clone());
        let added = self
            .db
            .write(move |tx| {
                let (accounts, row, request, hash) = (accounts.clone(), row.clone(), request.clone(), hash.clone());
                Box::pin(async move {
                    let Some(user) = insert(tx, &row, &Grants::traveller(), &hash, Some(&request)).await? else {
                        return Ok(None);
                    };
                    let tokens = sessions::open(tx, &accounts.keyring, &user, accounts.session_age).await?;
                    Ok(Some((user, tokens)))
                })
            })
            .await?;
        match added {
            Some(added) => Ok(added),
            // Somebody was faster: the same request, or another one with the same address.
            None => self.already(&key, &new, password).await?.ok_or_else(|| IdentityError::EmailTaken.into()),
        }
    }

    /// What a sign-up finds when it is not the first: its own account, or another one in its way.
    async fn already(&self, key: &RequestKey, new: &NewUser, password: &str) -> ApiResult<Option<(User, Tokens)>> {
        let found = users::in_the_way(&self.db, SIGN_UP_CALLER, &key.id, &new.email).await?;
        let same_request = |account: &&Account| {
            account.request.as_ref().is_some_and(|(caller, id, _)| caller == SIGN_UP_CALLER && *id == key.id)
        };
        let Some(account) = found.iter().find(same_request) else {
            return if found.is_empty() { Ok(None) } else { Err(self.taken(password).await?) };
        };
        let stored = account.request.as_ref().map_or(&[][..], |(_, _, hash)| hash);
        key.check(stored)?;
        attempts::check(&self.db, self.limits, &account.user.email).await?;
        if !self.newcomers.verify(password, Some(&account.password)).await? {
            // Repeats with other passwords would be guesses, so they count as such.
            attempts::failed(&self.db, self.limits, &account.user.email).await?;
            key.check(&[])?;
        }
        self.begin(account.user.clone()).await.map(Some)
    }

    /// The answer for an address that is taken. It costs what a new account costs and counts as one, so that nobody asks
    /// through a list of addresses any faster than they could sign up with it.
    async fn taken(&self, password: &str) -> ApiResult<ApiError> {
        attempts::check_sign_ups(&self.db, self.limits).await?;
        self.newcomers.verify(password, None).await?;
        attempts::sign_up(&self.db, self.limits).await?;
        Ok(IdentityError::EmailTaken.into())
    }

    /// Trades address and password for a session.
    ///
    /// # Errors
    /// CREDENTIALS_WRONG, TOO_MANY_ATTEMPTS, OVERLOADED.
    pub async fn sign_in(&self, email: &Email, password: &str) -> ApiResult<(User, Tokens)> {
        attempts::check(&self.db, self.limits, email).await?;
        let account = users::by_email(&self.db, email).await?;
        let right = self.passwords.verify(password, account.as_ref().map(|a| &a.password)).await?;
        match account {
            Some(account) if right => self.begin(account.user).await,
            _ => {
                attempts::failed(&self.db, self.limits, email).await?;
                Err(IdentityError::CredentialsWrong.into())
            }
        }
    }

    /// The password was right: begins a session, if the account is still open to guesses.
    async fn begin(&self, user: User) -> ApiResult<(User, Tokens)> {
        let accounts = self.clone();
        self.db
            .write(move |tx| {
                let (accounts, user) = (accounts.clone(), user.clone());
                Box::pin(async move {
                    attempts::passed(tx, accounts.limits, &user.email).await?;
                    let tokens = sessions::open(tx, &accounts.keyring, &user, accounts.session_age).await?;
                    Ok((user, tokens))
                })
            })
            .await
    }

    /// The account of an id.
    ///
    /// # Errors
    /// USER_NOT_FOUND.
    pub async fn get(&self, id: UserId) -> ApiResult<User> {
        let account = users::by_id(&self.db, id).await?;
        account.map(|a| a.user).ok_or_else(|| IdentityError::UserNotFound.into())
    }

    /// Replaces what somebody may do; a repeat changes nothing and answers with the user as it is now.
    ///
    /// # Errors
    /// USER_NOT_FOUND, REQUEST_ID_REUSED.
    pub async fn set_roles(&self, caller: String, key: RequestKey, id: UserId, grants: Grants) -> ApiResult<User> {
        self.db
            .write(move |tx| {
                let (caller, key, grants) = (caller.clone(), key.clone(), grants.clone());
                Box::pin(async move {
                    if !remember(tx, &caller, "SetRoles", &key, id.uuid()).await? {
                        return users::get(tx, id.uuid()).await?.ok_or_else(|| IdentityError::UserNotFound.into());
                    }
                    sqlx::query("UPDATE users SET roles = $2, supplier_id = $3 WHERE id = $1")
                        .bind(id.uuid())
                        .bind(role_texts(&grants))
                        .bind(grants.supplier().map(|s| s.uuid()))
                        .execute(&mut *tx)
                        .await?;
                    let user = users::get(tx, id.uuid()).await?.ok_or(IdentityError::UserNotFound)?;
                    tracing::info!(user = %id, by = caller, roles = ?grants.roles(), "roles were set");
                    Ok(user)
                })
            })
            .await
    }
}

/// Adds an account and tells of it; `None` when the address or the request is taken.
pub(crate) async fn insert(
    tx: &mut PgConnection,
    new: &NewUser,
    grants: &Grants,
    password: &Hash,
    request: Option<&RequestKey>,
) -> ApiResult<Option<User>> {
    let id = UserId::new();
    let created_at = sqlx::query_scalar(
        "INSERT INTO users (id, email, password_hash, full_name, language, roles, supplier_id,
                            request_caller, request_id, request_hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING created_at",
    )
    .bind(id.uuid())
    .bind(new.email.as_str())
    .bind(&password.0)
    .bind(&new.full_name)
    .bind(new.language.text())
    .bind(role_texts(grants))
    .bind(grants.supplier().map(|s| s.uuid()))
    .bind(request.map(|_| SIGN_UP_CALLER))
    .bind(request.map(|r| r.id.as_str()))
    .bind(request.map(|r| r.hash.as_slice()))
    .fetch_optional(&mut *tx)
    .await?;
    let Some(created_at) = created_at else { return Ok(None) };
    let NewUser { email, full_name, language } = new.clone();
    let user = User { id, email, full_name, language, grants: grants.clone(), created_at };
    outbox::append(tx, &[events::registered(&user)]).await?;
    Ok(Some(user))
}
