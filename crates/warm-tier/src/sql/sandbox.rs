//! The in-memory DuckDB instance that statements run in, one after the other.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use duckdb::{Config, Connection};
use event::Timestamp;
use serde_json::Value;

use super::{
    Limits, Select, SqlError, TableSources, ast, pushdown,
    rows::{self, RowsFunction},
    session::{self, Session},
    watchdog::WatchdogOutcome,
};
use crate::{engine, slice_file};

/// An in-memory DuckDB instance that sees nothing of the machine but the slices of one folder, which it keeps
/// attached. Its methods block and must not be called on an async thread.
#[derive(Debug)]
pub struct Sandbox {
    connection: Connection,
    memory_bytes: u64,
    /// The aliases of the slices that are attached.
    attached: BTreeMap<PathBuf, String>,
}

impl Sandbox {
    /// Opens an empty instance without external access and with a locked configuration. It can read the slices
    /// beneath `folder`, and without one nothing but the rows that it is given.
    ///
    /// # Errors
    /// [`SqlError::Engine`] when DuckDB cannot be started.
    pub fn open(memory_bytes: u64, threads: u16, folder: Option<&Path>) -> Result<Self, SqlError> {
        let config = Config::default()
            .enable_autoload_extension(false)
            .and_then(|config| config.with("autoinstall_known_extensions", "false"))
            .and_then(|config| config.with("temp_directory", ""))
            .and_then(|config| config.max_memory(&format!("{memory_bytes}B")))
            .and_then(|config| config.threads(threads.into()))
            .map_err(session::engine)?;
        let connection = Connection::open_in_memory_with_flags(config).map_err(session::engine)?;
        let registered = connection.register_table_function::<RowsFunction>(rows::FUNCTION);
        registered.map_err(session::engine)?;
        // Fails without ICU; then there are no time zones and everything is UTC anyway.
        let _ = connection.execute_batch("SET TimeZone = 'UTC'");
        let allowed = folder.map(|folder| {
            let folder = engine::text(&format!("{}/", folder.display()));
            format!("SET allowed_directories = [{folder}];")
        });
        let lock = "SET enable_external_access = false; SET lock_configuration = true";
        connection
            .execute_batch(&format!("{}{lock}", allowed.unwrap_or_default()))
            .map_err(session::engine)?;
        Ok(Self {
            connection,
            memory_bytes,
            attached: BTreeMap::new(),
        })
    }

    /// Parses a statement and checks that it is one SELECT over the known tables and functions.
    ///
    /// # Errors
    /// [`SqlError::Invalid`] when it cannot be parsed, [`SqlError::NotAllowed`] when it is not allowed:
    /// both are the user's to correct.
    pub fn parse(&self, sql: &str) -> Result<Select, SqlError> {
        let json: Option<String> = self
            .connection
            .query_row("SELECT json_serialize_sql(?::VARCHAR)", [sql], |row| {
                row.get(0)
            })
            .map_err(|error| {
                session::failed(&error, WatchdogOutcome::WithinLimits, self.memory_bytes)
            })?;
        let statement = ast::only_statement(&json.unwrap_or_default())?;
        let referenced = ast::inspect(&statement)?;
        let pushdown = pushdown::pushdown(&statement, &|bound| self.evaluate_time(bound));
        Ok(Select {
            sql: sql.trim_end().trim_end_matches(';').to_owned(),
            tables: referenced.tables,
            columns: referenced.columns,
            pushdown,
        })
    }

    /// Evaluates a constant expression to a time; `None` when it is no time.
    fn evaluate_time(&self, bound: &Value) -> Option<Timestamp> {
        let query = |sql: &str, text: &str| -> Option<String> {
            self.connection
                .query_row(sql, [text], |row| row.get::<_, Option<String>>(0))
                .ok()?
        };
        let mut statement: Value =
            serde_json::from_str(&query("SELECT json_serialize_sql(?::VARCHAR)", "SELECT 0")?)
                .ok()?;
        statement["statements"][0]["node"]["select_list"] = Value::Array(vec![bound.clone()]);
        let sql = query(
            "SELECT json_deserialize_sql(?::VARCHAR)",
            &statement.to_string(),
        )?;
        let sql = format!("SELECT epoch_us(CAST(({sql}) AS TIMESTAMP))");
        let micros = self
            .connection
            .query_row(&sql, [], |row| row.get::<_, Option<i64>>(0))
            .ok()??;
        Some(Timestamp::from_micros(micros))
    }

    /// Begins a statement over `tables`. What it makes is gone when it ends; the slices stay attached.
    ///
    /// # Errors
    /// [`SqlError::Stale`] when a slice is gone: plan again. [`SqlError::Engine`] when DuckDB fails.
    pub fn begin<'a>(
        &mut self,
        limits: Limits,
        tables: impl IntoIterator<Item = &'a TableSources>,
    ) -> Result<Session<'_>, SqlError> {
        self.detach_what_is_gone()?;
        for slice in tables.into_iter().flat_map(|table| &table.slices) {
            self.attach(&slice.path)?;
        }
        Session::begin(&self.connection, &self.attached, limits, self.memory_bytes)
    }

    fn attach(&mut self, path: &Path) -> Result<(), SqlError> {
        if self.attached.contains_key(path) {
            return Ok(());
        }
        let alias = slice_file::alias("slice");
        if let Err(error) = engine::attach_read_only(&self.connection, path, &alias) {
            return Err(match path.exists() {
                true => SqlError::Engine(error.to_string()),
                false => SqlError::Stale,
            });
        }
        self.attached.insert(path.to_owned(), alias);
        Ok(())
    }

    /// Frees the space of the files that were removed.
    fn detach_what_is_gone(&mut self) -> Result<(), SqlError> {
        for (_, alias) in self.attached.extract_if(.., |path, _| !path.exists()) {
            let detached = engine::detach(&self.connection, &alias);
            detached.map_err(|error| SqlError::Engine(error.to_string()))?;
        }
        Ok(())
    }
}
