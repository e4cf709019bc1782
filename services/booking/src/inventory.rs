//! The seat inventory follows the catalog: what it says about departures, and about the pools that they share, in whatever
//! order it arrives.

use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use tourmesh::catalog::v1::{
    DepartureCancelled, DepartureChanged, DeparturesScheduled, ResourcePoolChanged, ResourcePoolCreated, TourArchived,
    TourChanged, TourPublished,
};
use tourmesh_kit::{
    ApiResult,
    events::{Handler, Received},
};

use crate::{
    convert,
    domain::{
        offer::Departure,
        pool::{OptionPools, Pool},
    },
    store::{self, pools},
};

/// Takes catalog.departure.*, catalog.tour.* and catalog.pool.*.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Departures;

impl Handler for Departures {
    fn handle<'a>(&'a self, tx: &'a mut PgConnection, events: &'a [Received]) -> BoxFuture<'a, ApiResult<()>> {
        Box::pin(async move {
            let mut departures: Vec<Departure> = Vec::new();
            let (mut options, mut known): (Vec<OptionPools>, Vec<Pool>) = (Vec::new(), Vec::new());
            for event in events {
                departures.extend(read(event)?);
                options.extend(read_options(event)?);
                known.extend(read_pool(event)?);
            }
            // The newest version of each wins, so order and repeats do not matter.
            pools::know(tx, &known).await?;
            pools::assign(tx, &options).await?;
            store::departures::upsert(tx, &departures).await?;
            pools::resize(tx, &known).await
        })
    }
}

fn read(event: &Received) -> ApiResult<Vec<Departure>> {
    let wire = if let Some(message) = event.decode::<DeparturesScheduled>()? {
        message.departures
    } else if let Some(message) = event.decode::<DepartureChanged>()? {
        message.departure.into_iter().collect()
    } else if let Some(message) = event.decode::<DepartureCancelled>()? {
        message.departure.into_iter().collect()
    } else {
        Vec::new()
    };
    wire.iter().map(convert::departure).collect()
}

/// What the options of a tour use.
fn read_options(event: &Received) -> ApiResult<Vec<OptionPools>> {
    let tour = if let Some(message) = event.decode::<TourChanged>()? {
        message.tour
    } else if let Some(message) = event.decode::<TourPublished>()? {
        message.tour
    } else if let Some(message) = event.decode::<TourArchived>()? {
        message.tour
    } else {
        None
    };
    tour.iter().flat_map(|tour| &tour.options).map(convert::pools::of_option).collect()
}

fn read_pool(event: &Received) -> ApiResult<Option<Pool>> {
    let pool = if let Some(message) = event.decode::<ResourcePoolCreated>()? {
        message.pool
    } else if let Some(message) = event.decode::<ResourcePoolChanged>()? {
        message.pool
    } else {
        None
    };
    pool.as_ref().map(convert::pools::pool).transpose()
}
