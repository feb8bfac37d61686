//! The metadata of an event: the producer's object byte for byte, with the event's unknown fields appended
//! to its members.

use std::{borrow::Cow, collections::HashSet, fmt};

use event::MAX_EVENT_BYTES;
use event_proto::metadata::MAX_METADATA_DEPTH;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::ItemError;

/// Appends the fields `extra`, and `event_id`, to the members of `metadata`. Empty when there are none.
pub(super) fn merge<'a>(
    metadata: Option<&'a RawValue>,
    extra: &[(Cow<'_, str>, &RawValue)],
    event_id: Option<&str>,
) -> Result<Cow<'a, str>, ItemError> {
    let own = metadata.map(RawValue::get);
    if own.is_some_and(|own| !own.starts_with('{')) {
        return Err(ItemError::new(
            "invalid_metadata",
            "metadata must be an object",
        ));
    }
    let merged = match (own, extra.is_empty() && event_id.is_none()) {
        (None, true) => return Ok(Cow::Borrowed("")),
        (Some(own), true) => Cow::Borrowed(own),
        (own, false) => {
            let own = own.unwrap_or("{}");
            check_size(own, extra)?;
            refuse_repeated(own, extra, event_id)?;
            Cow::Owned(append(own, extra, event_id))
        }
    };
    check_readable(&merged)?;
    Ok(merged)
}

fn append(own: &str, extra: &[(Cow<'_, str>, &RawValue)], event_id: Option<&str>) -> String {
    let members = own.strip_suffix('}').unwrap_or(own);
    let mut merged = members.to_owned();
    let mut first = members[1..].trim_ascii().is_empty();
    let mut add = |name: &str, value: &str| {
        if !first {
            merged.push(',');
        }
        first = false;
        merged.push_str(&quoted(name));
        merged.push(':');
        merged.push_str(value);
    };
    for (name, value) in extra {
        add(name, value.get());
    }
    if let Some(event_id) = event_id {
        add("event_id", &quoted(event_id));
    }
    merged.push('}');
    merged
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string always has a JSON form")
}

/// Refuses what makes an event too large, before its members are looked at one by one, which takes several
/// times its memory.
fn check_size(own: &str, extra: &[(Cow<'_, str>, &RawValue)]) -> Result<(), ItemError> {
    let extra = extra
        .iter()
        .map(|(name, value)| name.len() + value.get().len());
    let bytes = own.len() + extra.sum::<usize>();
    match bytes > MAX_EVENT_BYTES {
        true => Err(ItemError::too_large(bytes)),
        false => Ok(()),
    }
}

/// Refuses an extra field that `own` has already, or that occurs twice.
fn refuse_repeated(
    own: &str,
    extra: &[(Cow<'_, str>, &RawValue)],
    event_id: Option<&str>,
) -> Result<(), ItemError> {
    let Names(mut names) = serde_json::from_str(own)
        .map_err(|error| ItemError::new("invalid_metadata", format!("metadata: {error}")))?;
    let event_id = event_id.map(|_| "event_id");
    for name in extra.iter().map(|(name, _)| name.as_ref()).chain(event_id) {
        if !names.insert(Cow::Owned(name.to_owned())) {
            return Err(repeated(name));
        }
    }
    Ok(())
}

/// The error for a field that occurs twice.
pub(super) fn repeated(name: &str) -> ItemError {
    let name: String = name.chars().take(64).collect();
    ItemError::new(
        "duplicate_field",
        format!("{name:?} is there twice, and only one of them could be kept"),
    )
}

/// Refuses what a reader of JSON may not take, though our parser does: nesting beyond [`MAX_METADATA_DEPTH`], the
/// character U+0000, half a surrogate pair, and a number beyond a double. One pass without recursion; the
/// text is known to be valid JSON.
fn check_readable(json: &str) -> Result<(), ItemError> {
    let bytes = json.as_bytes();
    if bytes.len() <= 2 * MAX_METADATA_DEPTH && !has_escape_or_exponent(bytes) {
        // Too short for that many pairs of brackets or digits.
        return Ok(());
    }
    let (mut at, mut depth, mut in_string) = (0, 0_usize, false);
    while at < bytes.len() {
        at += match bytes[at] {
            b'\\' => escape(&bytes[at..])?,
            b'"' => {
                in_string = !in_string;
                1
            }
            b'{' | b'[' if !in_string => {
                depth += 1;
                1
            }
            b'}' | b']' if !in_string => {
                depth -= 1;
                1
            }
            b'-' | b'0'..=b'9' if !in_string => number(&json[at..])?,
            _ => 1,
        };
        if depth > MAX_METADATA_DEPTH {
            return Err(ItemError::new(
                "too_deep",
                format!("metadata is nested deeper than {MAX_METADATA_DEPTH} levels"),
            ));
        }
    }
    Ok(())
}

fn has_escape_or_exponent(json: &[u8]) -> bool {
    let is_exponent = |at: usize| at > 0 && json[at - 1].is_ascii_digit();
    memchr::memchr3_iter(b'\\', b'e', b'E', json).any(|at| json[at] == b'\\' || is_exponent(at))
}

/// Checks the escape that `json` begins with; returns its length.
fn escape(json: &[u8]) -> Result<usize, ItemError> {
    let Some(unit) = code_unit(json) else {
        return Ok(2);
    };
    match unit {
        0 => Err(nul("metadata")),
        0xd800..0xdc00 => match code_unit(&json[6..]) {
            Some(0xdc00..0xe000) => Ok(12),
            _ => Err(lone_surrogate(json)),
        },
        0xdc00..0xe000 => Err(lone_surrogate(json)),
        _ => Ok(6),
    }
}

/// The UTF-16 code unit of the escape `\uXXXX` that `json` begins with.
fn code_unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

fn lone_surrogate(json: &[u8]) -> ItemError {
    let escape = String::from_utf8_lossy(&json[..6]);
    ItemError::new(
        "lone_surrogate",
        format!(
            "metadata contains {escape}, half a character that was cut; send whole characters, or U+FFFD \
             in its place"
        ),
    )
}

/// Checks the number that `json` begins with; returns its length.
fn number(json: &str) -> Result<usize, ItemError> {
    let is_part = |c: char| matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
    let length = json.find(|c| !is_part(c)).unwrap_or(json.len());
    let digits = &json[..length];
    let can_overflow = length > 300 || digits.contains(['e', 'E']);
    if can_overflow && digits.parse().is_ok_and(f64::is_infinite) {
        let shown = &digits[..length.min(32)];
        let detail =
            format!("metadata contains {shown}, more than a double holds; send it as a string");
        return Err(ItemError::new("number_too_large", detail));
    }
    Ok(length)
}

/// The error for U+0000 in `field`.
pub(super) fn nul(field: &str) -> ItemError {
    ItemError::new(
        "nul_character",
        format!(
            "{field} contains the character U+0000; send bytes as content with \
             \"content_encoding\": \"base64\""
        ),
    )
}

/// The names of an object's members.
struct Names<'a>(HashSet<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Names<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NamesVisitor;
        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut names = HashSet::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
                    names.insert(Cow::Owned(name));
                }
                Ok(Names(names))
            }
        }
        from.deserialize_map(NamesVisitor)
    }
}
