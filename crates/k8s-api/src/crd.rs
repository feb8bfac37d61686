//! The custom resource definitions, as they are applied to the API server.

use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::{retention_policy::RetentionPolicy, tenant_binding::TenantBinding};

/// The plural names of the resources.
pub const DEFINITIONS: [&str; 2] = ["retentionpolicies", "tenantbindings"];

/// Renders the definition of the resource `plural` as YAML, always the same text; `None` if it is none of
/// [`DEFINITIONS`].
///
/// # Panics
/// If the derived schema has no YAML form, which a test rules out.
#[must_use]
pub fn crd_yaml(plural: &str) -> Option<String> {
    let mut definitions = [RetentionPolicy::crd(), TenantBinding::crd()].into_iter();
    let definition = definitions.find(|own| own.spec.names.plural == plural)?;
    let mut definition =
        serde_json::to_value(definition).expect("a definition always has a JSON form");
    normalize(&mut definition);
    let options = serde_saphyr::SerializerOptions {
        prefer_block_scalars: false,
        ..Default::default()
    };
    let mut yaml = String::new();
    serde_saphyr::to_fmt_writer_with_options(&mut yaml, &definition, options)
        .expect("a definition always has a YAML form");
    Some(yaml)
}

/// Removes `nullable`, because an optional field may be left out but not be null, and writes bounds such
/// as `1.0` as whole numbers.
fn normalize(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("nullable");
            members.values_mut().for_each(normalize);
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
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
