//! The metadata of an event: exactly one JSON object, not nested too deep, without U+0000. What is new must
//! also be readable by every reader of JSON; what was stored before that was checked stays.
//!
//! It is copied into answers byte for byte, so a text that is anything else could forge the fields
//! around it.

use serde::de::IgnoredAny;

/// The deepest nesting of metadata: low enough for our readers and for common JSON parsers.
pub const MAX_METADATA_DEPTH: usize = 64;

/// The reason why a text is not metadata. Permanent: refuse it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("metadata is not exactly one JSON object")]
    NotOneObject,
    #[error("metadata is nested deeper than {MAX_METADATA_DEPTH} levels")]
    TooDeep,
    #[error("metadata contains the character U+0000")]
    Nul,
    #[error(
        "metadata contains {0}, half a character that was cut; send whole characters, or U+FFFD in its place"
    )]
    LoneSurrogate(String),
    #[error("metadata contains {0}, more than a double holds; send it as a string")]
    NumberTooLarge(String),
}

/// What is refused beside nesting beyond [`MAX_METADATA_DEPTH`] and U+0000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strictness {
    /// Nothing.
    Stored,
    /// Half a surrogate pair, and a number beyond a double: not every reader of JSON takes them.
    New,
}

/// Checks the metadata of an event: empty, or one JSON object.
pub(crate) fn check(text: &str) -> Result<(), MetadataError> {
    if text.is_empty() {
        return Ok(());
    }
    let is_one_value = serde_json::from_str::<IgnoredAny>(text).is_ok();
    if !is_one_value || !text.trim_ascii_start().starts_with('{') {
        return Err(MetadataError::NotOneObject);
    }
    walk(text, Strictness::Stored)
}

/// Checks metadata that is to be stored. `json` must be a valid JSON object.
///
/// # Errors
/// Any [`MetadataError`] but `NotOneObject`: refuse the event.
pub fn check_new(json: &str) -> Result<(), MetadataError> {
    walk(json, Strictness::New)
}

/// One pass over valid JSON, without recursion.
fn walk(json: &str, strictness: Strictness) -> Result<(), MetadataError> {
    let bytes = json.as_bytes();
    if bytes.len() <= 2 * MAX_METADATA_DEPTH && !has_escape_or_exponent(bytes) {
        // Too short for that many pairs of brackets or digits.
        return Ok(());
    }
    let (mut at, mut depth, mut in_string) = (0, 0_usize, false);
    while at < bytes.len() {
        at += match bytes[at] {
            b'\\' => escape(&bytes[at..], strictness)?,
            b'"' => {
                in_string = !in_string;
                1
            }
            b'{' | b'[' if !in_string => {
                depth += 1;
                1
            }
            b'}' | b']' if !in_string => {
                depth = depth.saturating_sub(1);
                1
            }
            b'-' | b'0'..=b'9' if !in_string && strictness == Strictness::New => {
                number(&json[at..])?
            }
            _ => 1,
        };
        if depth > MAX_METADATA_DEPTH {
            return Err(MetadataError::TooDeep);
        }
    }
    Ok(())
}

fn has_escape_or_exponent(json: &[u8]) -> bool {
    let is_either = |pair: &[u8]| {
        pair[0] == b'\\' || (pair[0].is_ascii_digit() && pair[1].eq_ignore_ascii_case(&b'e'))
    };
    json.windows(2).any(is_either)
}

/// Checks the escape that `json` begins with; returns the bytes to pass over.
fn escape(json: &[u8], strictness: Strictness) -> Result<usize, MetadataError> {
    match (code_unit(json), strictness) {
        (Some(0), _) => Err(MetadataError::Nul),
        (None, _) | (_, Strictness::Stored) => Ok(2),
        (Some(0xd800..0xdc00), Strictness::New) => match code_unit(&json[6..]) {
            Some(0xdc00..0xe000) => Ok(12),
            _ => Err(lone_surrogate(json)),
        },
        (Some(0xdc00..0xe000), Strictness::New) => Err(lone_surrogate(json)),
        (Some(_), Strictness::New) => Ok(6),
    }
}

/// The UTF-16 code unit of the escape `\uXXXX` that `json` begins with.
fn code_unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

fn lone_surrogate(json: &[u8]) -> MetadataError {
    MetadataError::LoneSurrogate(String::from_utf8_lossy(&json[..6]).into_owned())
}

/// Checks the number that `json` begins with; returns its length.
fn number(json: &str) -> Result<usize, MetadataError> {
    let is_part = |c: char| matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
    let length = json.find(|c| !is_part(c)).unwrap_or(json.len());
    let digits = &json[..length];
    let can_overflow = length > 300 || digits.contains(['e', 'E']);
    if can_overflow && digits.parse().is_ok_and(f64::is_infinite) {
        let shown = &digits[..length.min(32)];
        return Err(MetadataError::NumberTooLarge(shown.to_owned()));
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
