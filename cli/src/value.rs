//! Parsers of flag values; each error shows a valid example. Pure.

use std::str::FromStr;

use event::{ConversationId, EventId, EventType, TenantId};
use serde_json::value::RawValue;
use url::Url;

use crate::output::Row;

/// Parses a duration such as `1h30m`.
pub(crate) fn duration(text: &str) -> Result<humantime::Duration, String> {
    text.parse().map_err(|_| {
        "not a duration: write a number and its unit, for example 30s, 5m or 1h30m".to_owned()
    })
}

/// Parses the interval of something periodic: a duration longer than zero.
pub(crate) fn interval(text: &str) -> Result<humantime::Duration, String> {
    let interval = duration(text)?;
    if interval.is_zero() {
        return Err("it must be longer than nothing, for example 5m".to_owned());
    }
    Ok(interval)
}

/// Parses a whole number; for counts and other numbers that are never negative.
pub(crate) fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    let number = text.parse();
    number.map_err(|_| "not a whole number: write digits alone, for example 100".to_owned())
}

/// Parses a number of partitions, from 1 to 1024.
pub(crate) fn partitions(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ => Err("write a whole number from 1 to 1024, for example 4".to_owned()),
    }
}

pub(crate) fn port(text: &str) -> Result<u16, String> {
    let port = text.parse();
    port.map_err(|_| "not a port: write a number up to 65535, for example 9400".to_owned())
}

pub(crate) fn query_url(text: &str) -> Result<Url, String> {
    http_url(text, "http://127.0.0.1:7402")
}

pub(crate) fn ingest_url(text: &str) -> Result<Url, String> {
    http_url(text, "http://127.0.0.1:7401")
}

fn http_url(text: &str, example: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| format!("not an http URL: write one such as {example}"))
}

pub(crate) fn conversation(text: &str) -> Result<ConversationId, String> {
    let conversation = ConversationId::new(text);
    conversation.map_err(|error| format!("{error}; write one such as build-7"))
}

pub(crate) fn event_type(text: &str) -> Result<EventType, String> {
    let event_type = EventType::new(text);
    event_type.map_err(|error| format!("{error}; write one such as output.chunk"))
}

/// Parses an event id: any text that ingest accepts as one.
pub(crate) fn event_id(text: &str) -> Result<String, String> {
    match EventId::from_text(&TenantId::default_tenant(), &conversation("any")?, text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "{error}; write any text of at most {} bytes, for example run-7-event-1",
            EventId::MAX_TEXT_BYTES
        )),
    }
}

/// Parses a JSON object and keeps its text unchanged.
pub(crate) fn object(text: &str) -> Result<Box<RawValue>, String> {
    let row = serde_json::from_str::<Row>(text);
    let object = row.and_then(|_| RawValue::from_string(text.to_owned()));
    object.map_err(|error| {
        format!("not a JSON object: write one such as '{{\"tool\":\"ls\"}}' ({error})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that `good` is accepted and that the errors for `bad` show it.
    fn check<T>(read: fn(&str) -> Result<T, String>, good: &str, bad: &[&str]) {
        assert!(read(good).is_ok(), "{good} is refused");
        for text in bad {
            let error = read(text).err();
            let error = error.unwrap_or_else(|| panic!("{text:?} is accepted"));
            assert!(error.contains(good), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_error_shows_a_valid_value() {
        check(duration, "1h30m", &["", "5", "soon", "-1s"]);
        check(interval, "5m", &["5", "0s"]);
        check(whole::<usize>, "100", &["", "x", "-1", "1MB"]);
        check(partitions, "4", &["x", "0", "1025"]);
        check(port, "9400", &["x", "70000"]);
        check(
            query_url,
            "http://127.0.0.1:7402",
            &["", "nonsense", "127.0.0.1:7402", "ftp://x"],
        );
        check(conversation, "build-7", &["", "a b"]);
        check(event_type, "output.chunk", &["", "a b"]);
        check(object, r#"{"tool":"ls"}"#, &["", "{", "[1]", "7"]);
    }

    #[test]
    fn an_event_id_is_any_text_that_ingest_accepts() {
        let uuid = "0193b3f0-0000-7000-8000-000000000001";
        for text in [uuid, "run 7, é", &"x".repeat(128)] {
            assert_eq!(event_id(text).as_deref(), Ok(text));
        }
        let long = "x".repeat(129);
        check(event_id, "run-7-event-1", &["", "a\nb", &long]);
    }
}
