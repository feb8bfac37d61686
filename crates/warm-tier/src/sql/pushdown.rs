//! Extracts the conditions of a statement that a scan may apply. Pure.
//!
//! Only when `events` occurs once, without alias columns or sampling: then the AND-ed conditions
//! of the SELECT around it hold for every row that can reach the answer.

use std::collections::BTreeSet;

use event::Timestamp;
use serde_json::{Map, Value};

use super::Pushdown;

/// Functions that a time bound may call. All are cheap, and none reads a row.
const TIME_FUNCTIONS: &[&str] = &[
    "-",
    "+",
    "current_date",
    "date_trunc",
    "get_current_timestamp",
    "make_timestamp",
    "now",
    "to_days",
    "to_hours",
    "to_minutes",
    "to_months",
    "to_seconds",
    "to_weeks",
    "to_years",
    "today",
    "trunc",
];

/// Functions whose value grows while the statement waits: they are used for lower bounds only.
const CLOCK_FUNCTIONS: &[&str] = &["current_date", "get_current_timestamp", "now", "today"];

/// Extracts the conditions; `evaluate` computes the time of a constant expression.
pub(super) fn pushdown(
    statement: &Value,
    evaluate: &dyn Fn(&Value) -> Option<Timestamp>,
) -> Pushdown {
    let mut pushdown = Pushdown::default();
    let mut tables = Vec::new();
    collect_tables(statement, &mut tables);
    let [events] = tables[..] else {
        return pushdown;
    };
    let is_plain = text(events, "table_name").eq_ignore_ascii_case("events")
        && is_empty(events.get("sample"))
        && is_empty(events.get("column_name_alias"));
    let Some(select) = is_plain.then(|| select_from(statement, events)).flatten() else {
        return pushdown;
    };
    let extractor = ConditionExtractor {
        names: [text(events, "table_name"), text(events, "alias")],
        evaluate,
    };
    if let Some(condition) = select.get("where_clause").and_then(Value::as_object) {
        extractor.conjunct(condition, &mut pushdown);
    }
    pushdown
}

fn collect_tables<'a>(value: &'a Value, out: &mut Vec<&'a Map<String, Value>>) {
    match value {
        Value::Object(object) => {
            if text(object, "type") == "BASE_TABLE" {
                out.push(object);
            }
            object.values().for_each(|child| collect_tables(child, out));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_tables(item, out)),
        _ => {}
    }
}

/// Finds the SELECT whose FROM clause is exactly the node `table`.
fn select_from<'a>(value: &'a Value, table: &Map<String, Value>) -> Option<&'a Map<String, Value>> {
    match value {
        Value::Object(object) => {
            let from = object.get("from_table").and_then(Value::as_object);
            if from.is_some_and(|from| std::ptr::eq(from, table)) {
                return Some(object).filter(|select| is_empty(select.get("sample")));
            }
            object.values().find_map(|child| select_from(child, table))
        }
        Value::Array(items) => items.iter().find_map(|item| select_from(item, table)),
        _ => None,
    }
}

/// Adds the conditions of a WHERE clause to a [`Pushdown`].
struct ConditionExtractor<'a> {
    /// The table's name and its alias.
    names: [&'a str; 2],
    evaluate: &'a dyn Fn(&Value) -> Option<Timestamp>,
}

impl ConditionExtractor<'_> {
    fn conjunct(&self, node: &Map<String, Value>, pushdown: &mut Pushdown) {
        let objects = |key: &str| {
            node.get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        match text(node, "type") {
            "CONJUNCTION_AND" => objects("children")
                .filter_map(Value::as_object)
                .for_each(|child| self.conjunct(child, pushdown)),
            "COMPARE_IN" => {
                let mut items = objects("children");
                if let Some(column) = items.next().and_then(|first| self.column(first)) {
                    let texts: Option<BTreeSet<_>> = items.map(constant_text).collect();
                    narrow(pushdown, &column, texts);
                }
            }
            "COMPARE_BETWEEN" => {
                if self.is_timestamp(node.get("input")) {
                    self.lower_bound(node.get("lower"), pushdown);
                    self.upper_bound(node.get("upper"), pushdown);
                }
            }
            kind => self.comparison(kind, node, pushdown),
        }
    }

    fn comparison(&self, kind: &str, node: &Map<String, Value>, pushdown: &mut Pushdown) {
        let (mut left, mut right) = (node.get("left"), node.get("right"));
        let swapped = left.and_then(|left| self.column(left)).is_none();
        if swapped {
            std::mem::swap(&mut left, &mut right);
        }
        let Some(column) = left.and_then(|left| self.column(left)) else {
            return;
        };
        let is_timestamp = column == "timestamp";
        match (kind, swapped) {
            ("COMPARE_EQUAL", _) if is_timestamp => {
                self.lower_bound(right, pushdown);
                self.upper_bound(right, pushdown);
            }
            ("COMPARE_EQUAL", _) => {
                let only = right.and_then(constant_text).map(|text| [text].into());
                narrow(pushdown, &column, only);
            }
            ("COMPARE_GREATERTHAN" | "COMPARE_GREATERTHANOREQUALTO", false)
            | ("COMPARE_LESSTHAN" | "COMPARE_LESSTHANOREQUALTO", true)
                if is_timestamp =>
            {
                self.lower_bound(right, pushdown);
            }
            ("COMPARE_LESSTHAN" | "COMPARE_LESSTHANOREQUALTO", false)
            | ("COMPARE_GREATERTHAN" | "COMPARE_GREATERTHANOREQUALTO", true)
                if is_timestamp =>
            {
                self.upper_bound(right, pushdown);
            }
            _ => {}
        }
    }

    /// The name of the column that `value` is a plain reference to, in lower case.
    fn column(&self, value: &Value) -> Option<String> {
        let node = value.as_object()?;
        if text(node, "type") != "COLUMN_REF" {
            return None;
        }
        let parts = node.get("column_names")?.as_array()?;
        let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
        let column = match parts[..] {
            [column] => column,
            [table, column] if self.names.iter().any(|n| n.eq_ignore_ascii_case(table)) => column,
            _ => return None,
        };
        Some(column.to_ascii_lowercase())
    }

    fn is_timestamp(&self, value: Option<&Value>) -> bool {
        value.and_then(|value| self.column(value)).as_deref() == Some("timestamp")
    }

    fn lower_bound(&self, bound: Option<&Value>, pushdown: &mut Pushdown) {
        let time = bound.filter(|bound| is_constant_time(bound, true));
        if let Some(time) = time.and_then(|time| (self.evaluate)(time)) {
            pushdown.timestamp_from = pushdown.timestamp_from.max(Some(time));
        }
    }

    fn upper_bound(&self, bound: Option<&Value>, pushdown: &mut Pushdown) {
        let time = bound.filter(|bound| is_constant_time(bound, false));
        if let Some(time) = time.and_then(|time| (self.evaluate)(time)) {
            let earlier = pushdown.timestamp_to.map_or(time, |old| old.min(time));
            pushdown.timestamp_to = Some(earlier);
        }
    }
}

/// Narrows the allowed values of `column` to `texts`.
fn narrow(pushdown: &mut Pushdown, column: &str, texts: Option<BTreeSet<String>>) {
    let target = match column {
        "conversation_id" => &mut pushdown.conversations,
        "type" => &mut pushdown.types,
        _ => return,
    };
    let Some(texts) = texts else { return };
    *target = Some(match target.take() {
        Some(old) => old.intersection(&texts).cloned().collect(),
        None => texts,
    });
}

fn constant_text(value: &Value) -> Option<String> {
    let node = value.as_object()?;
    let constant = node
        .get("value")
        .filter(|_| text(node, "class") == "CONSTANT")?;
    let is_text = constant["type"]["id"] == "VARCHAR";
    is_text.then(|| constant["value"].as_str().map(str::to_owned))?
}

/// Returns whether `value` has only constants, casts and [`TIME_FUNCTIONS`]; clocks only if allowed.
fn is_constant_time(value: &Value, clocks_allowed: bool) -> bool {
    let Some(node) = value.as_object() else {
        return false;
    };
    match text(node, "class") {
        "CONSTANT" => true,
        "CAST" => node
            .get("child")
            .is_some_and(|child| is_constant_time(child, clocks_allowed)),
        "FUNCTION" => {
            let name = text(node, "function_name").to_ascii_lowercase();
            let children = node.get("children").and_then(Value::as_array);
            TIME_FUNCTIONS.contains(&name.as_str())
                && (clocks_allowed || !CLOCK_FUNCTIONS.contains(&name.as_str()))
                && is_empty(node.get("filter"))
                && children
                    .is_none_or(|all| all.iter().all(|one| is_constant_time(one, clocks_allowed)))
        }
        _ => false,
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

fn text<'a>(node: &'a Map<String, Value>, key: &str) -> &'a str {
    node.get(key).and_then(Value::as_str).unwrap_or_default()
}
