//! What a collector receives from a process that runs two roles.

#![allow(clippy::unwrap_used, reason = "a failing test says enough")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
};
use tonic::{Request, Response, Status};
use tourmesh_kit::{
    metrics::Metrics,
    telemetry::{self, LogFormat, TelemetryConfig},
};
use tracing::{Instrument, info_span};

/// The names of what arrived, by the service it came from.
type Received = BTreeMap<String, Vec<String>>;

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Everything>>);

#[derive(Default)]
struct Everything {
    spans: Received,
    logs: Received,
    metrics: Received,
    resources: Vec<Vec<String>>,
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|a| a.key == key).and_then(|a| a.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{key}: {other:?}"),
    }
}

fn service(resource: Option<&Resource>) -> String {
    text(&resource.expect("a resource").attributes, "service.name")
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut all = self.0.lock().unwrap();
        for group in request.into_inner().resource_spans {
            let resource = group.resource.as_ref().expect("a resource");
            all.resources.push(
                ["service.name", "service.namespace", "service.version", "service.instance.id"]
                    .map(|key| text(&resource.attributes, key))
                    .to_vec(),
            );
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| span.name);
            all.spans.entry(service(group.resource.as_ref())).or_default().extend(spans);
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let mut all = self.0.lock().unwrap();
        for group in request.into_inner().resource_logs {
            let records = group.scope_logs.into_iter().flat_map(|scope| scope.log_records);
            let bodies = records.map(|record| match record.body.and_then(|body| body.value) {
                Some(Value::StringValue(body)) => format!("{body} {}", !record.trace_id.is_empty()),
                other => panic!("{other:?}"),
            });
            all.logs.entry(service(group.resource.as_ref())).or_default().extend(bodies);
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut all = self.0.lock().unwrap();
        for group in request.into_inner().resource_metrics {
            let names = group.scope_metrics.into_iter().flat_map(|scope| scope.metrics).map(|metric| metric.name);
            all.metrics.entry(service(group.resource.as_ref())).or_default().extend(names);
        }
        Ok(Response::new(Default::default()))
    }
}

fn sorted(received: &Received, service: &str) -> Vec<String> {
    let mut names = received.get(service).cloned().unwrap_or_default();
    names.sort();
    names
}

// One thread on purpose: a flush that blocks it would wait for itself.
#[tokio::test(flavor = "current_thread")]
async fn each_role_arrives_as_its_own_service() {
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(LogsServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
    );

    let config = TelemetryConfig {
        log_format: LogFormat::Json,
        otlp_endpoint: Some(endpoint.clone()),
        roles: vec!["booking", "payment"],
        ..TelemetryConfig::default()
    };
    let telemetry = telemetry::init(config.clone());
    let second = telemetry::init(config);

    let call = info_span!(target: "tourmesh_kit", "call booking", tourmesh.role = "booking");
    let parent = telemetry::traceparent(&call).expect("tracing is on");
    async {
        tracing::info!(target: "tourmesh_kit", "seats held");
        tracing::warn!(target: "sqlx::query", "slow statement: SELECT 'secret'");
        tokio::time::sleep(Duration::from_millis(1)).await;
        let charge = info_span!(target: "tourmesh_kit", "call payment", tourmesh.role = "payment");
        telemetry::set_parent(&charge, &parent);
        assert_eq!(telemetry::trace_id(&charge), telemetry::trace_id(&call));
        async {
            info_span!(target: "tourmesh_kit", "query").in_scope(|| tracing::info!(target: "tourmesh_kit", "charged"))
        }
        .instrument(charge)
        .await;
    }
    .instrument(call.clone())
    .await;
    drop(call);
    tracing::info!(target: "tourmesh_kit", "on its own");

    let metrics = Metrics::with_otlp("payment", &endpoint);
    metrics.server_call("tourmesh.payment.v1.Payments", "Charge", "OK", 0.01);

    let bound = Duration::from_secs(5);
    let start = Instant::now();
    metrics.shutdown(bound).await;
    second.shutdown(bound).await;
    telemetry.shutdown(bound).await;
    assert!(start.elapsed() < bound, "a flush did not finish by itself");

    let all = collector.0.lock().unwrap();
    assert_eq!(sorted(&all.spans, "tourmesh-booking"), ["call booking"]);
    assert_eq!(sorted(&all.spans, "tourmesh-payment"), ["call payment", "query"]);
    assert_eq!(sorted(&all.logs, "tourmesh-booking"), ["on its own false", "seats held true"]);
    assert_eq!(sorted(&all.logs, "tourmesh-payment"), ["charged true"]);
    assert!(sorted(&all.metrics, "tourmesh-payment").contains(&"rpc.server.duration".to_owned()));
    for resource in &all.resources {
        assert_eq!(resource[1..3], ["tourmesh", env!("CARGO_PKG_VERSION")]);
        assert_eq!(resource[3], all.resources[0][3], "one instance");
    }
}
