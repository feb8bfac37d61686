//! Problem documents (RFC 9457) for refused requests: a stable code and a detail that a client can act on.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

/// Most bad items that a problem lists; the rest is only counted. No reason but to bound its size.
pub(crate) const MAX_LISTED: usize = 100;

/// One rejected item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BadItem {
    /// The index of the item in the request, counted from 0.
    pub(crate) index: usize,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

/// A refused request.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) items: Vec<BadItem>,
    /// The number of rejected items, including those that are not listed.
    pub(crate) total: usize,
    /// The position at which the conversation ends, when an `If-Match` failed.
    pub(crate) current: Option<String>,
    /// Seconds after which the same request may succeed.
    pub(crate) retry_after: Option<u32>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            items: Vec::new(),
            total: 0,
            current: None,
            retry_after: None,
        }
    }

    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(crate) fn too_large(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail)
    }

    pub(crate) fn too_many_requests() -> Self {
        let detail = "too many requests are under way; retry with the same event ids";
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self::new(status, "too_many_requests", detail).retry_after(1)
    }

    /// 429: other conditional appends are under way.
    pub(crate) fn too_many_conditions() -> Self {
        let detail = "too many requests with If-Match are under way; retry, or append without it";
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self::new(status, "too_many_conditions", detail).retry_after(1)
    }

    /// 503: the memory for requests is in use.
    pub(crate) fn overloaded() -> Self {
        let detail =
            "the memory for requests is in use; retry with the same event ids, in smaller requests";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after(1)
    }

    pub(crate) fn unsupported(detail: impl Into<String>) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unsupported_media_type", detail)
    }

    /// 422: some items are bad, and nothing was stored.
    pub(crate) fn bad_items(items: Vec<BadItem>, total: usize) -> Self {
        let first = items.first().expect("at least one item is bad");
        let (code, detail) = match total {
            1 => (first.code, first.detail.clone()),
            _ => ("invalid_items", format!("{total} items are not valid")),
        };
        Self {
            items,
            total,
            ..Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                code,
                format!("{detail}; nothing was stored"),
            )
        }
    }

    /// Sets the `Retry-After` header, in seconds.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut document = service_runtime::problem(self.status, self.code, &self.detail);
        if !self.items.is_empty() {
            document.insert("items".to_owned(), json!(self.items));
        }
        if self.total > 0 {
            document.insert("total".to_owned(), json!(self.total));
        }
        if let Some(current) = self.current {
            document.insert("current".to_owned(), json!(current));
        }
        let mut response = service_runtime::problem_response(self.status, document);
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
