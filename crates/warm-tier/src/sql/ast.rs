//! Checks a parsed statement and collects the tables and columns that it references. Pure: works on
//! the JSON form that DuckDB's own parser returns.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    Columns, SqlError, Table,
    functions::{self, FunctionAccess},
};

/// Table functions that read nothing but their arguments.
const TABLE_FUNCTIONS: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_each",
    "json_tree",
    "range",
    "repeat_row",
    "unnest",
];

/// The tables and columns that a statement references.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct References {
    pub(super) tables: BTreeSet<Table>,
    pub(super) columns: Columns,
}

/// Parses the result of `json_serialize_sql`, which must have exactly one statement.
pub(super) fn only_statement(json: &str) -> Result<Value, SqlError> {
    let too_deep = |_| SqlError::NotAllowed("the statement is nested too deeply".into());
    let mut parsed: Value = serde_json::from_str(json).map_err(too_deep)?;
    if parsed["error"] == Value::Bool(true) {
        let message = parsed["error_message"].as_str().unwrap_or("not understood");
        if parsed["error_type"] == "not implemented" {
            return Err(refuse("only a single SELECT may be run here"));
        }
        return Err(SqlError::Invalid(without_advice(message)));
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

/// Removes from DuckDB's error message the advice to change a setting, which is not possible here.
pub(super) fn without_advice(message: &str) -> String {
    if message.contains("expression depth") {
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

/// Checks every node of the statement and collects its references.
pub(super) fn inspect(statement: &Value) -> Result<References, SqlError> {
    let mut collected = ReferenceCollector::default();
    collected.visit(statement)?;
    let mut tables = BTreeSet::new();
    for name in &collected.tables {
        match Table::ALL.into_iter().find(|table| table.name() == name) {
            Some(table) => drop(tables.insert(table)),
            None => return Err(unknown_table(name)),
        }
    }
    let is_row = |name| collected.row_names.contains(name);
    let uses_whole_row = collected.column_refs.iter().any(is_row);
    let columns = if collected.all_columns || uses_whole_row {
        Columns::All
    } else {
        Columns::Named(collected.names)
    };
    Ok(References { tables, columns })
}

fn unknown_table(name: &str) -> SqlError {
    let known = Table::ALL.map(Table::name).join(", ");
    refuse(format!(
        "there is no table {name:?} here; there are {known}"
    ))
}

/// Visits the nodes of a statement.
#[derive(Default)]
struct ReferenceCollector {
    tables: BTreeSet<String>,
    /// Names of the common table expressions that the visited node can see, the innermost last.
    visible_ctes: Vec<String>,
    /// Names and aliases in FROM: as a column, each is a whole row.
    row_names: BTreeSet<String>,
    /// Last parts of column references.
    column_refs: BTreeSet<String>,
    /// Every string in the statement; the names of all needed columns are among them.
    names: BTreeSet<String>,
    all_columns: bool,
}

impl ReferenceCollector {
    fn visit(&mut self, value: &Value) -> Result<(), SqlError> {
        match value {
            Value::Object(object) => {
                let outside = self.visible_ctes.len();
                let visited = self.query(object);
                self.visible_ctes.truncate(outside);
                visited
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.visit(item)),
            Value::String(text) => {
                self.names.insert(text.to_ascii_lowercase());
                Ok(())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    /// Visits a node with what it defines: a common table expression is visible to those behind it and to
    /// the rest of the node, a recursive one also to its own right side.
    fn query(&mut self, node: &Map<String, Value>) -> Result<(), SqlError> {
        let ctes = node.get("cte_map").and_then(|map| map.get("map"));
        for cte in ctes.and_then(Value::as_array).into_iter().flatten() {
            self.visit(cte)?;
            self.visible_ctes
                .extend(cte["key"].as_str().map(str::to_ascii_lowercase));
        }
        self.node(node)?;
        let kind = text(node, "type");
        for (key, child) in node {
            match child {
                _ if key == "cte_map" => {}
                // Its name was checked by the rules for table functions in `node`.
                Value::Object(function) if kind == "TABLE_FUNCTION" && key == "function" => {
                    function.values().try_for_each(|child| self.visit(child))?;
                }
                child if kind == "RECURSIVE_CTE_NODE" && key == "right" => {
                    self.visible_ctes.push(lower(node, "cte_name"));
                    self.visit(child)?;
                    self.visible_ctes.pop();
                }
                child => self.visit(child)?,
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Map<String, Value>) -> Result<(), SqlError> {
        let alias = lower(node, "alias");
        self.row_names.extend((!alias.is_empty()).then_some(alias));
        if node.contains_key("function_name") {
            check_function(&lower(node, "function_name"))?;
        }
        match text(node, "type") {
            "BASE_TABLE" => self.base_table(node),
            "TABLE_FUNCTION" => check_table_function(node),
            "SHOW_REF" => self.check_show(node),
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
        let is_qualified = !text(node, "catalog_name").is_empty()
            || !matches!(lower(node, "schema_name").as_str(), "" | "main");
        if is_qualified {
            return Err(unknown_table(&name));
        }
        self.row_names.insert(name.clone());
        // `main.x` is the table x, also where a common table expression has its name.
        let is_cte = lower(node, "schema_name").is_empty() && self.visible_ctes.contains(&name);
        if !is_cte {
            self.tables.insert(name);
        }
        Ok(())
    }

    /// Allows DESCRIBE and SUMMARIZE of a query, but not SHOW, which lists internal tables.
    fn check_show(&mut self, node: &Map<String, Value>) -> Result<(), SqlError> {
        self.all_columns = true;
        let has_query = node.get("query").is_some_and(Value::is_object);
        match text(node, "show_type") {
            "DESCRIBE" | "SUMMARY" if has_query => Ok(()),
            _ => Err(refuse(
                "SHOW is not allowed; DESCRIBE and SUMMARIZE of a table are",
            )),
        }
    }
}

fn check_function(name: &str) -> Result<(), SqlError> {
    match functions::access(name) {
        FunctionAccess::Allowed => Ok(()),
        FunctionAccess::Refused => Err(refuse(format!("the function {name} is not allowed here"))),
        FunctionAccess::Unknown => Err(SqlError::Invalid(format!(
            "there is no function {name} here; there are those of DuckDB 1.5 that read nothing \
             but their arguments"
        ))),
    }
}

fn check_table_function(node: &Map<String, Value>) -> Result<(), SqlError> {
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
