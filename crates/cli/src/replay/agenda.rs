//! What happens when: every call of the replay in the order of the file's dates, before the first one is made.
//!
//! The file says that a booking was changed, not what was changed nor when. So the changes are spread evenly over its
//! life; most change the names of guests, and of every second changed booking the last one moves it: it was made for the
//! next arrival day and comes to its own by that change.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDate;

use super::demand::{Demand, Ending, Plan, later};

/// One departure: an arrival day of a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stay {
    /// What is booked.
    pub plan: Plan,
    /// The day.
    pub arrival: NaiveDate,
    /// 0: open to everybody. Else an allotment: its seats are held for somebody else until those who wait get them.
    pub allotment: u32,
}

/// What happens; on one day in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Somebody holds the seats that the row will wait for.
    Block,
    /// The booking is made, or joins the waiting list.
    Make,
    /// The seats that it waits for come free.
    Release,
    /// It takes what it was offered.
    Take,
    /// Names change so many times.
    Change(u32),
    /// It moves to the arrival day of the file.
    Move,
    /// It ends.
    End(Ending),
}

/// The allotments of a day: those who joined on the same day and waited as long share one.
type Lines = BTreeMap<(NaiveDate, u32), u32>;

/// One entry.
#[derive(Debug, Clone)]
pub struct Step {
    /// The file's date.
    pub day: NaiveDate,
    /// What.
    pub act: Act,
    /// Whose: an index of the rows.
    pub row: usize,
    /// Where: indexes of the stays.
    pub stays: Vec<usize>,
}

/// All of it.
#[derive(Debug)]
pub struct Agenda {
    /// All departures that are needed, with the most seats that all their bookings could take at once.
    pub stays: Vec<(Stay, i32)>,
    /// In order.
    pub steps: Vec<Step>,
}

impl Agenda {
    /// Plans the rows. With `allotments` those that waited in the file wait for seats that somebody else holds; without,
    /// they wait where there are not enough.
    pub fn of(rows: &[Demand], allotments: bool) -> Self {
        let days: BTreeSet<(&Plan, NaiveDate)> = rows.iter().map(|d| (&d.plan, d.arrival)).collect();
        let mut waits: BTreeMap<(&Plan, NaiveDate), Lines> = BTreeMap::new();
        if allotments {
            for row in rows.iter().filter(|d| d.waited > 0) {
                let of_day = waits.entry((&row.plan, row.arrival)).or_default();
                let next = u32::try_from(of_day.len()).unwrap_or(u32::MAX).saturating_add(1);
                of_day.entry((row.made, row.waited)).or_insert(next);
            }
        }
        let mut agenda = Self { stays: Vec::new(), steps: Vec::new() };
        let mut known: HashMap<Stay, usize> = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            let line = waits.get(&(&row.plan, row.arrival)).and_then(|of_day| of_day.get(&(row.made, row.waited)));
            let allotment = if row.waited > 0 { line.copied().unwrap_or_default() } else { 0 };
            let mut stay = |arrival, allotment| {
                let stay = Stay { plan: row.plan.clone(), arrival, allotment };
                let at = *known.entry(stay.clone()).or_insert_with(|| {
                    agenda.stays.push((stay, 0));
                    agenda.stays.len() - 1
                });
                agenda.stays[at].1 += row.seats();
                at
            };
            let home = stay(row.arrival, allotment);
            let moves = row.changes > 0 && row.row % 2 == 0 && row.waited == 0;
            let first = moves.then(|| neighbour(&days, row)).flatten().map_or(home, |day| stay(day, 0));
            agenda.plan(index, row, first, home, allotment > 0);
        }
        agenda.steps.sort_by_key(|step| (step.day, step.act, step.row));
        agenda
    }

    fn plan(&mut self, index: usize, row: &Demand, first: usize, home: usize, waits: bool) {
        let mut add = |day, act, stays: &[usize]| {
            self.steps.push(Step { day, act, row: index, stays: stays.to_vec() });
        };
        if waits {
            add(row.made, Act::Block, &[home]);
            add(row.granted(), Act::Release, &[home]);
            add(row.granted(), Act::Take, &[home]);
        }
        add(row.made, Act::Make, &[first]);
        let begun = if waits { row.granted() } else { row.made };
        let end = row.ended.min(row.arrival).max(begun);
        let length = u32::try_from((end - begun).num_days()).unwrap_or_default();
        let moves = first != home;
        let mut names: BTreeMap<NaiveDate, u32> = BTreeMap::new();
        for change in 1..=row.changes {
            let share = u64::from(length) * u64::from(change) / (u64::from(row.changes) + 1);
            let day = later(begun, u32::try_from(share).unwrap_or(length));
            if moves && change == row.changes {
                add(day, Act::Move, &[first, home]);
            } else {
                *names.entry(day).or_default() += 1;
            }
        }
        for (day, times) in names {
            add(day, Act::Change(times), &[first]);
        }
        add(row.ended, Act::End(row.ending), &[home]);
    }
}

/// The next arrival day of the same plan, or the one before where there is none.
fn neighbour(days: &BTreeSet<(&Plan, NaiveDate)>, row: &Demand) -> Option<NaiveDate> {
    let here = (&row.plan, row.arrival);
    let same = |found: &&(&Plan, NaiveDate)| found.0 == here.0;
    let next = days.range((std::ops::Bound::Excluded(here), std::ops::Bound::Unbounded)).next().filter(same);
    let found = next.or_else(|| days.range(..here).next_back().filter(same));
    found.map(|(_, day)| *day)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::demand::read, *};

    #[test]
    fn every_booking_is_made_once_ends_once_and_everything_else_lies_between() {
        let rows = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/booking-demand.csv")).unwrap();
        for allotments in [true, false] {
            let agenda = Agenda::of(&rows, allotments);
            let mut of_row: Vec<Vec<&Step>> = vec![Vec::new(); rows.len()];
            agenda.steps.iter().for_each(|step| of_row[step.row].push(step));
            let (mut waited, mut moved) = (0, 0);
            for (row, steps) in rows.iter().zip(&of_row) {
                let opening = if steps[0].act == Act::Block { 1 } else { 0 };
                waited += opening;
                assert_eq!((steps[opening].act, steps[opening].day), (Act::Make, row.made), "row {}", row.row);
                let last = steps.last().unwrap();
                assert_eq!((last.act, last.day), (Act::End(row.ending), row.ended), "row {}", row.row);
                assert_eq!(steps.iter().filter(|s| s.act == Act::Make).count(), 1);
                let changes = steps.iter().map(|s| match s.act {
                    Act::Change(times) => times,
                    Act::Move => 1,
                    _ => 0,
                });
                assert_eq!(changes.sum::<u32>(), row.changes, "row {}", row.row);
                moved += steps.iter().filter(|s| s.act == Act::Move).count();
                let home = &agenda.stays[last.stays[0]].0;
                assert_eq!((home.arrival, &home.plan), (row.arrival, &row.plan));
            }
            assert_eq!(waited, if allotments { 345 } else { 0 });
            assert!(moved > 500, "{moved} moves");
            assert!(agenda.steps.is_sorted_by_key(|s| s.day));
        }
    }
}
