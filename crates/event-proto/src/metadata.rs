//! The metadata of an event: exactly one JSON object, not nested too deep, without U+0000.
//!
//! It is copied into answers byte for byte, so a text that is anything else could forge the fields
//! around it.

use serde::de::IgnoredAny;

/// The deepest nesting of metadata: low enough for our readers and for common JSON parsers.
pub const MAX_METADATA_DEPTH: usize = 64;

/// The reason why a text is not metadata. Permanent: refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("metadata is not exactly one JSON object")]
    NotOneObject,
    #[error("metadata is nested deeper than {MAX_METADATA_DEPTH} levels")]
    TooDeep,
    #[error("metadata contains the character U+0000")]
    Nul,
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
    check_depth_and_nul(text)
}

/// Refuses nesting beyond [`MAX_METADATA_DEPTH`] and the character U+0000, in one pass without
/// recursion. `json` must be valid JSON.
///
/// # Errors
/// [`MetadataError::TooDeep`] or [`MetadataError::Nul`]: refuse the event.
fn check_depth_and_nul(json: &str) -> Result<(), MetadataError> {
    let bytes = json.as_bytes();
    if bytes.len() <= 2 * MAX_METADATA_DEPTH && !bytes.contains(&b'\\') {
        // Too short for that many pairs of brackets, and without escapes.
        return Ok(());
    }
    let (mut at, mut depth, mut in_string) = (0, 0_usize, false);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => in_string = !in_string,
            b'\\' if bytes[at..].starts_with(b"\\u0000") => return Err(MetadataError::Nul),
            // Skip the escaped character, which may be a quote.
            b'\\' => at += 1,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_METADATA_DEPTH {
            return Err(MetadataError::TooDeep);
        }
        at += 1;
    }
    Ok(())
}
