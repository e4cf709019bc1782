//! The table `users`.

use chrono::{DateTime, Utc};
use kit::{
    ApiError, ApiResult,
    auth::{role_of_text, role_text},
    db::Db,
};
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, entity::prelude::*};
use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use tourmesh_kit as kit;
use uuid::Uuid;

use crate::{
    domain::user::{Email, Grants, Language, SupplierId, User, UserId},
    passwords::Hash,
};

/// One row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) email: String,
    pub(crate) password_hash: String,
    pub(crate) full_name: String,
    pub(crate) language: String,
    pub(crate) roles: Vec<String>,
    pub(crate) supplier_id: Option<Uuid>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) request_caller: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) request_hash: Option<Vec<u8>>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("users::Model").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl FromRow<'_, PgRow> for Model {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            email: row.try_get("email")?,
            password_hash: row.try_get("password_hash")?,
            full_name: row.try_get("full_name")?,
            language: row.try_get("language")?,
            roles: row.try_get("roles")?,
            supplier_id: row.try_get("supplier_id")?,
            created_at: row.try_get("created_at")?,
            request_caller: row.try_get("request_caller")?,
            request_id: row.try_get("request_id")?,
            request_hash: row.try_get("request_hash")?,
        })
    }
}

/// A user with what proves that it is the one.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) user: User,
    pub(crate) password: Hash,
    /// Caller, id and hash of the sign-up that made it.
    pub(crate) request: Option<(String, String, Vec<u8>)>,
}

impl TryFrom<Model> for Account {
    type Error = ApiError;
    fn try_from(row: Model) -> ApiResult<Self> {
        let roles: Vec<_> = row.roles.iter().filter_map(|r| role_of_text(r)).collect();
        let grants = Grants::new(&roles, row.supplier_id.map(SupplierId::from_uuid)).map_err(ApiError::internal)?;
        Ok(Self {
            user: User {
                id: UserId::from_uuid(row.id),
                email: Email::stored(row.email),
                full_name: row.full_name,
                language: Language::of_text(&row.language),
                grants,
                created_at: row.created_at,
            },
            password: Hash(row.password_hash),
            request: row.request_caller.zip(row.request_id).zip(row.request_hash).map(|((c, i), h)| (c, i, h)),
        })
    }
}

/// The roles as the table has them.
pub(crate) fn role_texts(grants: &Grants) -> Vec<String> {
    grants.roles().iter().map(|r| role_text(*r).to_owned()).collect()
}

/// By id.
pub(crate) async fn by_id(db: &Db, id: UserId) -> ApiResult<Option<Account>> {
    Entity::find_by_id(id.uuid()).one(&db.orm()).await?.map(Account::try_from).transpose()
}

/// By address.
pub(crate) async fn by_email(db: &Db, email: &Email) -> ApiResult<Option<Account>> {
    Entity::find().filter(Column::Email.eq(email.as_str())).one(&db.orm()).await?.map(Account::try_from).transpose()
}

/// Those that stand in the way of a sign-up: the one that the same request made, and the one that has the address.
pub(crate) async fn in_the_way(db: &Db, caller: &str, request_id: &str, email: &Email) -> ApiResult<Vec<Account>> {
    let same_request = Condition::all().add(Column::RequestCaller.eq(caller)).add(Column::RequestId.eq(request_id));
    let either = Condition::any().add(same_request).add(Column::Email.eq(email.as_str()));
    Entity::find().filter(either).all(&db.orm()).await?.into_iter().map(Account::try_from).collect()
}

/// By id, inside a transaction.
pub(crate) async fn get(tx: &mut PgConnection, id: Uuid) -> ApiResult<Option<User>> {
    // Columns by name: with `*` a prepared statement fails for good as soon as a newer version adds a column.
    let row: Option<Model> = sqlx::query_as(
        "SELECT id, email, password_hash, full_name, language, roles, supplier_id, created_at, request_caller, request_id,
                request_hash
         FROM users WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(tx)
    .await?;
    row.map(|row| Account::try_from(row).map(|a| a.user)).transpose()
}
