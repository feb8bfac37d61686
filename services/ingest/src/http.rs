//! The HTTP interface: requests in, receipts or problems out.

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{StatusCode, Uri, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use event::{ConversationId, EventId, PartitionCount, TenantId, Timestamp};
use event_log::EventLog;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{Instrument as _, info_span, warn};
use uuid::Uuid;

use crate::{
    accept::{Accepted, Context, accept},
    body::{self, ADMISSION_TIMEOUT, BodyBudget, BufferedBody, Encoding},
    head::{self, Options},
    if_match::Expected,
    metrics::{Metrics, Protocol},
    problem::Problem,
    publish::{Receipt, publish},
};

/// BodyBudget above this, some milliseconds of work, are parsed off the async threads.
const INLINE_BYTES: usize = 512 * 1024;

/// What every request needs.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) log: EventLog,
    pub(crate) partitions: PartitionCount,
    pub(crate) metrics: Metrics,
    /// How many requests are worked on at the same time: memory is bounded.
    pub(crate) turns: Semaphore,
    /// What arrives, before its turn.
    pub(crate) bodies: BodyBudget,
}

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

/// Which store events go to: for a producer that keeps notes about what it has sent.
async fn store(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    match app.log.store_id().await {
        Ok(Some(id)) => Ok(Json(json!({"store": id}))),
        known => {
            if let Err(error) = known {
                warn!(error = &error as &dyn std::error::Error, "store unknown");
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
        let BufferedBody {
            bytes: raw,
            held: _held,
        } = self.bodies.read(&parts.headers, body).await?;
        let _turn = self.turn().await?;
        let inline = raw.len() <= INLINE_BYTES && encoding == Encoding::Identity;
        let decide = move || {
            let body = encoding.decode(raw)?;
            Ok::<_, Problem>((accept(&context, &body)?, body.len()))
        };
        let (accepted, bytes) = match inline {
            true => decide()?,
            false => off_thread(decide).await?,
        };
        self.metrics.bytes(Protocol::Json, bytes);
        self.append(accepted, options.receipts, expected).await
    }

    /// Everything that is decided before the body is read.
    fn context(
        &self,
        conversation: Option<ConversationId>,
        parts: &Parts,
    ) -> Result<(Context, Options, Encoding, Option<Expected>), Problem> {
        let tenant = authenticate(parts);
        let options = Options::parse(parts.uri.query())?;
        let encoding = Encoding::from_headers(&parts.headers)?;
        let expected = head::expected(&parts.headers)?;
        let expected = expected
            .map(|last| Expected::new(last, &tenant, conversation.as_ref(), self.partitions))
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

    async fn append(
        &self,
        accepted: Accepted,
        receipts: bool,
        expected: Option<Expected>,
    ) -> Result<Receipt, Problem> {
        let events = accepted.placed.len();
        let published = async {
            match expected {
                None => publish(&self.log, &self.metrics, accepted, receipts).await,
                Some(expected) => expected.publish(&self.log, accepted, receipts).await,
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

    async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        match tokio::time::timeout(ADMISSION_TIMEOUT, self.turns.acquire()).await {
            Ok(turn) => Ok(turn.expect("the semaphore is never closed")),
            Err(_) => Err(Problem::too_many_requests()),
        }
    }
}

/// Who sends. Every credential check belongs here; without one, everybody is the default tenant.
fn authenticate(_parts: &Parts) -> TenantId {
    TenantId::default_tenant()
}

async fn off_thread<T: Send + 'static>(
    decide: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(decide)
        .await
        .expect("deciding does not panic")
}
