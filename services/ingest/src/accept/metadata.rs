//! The metadata of an event: the producer's object byte for byte, with the fields that have no
//! place of their own behind its members.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Bad;

/// The deepest nesting that every reader of ours and of others can follow.
const MAX_DEPTH: usize = 64;

/// `metadata` with `more` behind its members. Empty when there is neither.
pub(super) fn merge<'a>(
    metadata: Option<&'a RawValue>,
    more: &[(Cow<'_, str>, &RawValue)],
    event_id: Option<&str>,
) -> Result<Cow<'a, str>, Bad> {
    let own = metadata.map(RawValue::get);
    if own.is_some_and(|own| !own.starts_with('{')) {
        return Err(Bad::new("invalid_metadata", "metadata must be an object"));
    }
    let merged = match (own, more.is_empty() && event_id.is_none()) {
        (None, true) => return Ok(Cow::Borrowed("")),
        (Some(own), true) => Cow::Borrowed(own),
        (own, false) => {
            let own = own.unwrap_or("{}");
            refuse_repeated(own, more, event_id)?;
            Cow::Owned(append(own, more, event_id))
        }
    };
    scan(&merged)?;
    Ok(merged)
}

fn append(own: &str, more: &[(Cow<'_, str>, &RawValue)], event_id: Option<&str>) -> String {
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
    for (name, value) in more {
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

fn refuse_repeated(
    own: &str,
    more: &[(Cow<'_, str>, &RawValue)],
    event_id: Option<&str>,
) -> Result<(), Bad> {
    let Names(mut names) = serde_json::from_str(own)
        .map_err(|error| Bad::new("invalid_metadata", format!("metadata: {error}")))?;
    let event_id = event_id.map(|_| "event_id");
    for name in more.iter().map(|(name, _)| name.as_ref()).chain(event_id) {
        if !names.insert(Cow::Owned(name.to_owned())) {
            return Err(repeated(name));
        }
    }
    Ok(())
}

pub(super) fn repeated(name: &str) -> Bad {
    let name: String = name.chars().take(64).collect();
    Bad::new(
        "duplicate_field",
        format!("{name:?} is there twice, and only one of them could be kept"),
    )
}

/// Refuses nesting beyond [`MAX_DEPTH`] and the character U+0000, in one pass without recursion.
/// The text is known to be valid JSON.
fn scan(json: &str) -> Result<(), Bad> {
    let bytes = json.as_bytes();
    if bytes.len() <= 2 * MAX_DEPTH && memchr::memchr(b'\\', bytes).is_none() {
        // Too short for so many brackets and those that close them.
        return Ok(());
    }
    let (mut at, mut depth, mut in_string) = (0, 0_usize, false);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => in_string = !in_string,
            b'\\' if bytes[at..].starts_with(b"\\u0000") => return Err(nul("metadata")),
            // The escaped character, which may be a quote.
            b'\\' => at += 1,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Bad::new(
                "too_deep",
                format!("metadata is nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        at += 1;
    }
    Ok(())
}

pub(super) fn nul(field: &str) -> Bad {
    Bad::new(
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
