//! How commands talk: bars while something takes time, plain lines when nobody watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tourmesh_engines::Event;

/// A line that says what is going on right now. Without a terminal nothing is drawn.
pub fn spinner(text: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(text.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A bar over a known number of steps.
pub fn bar(steps: u64, text: &str) -> ProgressBar {
    let bar = ProgressBar::new(steps).with_message(text.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// What is told about the engines: everything while they start, later only trouble.
pub fn engine_event(bar: &ProgressBar, event: &Event) {
    match event {
        Event::Installing { .. } | Event::Installed { .. } | Event::Leftover { .. } => {
            bar.suspend(|| eprintln!("{event}"))
        }
        Event::Crashed { .. } => tracing::error!("{event}"),
        Event::Restarted { .. } => tracing::warn!("{event}"),
        _ => bar.set_message(event.to_string()),
    }
}

/// Rows under each other.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
