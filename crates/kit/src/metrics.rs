//! The metrics of one role: for Prometheus to scrape, and over OTLP when a collector is configured.
//!
//! Each role has a registry of its own, which its metrics port renders ([`Metrics::render`]), so two roles in one process
//! do not mix. Names follow the OpenTelemetry conventions; `rpc.server.duration` in seconds is
//! `rpc_server_duration_seconds` to Prometheus. A service adds its own instruments through [`Metrics::meter`].

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant},
};

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter, MeterProvider},
};
use opentelemetry_otlp::{MetricExporter, WithExportConfig};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};

use crate::telemetry::{self, Told};

/// How often metrics are sent to a collector.
const OTLP_INTERVAL: Duration = Duration::from_secs(15);
/// Upper bounds in seconds: the convention's, and two finer ones, for a call inside the mesh takes about a millisecond.
const SECONDS: [f64; 16] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The metrics of one role. Clones share everything.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    role: &'static str,
    registry: Registry,
    provider: SdkMeterProvider,
    server: Calls,
    client: Calls,
    meter: Meter,
    sent: bool,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("role", &self.inner.role).field("sent", &self.inner.sent).finish()
    }
}

impl Metrics {
    /// Metrics that are only scraped.
    pub fn new(role: &'static str) -> Self {
        Self::build(role, None)
    }

    /// Metrics that are scraped, and sent every 15 seconds to the collector at `endpoint` (OTLP over gRPC).
    ///
    /// An endpoint that cannot be one is logged; the metrics can still be scraped.
    pub fn with_otlp(role: &'static str, endpoint: &str) -> Self {
        Self::build(role, Some(endpoint))
    }

    fn build(role: &'static str, endpoint: Option<&str>) -> Self {
        let registry = Registry::new();
        let mut builder = SdkMeterProvider::builder().with_resource(telemetry::resource(role));
        match opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false).build() {
            Ok(reader) => builder = builder.with_reader(reader),
            Err(error) => tracing::error!(tourmesh.role = role, %error, "metrics cannot be scraped"),
        }
        let sent = endpoint.and_then(|endpoint| {
            periodic(endpoint)
                .inspect_err(|error| tracing::warn!(tourmesh.role = role, endpoint, error, "metrics are not sent"))
                .ok()
        });
        let is_sent = sent.is_some();
        if let Some(reader) = sent {
            builder = builder.with_reader(reader);
        }
        let provider = builder.build();
        let meter = provider.meter("tourmesh");
        observe_process(&meter);
        let server = Calls::new(&meter, "rpc.server.duration", "How long calls took that this role answered.");
        let client = Calls::new(&meter, "rpc.client.duration", "How long calls took that this role made.");
        Self { inner: Arc::new(Inner { role, registry, provider, server, client, meter, sent: is_sent }) }
    }

    /// The role that these are the metrics of.
    pub fn role(&self) -> &'static str {
        self.inner.role
    }

    /// For the role's own instruments. Attributes must come from a small fixed set.
    pub fn meter(&self) -> Meter {
        self.inner.meter.clone()
    }

    /// A call was answered with `code` (`OK`, `NOT_FOUND`, …). Service and method must be known ones, not what a
    /// caller asked for.
    pub fn server_call(&self, service: &str, method: &str, code: &'static str, seconds: f64) {
        self.inner.server.record(service, method, code, seconds);
    }

    /// A call to another service came back with `code`.
    pub fn client_call(&self, service: &str, method: &str, code: &'static str, seconds: f64) {
        self.inner.client.record(service, method, code, seconds);
    }

    /// The current values in Prometheus's text format.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.inner.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(tourmesh.role = self.inner.role, %error, "metrics cannot be rendered");
            String::new()
        })
    }

    /// Sends the last values, for `bound` at most. Afterwards nothing is rendered or sent any more.
    pub async fn shutdown(&self, bound: Duration) {
        let provider = self.inner.provider.clone();
        if !self.inner.sent {
            // Nothing that could block.
            drop(provider.shutdown_with_timeout(bound));
        } else if !telemetry::bounded(bound, move || drop(provider.shutdown_with_timeout(bound))).await {
            tracing::warn!(tourmesh.role = self.inner.role, "gave up delivering the last metrics");
        }
    }
}

fn periodic(endpoint: &str) -> Result<PeriodicReader<Told<MetricExporter>>, String> {
    let _entered = telemetry::runtime().ok_or("no runtime for exporters")?.enter();
    let exporter = MetricExporter::builder().with_tonic().with_endpoint(endpoint).build();
    let exporter = exporter.map_err(|e| e.to_string())?;
    Ok(PeriodicReader::builder(Told::new(exporter, endpoint)).with_interval(OTLP_INTERVAL).build())
}

/// A histogram of calls, with the attributes of each kind of call made once.
struct Calls {
    seconds: Histogram<f64>,
    known: RwLock<KnownCalls>,
}

/// By service, method and code.
type KnownCalls = HashMap<String, HashMap<String, HashMap<&'static str, [KeyValue; 4]>>>;

impl Calls {
    fn new(meter: &Meter, name: &'static str, description: &'static str) -> Self {
        let seconds = meter.f64_histogram(name).with_unit("s").with_description(description);
        Self { seconds: seconds.with_boundaries(SECONDS.to_vec()).build(), known: RwLock::default() }
    }

    fn record(&self, service: &str, method: &str, code: &'static str, seconds: f64) {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(attributes) = known.get(service).and_then(|s| s.get(method)).and_then(|m| m.get(code)) {
                return self.seconds.record(seconds, attributes);
            }
        }
        let attributes = [
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.service", service.to_owned()),
            KeyValue::new("rpc.method", method.to_owned()),
            KeyValue::new("rpc.response.status_code", code),
        ];
        self.seconds.record(seconds, &attributes);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let methods = known.entry(service.to_owned()).or_default();
        methods.entry(method.to_owned()).or_default().insert(code, attributes);
    }
}

/// What the whole process uses, told by each of its roles.
fn observe_process(meter: &Meter) {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    let started = *STARTED.get_or_init(Instant::now);
    // The provider keeps the instruments alive.
    let _ = meter
        .i64_observable_up_down_counter("process.memory.usage")
        .with_unit("By")
        .with_description("Resident memory of the process.")
        .with_callback(|gauge| {
            if let Some(bytes) = resident_bytes() {
                gauge.observe(bytes, &[]);
            }
        })
        .build();
    let _ = meter
        .i64_observable_up_down_counter("process.unix.file_descriptor.count")
        .with_unit("{file_descriptor}")
        .with_description("Open file descriptors of the process.")
        .with_callback(|gauge| {
            let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count);
            if let Some(open) = open.ok().and_then(|n| i64::try_from(n).ok()) {
                gauge.observe(open, &[]);
            }
        })
        .build();
    let _ = meter
        .f64_observable_gauge("process.uptime")
        .with_unit("s")
        .with_description("How long the process has been running.")
        .with_callback(move |gauge| gauge.observe(started.elapsed().as_secs_f64(), &[]))
        .build();
}

/// From `status` rather than `statm`, which counts in pages of a size that differs between machines.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?;
    kibibytes.trim().parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says enough")]
mod tests {
    use super::*;

    #[test]
    fn prometheus_sees_the_calls_of_this_role_and_the_process() {
        let (booking, payment) = (Metrics::new("booking"), Metrics::new("payment"));
        for _ in 0..3 {
            booking.server_call("tourmesh.booking.v1.Bookings", "HoldSeats", "OK", 0.002);
        }
        booking.server_call("tourmesh.booking.v1.Bookings", "HoldSeats", "RESOURCE_EXHAUSTED", 0.2);
        booking.client_call("tourmesh.payment.v1.Payments", "Charge", "OK", 0.02);
        booking.meter().u64_counter("tourmesh.seats.held").build().add(2, &[]);
        let text = booking.render();
        let line =
            |start: &str| text.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start}\n{text}"));
        let labels = r#"rpc_method="HoldSeats",rpc_response_status_code="OK",rpc_service="tourmesh.booking.v1.Bookings",rpc_system_name="grpc""#;
        assert!(line(&format!("rpc_server_duration_seconds_count{{{labels}}}")).ends_with(" 3"));
        assert!(line(&format!("rpc_server_duration_seconds_bucket{{{labels},le=\"0.001\"}}")).ends_with(" 0"));
        assert!(line(&format!("rpc_server_duration_seconds_bucket{{{labels},le=\"0.0025\"}}")).ends_with(" 3"));
        assert!(text.contains("RESOURCE_EXHAUSTED"), "{text}");
        line("rpc_client_duration_seconds_sum");
        assert!(line("tourmesh_seats_held_total").ends_with(" 2"));
        assert!(line("target_info").contains(r#"service_name="tourmesh-booking""#));
        for gauge in ["process_memory_usage_bytes ", "process_unix_file_descriptor_count ", "process_uptime_seconds "] {
            let value: f64 = line(gauge).rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value > 0.0, "{gauge}{value}");
        }
        assert!(!payment.render().contains("HoldSeats"));
    }

    #[test]
    fn an_endpoint_that_cannot_be_one_does_not_stop_scraping() {
        let metrics = Metrics::with_otlp("booking", "not an endpoint");
        metrics.server_call("s", "m", "OK", 0.1);
        assert!(metrics.render().contains("rpc_server_duration_seconds_count"));
    }
}
