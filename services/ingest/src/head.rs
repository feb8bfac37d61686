//! Parses the head of a request: its options, format, condition and trace. Pure.

use axum::http::{HeaderMap, header};

use event::Position;

use crate::{
    accept::{Format, Trace},
    problem::Problem,
};

/// The options of the query string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Store the valid items even when others are bad.
    pub(crate) partial: bool,
    /// Answer with a receipt per event.
    pub(crate) receipts: bool,
}

impl Options {
    /// Parses the query string; a problem for an unknown option or value.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut options = Self::default();
        let pairs = query
            .unwrap_or("")
            .split('&')
            .filter(|pair| !pair.is_empty());
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (name, value) {
                ("partial", "" | "true") => options.partial = true,
                ("partial", "false") => options.partial = false,
                ("receipts", "all") => options.receipts = true,
                ("receipts", "none") => options.receipts = false,
                _ => {
                    let code = match name {
                        "partial" | "receipts" => "invalid_parameter",
                        _ => "unknown_parameter",
                    };
                    return Err(Problem::bad_request(
                        code,
                        format!(
                            "{pair:?} is no option; there are partial=true|false and \
                             receipts=all|none"
                        ),
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// The body format by the content-type. [`Format::Unknown`] for the default types of tools such as `curl -d`:
/// the first byte of the body decides.
pub(crate) fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Format::Unknown);
    };
    let value = value.to_str().unwrap_or("?");
    let mut parts = value.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or("").to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        part.to_ascii_lowercase()
            .strip_prefix("charset=")
            .map(str::to_owned)
    });
    let utf8 = charset.is_none_or(|name| matches!(name.trim_matches('"'), "utf-8" | "utf8"));
    let format = match media_type.as_str() {
        "application/json" | "text/json" => Some(Format::Json),
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/jsonlines" => Some(Format::Lines),
        "" | "text/plain" | "application/octet-stream" | "application/x-www-form-urlencoded" => {
            Some(Format::Unknown)
        }
        _ => None,
    };
    format.filter(|_| utf8).ok_or_else(|| {
        Problem::unsupported(format!(
            "content-type {value:?} is not supported; send application/json or \
             application/x-ndjson in UTF-8"
        ))
    })
}

/// The position of the `If-Match` header, at which the conversation must end; `None` without one.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let invalid = |detail: &str| Problem::bad_request("invalid_condition", detail);
    if headers.contains_key(header::IF_NONE_MATCH) {
        return Err(invalid(
            "If-None-Match is not supported; If-Match with a position is",
        ));
    }
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    let unquoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    match (unquoted.unwrap_or(text).parse(), values.next()) {
        (Ok(position), None) => Ok(Some(position)),
        _ => Err(invalid(
            "If-Match takes one position, as an earlier answer has it: \
             If-Match: \"0001-0007-0001-00000000000000000042-0003\"",
        )),
    }
}

/// The trace of a W3C `traceparent` header; `None` when it is missing or invalid.
pub(crate) fn trace(headers: &HeaderMap) -> Option<Trace> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let parts: Vec<_> = value.trim().split('-').collect();
    let [version, trace_id, span_id, _flags, ..] = parts[..] else {
        return None;
    };
    let hex = |text: &str, len| {
        text.len() == len
            && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            && text.bytes().any(|b| b != b'0')
    };
    let known_version = version.len() == 2 && version != "ff";
    (known_version && hex(trace_id, 32) && hex(span_id, 16)).then(|| Trace {
        trace_id: trace_id.to_owned(),
        span_id: span_id.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn the_content_type_names_the_format() {
        let of = |value| format(&with("content-type", value)).map_err(|p| p.status.as_u16());
        assert_eq!(of("application/json; charset=UTF-8").unwrap(), Format::Json);
        assert_eq!(of("Application/X-NDJSON").unwrap(), Format::Lines);
        assert_eq!(
            of("application/x-www-form-urlencoded").unwrap(),
            Format::Unknown
        );
        assert_eq!(format(&HeaderMap::new()).unwrap(), Format::Unknown);
        for refused in ["text/csv", "application/json; charset=latin1", "image/png"] {
            assert_eq!(of(refused).unwrap_err(), 415, "{refused}");
        }
    }

    #[test]
    fn unknown_options_are_refused() {
        let of = |query| Options::parse(Some(query));
        let all = of("partial=true&receipts=all").unwrap();
        assert!(all.partial && all.receipts);
        assert_eq!(of("").unwrap(), Options::default());
        for refused in ["partial=maybe", "receipts=some"] {
            assert_eq!(of(refused).unwrap_err().code, "invalid_parameter");
        }
        assert_eq!(of("prtial=true").unwrap_err().code, "unknown_parameter");
    }

    #[test]
    fn a_condition_is_one_position_or_refused() {
        let position = "0001-0007-0001-00000000000000000042-0003";
        let of = |value: &str| if_match(&with("if-match", value)).map_err(|problem| problem.code);
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        assert_eq!(
            of(&format!("\"{position}\"")),
            Ok(Some(position.parse().unwrap()))
        );
        assert_eq!(of(position), of(&format!("\"{position}\"")));
        for wrong in [
            "*",
            "",
            "\"\"",
            "W/\"1\"",
            &format!("{position}, {position}"),
        ] {
            assert_eq!(of(wrong), Err("invalid_condition"), "{wrong}");
        }
        if_match(&with("if-none-match", "*")).unwrap_err();
    }

    #[test]
    fn only_a_valid_traceparent_is_a_trace() {
        let of = |value| trace(&with("traceparent", value));
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = of(valid).unwrap();
        assert_eq!(trace.trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.span_id, "b7ad6b7169203331");
        for wrong in [
            "",
            "garbage",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
