//! Traces to a collector by OTLP, over gRPC or HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter as ExportSpans},
};
use tokio::runtime::Handle;

use super::{OtlpProtocol, TelemetryArgs};

/// A provider that sends to the endpoint, or one that only gives spans their ids.
///
/// Which traces are kept is decided by `OTEL_TRACES_SAMPLER`, by default by the parent.
pub(super) fn provider(
    service: &'static str,
    args: &TelemetryArgs,
) -> anyhow::Result<SdkTracerProvider> {
    let Some(endpoint) = args
        .otlp_endpoint
        .as_deref()
        .filter(|endpoint| !endpoint.is_empty())
    else {
        let follow = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
        return Ok(SdkTracerProvider::builder().with_sampler(follow).build());
    };
    let exporter = exporter(endpoint, args.otlp_protocol)
        .with_context(|| format!("export traces to {endpoint}"))?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.namespace", "isotherm"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(OnRuntime::new(exporter, endpoint))
        .with_resource(resource)
        .build())
}

fn exporter(endpoint: &str, protocol: OtlpProtocol) -> anyhow::Result<SpanExporter> {
    ensure!(
        endpoint.starts_with("http://"),
        "the collector must be at an http:// address; put one beside the service for TLS"
    );
    let exporter = match protocol {
        OtlpProtocol::Grpc => SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()?,
        OtlpProtocol::HttpProtobuf => SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(traces_url(endpoint))
            .build()?,
    };
    Ok(exporter)
}

fn traces_url(endpoint: &str) -> String {
    format!("{}/v1/traces", endpoint.trim_end_matches('/'))
}

/// Exports on our runtime. The SDK calls from a thread of its own that has none, and the HTTP
/// client needs one.
#[derive(Debug)]
struct OnRuntime {
    exporter: Arc<SpanExporter>,
    runtime: Handle,
    endpoint: String,
    failing: AtomicBool,
}

impl OnRuntime {
    fn new(exporter: SpanExporter, endpoint: &str) -> Self {
        Self {
            exporter: Arc::new(exporter),
            runtime: Handle::current(),
            endpoint: endpoint.to_owned(),
            failing: AtomicBool::new(false),
        }
    }

    /// A line when the collector goes and one when it is back, not one per batch.
    fn report(&self, result: &OTelSdkResult) {
        let failed = result.is_err();
        if self.failing.swap(failed, Ordering::Relaxed) == failed {
            return;
        }
        match result {
            Err(error) => tracing::warn!(%error, endpoint = self.endpoint, "traces not exported"),
            Ok(()) => tracing::info!(endpoint = self.endpoint, "traces exported again"),
        }
    }
}

impl ExportSpans for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exporter = Arc::clone(&self.exporter);
        let result = self
            .runtime
            .spawn(async move { exporter.export(batch).await })
            .await
            .unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        self.report(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}
