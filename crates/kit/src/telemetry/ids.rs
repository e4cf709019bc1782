//! What spans are while nothing is exported: a trace id, a span id and a role, and nothing that costs more.
//!
//! OpenTelemetry's layer builds every span with its attributes before it knows that nobody wants it, and attaches a context
//! whenever a future is polled; under load that was a quarter of a process's time. What must work without a collector is
//! little: ids in log lines and answers, and the traceparent that goes along with calls and events.

use std::sync::{Arc, OnceLock};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use rand::RngExt as _;
use tracing::{
    Dispatch, Subscriber,
    dispatcher::WeakDispatch,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer, Registry,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use super::role::{FIELD, Roles};

/// What is known of a span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
    /// Its place in [`Roles`].
    pub(super) role: usize,
}

impl Known {
    pub(super) fn context(self) -> SpanContext {
        SpanContext::new(self.trace, self.span, self.flags, false, TraceState::NONE)
    }
}

/// Where the thread is. A layer that formats an event cannot ask for the spans of other layers, so it asks here.
#[derive(Debug, Clone, Default)]
pub(super) struct Here(Arc<OnceLock<WeakDispatch>>);

impl Here {
    /// What is known of the span that the thread is in.
    pub(super) fn known(&self) -> Option<Known> {
        let dispatch = self.0.get()?.upgrade()?;
        let registry = dispatch.downcast_ref::<Registry>()?;
        let current = registry.current_span();
        let span = registry.span(current.id()?)?;
        span.scope().find_map(|span| of(&span))
    }
}

/// Gives every span its ids and its role.
pub(super) struct Ids {
    roles: Roles,
    here: Here,
}

impl Ids {
    pub(super) fn new(roles: Roles, here: Here) -> Self {
        Self { roles, here }
    }
}

impl<S> Layer<S> for Ids
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        // Only the first: one layer is one subscriber's.
        let _ = self.here.0.set(dispatch.downgrade());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let parent = span.parent().and_then(|parent| of(&parent));
        let mut named = Named { roles: &self.roles, role: None };
        attributes.record(&mut named);
        let role = named.role.or_else(|| self.roles.of_target(attributes.metadata().target()));
        let known = Known {
            trace: parent.map_or_else(|| TraceId::from(rand::rng().random::<u128>()), |p| p.trace),
            span: SpanId::from(rand::rng().random::<u64>()),
            // Somebody further on may record it: whoever records nothing leaves that to them.
            flags: parent.map_or(TraceFlags::SAMPLED, |p| p.flags),
            role: role.or(parent.map(|p| p.role)).unwrap_or(0),
        };
        span.extensions_mut().insert(known);
    }
}

fn of<'a, R: LookupSpan<'a>>(span: &SpanRef<'a, R>) -> Option<Known> {
    span.extensions().get::<Known>().copied()
}

/// What is known of a span; `None` where OpenTelemetry's layer knows, or nobody.
pub(super) fn known(span: &tracing::Span) -> Option<Known> {
    let known = span.with_subscriber(|(id, dispatch)| of(&dispatch.downcast_ref::<Registry>()?.span(id)?));
    known.flatten()
}

/// Makes a span a child of a remote one; whether it is one of this layer's.
pub(super) fn adopt(span: &tracing::Span, remote: &SpanContext) -> bool {
    let adopted = span.with_subscriber(|(id, dispatch)| {
        let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
        let mut extensions = span.extensions_mut();
        let known = extensions.get_mut::<Known>()?;
        known.trace = remote.trace_id();
        known.flags = remote.trace_flags();
        Some(())
    });
    adopted.flatten().is_some()
}

/// The role that a span names.
struct Named<'a> {
    roles: &'a Roles,
    role: Option<usize>,
}

impl Visit for Named<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == FIELD {
            self.role = self.roles.named(value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == FIELD {
            self.role = self.roles.named(&format!("{value:?}"));
        }
    }
}
