//! HTTP client of the services, with errors that say what to do next.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use reqwest::{RequestBuilder, Response, StatusCode, header};
use serde::Deserialize;
use url::Url;

use crate::common::Common;

pub(crate) const NDJSON: &str = "application/x-ndjson";
pub(crate) const JSON: &str = "application/json";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Client of one service; knows the flag that sets its URL, for error messages.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    name: &'static str,
    flag: &'static str,
}

/// The body of an error response (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProblemDetails {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
    items: Vec<serde_json::Value>,
}

/// An error response of a service, with the service's own message.
#[derive(Debug)]
pub(crate) struct Refusal {
    message: String,
    pub(crate) status: StatusCode,
    pub(crate) code: Option<String>,
    pub(crate) detail: String,
    /// Errors of single items of the request.
    pub(crate) items: Vec<serde_json::Value>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl Client {
    /// Client of the query service.
    pub(crate) fn query(common: &Common) -> anyhow::Result<Self> {
        Self::new(common.url.clone(), "query", "--url")
    }

    /// Client of ingest.
    pub(crate) fn ingest(common: &Common) -> anyhow::Result<Self> {
        Self::new(common.ingest_url.clone(), "ingest", "--ingest-url")
    }

    fn new(base: Url, name: &'static str, flag: &'static str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("isotherm/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("start the HTTP client")?;
        Ok(Self {
            http,
            base,
            name,
            flag,
        })
    }

    /// Returns the service's URL with `path`; segments are percent-encoded.
    pub(crate) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    pub(crate) fn get(&self, url: Url, accept: &str) -> RequestBuilder {
        self.http.get(url).header(header::ACCEPT, accept)
    }

    pub(crate) fn post(&self, url: Url, content_type: &str, body: Vec<u8>) -> RequestBuilder {
        let request = self
            .http
            .post(url)
            .header(header::CONTENT_TYPE, content_type);
        request.body(body)
    }

    /// Sends `request`.
    ///
    /// # Errors
    /// An unreachable service, or a [`Refusal`] when the status is not 2xx.
    pub(crate) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(self.name, response).await)
    }

    /// Returns the message for a request without a response, with what to do.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let Self {
            name, base, flag, ..
        } = self;
        if error.is_timeout() {
            return anyhow!(
                "the {name} service at {base} does not answer in time: look at its log"
            );
        }
        anyhow!(
            "the {name} service at {base} cannot be reached: start `isotherm dev`, or name another \
             with {flag}"
        )
    }
}

/// True when the same request may succeed later.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}

/// Reads the body of an error response into a [`Refusal`].
pub(crate) async fn refusal(name: &str, response: Response) -> anyhow::Error {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    let problem: ProblemDetails = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem.detail.or(problem.title).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&body);
        text.trim().chars().take(300).collect()
    });
    let code = problem.code;
    let shown_code = code
        .as_ref()
        .map(|code| format!(" [{code}]"))
        .unwrap_or_default();
    let mut message = format!("{name} refused ({}): {detail}{shown_code}", status.as_u16());
    for item in problem.items.iter().take(5) {
        message.push_str(&format!("\n  {item}"));
    }
    Refusal {
        message,
        status,
        code,
        detail,
        items: problem.items,
    }
    .into()
}

/// True unless the header of the answer says that a part is missing.
pub(crate) fn is_complete(response: &Response) -> bool {
    let complete = response.headers().get("isotherm-complete");
    complete.is_none_or(|value| value.as_bytes().starts_with(b"true"))
}

/// Warns on stderr when an answer is incomplete.
pub(crate) fn warn_if_incomplete(response: &Response) {
    if !is_complete(response) {
        warn_incomplete();
    }
}

/// Warns on stderr that an answer is incomplete.
pub(crate) fn warn_incomplete() {
    crate::output::note(
        "warning: the answer is incomplete, a part of it is in no tier that answers: see `isotherm tiers`; over \
         HTTP it names what is `missing`",
    );
}

/// Splits an NDJSON answer into its lines, without empty ones.
pub(crate) fn lines(body: &[u8]) -> anyhow::Result<Vec<&str>> {
    let Ok(text) = std::str::from_utf8(body) else {
        bail!("the answer is no UTF-8");
    };
    Ok(text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_id_makes_one_path_segment() {
        // Another test may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let base = Url::parse("http://127.0.0.1:7402/base/").unwrap();
        let client = Client::new(base, "query", "--url").unwrap();
        assert_eq!(
            client
                .url(&["v1", "conversations", "a/b ?#é", "events"])
                .as_str(),
            "http://127.0.0.1:7402/base/v1/conversations/a%2Fb%20%3F%23%C3%A9/events"
        );
    }
}
