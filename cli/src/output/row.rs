//! One row of an answer: the fields of a JSON object in their order, with the text of each value
//! unchanged.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
    ser::SerializeMap as _,
};
use serde_json::value::{RawValue, to_raw_value};

/// The fields of a JSON object, in order. Values keep their text, so that `1.50` stays `1.50`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row(Vec<(String, Box<RawValue>)>);

impl Row {
    /// Appends a field.
    pub(crate) fn with(mut self, name: &str, value: impl Serialize) -> Self {
        let value = to_raw_value(&value).expect("plain values always have a JSON form");
        self.0.push((name.to_owned(), value));
        self
    }

    /// Parses a JSON array of objects.
    pub(crate) fn list(json: &[u8]) -> serde_json::Result<Vec<Self>> {
        serde_json::from_slice(json)
    }

    /// Moves the fields of `names` to the front, in the order of `names`.
    pub(crate) fn begin_with(mut self, names: &[&str]) -> Self {
        let place = |name: &str| names.iter().position(|other| *other == name);
        // Stable: the others stay in their order.
        self.0
            .sort_by_key(|(name, _)| place(name).unwrap_or(names.len()));
        self
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        let field = self.0.iter().find(|(field, _)| field == name)?;
        Some(&field.1)
    }

    /// Returns the value as text: strings without quotes, null and absent fields as an empty string.
    pub(crate) fn text(&self, name: &str) -> String {
        match self.get(name).map(RawValue::get) {
            None | Some("null") => String::new(),
            Some(raw) if raw.starts_with('"') => serde_json::from_str(raw).unwrap_or_default(),
            Some(raw) => raw.to_owned(),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(field, _)| field != name);
    }

    pub(crate) fn is_number(&self, name: &str) -> bool {
        let first = self.get(name).and_then(|value| value.get().bytes().next());
        first.is_some_and(|byte| byte == b'-' || byte.is_ascii_digit())
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("a row always has a JSON form")
    }
}

impl Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Row(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_their_digits() {
        let json = r#"{"z":1.50,"a":"t\u00e9","n":null}"#;
        let row: Row = serde_json::from_str(json).unwrap();
        assert_eq!(row.json(), json);
        assert_eq!(row.text("z"), "1.50");
        assert_eq!(row.text("a"), "té");
        assert_eq!(row.text("n"), "");
        assert_eq!(row.names().collect::<Vec<_>>(), ["z", "a", "n"]);
    }
}
