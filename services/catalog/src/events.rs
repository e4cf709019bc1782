//! What the catalog publishes: one event for each state change, in the transaction of the change. It consumes nothing.

use tourmesh::catalog::v1::{
    BlackoutCreated, BlackoutDeleted, DepartureCancelled, DepartureChanged, DeparturesScheduled, ResourcePoolChanged,
    ResourcePoolCreated, TaxesChanged, TourArchived, TourChanged, TourPublished,
};
use tourmesh_kit::events::Event;

use crate::{
    convert,
    domain::{
        TourId,
        blackout::Blackout,
        departure::{Departure, DepartureState},
        pool::ResourcePool,
        tax_rule::TaxRule,
        tour::WholeTour,
    },
};

/// The most departures of one event.
const DEPARTURES: usize = 400;

/// The tour went on sale.
pub(crate) fn published(tour: &WholeTour) -> Event {
    let message = TourPublished { tour: Some(convert::whole_tour(tour)) };
    Event::new(format!("catalog.tour.published.{}", tour.tour.id), &message)
}

/// The tour (a draft too) or one of its options was added or changed.
pub(crate) fn changed(tour: &WholeTour) -> Event {
    let message = TourChanged { tour: Some(convert::whole_tour(tour)) };
    Event::new(format!("catalog.tour.changed.{}", tour.tour.id), &message)
}

/// The tour went off sale for good.
pub(crate) fn archived(tour: &WholeTour) -> Event {
    let message = TourArchived { tour: Some(convert::whole_tour(tour)) };
    Event::new(format!("catalog.tour.archived.{}", tour.tour.id), &message)
}

/// Departures of one tour were added: an event for each 400 of them.
pub(crate) fn scheduled(tour: TourId, departures: &[Departure]) -> Vec<Event> {
    let event = |some: &[Departure]| {
        let departures = some.iter().map(convert::departure).collect();
        let message = DeparturesScheduled { tour_id: tour.to_string(), departures };
        Event::new(format!("catalog.departure.scheduled.{tour}"), &message)
    };
    departures.chunks(DEPARTURES).map(event).collect()
}

/// The departure changed, or was called off.
pub(crate) fn departure(departure: &Departure) -> Event {
    let wire = Some(convert::departure(departure));
    if departure.state == DepartureState::Cancelled {
        Event::new(format!("catalog.departure.cancelled.{}", departure.id), &DepartureCancelled { departure: wire })
    } else {
        Event::new(format!("catalog.departure.changed.{}", departure.id), &DepartureChanged { departure: wire })
    }
}

/// Dates were taken off sale.
pub(crate) fn blackout_created(blackout: &Blackout) -> Event {
    let message = BlackoutCreated { blackout: Some(convert::blackout(blackout)) };
    Event::new(format!("catalog.blackout.created.{}", blackout.id), &message)
}

/// Dates are on sale again.
pub(crate) fn blackout_deleted(blackout: &Blackout) -> Event {
    let message = BlackoutDeleted { blackout: Some(convert::blackout(blackout)) };
    Event::new(format!("catalog.blackout.deleted.{}", blackout.id), &message)
}

/// A tax rule of a country is another one now, or gone.
pub(crate) fn taxes_changed(rule: &TaxRule, deleted: bool) -> Event {
    let message = TaxesChanged { country: rule.country.clone(), rule: Some(convert::tax_rule(rule)), deleted };
    Event::new(format!("catalog.taxes.changed.{}", rule.country), &message)
}

/// A pool was added.
pub(crate) fn pool_created(pool: &ResourcePool) -> Event {
    let message = ResourcePoolCreated { pool: Some(convert::pool(pool)) };
    Event::new(format!("catalog.pool.created.{}", pool.id), &message)
}

/// A pool changed.
pub(crate) fn pool_changed(pool: &ResourcePool) -> Event {
    let message = ResourcePoolChanged { pool: Some(convert::pool(pool)) };
    Event::new(format!("catalog.pool.changed.{}", pool.id), &message)
}
