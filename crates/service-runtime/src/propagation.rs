//! Propagation of the W3C trace context: from a span into headers, and from headers into a span.

use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::TraceContextExt as _,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Returns the headers (`traceparent`, and `tracestate` when there is one) that carry `span` to another
/// process. Empty when the span is disabled.
#[must_use]
pub fn inject(span: &Span) -> Vec<(String, String)> {
    let mut headers = Headers(Vec::new());
    TraceContextPropagator::new().inject_context(&span.context(), &mut headers);
    headers.0.retain(|(_, value)| !value.is_empty());
    headers.0
}

/// Sets the parent of `span` to the span in the headers. Call it before `span` is entered. Headers
/// without a trace context change nothing.
pub fn parent_from<'a>(span: &Span, headers: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let context = extract(headers);
    if context.span().span_context().is_valid() {
        // The only error is a span that was entered already; it keeps its parent.
        let _ = span.set_parent(context);
    }
}

/// Links `span` to the span in the headers: for a batch, which has many causes and no parent.
pub fn link_from<'a>(span: &Span, headers: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let cause = extract(headers).span().span_context().clone();
    if cause.is_valid() {
        span.add_link(cause);
    }
}

fn extract<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Context {
    let carrier = Carrier(headers.into_iter().collect());
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

struct Headers(Vec<(String, String)>);

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        self.0.push((key.to_owned(), value));
    }
}

struct Carrier<'a>(Vec<(&'a str, &'a str)>);

impl Extractor for Carrier<'_> {
    /// Compares header names without case, as HTTP does: NATS keeps the case that it was given.
    fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| *value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::info_span;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_propagated_through_headers() {
        with_tracing(|| {
            let span = info_span!("append");
            parent_from(&span, [("Traceparent", PARENT)]);

            let headers = inject(&span);

            let (name, value) = &headers[0];
            assert_eq!(name, "traceparent");
            assert!(value.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
            assert!(
                !value.contains("b7ad6b7169203331"),
                "it is a span of its own"
            );
        });
    }

    #[test]
    fn a_link_does_not_change_the_trace_of_the_span() {
        with_tracing(|| {
            let span = info_span!("drain");
            link_from(&span, [("traceparent", PARENT)]);

            assert!(
                !inject(&span)[0]
                    .1
                    .contains("0af7651916cd43dd8448eb211c80319c")
            );
        });
    }

    #[test]
    fn headers_without_a_trace_context_change_nothing() {
        with_tracing(|| {
            let span = info_span!("append");
            parent_from(&span, [("traceparent", "garbage"), ("other", "x")]);
            link_from(&span, []);

            assert_eq!(inject(&span).len(), 1);
        });
        assert!(inject(&Span::none()).is_empty());
    }

    fn with_tracing(test: impl FnOnce()) {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, test);
    }
}
