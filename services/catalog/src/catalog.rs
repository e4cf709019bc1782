//! What all use cases share: the database, the settings, and who asks.

use chrono::{DateTime, SubsecRound as _, Utc};
use prost::Message;
use tourmesh_kit::{auth::Principal, db::Db, lanes::Lanes};

use crate::{
    access::Reach,
    config::Config,
    facets::FacetCache,
    on_sale,
    remembered::Remembered,
    store::{ranked::Best, requests::Request},
};

/// The catalog behind its gRPC services. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    pub db: Db,
    pub config: Config,
    pub facets: FacetCache,
    /// The tours that fit a text best.
    pub ranks: Remembered<String, Best>,
    pub on_sale: Lanes<on_sale::Reader>,
}

/// A change that somebody asks for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// How much of the catalog the caller reaches.
    pub reach: Reach,
    /// Makes a repeat harmless.
    pub request: Request,
    /// When.
    pub now: DateTime<Utc>,
}

impl Asked {
    /// By this caller, with all of the request's message.
    pub(crate) fn new(who: &Principal, method: &'static str, request_id: &str, message: &impl Message) -> Self {
        Self {
            reach: Reach::of(who),
            request: Request::new(who.scope(), method, request_id, message),
            // As the database keeps it, so that a repeat reads the same times.
            now: Utc::now().trunc_subsecs(6),
        }
    }
}

/// A clone of everything that one try of a transaction uses: `db.write` may try several times.
macro_rules! transaction {
    ($db:expr, [$($shared:ident),*], |$tx:ident| $work:expr) => {
        {
            $(let $shared = $shared.clone();)*
            $db.write(move |$tx| {
                $(let $shared = $shared.clone();)*
                Box::pin(async move { $work })
            })
            .await
        }
    };
}
pub(crate) use transaction;
