//! The metadata of an event: the producer's object byte for byte, with the event's unknown fields appended
//! to its members.

use std::{borrow::Cow, collections::HashSet, fmt};

use event::MAX_EVENT_BYTES;
use event_proto::metadata::{MetadataError, check_new};
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
    check_new(&merged).map_err(unreadable)?;
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

fn unreadable(error: MetadataError) -> ItemError {
    let code = match &error {
        MetadataError::NotOneObject => "invalid_metadata",
        MetadataError::TooDeep => "too_deep",
        MetadataError::Nul => return nul("metadata"),
        MetadataError::LoneSurrogate(_) => "lone_surrogate",
        MetadataError::NumberTooLarge(_) => "number_too_large",
    };
    ItemError::new(code, error.to_string())
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
