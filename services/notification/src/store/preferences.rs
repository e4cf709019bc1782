//! How people want to be told.

use std::collections::HashMap;

use kit::{ApiResult, idempotency::RequestKey};
use sea_orm::entity::prelude::*;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit as kit;

use crate::domain::{
    UserId,
    message::{Kind, Language, Preferences},
};

/// A row of `preferences`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, FromRow)]
#[sea_orm(table_name = "preferences")]
#[allow(missing_docs, reason = "the migration describes the columns")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    pub language: Option<String>,
    pub muted: Vec<String>,
    pub updated_at: DateTimeUtc,
}

/// None are followed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<Model> for Preferences {
    fn from(row: Model) -> Self {
        Self {
            language: row.language.as_deref().and_then(Language::of_str),
            muted: row.muted.iter().filter_map(|k| Kind::of_str(k)).collect(),
        }
    }
}

/// One person's, or the defaults.
///
/// # Errors
/// When the database does not answer.
pub async fn of_user(orm: &DatabaseConnection, user: UserId) -> ApiResult<Preferences> {
    Ok(Entity::find_by_id(user.uuid()).one(orm).await?.map(Preferences::from).unwrap_or_default())
}

/// Those of several people, as far as they have set any.
///
/// # Errors
/// When the database refuses.
pub async fn of_users(tx: &mut PgConnection, users: &[UserId]) -> ApiResult<HashMap<UserId, Preferences>> {
    let ids: Vec<Uuid> = users.iter().map(|u| u.uuid()).collect();
    let rows: Vec<Model> =
        sqlx::query_as("SELECT user_id, language, muted, updated_at FROM preferences WHERE user_id = ANY($1)")
            .bind(ids)
            .fetch_all(tx)
            .await?;
    Ok(rows.into_iter().map(|row| (UserId::from_uuid(row.user_id), row.into())).collect())
}

/// Replaces one person's, once per request, and tells what is stored now.
///
/// # Errors
/// REQUEST_ID_REUSED, or when the database refuses.
pub async fn replace(
    tx: &mut PgConnection,
    caller: &str,
    key: &RequestKey,
    user: UserId,
    wanted: &Preferences,
) -> ApiResult<Preferences> {
    let first = sqlx::query(
        "INSERT INTO requests (caller, method, request_id, hash, subject) VALUES ($1, 'SetPreferences', $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(caller)
    .bind(&key.id)
    .bind(key.hash.as_slice())
    .bind(user.uuid())
    .execute(&mut *tx)
    .await?
    .rows_affected()
        == 1;
    if first {
        let muted: Vec<&str> = wanted.muted.iter().map(|k| k.as_str()).collect();
        sqlx::query(
            "INSERT INTO preferences (user_id, language, muted) VALUES ($1, $2, $3)
             ON CONFLICT (user_id) DO UPDATE SET language = excluded.language, muted = excluded.muted, updated_at = now()",
        )
        .bind(user.uuid())
        .bind(wanted.language.map(Language::as_str))
        .bind(muted)
        .execute(&mut *tx)
        .await?;
    } else {
        let hash: Vec<u8> = sqlx::query_scalar(
            "SELECT hash FROM requests WHERE caller = $1 AND method = 'SetPreferences' AND request_id = $2",
        )
        .bind(caller)
        .bind(&key.id)
        .fetch_one(&mut *tx)
        .await?;
        key.check(&hash)?;
    }
    Ok(of_users(tx, &[user]).await?.remove(&user).unwrap_or_default())
}
