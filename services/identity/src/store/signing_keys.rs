//! The table `signing_keys`.

use chrono::{DateTime, Utc};
use kit::{ApiResult, db::Db};
use sea_orm::{EntityTrait as _, QueryOrder as _, entity::prelude::*};
use tourmesh_kit as kit;

/// One row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_keys")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) kid: String,
    pub(crate) private_key: Vec<u8>,
    pub(crate) sealed: bool,
    pub(crate) public_x: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) active_from: DateTime<Utc>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("signing_keys::Model").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// All, oldest first.
pub(crate) async fn all(db: &Db) -> ApiResult<Vec<Model>> {
    Ok(Entity::find().order_by_asc(Column::ActiveFrom).all(&db.orm()).await?)
}
