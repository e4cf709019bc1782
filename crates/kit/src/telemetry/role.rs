//! Which role a span or a log line belongs to.
//!
//! The role of a span travels in its trace state (key `tourmesh`), because that is what OpenTelemetry hands from a span
//! to its children, whether they are recorded or not, and what a sampler may set: so inheritance costs no table of live
//! spans. It stays inside the process: only `traceparent` is propagated, and exporters take it off.

use std::sync::Arc;

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanContext, SpanKind, TraceContextExt, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{Sampler, SamplingResult, ShouldSample};

/// The field of spans and events that names the role.
pub(super) const FIELD: &str = "tourmesh.role";
/// Where the targets of our own crates start.
pub(super) const TARGET_PREFIX: &str = "tourmesh";
const STATE_KEY: &str = "tourmesh";
/// Of a process that was given no role.
const NO_ROLE: &str = "cli";

/// The roles of the process, each known by its place.
#[derive(Debug, Clone)]
pub(super) struct Roles(Arc<[(&'static str, TraceState)]>);

impl Roles {
    pub(super) fn new(names: &[&'static str]) -> Self {
        let mut roles: Vec<(&'static str, TraceState)> = Vec::new();
        for &name in if names.is_empty() { &[NO_ROLE] } else { names } {
            if roles.iter().all(|(known, _)| *known != name) {
                roles.push((name, TraceState::from_key_value([(STATE_KEY, name)]).unwrap_or_default()));
            }
        }
        Self(roles.into())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(name, _)| *name)
    }

    pub(super) fn first(&self) -> &'static str {
        self.name(0)
    }

    pub(super) fn name(&self, role: usize) -> &'static str {
        self.0.get(role).map_or(NO_ROLE, |(name, _)| name)
    }

    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| *known == name)
    }

    /// By the crate: `tourmesh_booking::hold` is booking.
    pub(super) fn of_target(&self, target: &str) -> Option<usize> {
        let service = target.strip_prefix(TARGET_PREFIX)?.strip_prefix('_')?;
        self.named(service.split("::").next()?)
    }

    /// What [`RoleSampler`] decided for the span.
    pub(super) fn of_span(&self, span: &SpanContext) -> Option<usize> {
        span.trace_state().get(STATE_KEY).and_then(|name| self.named(name))
    }

    /// By the span that the thread is in.
    pub(super) fn of_current_span(&self) -> Option<usize> {
        Context::map_current(|context| self.of_span(context.span().span_context()))
    }

    fn of_attributes(&self, attributes: &[KeyValue]) -> Option<usize> {
        let value = |key: &str| attributes.iter().find(|a| a.key.as_str() == key).map(|a| a.value.as_str());
        let named = value(FIELD).and_then(|name| self.named(&name));
        named.or_else(|| value("target").and_then(|target| self.of_target(&target)))
    }
}

/// Takes the role off a span that leaves the process.
pub(super) fn without_role(span: &SpanContext) -> SpanContext {
    let state = span.trace_state().delete(STATE_KEY).unwrap_or_default();
    // Nothing left is the absence of a state, not an empty one.
    let state = if state.header().is_empty() { TraceState::NONE } else { state };
    SpanContext::new(span.trace_id(), span.span_id(), span.trace_flags(), span.is_remote(), state)
}

/// Decides as `inner` does, and marks the span with its role.
#[derive(Debug, Clone)]
pub(super) struct RoleSampler {
    inner: Sampler,
    roles: Roles,
}

impl RoleSampler {
    pub(super) fn new(inner: Sampler, roles: Roles) -> Self {
        Self { inner, roles }
    }
}

impl ShouldSample for RoleSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.inner.should_sample(parent, trace_id, name, kind, attributes, links);
        // At this point the state is the parent's.
        let inherited = result.trace_state.get(STATE_KEY).and_then(|name| self.roles.named(name));
        let role = self.roles.of_attributes(attributes).or(inherited).unwrap_or(0);
        if inherited != Some(role)
            && let Some((name, state)) = self.roles.0.get(role)
        {
            result.trace_state = if result.trace_state == TraceState::NONE {
                state.clone()
            } else {
                result.trace_state.insert(STATE_KEY, *name).unwrap_or_default()
            };
        }
        result
    }
}
