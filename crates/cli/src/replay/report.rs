//! What came out, for people and for programs.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    demand::Ending,
    play::Play,
    tally::{Records, Totals},
};
use crate::{output, verify::Finding};

/// All of it.
pub struct Report {
    /// What the file has.
    pub file: Totals,
    /// What the mesh has.
    pub records: Records,
    /// What happened beside bookings.
    pub play: Arc<Play>,
    /// How many calls were made.
    pub calls: u64,
    /// From the first call to the last answer.
    pub took: Duration,
    /// There were not enough seats, on purpose.
    pub short: bool,
    /// `None`: they cannot be checked from here.
    pub promises: Option<Vec<Finding>>,
    /// Why they could not be checked although they should have been.
    pub unchecked: Option<String>,
    /// How the mesh was reached.
    pub told: String,
}

const ENDINGS: [Ending; 3] = [Ending::Cancelled, Ending::CheckOut, Ending::NoShow];

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Report {
    fn rate(&self) -> f64 {
        self.file.bookings as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    /// What is not as it should be, in words; nothing: all is well.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mesh = &self.records.totals;
        if !mesh.other.is_empty() {
            wrong.push(format!("{} bookings have not ended, such as: {}", mesh.other.len(), mesh.other[0]));
        }
        if let Some(first) = self.records.broken.first() {
            wrong.push(format!("{} departures are oversold or miscounted: {first}", self.records.broken.len()));
        }
        if self.short {
            let away = count(&self.play.counts.away);
            if mesh.bookings + away != self.file.bookings {
                wrong.push(format!("{} bookings and {away} turned away are not those of the file", mesh.bookings));
            }
        } else if *mesh != self.file {
            let days = mesh.differing_days(&self.file);
            let days: Vec<String> = days.iter().take(10).map(ToString::to_string).collect();
            wrong.push(format!("the totals are not those of the file; arrival days: {}", days.join(", ")));
        }
        wrong.extend(self.unchecked.iter().map(|why| format!("the promises could not be checked: {why}")));
        let broken = self.promises.iter().flatten().filter(|f| !f.broken.is_empty());
        wrong.extend(broken.map(|f| format!("broken: {}: {}", f.promise, f.broken[0])));
        wrong
    }

    /// One object.
    pub fn json(&self) -> Value {
        let (mesh, counts) = (&self.records.totals, &self.play.counts);
        let statuses = ENDINGS
            .map(|ending| (ending.to_string(), json!({ "file": self.file.ended(ending), "mesh": mesh.ended(ending) })));
        json!({
            "bookings": { "file": self.file.bookings, "mesh": mesh.bookings },
            "guests": { "file": self.file.guests, "mesh": mesh.guests },
            "statuses": statuses.into_iter().collect::<serde_json::Map<_, _>>(),
            "differing_days": mesh.differing_days(&self.file).len(),
            "seconds": self.took.as_secs_f64(),
            "rate_per_s": self.rate(),
            "calls": self.calls,
            "departures": self.play.stage().departures.len(),
            "full_departures": self.records.full,
            "oversold": self.records.broken.len(),
            "waited": count(&counts.waited),
            "offers_taken": count(&counts.taken),
            "turned_away": count(&counts.away),
            "blocks": self.records.blocks,
            "renamed": count(&counts.renamed),
            "moved": count(&counts.moved),
            "not_moved": count(&counts.unmoved),
            "promises_kept": self.promises.as_ref().map(|all| all.iter().all(|f| f.broken.is_empty())),
            "wrong": self.wrong(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mesh, counts) = (&self.records.totals, &self.play.counts);
        writeln!(f, "{}", self.told)?;
        let row = |what: &str, file: String, mesh: String| vec![what.to_owned(), file, mesh];
        let mut rows = vec![row("", "file".to_owned(), "mesh".to_owned())];
        rows.push(row("bookings", self.file.bookings.to_string(), mesh.bookings.to_string()));
        rows.push(row("guests", self.file.guests.to_string(), mesh.guests.to_string()));
        for ending in ENDINGS {
            let (file, mesh) = (self.file.ended(ending), mesh.ended(ending));
            rows.push(row(&ending.to_string(), file.to_string(), mesh.to_string()));
        }
        let days = |totals: &Totals| {
            let days: std::collections::BTreeSet<_> = totals.days.keys().map(|(day, _)| *day).collect();
            days.len().to_string()
        };
        rows.push(row("arrival days", days(&self.file), days(mesh)));
        write!(f, "{}", output::table(&rows))?;
        writeln!(f, "arrival days that differ: {}", mesh.differing_days(&self.file).len())?;
        writeln!(
            f,
            "{} departures, {} of them full, {} oversold; {} parties waited, {} offers were taken, {} parties found no room",
            self.play.stage().departures.len(),
            self.records.full,
            self.records.broken.len(),
            count(&counts.waited),
            count(&counts.taken),
            count(&counts.away),
        )?;
        writeln!(
            f,
            "{} names changed, {} bookings moved, {} could not be moved, {} bookings only held seats for those who waited",
            count(&counts.renamed),
            count(&counts.moved),
            count(&counts.unmoved),
            self.records.blocks
        )?;
        match &self.promises {
            Some(all) => {
                let kept = all.iter().filter(|p| p.broken.is_empty()).count();
                writeln!(f, "promises kept: {kept} of {}", all.len())?;
            }
            None => writeln!(f, "promises: run `tourmesh verify` where the databases are")?,
        }
        writeln!(
            f,
            "replay: {} bookings in {:.1} s with {} calls, {:.0} bookings/s",
            self.file.bookings,
            self.took.as_secs_f64(),
            self.calls,
            self.rate()
        )
    }
}
