//! Exporters that hand each role's spans and log records to that role's own exporter, and tell failures once.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use opentelemetry::{
    InstrumentationScope, Key,
    logs::{AnyValue, LogRecord, Severity},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{SpanData, SpanExporter},
};

use super::role::{FIELD, Roles, without_role};

/// Tells on standard error when delivery stops working and when it works again, not each failure.
#[derive(Debug)]
pub(crate) struct Delivery {
    signal: &'static str,
    endpoint: String,
    failing: AtomicBool,
}

impl Delivery {
    pub(crate) fn new(signal: &'static str, endpoint: &str) -> Self {
        Self { signal, endpoint: endpoint.to_owned(), failing: AtomicBool::new(false) }
    }

    fn note(&self, results: impl IntoIterator<Item = OTelSdkResult>) {
        let Self { signal, endpoint, failing } = self;
        match results.into_iter().find_map(Result::err) {
            Some(error) if !failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(endpoint, %error, "cannot deliver {signal}; they are dropped until it works again");
            }
            None if failing.swap(false, Ordering::Relaxed) => tracing::info!(endpoint, "delivers {signal} again"),
            _ => {}
        }
    }
}

/// One exporter per role, in the order of the roles. Their resources are set beforehand, the provider's is ignored.
#[derive(Debug)]
pub(super) struct ByRole<E> {
    roles: Roles,
    exporters: Vec<E>,
    delivery: Delivery,
}

impl<E> ByRole<E> {
    pub(super) fn new(roles: Roles, exporters: Vec<E>, delivery: Delivery) -> Self {
        Self { roles, exporters, delivery }
    }

    /// The exporters with what is theirs; what has no role is the first's.
    fn grouped<T>(&self, items: impl Iterator<Item = (Option<usize>, T)>) -> impl Iterator<Item = (&E, Vec<T>)> {
        let mut groups: Vec<(&E, Vec<T>)> = self.exporters.iter().map(|exporter| (exporter, Vec::new())).collect();
        for (role, item) in items {
            if let Some((_, group)) = groups.get_mut(role.unwrap_or(0)) {
                group.push(item);
            }
        }
        groups.into_iter().filter(|(_, group)| !group.is_empty())
    }
}

impl<E: SpanExporter> SpanExporter for ByRole<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.into_iter().map(|mut span| {
            let role = self.roles.of_span(&span.span_context);
            span.span_context = without_role(&span.span_context);
            (role, span)
        });
        self.delivery.note(join_all(self.grouped(spans).map(|(exporter, group)| exporter.export(group))).await);
        Ok(())
    }

    fn shutdown_with_timeout(&self, _bound: Duration) -> OTelSdkResult {
        self.exporters.iter().try_for_each(SpanExporter::shutdown)
    }
}

impl<E: LogExporter> LogExporter for ByRole<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let records = batch.iter().map(|(record, scope)| {
            let role = record.attributes_iter().find_map(|(key, value)| match value {
                AnyValue::String(name) if key.as_str() == FIELD => self.roles.named(name.as_str()),
                _ => None,
            });
            (role, (record, scope))
        });
        let groups: Vec<_> = self.grouped(records).collect();
        let exports = groups.iter().map(|(exporter, group)| exporter.export(LogBatch::new(group)));
        self.delivery.note(join_all(exports).await);
        Ok(())
    }

    fn shutdown_with_timeout(&self, bound: Duration) -> OTelSdkResult {
        self.exporters.iter().try_for_each(|exporter| exporter.shutdown_with_timeout(bound))
    }
}

/// Marks each log record with its role while the thread is still in the span that it was written in.
#[derive(Debug)]
pub(super) struct LogRoles<P> {
    inner: P,
    roles: Roles,
}

impl<P> LogRoles<P> {
    pub(super) fn new(inner: P, roles: Roles) -> Self {
        Self { inner, roles }
    }
}

impl<P: LogProcessor> LogProcessor for LogRoles<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if !record.attributes_iter().any(|(key, _)| key.as_str() == FIELD) {
            let of_target = record.target().and_then(|target| self.roles.of_target(target));
            let role = of_target.or_else(|| self.roles.of_current_span()).unwrap_or(0);
            record.add_attribute(Key::from_static_str(FIELD), self.roles.name(role));
        }
        self.inner.emit(record, scope);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, bound: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(bound)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.inner.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// A metric exporter that tells failures once.
#[derive(Debug)]
pub(crate) struct Told<E> {
    inner: E,
    delivery: Delivery,
}

impl<E> Told<E> {
    pub(crate) fn new(inner: E, endpoint: &str) -> Self {
        Self { inner, delivery: Delivery::new("metrics", endpoint) }
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Told<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.delivery.note([self.inner.export(metrics).await]);
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, bound: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(bound)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}
