//! What a parsed statement refers to, and whether it may run. Pure: works on the JSON form that
//! DuckDB's own parser gives.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    Columns, SqlError, Table,
    functions::{self, Known},
};

/// Table functions that make rows out of nothing but their arguments.
const TABLE_FUNCTIONS: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_each",
    "json_tree",
    "range",
    "repeat_row",
    "unnest",
];

/// What [`inspect`] finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Referenced {
    pub(super) tables: BTreeSet<Table>,
    pub(super) columns: Columns,
}

/// Reads the answer of `json_serialize_sql`: exactly one statement, or the reason why not.
pub(super) fn only_statement(json: &str) -> Result<Value, SqlError> {
    let deep = |_| SqlError::NotAllowed("the statement is nested too deeply".into());
    let mut parsed: Value = serde_json::from_str(json).map_err(deep)?;
    if parsed["error"] == Value::Bool(true) {
        let message = parsed["error_message"].as_str().unwrap_or("not understood");
        if parsed["error_type"] == "not implemented" {
            return Err(refuse("only a single SELECT may be run here"));
        }
        return Err(SqlError::Invalid(plain(message)));
    }
    match parsed["statements"].as_array_mut().map(std::mem::take) {
        Some(mut statements) if statements.len() == 1 => Ok(statements.remove(0)["node"].take()),
        Some(statements) if statements.is_empty() => {
            Err(SqlError::Invalid("there is no statement".into()))
        }
        _ => Err(refuse(
            "one statement at a time: leave out what follows the first ;",
        )),
    }
}

/// What DuckDB said, without what nobody can do here: no setting may be changed.
pub(super) fn plain(message: &str) -> String {
    let depth = "expression depth";
    if message.contains(depth) {
        return "the statement is nested too deeply; make it of parts, by WITH".to_owned();
    }
    let advice = ["Use \"SET ", "Use 'SET ", "SET ", "PRAGMA "];
    let sentences = message.split_inclusive(". ");
    let kept = sentences.filter(|sentence| !advice.iter().any(|start| sentence.starts_with(start)));
    kept.collect::<String>().trim().chars().take(500).collect()
}

fn refuse(sentence: impl Into<String>) -> SqlError {
    SqlError::NotAllowed(sentence.into())
}

/// Checks every node of the statement.
pub(super) fn inspect(statement: &Value) -> Result<Referenced, SqlError> {
    let mut found = Found::default();
    found.visit(statement)?;
    let mut tables = BTreeSet::new();
    for name in &found.tables {
        match Table::ALL.into_iter().find(|table| table.name() == name) {
            Some(table) => drop(tables.insert(table)),
            None if found.ctes.contains(name) => {}
            None => return Err(unknown_table(name)),
        }
    }
    let names = &found.names;
    let whole_row = found
        .column_refs
        .iter()
        .any(|name| found.tables.contains(name) || found.aliases.contains(name));
    let columns = if found.all_columns || whole_row {
        Columns::All
    } else {
        Columns::Named(names.clone())
    };
    Ok(Referenced { tables, columns })
}

fn unknown_table(name: &str) -> SqlError {
    let known = Table::ALL.map(Table::name).join(", ");
    refuse(format!(
        "there is no table {name:?} here; there are {known}"
    ))
}

#[derive(Default)]
struct Found {
    tables: BTreeSet<String>,
    ctes: BTreeSet<String>,
    aliases: BTreeSet<String>,
    /// Last parts of column references.
    column_refs: BTreeSet<String>,
    /// Every text in the statement: the column names it needs are among them.
    names: BTreeSet<String>,
    all_columns: bool,
}

impl Found {
    fn visit(&mut self, value: &Value) -> Result<(), SqlError> {
        match value {
            Value::Object(object) => {
                self.node(object)?;
                let rows = text(object, "type") == "TABLE_FUNCTION";
                object.iter().try_for_each(|(key, child)| match child {
                    // Its name was checked as that of a table function, which has other rules.
                    Value::Object(function) if rows && key == "function" => {
                        function.values().try_for_each(|child| self.visit(child))
                    }
                    child => self.visit(child),
                })
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.visit(item)),
            Value::String(text) => {
                self.names.insert(text.to_ascii_lowercase());
                Ok(())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    fn node(&mut self, node: &Map<String, Value>) -> Result<(), SqlError> {
        let alias = lower(node, "alias");
        self.aliases.extend((!alias.is_empty()).then_some(alias));
        if let Some(Value::Array(ctes)) = node.get("cte_map").and_then(|map| map.get("map")) {
            let names = ctes.iter().filter_map(Value::as_object);
            self.ctes.extend(names.map(|cte| lower(cte, "key")));
        }
        if node.contains_key("function_name") {
            function(&lower(node, "function_name"))?;
        }
        match text(node, "type") {
            "BASE_TABLE" => self.base_table(node),
            "TABLE_FUNCTION" => table_function(node),
            "SHOW_REF" => self.show(node),
            "STAR" | "PIVOT" => {
                self.all_columns = true;
                Ok(())
            }
            "JOIN" if text(node, "ref_type") == "NATURAL" => {
                self.all_columns = true;
                Ok(())
            }
            "COLUMN_REF" => {
                let parts = node.get("column_names").and_then(Value::as_array);
                let last = parts.and_then(|parts| parts.last()).and_then(Value::as_str);
                self.column_refs.extend(last.map(str::to_ascii_lowercase));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn base_table(&mut self, node: &Map<String, Value>) -> Result<(), SqlError> {
        let name = lower(node, "table_name");
        let elsewhere = !text(node, "catalog_name").is_empty()
            || !matches!(lower(node, "schema_name").as_str(), "" | "main");
        if elsewhere {
            return Err(unknown_table(&name));
        }
        self.tables.insert(name);
        Ok(())
    }

    /// DESCRIBE and SUMMARIZE of a query; not SHOW, which lists what is not there to be seen.
    fn show(&mut self, node: &Map<String, Value>) -> Result<(), SqlError> {
        self.all_columns = true;
        let of_a_query = node.get("query").is_some_and(Value::is_object);
        match text(node, "show_type") {
            "DESCRIBE" | "SUMMARY" if of_a_query => Ok(()),
            _ => Err(refuse(
                "SHOW is not allowed; DESCRIBE and SUMMARIZE of a table are",
            )),
        }
    }
}

fn function(name: &str) -> Result<(), SqlError> {
    match functions::known(name) {
        Known::Pure => Ok(()),
        Known::Refused => Err(refuse(format!("the function {name} is not allowed here"))),
        Known::Not => Err(SqlError::Invalid(format!(
            "there is no function {name} here; there are those of DuckDB 1.5 that read nothing \
             but their arguments"
        ))),
    }
}

fn table_function(node: &Map<String, Value>) -> Result<(), SqlError> {
    let function = node.get("function").and_then(Value::as_object);
    let name = function.map(|function| lower(function, "function_name"));
    let name = name.unwrap_or_default();
    if TABLE_FUNCTIONS.contains(&name.as_str()) {
        return Ok(());
    }
    Err(refuse(format!(
        "the table function {name} is not allowed here; read from events, hourly_stats or conversation_summary"
    )))
}

fn text<'a>(node: &'a Map<String, Value>, key: &str) -> &'a str {
    node.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn lower(node: &Map<String, Value>, key: &str) -> String {
    text(node, key).to_ascii_lowercase()
}
