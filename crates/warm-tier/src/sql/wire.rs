//! The protocol between the process that serves SQL and the one that runs a statement: the request
//! is a JSON header and the rows of each table, the answer a JSON outcome and its rows. JSON has a
//! length prefix (u32, little-endian); rows are Arrow IPC streams.

use std::{
    io::{self, BufReader, BufWriter, Read, Write},
    time::Duration,
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Answer, Limits, Sandbox, SqlError, Table};

/// Most bytes of a JSON part: a statement and a few numbers. No reason but to bound memory.
const MAX_JSON_BYTES: u32 = 16 << 20;

/// The rows of one table.
#[derive(Debug)]
pub struct TableRows {
    pub table: Table,
    /// Any subset of the table's columns.
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

/// A statement to run in another process, with its limits and the tables that it reads.
#[derive(Debug)]
pub struct Job {
    pub sql: String,
    pub limits: Limits,
    pub tables: Vec<TableRows>,
}

/// The first JSON part of a job.
#[derive(Debug, Serialize, Deserialize)]
struct JobHeader {
    sql: String,
    memory_bytes: u64,
    threads: u16,
    timeout_micros: u64,
    max_rows: usize,
    max_bytes: usize,
    /// Number of tables that follow.
    tables: usize,
}

/// The first JSON part of the answer. After `Answer` the rows follow.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", content = "said", rename_all = "snake_case")]
enum JobOutcome {
    Answer,
    NotAllowed(String),
    Invalid(String),
    Timeout,
    Memory,
    ResultTooLarge,
    Engine(String),
}

impl Job {
    /// Sends the job and waits for its answer. Blocks until the other process answers or ends.
    ///
    /// # Errors
    /// The error of the statement, or [`SqlError::Died`] when the other process ends without an answer.
    pub fn ask(self, to: impl Write, from: impl Read) -> Result<Answer, SqlError> {
        let limits = self.limits;
        // A process that refuses the statement reads no rows, so an error here is no failure: its
        // answer decides.
        let _ = self.send(BufWriter::new(to));
        let mut from = BufReader::new(from);
        let outcome = read_json(&mut from).map_err(|_| SqlError::Died)?;
        match outcome {
            JobOutcome::Answer => {
                let (schema, batches) = read_rows(&mut from).map_err(|_| SqlError::Died)?;
                Ok(Answer { schema, batches })
            }
            outcome => Err(outcome.error(limits)),
        }
    }

    fn send(self, mut to: impl Write) -> io::Result<()> {
        let Limits {
            memory_bytes,
            threads,
            timeout,
            max_rows,
            max_bytes,
        } = self.limits;
        let header = JobHeader {
            sql: self.sql,
            memory_bytes,
            threads,
            timeout_micros: u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX),
            max_rows,
            max_bytes,
            tables: self.tables.len(),
        };
        write_json(&mut to, &header)?;
        for TableRows {
            table,
            schema,
            batches,
        } in self.tables
        {
            write_json(&mut to, &table.name())?;
            write_rows(&mut to, &schema, batches)?;
        }
        to.flush()
    }
}

/// A job whose header has been received; its rows are read when it is run.
#[derive(Debug)]
pub struct Received<R> {
    header: JobHeader,
    from: BufReader<R>,
}

impl<R: Read> Received<R> {
    /// Reads the header of a job.
    ///
    /// # Errors
    /// An IO error when the stream ends early or the header is malformed: end the process.
    pub fn read(from: R) -> io::Result<Self> {
        let mut from = BufReader::new(from);
        let header = read_json(&mut from)?;
        Ok(Self { header, from })
    }

    /// The limits of the statement.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.header.memory_bytes,
            threads: self.header.threads,
            timeout: Duration::from_micros(self.header.timeout_micros),
            max_rows: self.header.max_rows,
            max_bytes: self.header.max_bytes,
        }
    }

    /// Runs the statement and writes its answer, or its error, to `to`.
    ///
    /// # Errors
    /// An IO error when the answer cannot be written: end the process.
    pub fn run(mut self, to: impl Write) -> io::Result<()> {
        let mut to = BufWriter::new(to);
        match self.answer() {
            Ok(answer) => {
                write_json(&mut to, &JobOutcome::Answer)?;
                write_rows(&mut to, &answer.schema, answer.batches)?;
            }
            Err(error) => write_json(&mut to, &JobOutcome::from(error))?,
        }
        to.flush()
    }

    fn answer(&mut self) -> Result<Answer, SqlError> {
        let ended = |error: io::Error| SqlError::Engine(format!("the rows ended: {error}"));
        let sandbox = Sandbox::open(self.limits())?;
        let select = sandbox.parse(&self.header.sql)?;
        for _ in 0..self.header.tables {
            let name: String = read_json(&mut self.from).map_err(ended)?;
            let table = Table::ALL.into_iter().find(|table| table.name() == name);
            let table = table.ok_or_else(|| SqlError::Engine(format!("no table {name}")))?;
            let rows = StreamReader::try_new(&mut self.from, None).map_err(incomplete)?;
            let schema = rows.schema();
            let rows: Result<Vec<_>, _> = rows.collect();
            sandbox.load(table, &schema, rows.map_err(incomplete)?)?;
        }
        sandbox.run(&select)
    }
}

impl JobOutcome {
    /// The error of the statement; the limits are not part of the protocol.
    fn error(self, limits: Limits) -> SqlError {
        match self {
            Self::NotAllowed(message) => SqlError::NotAllowed(message),
            Self::Invalid(message) => SqlError::Invalid(message),
            Self::Timeout => SqlError::Timeout(limits.timeout),
            Self::Memory => SqlError::Memory(limits.memory_bytes),
            Self::ResultTooLarge => SqlError::ResultTooLarge {
                rows: limits.max_rows,
                bytes: limits.max_bytes,
            },
            Self::Engine(message) => SqlError::Engine(message),
            Self::Answer => SqlError::Died,
        }
    }
}

impl From<SqlError> for JobOutcome {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::NotAllowed(message) => Self::NotAllowed(message),
            SqlError::Invalid(message) => Self::Invalid(message),
            SqlError::Timeout(_) => Self::Timeout,
            SqlError::Memory(_) => Self::Memory,
            SqlError::ResultTooLarge { .. } => Self::ResultTooLarge,
            SqlError::Engine(message) => Self::Engine(message),
            SqlError::Died => Self::Engine("it died".to_owned()),
        }
    }
}

fn incomplete(error: arrow::error::ArrowError) -> SqlError {
    SqlError::Engine(format!("the rows do not arrive whole: {error}"))
}

fn write_json(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(value)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&json)
}

fn read_json<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_JSON_BYTES {
        return Err(io::Error::other("the JSON part is too long"));
    }
    let mut json = vec![0; length as usize];
    from.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

fn write_rows(
    to: &mut impl Write,
    schema: &SchemaRef,
    batches: Vec<RecordBatch>,
) -> io::Result<()> {
    let write = || {
        let mut writer = StreamWriter::try_new(to, schema)?;
        for batch in batches {
            writer.write(&batch)?;
        }
        writer.finish()
    };
    write().map_err(io::Error::other)
}

fn read_rows(from: &mut impl Read) -> io::Result<(SchemaRef, Vec<RecordBatch>)> {
    let rows = StreamReader::try_new(from, None).map_err(io::Error::other)?;
    let schema = rows.schema();
    let batches: Result<Vec<_>, _> = rows.collect();
    Ok((schema, batches.map_err(io::Error::other)?))
}
