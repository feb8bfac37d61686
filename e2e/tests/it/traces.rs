//! One trace from a request to the tiers, as an OpenTelemetry collector receives it.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value, trace::v1::Span,
};
use prost::Message as _;
use testkit::eventually;

use crate::{
    agents,
    world::{Setup, World},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The received spans, each with the name of its service.
type Spans = Arc<Mutex<Vec<(String, Span)>>>;

async fn collect(State(spans): State<Spans>, body: Bytes) -> Vec<u8> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in request.resource_spans {
        let attributes = resource.resource.unwrap().attributes;
        let name = attributes.iter().find(|a| a.key == "service.name").unwrap();
        let value = name.value.clone().unwrap().value.unwrap();
        let any_value::Value::StringValue(name) = value else {
            panic!("{value:?}");
        };
        let own = resource.scope_spans.into_iter().flat_map(|s| s.spans);
        spans
            .lock()
            .unwrap()
            .extend(own.map(|span| (name.clone(), span)));
    }
    Vec::new()
}

/// Starts a collector on a free port and returns its URL.
async fn start_collector(spans: Spans) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/v1/traces", post(collect))
        .with_state(spans);
    tokio::spawn(async { axum::serve(listener, router).await });
    url
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `span` is part of the trace or links to it.
fn belongs(span: &Span) -> bool {
    let links = span.links.iter().map(|link| &link.trace_id);
    links.chain([&span.trace_id]).any(|id| hex(id) == TRACE)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_can_be_followed_to_the_tiers() {
    let spans = Spans::default();
    let world = World::start_with(Setup {
        collector: Some(start_collector(Arc::clone(&spans)).await),
        ..Setup::default()
    })
    .await;
    let answer = world
        .http
        .post(world.ingest("/v1/events"))
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
        .header("content-type", "application/x-ndjson")
        .body(agents::run(6, 30, 2).join("\n"))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());

    for service in ["ingest", "hot-writer", "compactor"] {
        eventually(
            &format!("{service} exports a span of the trace"),
            async || {
                let spans = spans.lock().unwrap();
                spans
                    .iter()
                    .any(|(name, span)| name == service && belongs(span))
            },
        )
        .await;
    }
    let spans = spans.lock().unwrap();
    let ingest_span = spans
        .iter()
        .find(|(name, span)| name == "ingest" && belongs(span));
    assert_eq!(
        hex(&ingest_span.unwrap().1.parent_span_id),
        "b7ad6b7169203331"
    );
}
