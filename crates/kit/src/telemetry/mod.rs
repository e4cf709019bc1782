//! Traces, logs and metrics of a process that runs one or several roles, each of which is a service of its own.
//!
//! [`init`] installs the one subscriber of the process: lines on standard error, and, when
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set, spans and log records over OTLP. Spans get ids and are propagated
//! ([`set_parent`], [`traceparent`]) also when nothing is exported, by a layer that costs less.
//!
//! A span belongs to the role that its field `tourmesh.role` names, else to the role whose crate it comes from
//! (`tourmesh_booking::…` is booking), else to its parent's role, else to the first role of the process. The same
//! goes for log lines. So the chassis names the role once, on the span of the call or of the background task, and
//! everything below it follows; the field must be there when the span is made.
//!
//! Only spans and events of targets that start with `tourmesh`, at INFO and above, become spans and span events:
//! statement texts and the internals of HTTP never leave the process.

mod export;
mod ids;
mod lines;
mod role;

use std::{
    fmt,
    str::FromStr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    Context, KeyValue,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider},
};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    logs::{BatchLogProcessor, SdkLoggerProvider},
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider},
};
use tokio::runtime::Runtime;
use tracing::{Metadata, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, FilterFn, filter_fn},
    layer::SubscriberExt,
    registry::LookupSpan,
};

pub(crate) use self::export::Told;
use self::{
    export::{ByRole, Delivery, LogRoles},
    ids::{Here, Ids},
    lines::Lines,
    role::{RoleSampler, Roles},
};
use crate::config::Env;

/// Used when `RUST_LOG` is not set or not valid.
const DEFAULT_FILTER: &str = "info,sqlx=error,async_nats=warn,hyper=warn,h2=warn,opentelemetry=warn";
/// Nothing of these goes out over OTLP: the exporters use them themselves, or they tell statement texts.
const NOT_EXPORTED: [&str; 8] = ["opentelemetry", "h2", "hyper", "tonic", "tower", "reqwest", "sqlx", "sea_orm"];
/// At 2,000 bookings a second some 40,000 spans a second: the queue rides out most of a second of a slow collector
/// and then drops. About 30 MiB when full.
const QUEUED_SPANS: usize = 32_768;
/// Some 1 MiB on the wire; collectors refuse messages above 4 MiB.
const SPANS_PER_BATCH: usize = 2_048;
const EXPORT_DELAY: Duration = Duration::from_secs(1);

/// How log lines look on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: time, level, role, message, fields.
    #[default]
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err("must be pretty or json".to_owned()),
        }
    }
}

/// What [`init`] needs to know.
#[derive(Debug, Clone, Default)]
pub struct TelemetryConfig {
    /// How log lines look.
    pub log_format: LogFormat,
    /// Directives of `RUST_LOG`; `None` for the defaults of the house.
    pub log_filter: Option<String>,
    /// The gRPC endpoint of a collector, such as `http://localhost:4317`; `None`: nothing leaves the process.
    pub otlp_endpoint: Option<String>,
    /// `OTEL_TRACES_SAMPLER`: `parentbased_always_on` (default), `parentbased_traceidratio`, `always_on`, ….
    pub sampler: Option<String>,
    /// `OTEL_TRACES_SAMPLER_ARG`: the share of traces that the ratio samplers keep, from 0 to 1.
    pub sampler_arg: Option<String>,
    /// The roles of this process. What cannot be attributed belongs to the first.
    pub roles: Vec<&'static str>,
}

impl TelemetryConfig {
    /// Reads `RUST_LOG`, `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    pub fn of_env(env: &Env, log_format: LogFormat, roles: Vec<&'static str>) -> Self {
        let variable = |name: &str| env.foreign(name).map(str::to_owned);
        Self {
            log_format,
            log_filter: variable("RUST_LOG"),
            otlp_endpoint: variable("OTEL_EXPORTER_OTLP_ENDPOINT"),
            sampler: variable("OTEL_TRACES_SAMPLER"),
            sampler_arg: variable("OTEL_TRACES_SAMPLER_ARG"),
            roles,
        }
    }
}

/// Keeps the exporters; [`Telemetry::shutdown`] delivers what they still hold.
#[must_use = "spans that are not flushed are lost"]
#[derive(Debug)]
pub struct Telemetry {
    exports: Option<(SdkTracerProvider, SdkLoggerProvider)>,
}

/// Installs the subscriber of the process.
///
/// Never fails: what is wrong with the configuration is logged, and the rest works. A second call in the same process
/// (or a subscriber that somebody else installed) changes nothing.
pub fn init(config: TelemetryConfig) -> Telemetry {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::SeqCst) {
        return Telemetry { exports: None };
    }
    let roles = Roles::new(&config.roles);
    let mut problems = Vec::new();
    let here = Here::default();

    let lines = tracing_subscriber::fmt::layer()
        .event_format(Lines::new(config.log_format, roles.clone(), here.clone()))
        .with_ansi(config.log_format == LogFormat::Pretty && std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .with_filter(log_filter(&config, &mut problems).and(events()));

    let exporters = config.otlp_endpoint.as_deref().and_then(|endpoint| {
        exporters(endpoint, &roles)
            .inspect_err(|e| problems.push(format!("no traces and logs are sent to {endpoint}: {e}")))
            .ok()
    });
    let mut exports = None;
    if let Some((spans, records)) = exporters {
        let sampler = RoleSampler::new(sampler(&config, &mut problems), roles.clone());
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUED_SPANS)
            .with_max_export_batch_size(SPANS_PER_BATCH)
            .with_scheduled_delay(EXPORT_DELAY)
            .build();
        let tracers = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_resource(resource(roles.first()))
            .with_span_processor(BatchSpanProcessor::builder(spans).with_batch_config(batches).build())
            .build();
        let records = LogRoles::new(BatchLogProcessor::builder(records).build(), roles.clone());
        exports = Some((tracers, SdkLoggerProvider::builder().with_log_processor(records).build()));
    }
    // No layer is an `Option`: one that is `None` wants everything, and then each of the thousands of trace points of HTTP/2
    // asks every filter, each time.
    let registry = tracing_subscriber::registry().with(lines);
    let installed = match &exports {
        Some((tracers, provider)) => {
            let exported = |metadata: &Metadata<'_>| {
                metadata.is_event() && !NOT_EXPORTED.iter().any(|target| metadata.target().starts_with(target))
            };
            let exported = filter_fn(exported).with_max_level_hint(LevelFilter::TRACE);
            let records = OpenTelemetryTracingBridge::new(provider)
                .with_filter(log_filter(&config, &mut Vec::new()).and(exported));
            tracing::subscriber::set_global_default(registry.with(spans(tracers.tracer("tourmesh"))).with(records))
        }
        None => tracing::subscriber::set_global_default(registry.with(Ids::new(roles, here).with_filter(ours()))),
    };
    if installed.is_err() {
        return Telemetry { exports: None };
    }
    for problem in problems {
        tracing::warn!("{problem}");
    }
    Telemetry { exports }
}

impl Telemetry {
    /// Delivers what is still queued, for `bound` at most. Spans that end later are lost.
    pub async fn shutdown(self, bound: Duration) {
        let Some((tracers, logs)) = self.exports else { return };
        let traces = bounded(bound, move || drop(tracers.shutdown_with_timeout(bound)));
        let logs = bounded(bound, move || drop(logs.shutdown_with_timeout(bound)));
        let (traces, logs) = futures_util::future::join(traces, logs).await;
        if !(traces && logs) {
            tracing::warn!(seconds = bound.as_secs(), "gave up delivering the last traces and logs");
        }
    }
}

/// Makes `span` a child of the remote span that a W3C `traceparent` names; ignores one that is not valid.
///
/// Must come before the span is entered, has children, or is asked for its ids.
pub fn set_parent(span: &tracing::Span, traceparent: &str) {
    if let Some(remote) = parse_traceparent(traceparent)
        && !ids::adopt(span, &remote)
        && let Err(problem) = span.set_parent(Context::new().with_remote_span_context(remote))
    {
        tracing::debug!(%problem, "a span has no remote parent");
    }
}

/// The W3C `traceparent` that makes others children of `span`; `None` when tracing is off.
pub fn traceparent(span: &tracing::Span) -> Option<String> {
    let context = span_context(span)?;
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    Some(format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()))
}

/// The id of the trace that `span` is in, as Jaeger shows it; `None` when tracing is off.
pub fn trace_id(span: &tracing::Span) -> Option<String> {
    span_context(span).map(|context| context.trace_id().to_string())
}

fn span_context(span: &tracing::Span) -> Option<SpanContext> {
    if let Some(known) = ids::known(span) {
        return Some(known.context());
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

fn parse_traceparent(text: &str) -> Option<SpanContext> {
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may have more parts.
    let known = version != "ff" && (version != "00" || parts.next().is_none());
    if !(known && hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2)) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::NONE)).filter(SpanContext::is_valid)
}

/// Turns our spans, and the events in them, into OpenTelemetry's.
fn spans<S>(tracer: SdkTracer) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    // The target is kept: the sampler reads the role from it.
    OpenTelemetryLayer::new(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(ours())
}

/// Events and no spans, of every level; the hint lets the filter beside it say which.
fn events() -> FilterFn {
    let events: FilterFn = filter_fn(|metadata| metadata.is_event());
    events.with_max_level_hint(LevelFilter::TRACE)
}

/// What becomes a span or a span event.
fn ours() -> FilterFn {
    let ours: FilterFn = filter_fn(|metadata| {
        *metadata.level() <= tracing::Level::INFO && metadata.target().starts_with(role::TARGET_PREFIX)
    });
    ours.with_max_level_hint(LevelFilter::INFO)
}

fn log_filter(config: &TelemetryConfig, problems: &mut Vec<String>) -> EnvFilter {
    let wanted = config.log_filter.as_deref().unwrap_or(DEFAULT_FILTER);
    EnvFilter::try_new(wanted).unwrap_or_else(|e| {
        problems.push(format!("RUST_LOG={wanted:?} is not valid ({e}), the default is used"));
        EnvFilter::new(DEFAULT_FILTER)
    })
}

fn sampler(config: &TelemetryConfig, problems: &mut Vec<String>) -> Sampler {
    let mut ratio = || {
        let Some(text) = config.sampler_arg.as_deref() else { return Sampler::AlwaysOn };
        match text.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Sampler::TraceIdRatioBased(ratio),
            _ => {
                problems.push(format!("OTEL_TRACES_SAMPLER_ARG={text:?} is not from 0 to 1, all traces are kept"));
                Sampler::AlwaysOn
            }
        }
    };
    match config.sampler.as_deref().unwrap_or("parentbased_always_on") {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => ratio(),
        "parentbased_always_on" => Sampler::ParentBased(Box::new(Sampler::AlwaysOn)),
        "parentbased_always_off" => Sampler::ParentBased(Box::new(Sampler::AlwaysOff)),
        "parentbased_traceidratio" => Sampler::ParentBased(Box::new(ratio())),
        other => {
            problems.push(format!("OTEL_TRACES_SAMPLER={other:?} is not known, parentbased_always_on is used"));
            Sampler::ParentBased(Box::new(Sampler::AlwaysOn))
        }
    }
}

/// An exporter of each signal for each role, with that role's resource.
fn exporters(endpoint: &str, roles: &Roles) -> Result<(ByRole<SpanExporter>, ByRole<LogExporter>), ExporterBuildError> {
    // Channels are made on the runtime that will drive them.
    let runtime =
        runtime().ok_or_else(|| ExporterBuildError::InternalFailure("no runtime for exporters".to_owned()))?;
    let _entered = runtime.enter();
    let (mut spans, mut logs) = (Vec::new(), Vec::new());
    for role in roles.iter() {
        let mut exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        opentelemetry_sdk::trace::SpanExporter::set_resource(&mut exporter, &resource(role));
        spans.push(exporter);
        let mut exporter = LogExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        opentelemetry_sdk::logs::LogExporter::set_resource(&mut exporter, &resource(role));
        logs.push(exporter);
    }
    Ok((
        ByRole::new(roles.clone(), spans, Delivery::new("traces", endpoint)),
        ByRole::new(roles.clone(), logs, Delivery::new("logs", endpoint)),
    ))
}

/// What identifies a role of this process to collectors.
pub(crate) fn resource(role: &'static str) -> Resource {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    let instance = INSTANCE.get_or_init(|| uuid::Uuid::now_v7().to_string()).clone();
    Resource::builder()
        .with_service_name(format!("tourmesh-{role}"))
        .with_attributes([
            KeyValue::new("service.namespace", "tourmesh"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .build()
}

/// The exporters' own runtime, which outlives every other.
///
/// The exporters' threads block on channels that a runtime must drive. Were that the application's, a flush from a
/// current-thread runtime, or one after it has gone, would wait for itself.
pub(crate) fn runtime() -> Option<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let build =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("otlp").enable_all().build().ok();
    RUNTIME.get_or_init(build).as_ref()
}

/// Does blocking work for `bound` at most; whether it was done. Works on every runtime, and none waits for the rest.
pub(crate) async fn bounded(bound: Duration, work: impl FnOnce() + Send + 'static) -> bool {
    let Some(runtime) = runtime() else { return false };
    let work = async move { tokio::time::timeout(bound, tokio::task::spawn_blocking(work)).await };
    matches!(runtime.spawn(work).await, Ok(Ok(Ok(()))))
}

#[cfg(test)]
mod tests;
