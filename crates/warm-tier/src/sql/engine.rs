//! The in-memory DuckDB instance that one statement runs in.

use std::io::{self, Write};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use duckdb::{Config, Connection};
use event::Timestamp;
use serde_json::Value;

use super::{
    Columns, Limits, Select, SqlError, Table, ast, pushdown,
    watchdog::{Watchdog, WatchdogOutcome},
};

/// Encodes an answer: gets the name of an encoding, the schema, the rows batch by batch, and the output,
/// which ends with an error at the statement's limit.
pub type Encoder<'a> = &'a dyn Fn(
    &str,
    &SchemaRef,
    &mut dyn Iterator<Item = RecordBatch>,
    &mut dyn Write,
) -> Result<(), EncodeError>;

/// An answer that has no form in the encoding.
#[derive(Debug, thiserror::Error)]
#[error("this format cannot represent a column; cast it to VARCHAR: {0}")]
pub struct EncodeError(#[from] pub ArrowError);

/// The in-memory DuckDB instance of one statement. Its methods block and must not be called on an
/// async thread.
#[derive(Debug)]
pub struct Sandbox {
    connection: Connection,
    limits: Limits,
}

impl Sandbox {
    /// Opens an empty instance without external access and with a locked configuration.
    ///
    /// # Errors
    /// [`SqlError::Engine`] when DuckDB cannot be started.
    pub fn open(limits: Limits) -> Result<Self, SqlError> {
        let config = Config::default()
            .enable_autoload_extension(false)
            .and_then(|config| config.with("autoinstall_known_extensions", "false"))
            .and_then(|config| config.with("temp_directory", ""))
            .and_then(|config| config.max_memory(&format!("{}B", limits.memory_bytes)))
            .and_then(|config| config.threads(limits.threads.into()))
            .map_err(engine)?;
        let connection = Connection::open_in_memory_with_flags(config).map_err(engine)?;
        // Fails without ICU; then there are no time zones and everything is UTC anyway.
        let _ = connection.execute_batch("SET TimeZone = 'UTC'");
        connection
            .execute_batch("SET enable_external_access = false; SET lock_configuration = true")
            .map_err(engine)?;
        Ok(Self { connection, limits })
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
            .map_err(|error| self.failed(&error, WatchdogOutcome::WithinLimits))?;
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

    /// Creates `table` from `batches`, whose columns are those of `schema`: any subset of the table's.
    ///
    /// # Errors
    /// [`SqlError::Memory`] when the rows do not fit the memory limit, [`SqlError::Engine`] when a
    /// column has an unknown type or DuckDB fails.
    pub fn load(
        &self,
        table: Table,
        schema: &Schema,
        batches: impl IntoIterator<Item = RecordBatch>,
    ) -> Result<(), SqlError> {
        let rows = format!("{}_rows", table.name());
        let columns = schema
            .fields()
            .iter()
            .map(|field| {
                Ok(format!(
                    "{} {}",
                    quoted(field.name()),
                    sql_type(field.data_type())?
                ))
            })
            .collect::<Result<Vec<_>, SqlError>>()?;
        let create = format!("CREATE TABLE {rows} ({})", columns.join(", "));
        let result = self.connection.execute_batch(&create).and_then(|()| {
            let mut appender = self.connection.appender(&rows)?;
            for batch in batches {
                appender.append_record_batch(batch)?;
            }
            appender.flush()
        });
        result.map_err(|error| self.failed(&error, WatchdogOutcome::WithinLimits))?;
        self.connection
            .execute_batch(&view(table, schema, &rows))
            .map_err(engine)
    }

    /// Runs the statement on the loaded tables and encodes its rows. Tables that were not loaded do not
    /// exist.
    ///
    /// # Errors
    /// [`SqlError::Timeout`], [`SqlError::Memory`] or [`SqlError::ResultTooLarge`] when it exceeds a
    /// limit, [`SqlError::Invalid`] or [`SqlError::NotAllowed`] when it fails: all of them are the
    /// user's to correct. [`SqlError::Engine`] when DuckDB fails.
    pub fn run(
        self,
        select: &Select,
        encoding: &str,
        encoder: Encoder<'_>,
    ) -> Result<Vec<u8>, SqlError> {
        let Limits {
            timeout, max_rows, ..
        } = self.limits;
        // Into a table first: its rows count as used memory, and reading it cannot fail half way.
        let sql = format!(
            "CREATE TEMP TABLE answer AS SELECT * FROM (\n{}\n) LIMIT {}",
            select.sql,
            max_rows.saturating_add(1)
        );
        let watchdog = Watchdog::start(self.connection.interrupt_handle(), timeout);
        let result = self.connection.execute_batch(&sql);
        let outcome = watchdog.stop();
        result.map_err(|error| self.failed(&error, outcome))?;
        self.encode_answer(encoding, encoder)
    }

    /// Encodes the table `answer`, up to the limits.
    fn encode_answer(&self, encoding: &str, encoder: Encoder<'_>) -> Result<Vec<u8>, SqlError> {
        let mut statement = self
            .connection
            .prepare("SELECT * FROM temp.answer")
            .map_err(engine)?;
        let rows = statement.stream_arrow([]).map_err(engine)?;
        let schema = rows.get_schema();
        let mut count = 0;
        let mut counted = rows.inspect(|batch| count += batch.num_rows());
        let mut out = LimitedOutput {
            bytes: Vec::new(),
            max: self.limits.max_bytes,
            exceeded: false,
        };
        let encoded = encoder(encoding, &schema, &mut counted, &mut out);
        if out.exceeded || count > self.limits.max_rows {
            return Err(SqlError::ResultTooLarge {
                rows: self.limits.max_rows,
                bytes: self.limits.max_bytes,
            });
        }
        encoded.map_err(|error| SqlError::Invalid(error.to_string()))?;
        Ok(out.bytes)
    }

    /// Converts an error of DuckDB, which an interrupt by the watchdog may have caused.
    fn failed(&self, error: &duckdb::Error, outcome: WatchdogOutcome) -> SqlError {
        let message = message(error);
        match outcome {
            WatchdogOutcome::TimedOut => SqlError::Timeout(self.limits.timeout),
            WatchdogOutcome::WithinLimits if message.starts_with("Out of Memory") => {
                SqlError::Memory(self.limits.memory_bytes)
            }
            WatchdogOutcome::WithinLimits
                if message.starts_with("INTERNAL") || message.starts_with("FATAL") =>
            {
                SqlError::Engine(message)
            }
            WatchdogOutcome::WithinLimits if message.starts_with("Permission") => {
                SqlError::NotAllowed(message)
            }
            WatchdogOutcome::WithinLimits => SqlError::Invalid(message),
        }
    }
}

/// Memory that takes at most `max` bytes.
struct LimitedOutput {
    bytes: Vec<u8>,
    max: usize,
    exceeded: bool,
}

impl Write for LimitedOutput {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.max {
            self.exceeded = true;
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// DuckDB's message without the lines that point into the statement.
fn message(error: &duckdb::Error) -> String {
    let text = match error {
        duckdb::Error::DuckDBFailure(_, Some(text)) => text.clone(),
        other => other.to_string(),
    };
    ast::without_advice(text.lines().next().unwrap_or_default())
}

fn engine(error: duckdb::Error) -> SqlError {
    SqlError::Engine(message(&error))
}

fn sql_type(data_type: &DataType) -> Result<&'static str, SqlError> {
    match data_type {
        DataType::Utf8 => Ok("VARCHAR"),
        DataType::Int32 => Ok("INTEGER"),
        DataType::Int64 => Ok("BIGINT"),
        DataType::Float64 => Ok("DOUBLE"),
        DataType::Timestamp(TimeUnit::Microsecond, None) => Ok("TIMESTAMP"),
        other => Err(SqlError::Engine(format!("no table column for {other}"))),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The statement that creates the view that user SQL reads.
fn view(table: Table, schema: &Schema, rows: &str) -> String {
    let name = table.name();
    match table {
        Table::Events => format!(
            "CREATE VIEW {name} AS SELECT {} FROM {rows}",
            visible_columns(schema)
        ),
        Table::HourlyStats => format!(
            "CREATE VIEW {name} AS SELECT hour, type, sum(events)::BIGINT AS events, \
             sum(bytes)::BIGINT AS bytes FROM {rows} GROUP BY hour, type"
        ),
        Table::ConversationSummary => format!(
            "CREATE VIEW {name} AS SELECT conversation_id, sum(events)::BIGINT AS events, \
             sum(bytes)::BIGINT AS bytes, min(first_timestamp) AS first_timestamp, \
             max(last_timestamp) AS last_timestamp, arg_min(start_timestamp, \
             (generation, epoch, start_seq, start_idx)) AS start_timestamp, \
             max(last_seq) AS last_seq, sum(errors)::BIGINT AS errors \
             FROM {rows} GROUP BY conversation_id"
        ),
    }
}

/// Metadata that JSON functions read: text that is no JSON for DuckDB, though it was for the parser that
/// accepted it, becomes a JSON string, so that one row of many does not fail the statement.
const READABLE_METADATA: &str = "CASE WHEN metadata IS NULL OR json_valid(metadata) THEN metadata \
     WHEN metadata <> '' THEN to_json(metadata)::VARCHAR END AS metadata";

/// The columns of the view: `position` in its usual text form, then the loaded columns.
fn visible_columns(schema: &Schema) -> String {
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let position = Columns::POSITION_PARTS
        .iter()
        .all(|part| names.contains(part))
        .then(|| {
            "printf('%04d-%04d-%04d-%020d-%04d', generation, \"partition\", epoch, seq, idx) \
             AS position"
                .to_owned()
        });
    let columns = names.iter().map(|name| match *name {
        "metadata" => READABLE_METADATA.to_owned(),
        name => quoted(name),
    });
    position
        .into_iter()
        .chain(columns)
        .collect::<Vec<_>>()
        .join(", ")
}
