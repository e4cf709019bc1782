//! Departures on sale, read for everybody who asks at the same moment: a rush on quotes costs a few reads, and each answer
//! is as of after it was asked for.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::BoxFuture;
use tourmesh_kit::{
    ApiError, ApiResult,
    db::Db,
    lanes::{Combined, Lanes},
};

use crate::{
    domain::DepartureId,
    error::CatalogError,
    store::offers::{self, OnSale},
};

/// How many reads are under way at the same time, and how many may wait for each.
const LANES: usize = 2;
const ROOM: usize = 4_096;

/// Reads batches.
#[derive(Debug)]
pub(crate) struct Reader {
    db: Db,
}

/// Starts the lanes.
pub(crate) fn lanes(db: &Db) -> Lanes<Reader> {
    Lanes::start(Arc::new(Reader { db: db.clone() }), LANES, ROOM)
}

impl Combined for Reader {
    type Item = DepartureId;
    type Output = Arc<OnSale>;

    fn write<'a>(&'a self, ids: &'a [DepartureId]) -> BoxFuture<'a, ApiResult<Vec<ApiResult<Arc<OnSale>>>>> {
        Box::pin(async move {
            let found = offers::find(&self.db, ids).await?;
            let found: HashMap<_, _> = found.into_iter().map(|(id, one)| (id, Arc::new(one))).collect();
            let unknown = || ApiError::from(CatalogError::DepartureNotFound);
            Ok(ids.iter().map(|id| found.get(id).cloned().ok_or_else(unknown)).collect())
        })
    }
}
