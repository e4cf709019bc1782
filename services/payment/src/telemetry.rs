//! What this role counts, besides calls.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};

/// The role's own instruments.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    events: Counter<u64>,
    contradictions: Counter<u64>,
    unknown: Counter<u64>,
}

impl Counters {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name, help| meter.u64_counter(name).with_description(help).build();
        Self {
            events: counter("tourmesh.payment.provider_events", "Events of payment providers, by what came of them."),
            contradictions: counter(
                "tourmesh.payment.contradictions",
                "Outcomes that contradict what is booked; each needs somebody to look.",
            ),
            unknown: counter(
                "tourmesh.payment.unknown_outcomes",
                "Calls to payment providers without a known outcome.",
            ),
        }
    }

    /// `result`: applied, ignored (repeats, and nothing new), unknown (of no concern), refused (signature).
    pub(crate) fn event(&self, provider: &'static str, result: &'static str) {
        self.events.add(1, &[KeyValue::new("provider", provider), KeyValue::new("result", result)]);
    }

    pub(crate) fn contradiction(&self, provider: &str) {
        self.contradictions.add(1, &[KeyValue::new("provider", provider.to_owned())]);
    }

    pub(crate) fn unknown(&self, provider: &'static str, call: &'static str) {
        self.unknown.add(1, &[KeyValue::new("provider", provider), KeyValue::new("call", call)]);
    }
}
