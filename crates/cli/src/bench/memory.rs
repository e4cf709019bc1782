//! How much memory the processes of a measurement take, second by second. What they share (PostgreSQL's buffers, mapped
//! files) has a fixed size and is left out: what could grow is each process's own. Read from /proc; where there is none,
//! nothing is told.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use tourmesh_engines::Pids;

/// Own memory in KiB, by process, once a second.
type Samples = BTreeMap<&'static str, Vec<u64>>;

/// Samples until it is asked.
pub struct Watch {
    samples: Arc<Mutex<Samples>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// From now on.
    pub fn begin(pids: Pids) -> Self {
        let samples = Arc::<Mutex<Samples>>::default();
        let into = samples.clone();
        let task = tokio::spawn(async move {
            let mut seconds = tokio::time::interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                let Ok(sample) = tokio::task::spawn_blocking(move || sample(pids)).await else { return };
                let mut samples = into.lock().unwrap_or_else(PoisonError::into_inner);
                for (name, kib) in sample {
                    samples.entry(name).or_default().push(kib);
                }
            }
        });
        Self { samples, task }
    }

    /// What was seen.
    pub fn end(self) -> Memory {
        self.task.abort();
        Memory(std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What was seen.
pub struct Memory(Samples);

/// The average of the first third, that of the last, and the most, in MiB.
struct Told {
    first: f64,
    last: f64,
    most: f64,
}

impl Memory {
    fn told(&self) -> impl Iterator<Item = (&'static str, Told)> {
        self.0.iter().filter(|(_, samples)| samples.len() >= 3).map(|(name, samples)| {
            let third = samples.len() / 3;
            let told = Told {
                first: average(&samples[..third]),
                last: average(&samples[samples.len() - third..]),
                most: mib(samples.iter().copied().max().unwrap_or_default()),
            };
            (*name, told)
        })
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let all = self.told().map(|(name, told)| {
            let Told { first, last, most } = told;
            (name.to_owned(), json!({ "first_third_mib": first, "last_third_mib": last, "most_mib": most }))
        });
        Value::Object(all.collect::<Map<_, _>>())
    }

    /// For people: a line for each process.
    pub fn lines(&self) -> Vec<String> {
        self.told()
            .map(|(name, Told { first, last, most })| {
                format!("memory of {name}: {first} MiB in the first third, {last} in the last, {most} at most")
            })
            .collect()
    }
}

fn average(samples: &[u64]) -> f64 {
    mib(samples.iter().sum::<u64>() / samples.len().max(1) as u64)
}

#[allow(clippy::cast_precision_loss, reason = "nobody has that much memory")]
fn mib(kib: u64) -> f64 {
    (kib as f64 / 1_024.0).round()
}

fn sample(pids: Pids) -> Vec<(&'static str, u64)> {
    let postgres = pids.postgres.map(|first| own(first) + children(first).into_iter().map(own).sum::<u64>());
    [("clients and roles", Some(own(std::process::id()))), ("PostgreSQL", postgres), ("NATS", pids.nats.map(own))]
        .into_iter()
        .filter_map(|(name, kib)| kib.filter(|kib| *kib > 0).map(|kib| (name, kib)))
        .collect()
}

/// The anonymous memory of a process in KiB; 0 when that cannot be read.
fn own(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn children(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it, in brackets, may have any character.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_seen() {
        let memory = Memory(Samples::from([("NATS", vec![1_024, 1_024, 2_048, 4_096, 4_096, 5_120])]));
        assert_eq!(memory.lines(), ["memory of NATS: 1 MiB in the first third, 5 in the last, 5 at most"]);
    }
}
