//! Doing it: many clients work through the agenda in its order.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::Instant,
};
use tourmesh::{
    booking::v1::{Booking, Contact, WaitingState},
    common::v1::{UnitQuantity, UnitType},
};

use super::{
    agenda::{Act, Step},
    caller::{By, Caller},
    demand::{Demand, Ending},
    stage::Stage,
    tally::BLOCK,
    turns::{Turn, turns},
};
use crate::{bench::ground::Token, journey::request_id};

/// How long an offer may take when seats are free.
const OFFER: Duration = Duration::from_secs(30);

/// Where a party of the file is.
#[derive(Debug, Clone)]
enum Place {
    /// It has a booking, here as it was answered when it was paid.
    Booked(Arc<Booking>),
    /// It waits, with this entry, for a departure.
    Waiting(String, usize),
    /// There was no room.
    Away,
}

/// What happened beside bookings.
#[derive(Debug, Default)]
pub struct Counts {
    /// Parties that joined a waiting list.
    pub waited: AtomicU64,
    /// Offers that were taken.
    pub taken: AtomicU64,
    /// Parties that found no room.
    pub away: AtomicU64,
    /// Names that were changed.
    pub renamed: AtomicU64,
    /// Bookings that were moved.
    pub moved: AtomicU64,
    /// Those for which there was no room where they wanted to move.
    pub unmoved: AtomicU64,
}

fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The replay while it runs.
pub struct Play {
    rows: Vec<Demand>,
    stage: Stage,
    caller: Caller,
    customers: Vec<Token>,
    staff: Token,
    /// Makes the request ids of this run different from those of others.
    run: String,
    places: Vec<watch::Sender<Option<Place>>>,
    blocks: Mutex<HashMap<usize, String>>,
    /// What happened.
    pub counts: Counts,
}

impl Play {
    /// Nothing has happened yet.
    pub fn new(rows: Vec<Demand>, stage: Stage, caller: Caller, customers: Vec<Token>, staff: Token) -> Self {
        let places = rows.iter().map(|_| watch::Sender::new(None)).collect();
        let (run, blocks, counts) = (request_id(), Mutex::default(), Counts::default());
        Self { rows, stage, caller, customers, staff, run, places, blocks, counts }
    }

    /// The rows.
    pub fn rows(&self) -> &[Demand] {
        &self.rows
    }
    /// What is on sale.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }
    /// Who makes the calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
    /// Who may see everything.
    pub fn staff(&self) -> &Token {
        &self.staff
    }

    /// Works through all steps with so many clients: a client takes the next step when it is done with one.
    pub async fn through(self: &Arc<Self>, steps: Vec<Step>, clients: usize, bar: &ProgressBar) -> anyhow::Result<()> {
        let free = Arc::new(Semaphore::new(clients));
        let turns = turns(&steps);
        // Dropped with everything in it at the first failure.
        let mut running: JoinSet<anyhow::Result<()>> = JoinSet::new();
        let mut day = None;
        for (step, turn) in steps.into_iter().zip(turns) {
            let permit = loop {
                tokio::select! {
                    permit = free.clone().acquire_owned() => break permit?,
                    Some(done) = running.join_next(), if !running.is_empty() => {
                        done??;
                        bar.inc(1);
                    }
                }
            };
            if day.replace(step.day) != Some(step.day) {
                bar.set_message(step.day.to_string());
            }
            let play = self.clone();
            running.spawn(async move {
                let (row, act) = (play.rows[step.row].row, step.act);
                let done = play.step(step, turn).await;
                drop(permit);
                done.with_context(|| format!("row {row}: {act:?}"))
            });
        }
        while let Some(done) = running.join_next().await {
            done??;
            bar.inc(1);
        }
        Ok(())
    }

    async fn step(&self, step: Step, mut turn: Turn) -> anyhow::Result<()> {
        turn.comes().await;
        let row = step.row;
        match step.act {
            Act::Block => {
                let id = self.id(row, "block");
                let contact = Contact { full_name: BLOCK.to_owned(), ..self.contact(row) };
                let held =
                    self.caller.create(self.other(row, &id), self.departure(step.stays[0]), self.units(row), contact);
                let held = held.await?.id;
                self.blocks.lock().unwrap_or_else(PoisonError::into_inner).insert(row, held);
                Ok(())
            }
            Act::Release => {
                let held = self.blocks.lock().unwrap_or_else(PoisonError::into_inner).remove(&row);
                let held = held.context("its seats were not held")?;
                self.caller.cancel(self.other(row, &self.id(row, "release")), &held).await?;
                Ok(())
            }
            Act::Make => self.make(row, step.stays[0], turn).await,
            Act::Take => self.take(row, step.stays[0]).await,
            Act::Change(times) => self.change(row, step.day, times).await,
            Act::Move => self.reschedule(row, step.stays[1]).await,
            Act::End(ending) => self.end(row, ending).await,
        }
    }

    /// Books, or waits; and pays, which nobody else has to wait for.
    async fn make(&self, row: usize, stay: usize, turn: Turn) -> anyhow::Result<()> {
        let id = self.id(row, "make");
        let by = self.by(row, &id);
        let allotted = self.blocks.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&row);
        if allotted {
            let entry = self.caller.join(by, self.departure(stay), self.units(row), self.contact(row)).await?;
            one_more(&self.counts.waited);
            self.places[row].send_replace(Some(Place::Waiting(entry, stay)));
            return Ok(());
        }
        let place = match self.book_or_wait(row, by, stay).await? {
            Ok(held) => {
                // The seats are taken: who comes next about this departure may.
                drop(turn);
                Place::Booked(Arc::new(self.caller.pay(self.by(row, &self.id(row, "pay")), &held).await?))
            }
            Err(place) => place,
        };
        self.places[row].send_replace(Some(place));
        Ok(())
    }

    /// The booking that is to be paid for; or where the party is without one.
    async fn book_or_wait(&self, row: usize, by: By<'_>, stay: usize) -> anyhow::Result<Result<String, Place>> {
        let departure = self.departure(stay);
        // Seats may come free and be taken again between the two calls.
        for _ in 0..20 {
            match self.caller.create(by, departure, self.units(row), self.contact(row)).await {
                Ok(booking) => return Ok(Ok(booking.id)),
                Err(refused) if refused.reason == "DEPARTURE_SOLD_OUT" => {}
                Err(refused) => return Err(refused.into()),
            }
            match self.caller.join(by, departure, self.units(row), self.contact(row)).await {
                Ok(entry) => {
                    one_more(&self.counts.waited);
                    return Ok(Err(Place::Waiting(entry, stay)));
                }
                Err(refused) => match refused.reason.as_str() {
                    "SEATS_LEFT" => {}
                    // More than there ever are; or the same customer has another party in this line.
                    "PARTY_SIZE" | "ALREADY_WAITING" => break,
                    _ => return Err(refused.into()),
                },
            }
        }
        one_more(&self.counts.away);
        Ok(Err(Place::Away))
    }

    /// Takes the offer that comes when the seats have come free.
    async fn take(&self, row: usize, stay: usize) -> anyhow::Result<()> {
        let Place::Waiting(entry, _) = self.place(row).await? else { bail!("it does not wait") };
        let begun = Instant::now();
        loop {
            let found = self.caller.waiting(self.token(row), self.departure(stay), &entry).await?;
            if found.state() == WaitingState::Offered {
                return self.accept(row, &found.booking_id).await.map(drop);
            }
            if begun.elapsed() > OFFER {
                bail!("seats are free, but its entry {entry} is {}", found.state().as_str_name());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The booking; `None`: the offer had run out.
    async fn accept(&self, row: usize, offered: &str) -> anyhow::Result<Option<Arc<Booking>>> {
        let booking = match self.caller.pay(self.by(row, &self.id(row, "pay")), offered).await {
            Ok(booking) => Arc::new(booking),
            Err(refused) if matches!(refused.reason.as_str(), "HOLD_EXPIRED" | "BOOKING_STATE") => return Ok(None),
            Err(refused) => return Err(refused.into()),
        };
        one_more(&self.counts.taken);
        self.places[row].send_replace(Some(Place::Booked(booking.clone())));
        Ok(Some(booking))
    }

    async fn change(&self, row: usize, day: chrono::NaiveDate, times: u32) -> anyhow::Result<()> {
        let Place::Booked(booking) = self.place(row).await? else { return Ok(()) };
        let booking = self.caller.confirmed(self.token(row), &booking).await?;
        for time in 1..=times {
            let id = self.id(row, &format!("change-{day}-{time}"));
            let name = format!("Guest {}, {day}, {time}", self.rows[row].row);
            self.caller.rename(self.by(row, &id), &booking, name).await?;
            one_more(&self.counts.renamed);
        }
        Ok(())
    }

    async fn reschedule(&self, row: usize, to: usize) -> anyhow::Result<()> {
        let Place::Booked(booking) = self.place(row).await? else { return Ok(()) };
        let booking = self.caller.confirmed(self.token(row), &booking).await?;
        match self.caller.reschedule(self.by(row, &self.id(row, "move")), &booking.id, self.departure(to)).await {
            Ok(()) => one_more(&self.counts.moved),
            Err(refused) if refused.reason == "DEPARTURE_SOLD_OUT" => one_more(&self.counts.unmoved),
            Err(refused) => return Err(refused.into()),
        }
        Ok(())
    }

    /// The booking's end: the guests cancel, come, or neither.
    async fn end(&self, row: usize, ending: Ending) -> anyhow::Result<()> {
        let Some(booking) = self.in_the_end(row).await? else { return Ok(()) };
        let booking = self.caller.confirmed(self.token(row), &booking).await?;
        match ending {
            Ending::Cancelled => self.caller.cancel(self.by(row, &self.id(row, "cancel")), &booking.id).await?,
            Ending::NoShow => {}
            Ending::CheckOut => {
                for (n, item) in booking.items.iter().enumerate() {
                    let id = self.id(row, &format!("guest-{n}"));
                    self.caller.redeem(By { token: &self.staff, request_id: &id }, &item.voucher_code).await?;
                }
            }
        }
        Ok(())
    }

    /// The booking, if there is one: who still waits takes what was offered meanwhile, or waits no longer.
    async fn in_the_end(&self, row: usize) -> anyhow::Result<Option<Arc<Booking>>> {
        let (entry, stay) = match self.place(row).await? {
            Place::Booked(booking) => return Ok(Some(booking)),
            Place::Away => return Ok(None),
            Place::Waiting(entry, stay) => (entry, stay),
        };
        loop {
            let found = self.caller.waiting(self.token(row), self.departure(stay), &entry).await?;
            match found.state() {
                WaitingState::Offered => {
                    if let Some(booking) = self.accept(row, &found.booking_id).await? {
                        return Ok(Some(booking));
                    }
                    break;
                }
                WaitingState::Waiting => match self.caller.leave(self.by(row, &self.id(row, "leave")), &entry).await {
                    Ok(()) => break,
                    // It was offered something in this very moment.
                    Err(refused) if refused.reason == "BOOKING_STATE" => {}
                    Err(refused) => return Err(refused.into()),
                },
                _ => break,
            }
        }
        one_more(&self.counts.away);
        Ok(None)
    }

    /// Where a row is, once that is known.
    async fn place(&self, row: usize) -> anyhow::Result<Place> {
        let mut place = self.places[row].subscribe();
        let place = place.wait_for(Option::is_some).await?.clone();
        place.context("it is nowhere")
    }

    fn id(&self, row: usize, what: &str) -> String {
        format!("{}-{row}-{what}", &self.run[20..])
    }

    fn token(&self, row: usize) -> &Token {
        &self.customers[row % self.customers.len()]
    }

    fn by<'a>(&'a self, row: usize, request_id: &'a str) -> By<'a> {
        By { token: self.token(row), request_id }
    }

    /// Somebody else than the row's customer.
    fn other<'a>(&'a self, row: usize, request_id: &'a str) -> By<'a> {
        By { token: self.token(row + self.customers.len() / 2), request_id }
    }

    fn departure(&self, stay: usize) -> &str {
        &self.stage.departures[stay]
    }

    /// The party. A room that was booked without naming anybody is one of something else.
    fn units(&self, row: usize) -> Vec<UnitQuantity> {
        let row = &self.rows[row];
        let other = i32::from(row.adults + row.children == 0);
        let party = [
            (UnitType::Adult, row.adults),
            (UnitType::Child, row.children),
            (UnitType::Infant, row.babies),
            (UnitType::Other, other),
        ];
        let party = party.into_iter().filter(|(_, quantity)| *quantity > 0);
        party.map(|(unit, quantity)| UnitQuantity { unit: unit.into(), quantity }).collect()
    }

    fn contact(&self, row: usize) -> Contact {
        let number = self.rows[row].row;
        Contact {
            full_name: format!("Guest {number}"),
            email: format!("guest-{number}@tourmesh.example"),
            language: "en".to_owned(),
        }
    }
}
