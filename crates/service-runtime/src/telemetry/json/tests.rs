use std::{
    io,
    sync::{Arc, Mutex},
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

#[test]
fn a_line_has_the_service_the_time_and_its_fields() {
    let line = logged(|| {
        let error = io::Error::other("refused");
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            attempt = 3,
            ok = true,
            wait = ?std::time::Duration::from_secs(2),
            "will retry"
        );
    });

    assert_eq!(line["level"], "WARN");
    assert_eq!(line["message"], "will retry");
    assert_eq!(line["service.name"], "demo");
    assert_eq!(line["error"], "refused");
    assert_eq!(line["attempt"], 3);
    assert_eq!(line["ok"], true);
    assert_eq!(line["wait"], "2s");
    assert!(line["target"].as_str().unwrap().contains("telemetry"));
    let timestamp = line["timestamp"].as_str().unwrap();
    assert!(
        timestamp.ends_with('Z') && timestamp.contains('T'),
        "{timestamp}"
    );
    assert!(line.get("trace_id").is_none());
}

#[test]
fn a_line_within_a_span_names_its_trace() {
    let line = logged(|| {
        let span = tracing::info_span!("append");
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        crate::propagation::parent_from(&span, [("traceparent", parent)]);
        span.in_scope(|| tracing::info!("appended"));
    });

    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(line["span_id"].as_str().unwrap().len(), 16);
}

fn logged(write: impl FnOnce()) -> Value {
    let buffer = Buffer::default();
    let tracer = SdkTracerProvider::builder().build().tracer("test");
    let subscriber = tracing_subscriber::registry()
        .with(tracing_opentelemetry::layer().with_tracer(tracer))
        .with(super::layer("demo", buffer.clone()));
    tracing::subscriber::with_default(subscriber, write);
    let bytes = buffer.0.lock().unwrap().clone();
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
    serde_json::from_slice(&bytes).unwrap()
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Buffer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
