//! The seat inventory follows the catalog: what it says about departures, in whatever order it arrives.

use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use tourmesh::catalog::v1::{DepartureCancelled, DepartureChanged, DeparturesScheduled};
use tourmesh_kit::{
    ApiResult,
    events::{Handler, Received},
};

use crate::{convert, domain::offer::Departure, store};

/// Takes catalog.departure.*.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Departures;

impl Handler for Departures {
    fn handle<'a>(&'a self, tx: &'a mut PgConnection, events: &'a [Received]) -> BoxFuture<'a, ApiResult<()>> {
        Box::pin(async move {
            let mut departures: Vec<Departure> = Vec::new();
            for event in events {
                departures.extend(read(event)?);
            }
            // The newest version of each wins, so order and repeats do not matter.
            store::departures::upsert(tx, &departures).await
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
