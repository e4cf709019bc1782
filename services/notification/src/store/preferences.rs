//! How people want to be told.

use std::collections::HashMap;

use kit::{
    ApiResult,
    idempotency::{RequestKey, remember},
};
use sea_orm::entity::prelude::*;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit as kit;

use crate::domain::{
    UserId,
    message::{Channel, Kind, Language, Preferences, QuietHours},
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
    pub time_zone: Option<String>,
    pub quiet_from: Option<Time>,
    pub quiet_until: Option<Time>,
    pub phone: Option<String>,
    pub muted_on: Vec<String>,
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
            muted_on: row.muted_on.iter().filter_map(|text| pair_of_text(text)).collect(),
            phone: row.phone,
            time_zone: row.time_zone.and_then(|zone| zone.parse().ok()),
            quiet: row.quiet_from.zip(row.quiet_until).map(|(from, until)| QuietHours { from, until }),
        }
    }
}

fn pair_of_text(text: &str) -> Option<(Channel, Kind)> {
    let (channel, kind) = text.split_once(':')?;
    Some((Channel::of_str(channel)?, Kind::of_str(kind)?))
}

fn text_of_pair((channel, kind): &(Channel, Kind)) -> String {
    format!("{}:{}", channel.as_str(), kind.as_str())
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
    let rows: Vec<Model> = sqlx::query_as(
        "SELECT user_id, language, muted, updated_at, time_zone, quiet_from, quiet_until, phone, muted_on
             FROM preferences WHERE user_id = ANY($1)",
    )
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
    if remember(tx, caller, "SetPreferences", key, user.uuid()).await? {
        let muted: Vec<&str> = wanted.muted.iter().map(|k| k.as_str()).collect();
        sqlx::query(
            "INSERT INTO preferences (user_id, language, muted, time_zone, quiet_from, quiet_until, phone, muted_on)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (user_id) DO UPDATE SET language = excluded.language, muted = excluded.muted,
                 time_zone = excluded.time_zone, quiet_from = excluded.quiet_from, quiet_until = excluded.quiet_until,
                 phone = excluded.phone, muted_on = excluded.muted_on, updated_at = now()",
        )
        .bind(user.uuid())
        .bind(wanted.language.map(Language::as_str))
        .bind(muted)
        .bind(wanted.time_zone.map(|zone| zone.name()))
        .bind(wanted.quiet.map(|q| q.from))
        .bind(wanted.quiet.map(|q| q.until))
        .bind(&wanted.phone)
        .bind(wanted.muted_on.iter().map(text_of_pair).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    }
    Ok(of_users(tx, &[user]).await?.remove(&user).unwrap_or_default())
}

/// Mutes one kind on one channel, as the link in such a message does.
///
/// # Errors
/// When the database refuses.
pub async fn mute(tx: &mut PgConnection, user: UserId, channel: Channel, kind: Kind) -> ApiResult<()> {
    sqlx::query(
        "INSERT INTO preferences AS p (user_id, muted_on) VALUES ($1, ARRAY[$2])
         ON CONFLICT (user_id) DO UPDATE SET muted_on = array_append(array_remove(p.muted_on, $2), $2), updated_at = now()",
    )
    .bind(user.uuid())
    .bind(text_of_pair(&(channel, kind)))
    .execute(tx)
    .await?;
    Ok(())
}
