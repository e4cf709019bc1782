//! What is counted, beside what kit counts for every role.

use chrono::Utc;
use kit::metrics::Metrics;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use tourmesh_kit as kit;

use crate::store::delivery;

/// The service's instruments. Clones share them.
#[derive(Debug, Clone)]
pub struct Measure {
    outcomes: Counter<u64>,
    delay: Histogram<f64>,
}

impl Measure {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        let meter = metrics.meter();
        Self {
            outcomes: meter
                .u64_counter("notification.attempts")
                .with_description("Tries to hand a message over, by kind and the state after it.")
                .build(),
            delay: meter
                .f64_histogram("notification.delay")
                .with_unit("s")
                .with_description("From the event to the hand-over of its message.")
                .with_boundaries(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0])
                .build(),
        }
    }

    /// A try has ended and is written down.
    pub fn ended(&self, row: &delivery::Model) {
        let kind = KeyValue::new("kind", row.kind.to_lowercase());
        self.outcomes.add(1, &[kind.clone(), KeyValue::new("state", row.state.to_lowercase())]);
        if let Some(sent_at) = row.sent_at {
            let delay = (sent_at.min(Utc::now()) - row.created_at).to_std().unwrap_or_default();
            self.delay.record(delay.as_secs_f64(), &[kind]);
        }
    }
}
