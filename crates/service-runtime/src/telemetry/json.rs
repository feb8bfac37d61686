//! Log lines as one JSON object each, with OpenTelemetry's field names.

use std::{
    error::Error,
    fmt,
    sync::{Arc, OnceLock},
};

use opentelemetry::trace::TraceContextExt as _;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tracing::{
    Dispatch, Event, Subscriber,
    dispatcher::WeakDispatch,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

/// The subscriber's dispatch, from which a formatter gets the OpenTelemetry ids of a span; an event does
/// not give access to it.
type SharedDispatch = Arc<OnceLock<WeakDispatch>>;

/// A layer that writes the logs of `service` to `writer`.
pub(super) fn layer<S, W>(service: &'static str, writer: W) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let dispatch = SharedDispatch::default();
    let format = JsonFormat {
        service,
        dispatch: Arc::clone(&dispatch),
    };
    tracing_subscriber::fmt::layer()
        .event_format(format)
        .with_writer(writer)
        .and_then(CaptureDispatch(dispatch))
}

/// A layer that stores the dispatch it is registered with.
struct CaptureDispatch(SharedDispatch);

impl<S: Subscriber> Layer<S> for CaptureDispatch {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let _ = self.0.set(dispatch.downgrade());
    }
}

/// The JSON formatter of one service.
struct JsonFormat {
    service: &'static str,
    dispatch: SharedDispatch,
}

impl<S, N> FormatEvent<S, N> for JsonFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut line = Line::default();
        line.set("timestamp", timestamp);
        line.set("level", event.metadata().level().as_str());
        line.set("target", event.metadata().target());
        line.set("message", "");
        line.set("service.name", self.service);
        if let Some(span) = context.lookup_current() {
            self.set_ids(&mut line, &span.id());
        }
        event.record(&mut line);
        let line = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

impl JsonFormat {
    /// Sets `trace_id` and `span_id` when the span has valid ones.
    fn set_ids(&self, line: &mut Line, span: &tracing::span::Id) {
        let context = self
            .dispatch
            .get()
            .and_then(WeakDispatch::upgrade)
            .and_then(|dispatch| tracing_opentelemetry::get_otel_context(span, &dispatch));
        let Some(context) = context else {
            return;
        };
        let span = context.span();
        let ids = span.span_context();
        if ids.is_valid() {
            line.set("trace_id", ids.trace_id().to_string());
            line.set("span_id", ids.span_id().to_string());
        }
    }
}

/// The fields of a line in the order of their first appearance, each once.
#[derive(Default)]
struct Line(Vec<(&'static str, Value)>);

impl Line {
    fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.iter_mut().find(|(existing, _)| *existing == name) {
            Some(existing) => existing.1 = value,
            None => self.0.push((name, value)),
        }
    }

    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.set(field.name(), value);
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        match i64::try_from(value) {
            Ok(value) => self.insert(field, value),
            Err(_) => self.insert(field, value.to_string()),
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        match u64::try_from(value) {
            Ok(value) => self.insert(field, value),
            Err(_) => self.insert(field, value.to_string()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    /// Records the error with the whole chain of its causes.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        self.insert(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests;
