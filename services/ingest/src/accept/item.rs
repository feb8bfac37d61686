//! One item of a body: parsed without validation, so that every bad item of a request can be listed.
//! Borrows from the body where possible.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Most unknown fields of an event. In memory each takes eight times its least length in the body, so
/// that they must be bounded before the size of the event is known.
pub(crate) const MAX_UNKNOWN_FIELDS: usize = 1_000;

/// The string fields of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldName {
    EventId,
    ConversationId,
    TaskId,
    Type,
    Timestamp,
    Content,
    ContentEncoding,
    CorrelationId,
    TraceId,
    SpanId,
}

impl FieldName {
    pub(crate) const ALL: [(Self, &'static str); 10] = [
        (Self::EventId, "event_id"),
        (Self::ConversationId, "conversation_id"),
        (Self::TaskId, "task_id"),
        (Self::Type, "type"),
        (Self::Timestamp, "timestamp"),
        (Self::Content, "content"),
        (Self::ContentEncoding, "content_encoding"),
        (Self::CorrelationId, "correlation_id"),
        (Self::TraceId, "trace_id"),
        (Self::SpanId, "span_id"),
    ];

    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// The value of a string field.
#[derive(Debug, Default)]
pub(crate) enum Value<'a> {
    /// Missing, or null.
    #[default]
    Absent,
    Text(Cow<'a, str>),
    /// Not a string; the text names the type, for example "a number".
    Other(&'static str),
}

/// One JSON value of a body.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Object(Box<Fields<'a>>),
    /// Not an object; the text names the type.
    Other(&'static str),
}

/// The fields of an object, not validated yet.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    texts: [Value<'a>; 10],
    pub(crate) metadata: Option<&'a RawValue>,
    /// There is a `tenant` that is not null.
    pub(crate) tenant: bool,
    /// In the order of the body, at most [`MAX_UNKNOWN_FIELDS`].
    pub(crate) unknown: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// There are more unknown fields than that.
    pub(crate) too_many: bool,
    /// A known field that occurs twice.
    pub(crate) repeated: Option<&'static str>,
    /// A bit for each known field that has occurred.
    seen: u16,
}

impl<'a> Fields<'a> {
    /// Moves the value of a string field out.
    pub(crate) fn take(&mut self, name: FieldName) -> Value<'a> {
        std::mem::take(&mut self.texts[name as usize])
    }

    /// The name of the first string field that contains U+0000. JSON needs an escape for it, and only strings
    /// with escapes are owned, so borrowed ones are not searched.
    pub(crate) fn with_nul(&self) -> Option<&'static str> {
        let mut fields = FieldName::ALL.iter().zip(&self.texts);
        let found = fields.find(|(_, value)| match value {
            Value::Text(Cow::Owned(text)) => memchr::memchr(0, text.as_bytes()).is_some(),
            _ => false,
        });
        found.map(|((_, name), _)| *name)
    }

    /// Records that the field `name` with this bit occurs; detects a repetition.
    fn mark_seen(&mut self, bit: usize, name: &'static str) {
        if self.seen & (1 << bit) != 0 {
            self.repeated = Some(name);
        }
        self.seen |= 1 << bit;
    }

    /// Reads the value of `key`.
    fn read<A: MapAccess<'a>>(&mut self, key: Key<'a>, map: &mut A) -> Result<(), A::Error> {
        match key {
            Key::Text(name) => {
                self.mark_seen(name as usize, name.as_str());
                self.texts[name as usize] = map.next_value()?;
            }
            Key::Metadata => {
                self.mark_seen(14, "metadata");
                let value: &RawValue = map.next_value()?;
                self.metadata = (value.get() != "null").then_some(value);
            }
            Key::Tenant => {
                let value: &RawValue = map.next_value()?;
                self.tenant |= value.get() != "null";
            }
            Key::Unknown(name) if self.unknown.len() < MAX_UNKNOWN_FIELDS => {
                self.unknown.push((name, map.next_value()?));
            }
            Key::Unknown(_) => {
                map.next_value::<IgnoredAny>()?;
                self.too_many = true;
            }
        }
        Ok(())
    }
}

/// The key of an object member.
enum Key<'a> {
    Text(FieldName),
    Metadata,
    Tenant,
    Unknown(Cow<'a, str>),
}

impl<'a> Key<'a> {
    fn new(text: Cow<'a, str>) -> Self {
        let name = match text.as_ref() {
            "event_id" => FieldName::EventId,
            "conversation_id" => FieldName::ConversationId,
            "task_id" => FieldName::TaskId,
            "type" => FieldName::Type,
            "timestamp" => FieldName::Timestamp,
            "content" => FieldName::Content,
            "content_encoding" => FieldName::ContentEncoding,
            "correlation_id" => FieldName::CorrelationId,
            "trace_id" => FieldName::TraceId,
            "span_id" => FieldName::SpanId,
            "metadata" => return Self::Metadata,
            "tenant" => return Self::Tenant,
            _ => return Self::Unknown(text),
        };
        Self::Text(name)
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key::new(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key::new(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(KeyVisitor)
    }
}

/// Visitor methods of both visitors for values of other types, which become `$other(<type>)`.
macro_rules! other_values {
    ($other:expr) => {
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok($other("a boolean"))
        }

        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other("a number"))
        }

        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other("a number"))
        }

        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other("a number"))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($other("an array"))
        }
    };
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Value::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Value::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Value::Absent)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Other("an object"))
            }

            other_values!(Value::Other);
        }
        from.deserialize_any(ValueVisitor)
    }
}

impl<'de> Deserialize<'de> for Item<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Box::new(Fields::default());
                while let Some(key) = map.next_key()? {
                    fields.read(key, &mut map)?;
                }
                Ok(Item::Object(fields))
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Item::Other("a string"))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Item::Other("null"))
            }

            other_values!(Item::Other);
        }
        from.deserialize_any(ItemVisitor)
    }
}
