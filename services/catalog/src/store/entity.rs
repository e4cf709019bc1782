//! The tables as SeaORM sees them; see migrations/ for what each column means.
#![allow(unreachable_pub, reason = "SeaORM's derives demand public items")]

/// Table suppliers.
pub mod suppliers {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "suppliers")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub name: String,
        pub contact_email: String,
        pub country: String,
        pub version: i64,
        pub created_at: DateTimeUtc,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Table tours.
pub mod tours {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "tours")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub supplier_id: Uuid,
        pub external_id: String,
        pub title_en: String,
        pub title_fr: String,
        pub description_en: String,
        pub description_fr: String,
        pub category: Option<i16>,
        pub latitude: Option<f64>,
        pub longitude: Option<f64>,
        pub country: String,
        pub time_zone: String,
        pub currency: String,
        pub state: i16,
        pub version: i64,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Table options.
pub mod options {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "options")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub tour_id: Uuid,
        pub title_en: String,
        pub title_fr: String,
        pub duration_minutes: i32,
        pub currency: String,
        pub units: Json,
        pub price_lists: Json,
        pub refund_tiers: Json,
        pub min_party: i32,
        pub max_party: i32,
        pub hold_seconds: i32,
        pub pay_on_arrival: bool,
        pub version: i64,
        pub created_at: DateTimeUtc,
        pub pools: Json,
        pub max_open_holds: i32,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Table schedules.
pub mod schedules {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "schedules")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub option_id: Uuid,
        pub tour_id: Uuid,
        pub weekdays: i16,
        pub start_times: Json,
        pub start_date: Date,
        pub end_date: Option<Date>,
        pub capacity: i32,
        pub blackout_dates: Json,
        pub recurrence: String,
        pub extra_dates: Json,
        pub effective_from: Option<Date>,
        pub superseded_from: Option<Date>,
        pub filled_until: Date,
        pub created_at: DateTimeUtc,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Table departures.
pub mod departures {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "departures")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub tour_id: Uuid,
        pub option_id: Uuid,
        pub supplier_id: Uuid,
        pub schedule_id: Option<Uuid>,
        pub local_start: DateTime,
        pub time_zone: String,
        pub starts_at: DateTimeUtc,
        pub duration_minutes: i32,
        pub capacity: i32,
        pub state: i16,
        pub withdrawn: bool,
        pub version: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Table blackouts.
pub mod blackouts {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "blackouts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub supplier_id: Uuid,
        pub tour_id: Option<Uuid>,
        pub first_date: Date,
        pub last_date: Date,
        pub reason: String,
        pub created_at: DateTimeUtc,
        pub deleted_at: Option<DateTimeUtc>,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Table tax_rules.
pub mod tax_rules {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "tax_rules")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub country: String,
        pub name: String,
        pub percent: Decimal,
        pub included: bool,
        pub valid_from: Option<Date>,
        pub valid_until: Option<Date>,
        pub created_at: DateTimeUtc,
        pub deleted_at: Option<DateTimeUtc>,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Table resource_pools.
pub mod resource_pools {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "resource_pools")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub supplier_id: Uuid,
        pub name: String,
        pub kind: i16,
        pub capacity: i32,
        pub slot_minutes: i32,
        pub version: i64,
        pub created_at: DateTimeUtc,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}
