//! The parts of the schema that the derive cannot express.

use schemars::{Schema, SchemaGenerator, json_schema};

pub(crate) fn age(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 6, "pattern": "^[1-9][0-9]{0,4}(s|m|h|d)$"})
}

pub(crate) fn age_or_forever(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 7,
        "pattern": "^([1-9][0-9]{0,4}(s|m|h|d)|Forever)$",
    })
}

pub(crate) fn grace_period(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 10,
        "pattern": "^(0|[1-9][0-9]{0,8})(s|m|h|d)$",
    })
}

pub(crate) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "pattern": "^([1-9][0-9]{0,14}(\\.[0-9]{1,3})?|0\\.[0-9]{0,2}[1-9])(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$",
    })
}

pub(crate) fn globs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "pattern": "^[^\\x00-\\x1F\\x7F]+$",
        },
    })
}

/// The tenants of a binding: names, or the beginning of names followed by `*`.
pub(crate) fn tenants(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "pattern": "^[^*?\\x00-\\x1F\\x7F]*\\*?$",
        },
    })
}

pub(crate) fn values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "atomic",
        "items": {"type": "string", "maxLength": 256},
    })
}

pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 256},
    })
}

/// Five cron fields; the CronJob validates their values.
pub(crate) fn schedule(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 128,
        "pattern": "^[-0-9A-Za-z*/,?]+( [-0-9A-Za-z*/,?]+){4}$",
    })
}

pub(crate) fn tier_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["hot", "warm", "cold"]})
}

pub(crate) fn component_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["hot-writer", "compactor", "archiver", "query"]})
}

/// The conditions of a status, with the bounds that the API server has for every resource.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "maxLength": 316},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {"type": "string", "maxLength": 32768},
            },
        },
    })
}

/// The CEL rule that one tier's age is no longer than the next one's, unless `exempt` holds. The API
/// server limits the estimated cost of a rule; this form is below the limit.
pub(crate) fn ordered(shorter: &str, longer: &str, exempt: &str) -> String {
    format!("{exempt} || {} <= {}", seconds(shorter), seconds(longer))
}

/// The CEL expression for a tier's age in seconds.
fn seconds(tier: &str) -> String {
    let age = format!("self.{tier}.maxAge");
    format!(
        "int({age}.substring(0, size({age}) - 1)) * ({age}.endsWith('d') ? 86400 : \
         {age}.endsWith('h') ? 3600 : {age}.endsWith('m') ? 60 : 1)"
    )
}
