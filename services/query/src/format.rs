//! Formats of an answer, chosen by `Accept`: JSON, NDJSON, CSV or an Arrow stream.

use axum::http::{HeaderMap, StatusCode, header};

use crate::error::{QueryError, Result};

/// Format of the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Ndjson,
    Csv,
    Arrow,
}

impl Format {
    /// Returns the format of the first type in `Accept` that is supported; JSON without the header.
    pub(crate) fn accepted(headers: &HeaderMap) -> Result<Self> {
        let mut has_accept = false;
        for value in headers.get_all(header::ACCEPT) {
            let value = value.to_str().unwrap_or_default();
            for part in value.split(',') {
                has_accept = true;
                let media = part.split(';').next().unwrap_or_default().trim();
                match media.to_ascii_lowercase().as_str() {
                    "application/json" | "application/*" | "*/*" | "" => return Ok(Self::Json),
                    "application/x-ndjson" | "application/ndjson" => return Ok(Self::Ndjson),
                    "text/csv" | "text/*" => return Ok(Self::Csv),
                    "application/vnd.apache.arrow.stream" => return Ok(Self::Arrow),
                    _ => {}
                }
            }
        }
        if !has_accept {
            return Ok(Self::Json);
        }
        Err(QueryError::refused(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "supported are application/json, application/x-ndjson, text/csv and \
             application/vnd.apache.arrow.stream",
        ))
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Replaces line ends, which a producer's metadata may have between its members, by blanks: the same
/// JSON on one line.
pub(crate) fn join_lines(json: &mut [u8]) {
    for byte in json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn accepted(value: &'static str) -> Result<Format> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(value));
        Format::accepted(&headers)
    }

    #[test]
    fn the_first_supported_type_is_chosen() {
        assert_eq!(Format::accepted(&HeaderMap::new()).unwrap(), Format::Json);
        assert_eq!(accepted("*/*").unwrap(), Format::Json);
        assert_eq!(accepted("application/x-ndjson").unwrap(), Format::Ndjson);
        assert_eq!(
            accepted("text/html, text/csv;q=0.9, */*").unwrap(),
            Format::Csv
        );
        assert!(accepted("image/png").is_err());
    }
}
