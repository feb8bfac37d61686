//! One statement in a sandbox: its tables, its run, and its answer.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};
use duckdb::Connection;

use super::{
    Limits, Select, SqlError, Table, TableSources, ast,
    rows::TableRows,
    views,
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

/// A statement that has begun, as a transaction: when it ends, everything that it made is gone.
#[derive(Debug)]
pub struct Session<'a> {
    connection: &'a Connection,
    attached: &'a BTreeMap<PathBuf, String>,
    limits: Limits,
    memory_bytes: u64,
    relations: BTreeMap<Table, TableRows>,
}

impl<'a> Session<'a> {
    pub(super) fn begin(
        connection: &'a Connection,
        attached: &'a BTreeMap<PathBuf, String>,
        limits: Limits,
        memory_bytes: u64,
    ) -> Result<Self, SqlError> {
        connection.execute_batch("BEGIN").map_err(engine)?;
        Ok(Self {
            connection,
            attached,
            limits,
            memory_bytes,
            relations: BTreeMap::new(),
        })
    }

    /// Ends the statement.
    ///
    /// # Errors
    /// [`SqlError::Engine`]: the sandbox is broken.
    pub fn end(self) -> Result<(), SqlError> {
        self.connection.execute_batch("ROLLBACK").map_err(engine)
    }

    /// Creates a table of its slices and runs, to which rows can be added.
    ///
    /// # Errors
    /// [`SqlError::Stale`] when a run is gone: plan again. [`SqlError::Engine`] when a column has an unknown type or
    /// DuckDB fails.
    pub fn create(&mut self, sources: &TableSources) -> Result<(), SqlError> {
        let schema = Arc::new(sources.schema()?);
        let rows = TableRows::open(sources, &schema)?;
        let view = views::view(sources, &schema, &rows, self.attached);
        self.relations.insert(sources.table, rows);
        self.connection.execute_batch(&view).map_err(engine)
    }

    /// Adds `rows`, which have the columns of the sources, to a table.
    ///
    /// # Errors
    /// [`SqlError::Memory`] when the rows of all tables do not fit the memory limit, [`SqlError::Engine`] when the table
    /// was not created.
    pub fn load(&mut self, table: Table, rows: RecordBatch) -> Result<(), SqlError> {
        let own = self.relations.get_mut(&table);
        let own = own.ok_or_else(|| SqlError::Engine("rows of no table".to_owned()))?;
        own.loaded.add(rows);
        let all = self.relations.values();
        let bytes: u64 = all.map(|own| own.loaded.bytes()).sum();
        match bytes > self.memory_bytes {
            true => Err(SqlError::Memory(self.memory_bytes)),
            false => Ok(()),
        }
    }

    /// Runs the statement on the loaded tables and encodes its rows. Tables that were not loaded do not
    /// exist.
    ///
    /// # Errors
    /// [`SqlError::Timeout`], [`SqlError::Memory`] or [`SqlError::ResultTooLarge`] when it exceeds a
    /// limit, [`SqlError::Invalid`] or [`SqlError::NotAllowed`] when it fails: all of them are the
    /// user's to correct. [`SqlError::Engine`] when DuckDB fails.
    pub fn run(
        &self,
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

    fn failed(&self, error: &duckdb::Error, outcome: WatchdogOutcome) -> SqlError {
        match failed(error, outcome, self.memory_bytes) {
            SqlError::Timeout(_) => SqlError::Timeout(self.limits.timeout),
            error => error,
        }
    }
}

/// Converts an error of DuckDB, which an interrupt by the watchdog may have caused.
pub(super) fn failed(
    error: &duckdb::Error,
    outcome: WatchdogOutcome,
    memory_bytes: u64,
) -> SqlError {
    let message = message(error);
    if outcome == WatchdogOutcome::TimedOut {
        return SqlError::Timeout(Duration::ZERO);
    }
    match &message {
        text if text.starts_with("Out of Memory") => SqlError::Memory(memory_bytes),
        text if text.starts_with("INTERNAL") || text.starts_with("FATAL") => {
            SqlError::Engine(message)
        }
        text if text.starts_with("Permission") => SqlError::NotAllowed(message),
        _ => SqlError::Invalid(message),
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

pub(super) fn engine(error: duckdb::Error) -> SqlError {
    SqlError::Engine(message(&error))
}
