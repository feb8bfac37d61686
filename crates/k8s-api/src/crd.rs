//! The custom resource definition, as the API server is to have it.

use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::retention_policy::RetentionPolicy;

/// The definition of [`RetentionPolicy`] as YAML, always the same text.
///
/// # Panics
/// If the derived schema has no YAML form, which a test would have shown.
#[must_use]
pub fn crd_yaml() -> String {
    let mut definition =
        serde_json::to_value(RetentionPolicy::crd()).expect("a definition always has a JSON form");
    tidy(&mut definition);
    let options = serde_saphyr::SerializerOptions {
        prefer_block_scalars: false,
        ..Default::default()
    };
    let mut yaml = String::new();
    serde_saphyr::to_fmt_writer_with_options(&mut yaml, &definition, options)
        .expect("a definition always has a YAML form");
    yaml
}

/// An optional field may be left out, but null is not a value for it; and a bound is written as the
/// whole number that it is.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("nullable");
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Number(number) => {
            let text = number.to_string();
            let whole = text.strip_suffix(".0").and_then(|text| text.parse().ok());
            if let Some(whole) = whole {
                *value = Value::Number(i64::into(whole));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
