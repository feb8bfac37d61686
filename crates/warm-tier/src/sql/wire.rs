//! One statement between two processes: what to run and its rows on the way there, what came of it
//! on the way back. Rows travel as Arrow IPC streams.

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

/// No head is longer: a statement and a few numbers.
const MAX_HEAD_BYTES: u32 = 16 << 20;

/// The rows of one table.
#[derive(Debug)]
pub struct Rows {
    pub table: Table,
    /// Any part of the table's columns.
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

/// A statement to run, with everything that it reads.
#[derive(Debug)]
pub struct Job {
    pub sql: String,
    pub limits: Limits,
    pub tables: Vec<Rows>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    sql: String,
    memory_bytes: u64,
    threads: u16,
    timeout_micros: u64,
    max_rows: usize,
    max_bytes: usize,
    tables: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", content = "said", rename_all = "snake_case")]
enum Outcome {
    Answer,
    NotAllowed(String),
    Invalid(String),
    Timeout,
    Memory,
    ResultTooLarge,
    Engine(String),
}

impl Job {
    /// Hands the job over and waits for what comes of it. Blocking; ends when the other side does.
    ///
    /// # Errors
    /// [`SqlError::Died`] when the other side ends without a word.
    pub fn ask(self, to: impl Write, from: impl Read) -> Result<Answer, SqlError> {
        let limits = self.limits;
        // Who refuses the statement reads no rows: what it said still counts.
        let _ = self.send(BufWriter::new(to));
        let mut from = BufReader::new(from);
        let outcome = read_json(&mut from).map_err(|_| SqlError::Died)?;
        match outcome {
            Outcome::Answer => {
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
        let head = Head {
            sql: self.sql,
            memory_bytes,
            threads,
            timeout_micros: u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX),
            max_rows,
            max_bytes,
            tables: self.tables.len(),
        };
        write_json(&mut to, &head)?;
        for Rows {
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

/// A job that has arrived; its rows are still on their way.
#[derive(Debug)]
pub struct Received<R> {
    head: Head,
    from: BufReader<R>,
}

impl<R: Read> Received<R> {
    pub fn read(from: R) -> io::Result<Self> {
        let mut from = BufReader::new(from);
        let head = read_json(&mut from)?;
        Ok(Self { head, from })
    }

    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.head.memory_bytes,
            threads: self.head.threads,
            timeout: Duration::from_micros(self.head.timeout_micros),
            max_rows: self.head.max_rows,
            max_bytes: self.head.max_bytes,
        }
    }

    /// Runs it and says what came of it.
    pub fn run(mut self, to: impl Write) -> io::Result<()> {
        let mut to = BufWriter::new(to);
        match self.answer() {
            Ok(answer) => {
                write_json(&mut to, &Outcome::Answer)?;
                write_rows(&mut to, &answer.schema, answer.batches)?;
            }
            Err(error) => write_json(&mut to, &Outcome::from(error))?,
        }
        to.flush()
    }

    fn answer(&mut self) -> Result<Answer, SqlError> {
        let unread = |error: io::Error| SqlError::Engine(format!("the rows ended: {error}"));
        let sandbox = Sandbox::open(self.limits())?;
        let select = sandbox.parse(&self.head.sql)?;
        for _ in 0..self.head.tables {
            let name: String = read_json(&mut self.from).map_err(unread)?;
            let table = Table::ALL.into_iter().find(|table| table.name() == name);
            let table = table.ok_or_else(|| SqlError::Engine(format!("no table {name}")))?;
            let rows = StreamReader::try_new(&mut self.from, None).map_err(broken)?;
            let schema = rows.schema();
            let rows: Result<Vec<_>, _> = rows.collect();
            sandbox.load(table, &schema, rows.map_err(broken)?)?;
        }
        sandbox.run(&select)
    }
}

impl Outcome {
    fn error(self, limits: Limits) -> SqlError {
        match self {
            Self::NotAllowed(said) => SqlError::NotAllowed(said),
            Self::Invalid(said) => SqlError::Invalid(said),
            Self::Timeout => SqlError::Timeout(limits.timeout),
            Self::Memory => SqlError::Memory(limits.memory_bytes),
            Self::ResultTooLarge => SqlError::ResultTooLarge {
                rows: limits.max_rows,
                bytes: limits.max_bytes,
            },
            Self::Engine(said) => SqlError::Engine(said),
            Self::Answer => SqlError::Died,
        }
    }
}

impl From<SqlError> for Outcome {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::NotAllowed(said) => Self::NotAllowed(said),
            SqlError::Invalid(said) => Self::Invalid(said),
            SqlError::Timeout(_) => Self::Timeout,
            SqlError::Memory(_) => Self::Memory,
            SqlError::ResultTooLarge { .. } => Self::ResultTooLarge,
            SqlError::Engine(said) => Self::Engine(said),
            SqlError::Died => Self::Engine("it died".to_owned()),
        }
    }
}

fn broken(error: arrow::error::ArrowError) -> SqlError {
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
    if length > MAX_HEAD_BYTES {
        return Err(io::Error::other("the head is too long"));
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
