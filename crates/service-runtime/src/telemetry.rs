//! Logs on stdout, as JSON in a cluster and as text on a terminal, and traces to a collector when one is
//! configured.
//!
//! Spans always have ids, so that logs can be joined to the caller's trace and the context is propagated;
//! only the export needs an endpoint.

mod export;
mod json;

use std::{io::IsTerminal as _, sync::OnceLock};

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::Targets, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// The tracer provider of the process, kept to flush its spans at the exit.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The flags for logs and traces.
#[derive(Debug, Clone, clap::Args)]
pub struct TelemetryArgs {
    /// Which logs to write, for example `info,hot_writer=debug`.
    #[arg(long, env = "ISOTHERM_LOG", default_value = "info")]
    pub log: String,
    /// The format of the logs.
    #[arg(long, env = "ISOTHERM_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Collector for traces, for example `http://127.0.0.1:4317`. Without it none are sent.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// The protocol of the collector.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", value_enum, default_value_t)]
    pub otlp_protocol: OtlpProtocol,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

/// The protocol of the trace collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OtlpProtocol {
    #[default]
    #[value(name = "grpc")]
    Grpc,
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

/// Sets up logs and traces for the process. Only the first call has an effect, for tests that start
/// several services in one process.
pub(crate) fn init(service: &'static str, args: &TelemetryArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .with_context(|| format!("read the log filter {:?}", args.log))?;
    if PROVIDER.get().is_some() {
        return Ok(());
    }
    let provider = export::provider(service, args)?;
    let tracer = provider.tracer("isotherm");
    let logs = match args.log_format {
        LogFormat::Json => json::layer(service, std::io::stdout).boxed(),
        LogFormat::Text if std::io::stdout().is_terminal() => fmt::layer().boxed(),
        LogFormat::Text => fmt::layer().with_ansi(false).boxed(),
    };
    let installed = tracing_subscriber::registry()
        .with(
            tracing_opentelemetry::layer()
                .with_tracer(tracer)
                .with_filter(span_filter()),
        )
        .with(logs.with_filter(filter))
        .try_init();
    if installed.is_ok() {
        let _ = PROVIDER.set(provider);
    }
    Ok(())
}

/// The spans that are traced, whatever `--log` says. Without those of the export's own transport, which
/// would make a span for every exported span.
fn span_filter() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("h2", LevelFilter::OFF)
        .with_target("hyper", LevelFilter::OFF)
        .with_target("tonic", LevelFilter::OFF)
        .with_target("tower", LevelFilter::OFF)
        .with_target("reqwest", LevelFilter::OFF)
}

/// Exports the spans that are still buffered. On a blocking thread, because the SDK blocks.
pub(crate) async fn flush() {
    let Some(provider) = PROVIDER.get() else {
        return;
    };
    // A failed export is logged by the exporter.
    let _ = tokio::task::spawn_blocking(|| provider.force_flush()).await;
}
