//! Problem documents (RFC 9457) in the one form that all services share: a stable code and a sentence
//! that says what to do.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Map, Value, json};

/// Builds a problem document; the caller may add members.
#[must_use]
pub fn problem(status: StatusCode, code: &str, detail: &str) -> Map<String, Value> {
    let members = [
        ("type", json!(format!("urn:isotherm:problem:{code}"))),
        ("title", json!(code.replace('_', " "))),
        ("status", json!(status.as_u16())),
        ("code", json!(code)),
        ("detail", json!(detail)),
    ];
    let members = members.map(|(name, value)| (name.to_owned(), value));
    members.into_iter().collect()
}

/// Builds the HTTP response for a problem document.
#[must_use]
pub fn problem_response(status: StatusCode, problem: Map<String, Value>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
    let json = Value::Object(problem).to_string();
    (status, content_type, json).into_response()
}
