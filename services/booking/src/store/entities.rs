//! The tables as SeaORM sees them, for reads with changing filters.
#![allow(unreachable_pub, missing_docs, reason = "SeaORM's derive makes public items in a private module")]

pub(crate) mod booking {
    use sea_orm::entity::prelude::*;

    /// The columns that lists filter by.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "bookings")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub customer_id: Uuid,
        pub supplier_id: Uuid,
        pub departure_id: Uuid,
        pub state: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
