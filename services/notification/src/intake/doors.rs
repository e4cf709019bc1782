//! From the transaction that keeps messages straight to who sends them.
//!
//! A message that finds a place with its channel's sender is kept as taken, under a lease, and handed over in memory when
//! the transaction is committed: no row is read again, and nothing waits for the next look at what is due. Where there is
//! no place, or the process dies before the hand-over, the row is due like any other, at once or when its lease ends.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use kit::ApiResult;
use sqlx::PgConnection;
use tourmesh_kit as kit;

use crate::{
    sender::{Entrance, Place},
    store::{
        deliveries::{self, NewDelivery},
        outcomes::Due,
    },
};

/// The entrances of the channels that there are.
#[derive(Debug)]
pub struct Doors {
    entrances: Vec<Entrance>,
    /// What the transaction under way keeps as taken. A consumer has one transaction at a time.
    promised: Mutex<Promised>,
}

#[derive(Debug, Default)]
struct Promised {
    taken: Vec<(usize, Due, Instant, Place)>,
    /// Some messages found no place.
    left: bool,
}

impl Doors {
    /// For these entrances.
    pub fn new(entrances: Vec<Entrance>) -> Self {
        Self { entrances, promised: Mutex::default() }
    }

    /// Keeps messages, as many as can be as taken.
    pub(super) async fn keep(&self, tx: &mut PgConnection, new: &[NewDelivery]) -> ApiResult<()> {
        let since = Instant::now();
        let mut left = false;
        let mut places: Vec<Option<(usize, Place)>> = Vec::with_capacity(new.len());
        for message in new {
            let door = self.entrances.iter().position(|e| e.channel == message.channel);
            let door = door.filter(|_| !message.suppressed && message.not_before.is_none());
            let place = door.and_then(|at| Some((at, self.entrances.get(at)?.place()?)));
            left |= door.is_some() && place.is_none();
            places.push(place);
        }
        let lease = |place: &Option<(usize, Place)>| {
            place.as_ref().and_then(|(at, _)| self.entrances.get(*at)).map(|entrance| entrance.lease)
        };
        let leases: Vec<_> = places.iter().map(lease).collect();
        let mut kept = deliveries::add_leased(tx, new, &leases).await?;
        let taken = places.into_iter().enumerate().filter_map(|(at, place)| {
            let (door, place) = place?;
            Some((door, kept.remove(&at)?, since, place))
        });
        // What an earlier transaction promised and did not commit is forgotten here.
        *self.promised() = Promised { taken: taken.collect(), left };
        Ok(())
    }

    /// What was kept last is committed.
    pub(super) fn committed(&self) {
        let Promised { taken, left } = std::mem::take(&mut *self.promised());
        for (door, due, since, place) in taken {
            if let Some(entrance) = self.entrances.get(door) {
                entrance.enter(due, since, place);
            }
        }
        if left {
            self.entrances.iter().for_each(Entrance::look);
        }
    }

    fn promised(&self) -> std::sync::MutexGuard<'_, Promised> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
