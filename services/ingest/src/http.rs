//! The HTTP interface: requests in, receipts or problems out.

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Request, State, rejection::PathRejection},
    http::{StatusCode, Uri, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use event::{ConversationId, EventId, PartitionCount, TenantId, Timestamp};
use event_log::EventLog;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{Instrument as _, Span, info_span, warn};
use uuid::Uuid;

use crate::{
    accept::{Accepted, Context, accept},
    body::{
        self, ADMISSION_TIMEOUT, BufferedBody, Encoding, MAX_BODY_BYTES, MAX_SMALL_BYTES,
        MemoryBudget, Processing,
    },
    head::{self, Options},
    if_match::{Conditions, ExpectedEnd},
    log_disk::LogDisk,
    metrics::{Metrics, Protocol},
    problem::Problem,
    publish::{Appender, Headers, Receipt, header_bytes, publish, receipt},
};

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) log: EventLog,
    pub(crate) appender: Appender,
    pub(crate) log_disk: LogDisk,
    pub(crate) partitions: PartitionCount,
    pub(crate) metrics: Metrics,
    /// One permit per request that is processed at the same time.
    pub(crate) request_permits: Semaphore,
    /// The requests with `If-Match`, which need none of these permits.
    pub(crate) conditions: Conditions,
    /// The memory for their bodies.
    pub(crate) memory: MemoryBudget,
}

/// The routes of the HTTP interface.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/events", post(events))
        .route(
            "/v1/conversations/{conversation}/events",
            post(conversation_events),
        )
        .route("/v1/store", get(store))
        .fallback(async || {
            let detail = "there is nothing here; events go to POST /v1/events";
            Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
        })
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

async fn method_not_allowed(uri: Uri) -> Response {
    let (allow, detail) = match uri.path() {
        "/v1/store" => ("GET", "this is only read, with GET"),
        _ => (
            "POST",
            "events are sent with POST; they are read from the query service",
        ),
    };
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut response = Problem::new(status, "method_not_allowed", detail).into_response();
    let allow = header::HeaderValue::from_static(allow);
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// Answers with the id of the store, for producers that remember what they have sent to which store.
async fn store(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    match app.log.store_id().await {
        Ok(Some(id)) => Ok(Json(json!({"store": id}))),
        unavailable => {
            if let Err(error) = unavailable {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "store id not read"
                );
            }
            let detail = "the log does not say which store it is now; ask again";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Err(Problem::new(status, "log_unavailable", detail).retry_after(1))
        }
    }
}

async fn events(State(app): State<Arc<App>>, request: Request) -> Response {
    app.respond(None, request).await
}

async fn conversation_events(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let parsed = match &path {
        Ok(Path(text)) => ConversationId::new(text).map_err(|error| error.to_string()),
        Err(_) => Err("the conversation in the path is not UTF-8".to_owned()),
    };
    match parsed {
        Ok(conversation) => app.respond(Some(conversation), request).await,
        Err(detail) => Problem::bad_request("invalid_conversation_id", detail).into_response(),
    }
}

impl App {
    /// Stores the events of a request and builds the response.
    async fn respond(&self, conversation: Option<ConversationId>, request: Request) -> Response {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let span = info_span!("append events", otel.kind = "server");
        let headers = parts.headers.iter();
        let headers = headers.filter_map(|(k, v)| Some((k.as_str(), v.to_str().ok()?)));
        service_runtime::propagation::parent_from(&span, headers);
        let stored = self.store(conversation, parts, body).instrument(span);
        let response = match stored.await {
            Ok(receipt) => Json(receipt).into_response(),
            Err(problem) => {
                let rejected = problem.total;
                self.metrics.events(Protocol::Json, "rejected", rejected);
                problem.into_response()
            }
        };
        self.metrics
            .request(Protocol::Json, response.status(), began.elapsed());
        response
    }

    async fn store(
        &self,
        conversation: Option<ConversationId>,
        parts: Parts,
        body: Body,
    ) -> Result<Receipt, Problem> {
        let (context, options, encoding, expected) = match self.context(conversation, &parts) {
            Ok(head) => head,
            Err(problem) => {
                body::discard(body).await;
                return Err(problem);
            }
        };
        let BufferedBody { bytes, reservation } = self.memory.read(&parts.headers, body).await?;
        // Only now: who sends slowly takes no place of others.
        let _admission = match &expected {
            Some(_) => Some(self.conditions.admit().await?),
            None => None,
        };
        let headers: Headers = service_runtime::propagation::inject(&Span::current()).into();
        let parsed = self.parse(context, encoding, (bytes, &headers), expected.is_some());
        let (accepted, mut memory, _permit) = parsed.await?;
        // The body itself is parsed.
        drop(reservation);
        if expected.is_some() {
            // Only its frames are left while the log is read.
            let frames = accepted.frames.iter().map(|frame| frame.events.bytes());
            memory.shrink(frames.sum::<usize>() + header_bytes(&headers));
        }
        self.append(accepted, &headers, options.receipts, expected)
            .await
    }

    /// Decompresses and parses a body; returns the memory and the permit that the request takes. The memory
    /// also holds `headers`, which go to the log with the events.
    async fn parse(
        &self,
        context: Context,
        encoding: Encoding,
        (raw, headers): (Bytes, &Headers),
        is_conditional: bool,
    ) -> Result<(Accepted, Processing, Option<SemaphorePermit<'_>>), Problem> {
        let is_compressed = encoding != Encoding::Identity;
        // A compressed body may become as large as any until it is decompressed.
        let most = if is_compressed {
            MAX_BODY_BYTES
        } else {
            raw.len()
        };
        let headers = header_bytes(headers);
        let memory = self.memory.process(most, headers).await?;
        let permit = match is_conditional {
            true => None,
            false => Some(self.request_permit().await?),
        };
        let (body, mut memory) = match is_compressed {
            true => run_blocking(memory, move || encoding.decode(raw)).await?,
            false => (raw, memory),
        };
        let bytes = body.len();
        memory.shrink(bytes + headers);
        let parse = move || accept(&context, &body);
        let (accepted, memory) = match bytes <= MAX_SMALL_BYTES {
            true => (parse()?, memory),
            false => run_blocking(memory, parse).await?,
        };
        self.metrics.bytes(Protocol::Json, bytes);
        Ok((accepted, memory, permit))
    }

    /// Parses everything but the body; a problem when any of it is invalid.
    fn context(
        &self,
        conversation: Option<ConversationId>,
        parts: &Parts,
    ) -> Result<(Context, Options, Encoding, Option<ExpectedEnd>), Problem> {
        let tenant = authenticate(parts);
        let options = Options::parse(parts.uri.query())?;
        let encoding = Encoding::from_headers(&parts.headers)?;
        let expected = head::if_match(&parts.headers)?;
        let expected = expected
            .map(|last| ExpectedEnd::new(last, &tenant, conversation.as_ref(), self.partitions))
            .transpose()?;
        let context = Context {
            tenant,
            conversation,
            format: head::format(&parts.headers)?,
            partial: options.partial,
            trace: head::trace(&parts.headers),
            now: Timestamp::now(),
            new_id: || EventId::from_uuid(Uuid::now_v7()),
            partitions: self.partitions,
        };
        Ok((context, options, encoding, expected))
    }

    /// Appends the accepted events to the log and counts them.
    async fn append(
        &self,
        accepted: Accepted,
        headers: &Headers,
        receipts: bool,
        expected: Option<ExpectedEnd>,
    ) -> Result<Receipt, Problem> {
        let events = accepted.placements.len();
        let published = async {
            self.log_disk.check()?;
            match expected {
                None => publish(&self.appender, accepted, headers, receipts).await,
                Some(expected) => {
                    let ack = expected.publish(&self.log, &self.conditions, &accepted, headers);
                    let ack = ack.await?;
                    Ok(receipt(accepted, &[ack], receipts))
                }
            }
        };
        let count = |result, events| self.metrics.events(Protocol::Json, result, events);
        match published.await {
            Ok(receipt) => {
                count("acked", receipt.acked - receipt.duplicates);
                count("duplicate", receipt.duplicates);
                count("rejected", receipt.rejected_total.unwrap_or(0));
                Ok(receipt)
            }
            Err(problem) => {
                count("failed", events);
                Err(problem)
            }
        }
    }

    /// Waits for a permit to process a request; a problem when none is free in time.
    async fn request_permit(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let permit = self.request_permits.acquire();
        match tokio::time::timeout(ADMISSION_TIMEOUT, permit).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(Problem::too_many_requests()),
        }
    }
}

/// The tenant of a request. Credential checks belong here; there are none yet, so it is always the default
/// tenant.
fn authenticate(_parts: &Parts) -> TenantId {
    TenantId::default_tenant()
}

/// Runs `parse` on a blocking thread, which keeps `memory` until it is done, also when the client is gone.
async fn run_blocking<T: Send + 'static>(
    memory: Processing,
    parse: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<(T, Processing), Problem> {
    tokio::task::spawn_blocking(move || parse().map(|parsed| (parsed, memory)))
        .await
        .expect("parsing does not panic")
}
