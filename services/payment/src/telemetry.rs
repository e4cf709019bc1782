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
    refunds_given_up: Counter<u64>,
    differences: Counter<u64>,
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
            refunds_given_up: counter(
                "tourmesh.payment.refunds_given_up",
                "Refunds that a provider refused, or did not answer for too long; staff decides.",
            ),
            differences: counter(
                "tourmesh.payment.differences",
                "Differences between our payments and a provider's list, by kind.",
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

    pub(crate) fn refund_given_up(&self, provider: &str) {
        self.refunds_given_up.add(1, &[KeyValue::new("provider", provider.to_owned())]);
    }

    pub(crate) fn difference(&self, provider: &str, kind: &'static str) {
        self.differences.add(1, &[KeyValue::new("provider", provider.to_owned()), KeyValue::new("kind", kind)]);
    }
}
