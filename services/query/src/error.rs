//! Errors as clients get them: `application/problem+json` with a stable code and a sentence, never a
//! chain of causes. No other module maps errors to HTTP answers.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use event::{IdError, ParsePositionError, ParseTimestampError};
use warm_tier::sql::{SqlError, remote::ExecutorError};

pub(crate) type Result<T, E = QueryError> = std::result::Result<T, E>;

/// Value of `retry-after` with every 503.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Failure of a request, as its client gets it.
#[derive(Debug)]
pub(crate) enum QueryError {
    /// The request can never be answered as it is: the client must change it.
    Refused {
        status: StatusCode,
        code: &'static str,
        detail: String,
    },
    /// The same request may succeed later: the client should retry.
    Unavailable { code: &'static str, detail: String },
    /// A fault of the service; logged when it is answered.
    Internal(anyhow::Error),
}

impl QueryError {
    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(crate) fn refused(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self::Refused {
            status,
            code,
            detail: detail.into(),
        }
    }

    pub(crate) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Unavailable {
            code,
            detail: detail.into(),
        }
    }

    pub(crate) fn scan_too_large(max_bytes: u64) -> Self {
        Self::refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "scan_too_large",
            format!(
                "the statement would read more than {max_bytes} bytes; narrow it by time, \
                 conversation or type, or raise max_bytes"
            ),
        )
    }
}

impl IntoResponse for QueryError {
    fn into_response(self) -> Response {
        let (status, code, detail) = match self {
            Self::Refused {
                status,
                code,
                detail,
            } => (status, code, detail),
            Self::Unavailable { code, detail } => (StatusCode::SERVICE_UNAVAILABLE, code, detail),
            Self::Internal(error) => {
                tracing::error!(error = format!("{error:#}"), "request failed");
                let detail = "the server failed; its log has the details; if it fails again, report it to the operator".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            }
        };
        let document = service_runtime::problem(status, code, &detail);
        let mut response = service_runtime::problem_response(status, document);
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

impl From<anyhow::Error> for QueryError {
    fn from(error: anyhow::Error) -> Self {
        Self::Internal(error)
    }
}

impl From<IdError> for QueryError {
    fn from(error: IdError) -> Self {
        Self::bad_request("invalid_conversation_id", error.to_string())
    }
}

impl From<ParsePositionError> for QueryError {
    fn from(error: ParsePositionError) -> Self {
        Self::bad_request("invalid_position", error.to_string())
    }
}

impl From<ParseTimestampError> for QueryError {
    fn from(error: ParseTimestampError) -> Self {
        Self::bad_request("invalid_time", error.to_string())
    }
}

impl From<SqlError> for QueryError {
    fn from(error: SqlError) -> Self {
        let detail = error.to_string();
        let code = match error {
            SqlError::NotAllowed(_) => return Self::bad_request("sql_not_allowed", detail),
            SqlError::Timeout(_) => {
                let detail = format!("{detail}; narrow it by time, conversation or type");
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Self::refused(status, "sql_timeout", detail);
            }
            SqlError::Invalid(_) => return Self::bad_request("sql_invalid", detail),
            SqlError::Stale => return Self::unavailable("changing", detail),
            SqlError::Engine(_) => return Self::Internal(error.into()),
            SqlError::Memory(_) | SqlError::Died => "sql_memory",
            SqlError::ResultTooLarge { .. } => "result_too_large",
        };
        Self::refused(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }
}

impl From<ExecutorError> for QueryError {
    fn from(error: ExecutorError) -> Self {
        match error {
            ExecutorError::Sql(error) => error.into(),
            ExecutorError::Unavailable(_) => {
                Self::unavailable("executor_unavailable", error.to_string())
            }
        }
    }
}
