//! Browsers that want to be told.

use std::collections::HashMap;

use kit::ApiResult;
use sqlx::{PgConnection, PgPool};
use tourmesh_kit as kit;
use uuid::Uuid;

use crate::domain::UserId;

/// So many browsers a person may have.
const MOST: i64 = 10;

/// A browser.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Subscription {
    /// Ours.
    pub id: Uuid,
    /// Where messages go.
    pub endpoint: String,
    /// The browser's public key.
    pub p256dh: Vec<u8>,
    /// What only the browser and we know.
    pub auth: Vec<u8>,
}

/// Adds a browser, or gives a known one to this person; the oldest beyond the limit goes.
///
/// # Errors
/// When the database refuses.
pub async fn add(tx: &mut PgConnection, user: UserId, new: &Subscription) -> ApiResult<()> {
    sqlx::query(
        "INSERT INTO push_subscriptions (id, user_id, endpoint, p256dh, auth) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (endpoint) DO UPDATE SET user_id = excluded.user_id, p256dh = excluded.p256dh, auth = excluded.auth",
    )
    .bind(new.id)
    .bind(user.uuid())
    .bind(&new.endpoint)
    .bind(&new.p256dh)
    .bind(&new.auth)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "DELETE FROM push_subscriptions WHERE id IN (SELECT id FROM push_subscriptions WHERE user_id = $1
         ORDER BY created_at DESC, id DESC OFFSET $2)",
    )
    .bind(user.uuid())
    .bind(MOST)
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets a browser of this person.
///
/// # Errors
/// When the database refuses.
pub async fn remove(tx: &mut PgConnection, user: UserId, endpoint: &str) -> ApiResult<()> {
    sqlx::query("DELETE FROM push_subscriptions WHERE user_id = $1 AND endpoint = $2")
        .bind(user.uuid())
        .bind(endpoint)
        .execute(tx)
        .await?;
    Ok(())
}

/// The browsers of these people.
///
/// # Errors
/// When the database refuses.
pub async fn of_users(tx: &mut PgConnection, users: &[UserId]) -> ApiResult<HashMap<UserId, Vec<Uuid>>> {
    let rows: Vec<(Uuid, Uuid)> =
        sqlx::query_as("SELECT user_id, id FROM push_subscriptions WHERE user_id = ANY($1) ORDER BY id")
            .bind(users.iter().map(|u| u.uuid()).collect::<Vec<_>>())
            .fetch_all(tx)
            .await?;
    let mut found: HashMap<UserId, Vec<Uuid>> = HashMap::new();
    for (user, id) in rows {
        found.entry(UserId::from_uuid(user)).or_default().push(id);
    }
    Ok(found)
}

/// One browser; `None`: it is gone.
///
/// # Errors
/// When the database does not answer.
pub async fn get(pool: &PgPool, id: Uuid) -> ApiResult<Option<Subscription>> {
    let query = sqlx::query_as("SELECT id, endpoint, p256dh, auth FROM push_subscriptions WHERE id = $1");
    Ok(query.bind(id).fetch_optional(pool).await?)
}

/// The browser's maker says that it is gone.
///
/// # Errors
/// When the database does not answer.
pub async fn forget(pool: &PgPool, id: Uuid) -> ApiResult<()> {
    sqlx::query("DELETE FROM push_subscriptions WHERE id = $1").bind(id).execute(pool).await?;
    Ok(())
}
