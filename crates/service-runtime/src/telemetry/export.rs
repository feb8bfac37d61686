//! Export of traces to a collector by OTLP, over gRPC or HTTP.

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

/// A provider that exports to the endpoint, or without one only gives spans their ids.
///
/// Sampling follows `OTEL_TRACES_SAMPLER`, by default the parent's decision.
pub(super) fn provider(
    service: &'static str,
    args: &TelemetryArgs,
) -> anyhow::Result<SdkTracerProvider> {
    let Some(endpoint) = args
        .otlp_endpoint
        .as_deref()
        .filter(|endpoint| !endpoint.is_empty())
    else {
        let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
        return Ok(SdkTracerProvider::builder().with_sampler(sampler).build());
    };
    let exporter = exporter(endpoint, args.otlp_protocol)
        .with_context(|| format!("export traces to {endpoint}"))?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.namespace", "isotherm"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(RuntimeExporter::new(exporter, endpoint))
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

/// An exporter that runs on our tokio runtime. The SDK calls it from a thread without one, and the HTTP
/// client needs one.
#[derive(Debug)]
struct RuntimeExporter {
    exporter: Arc<SpanExporter>,
    runtime: Handle,
    endpoint: String,
    failing: AtomicBool,
}

impl RuntimeExporter {
    fn new(exporter: SpanExporter, endpoint: &str) -> Self {
        Self {
            exporter: Arc::new(exporter),
            runtime: Handle::current(),
            endpoint: endpoint.to_owned(),
            failing: AtomicBool::new(false),
        }
    }

    /// Logs when exports start to fail and when they succeed again, not once per batch.
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

impl ExportSpans for RuntimeExporter {
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
