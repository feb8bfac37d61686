//! The rows of a statement that are in no slice: `isotherm_rows(N)` in its views, a table function that reads Arrow
//! batches where they are, and of these the columns that the statement needs.

mod run;
mod table_function;

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, LazyLock, Mutex, MutexGuard},
};

use arrow::{
    array::{Array as _, ArrayRef, BooleanArray, RecordBatch},
    datatypes::{Field, Schema, SchemaRef},
};

use super::{RunRows, SqlError, TableSources};
use run::Run;

pub(super) use table_function::RowsFunction;

/// The name of the table function. No statement of a user may call it.
pub(super) const FUNCTION: &str = "isotherm_rows";

/// The relations of all sandboxes of this process, by number: DuckDB makes and calls the table function itself.
static RELATIONS: LazyLock<Mutex<Numbered>> = LazyLock::new(Mutex::default);

#[derive(Debug, Default)]
struct Numbered {
    last: i64,
    relations: BTreeMap<i64, Rows>,
}

/// The rows of one relation.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    schema: SchemaRef,
    batches: Vec<Batch>,
    count: u64,
}

/// Some consecutive rows.
#[derive(Clone, Debug)]
enum Batch {
    Loaded(RecordBatch),
    /// This batch of a run.
    InFiles(Arc<Run>, usize),
}

impl Batch {
    /// The columns with these numbers, in their order.
    fn read(&self, columns: &[usize]) -> Result<RecordBatch, Box<dyn Error>> {
        match self {
            Self::Loaded(batch) => selected(batch.num_rows(), columns, |column| {
                let field = batch.schema_ref().fields().get(column)?.as_ref().clone();
                Some(Ok((field, ArrayRef::clone(batch.column(column)))))
            }),
            Self::InFiles(run, index) => {
                let rows = run.rows(*index)?;
                selected(rows, columns, |column| run.read(column, *index))
            }
        }
    }
}

/// The rows of a table that are in no slice.
#[derive(Debug)]
pub(super) struct TableRows {
    /// In the order of the sources.
    pub(super) runs: Vec<Relation>,
    pub(super) loaded: Relation,
}

impl TableRows {
    /// The runs of `sources`, and no loaded rows, in the columns of `schema`.
    ///
    /// # Errors
    /// [`SqlError::Stale`] when a file is gone: plan again. [`SqlError::Engine`] when it cannot be read.
    pub(super) fn open(sources: &TableSources, schema: &SchemaRef) -> Result<Self, SqlError> {
        let runs = sources.runs.iter();
        let runs = runs.map(|runs| Relation::of_runs(runs, &Arc::new(sources.run_schema()?)));
        Ok(Self {
            runs: runs.collect::<Result<_, _>>()?,
            loaded: Relation::new(SchemaRef::clone(schema)),
        })
    }
}

/// A relation of rows that DuckDB does not have; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Relation {
    number: i64,
    bytes: u64,
}

impl Relation {
    /// No rows, in the columns of `schema`.
    fn new(schema: SchemaRef) -> Self {
        Self::of(Rows {
            schema,
            batches: Vec::new(),
            count: 0,
        })
    }

    /// The rows of `runs`, in the columns of `schema`.
    fn of_runs(runs: &RunRows, schema: &SchemaRef) -> Result<Self, SqlError> {
        let mut batches = Vec::new();
        for folder in &runs.folders {
            let run = Arc::new(Run::open(folder, schema)?);
            let indexes = 0..run.batches();
            batches.extend(indexes.map(|index| Batch::InFiles(Arc::clone(&run), index)));
        }
        Ok(Self::of(Rows {
            schema: SchemaRef::clone(schema),
            batches,
            count: runs.rows,
        }))
    }

    fn of(rows: Rows) -> Self {
        let mut all = lock();
        all.last += 1;
        let number = all.last;
        all.relations.insert(number, rows);
        Self { number, bytes: 0 }
    }

    /// The relation in SQL.
    pub(super) fn sql(&self) -> String {
        format!("{FUNCTION}({})", self.number)
    }

    pub(super) fn add(&mut self, batch: RecordBatch) {
        self.bytes += segment::memory_bytes(&batch);
        if let Some(rows) = lock().relations.get_mut(&self.number) {
            rows.count += batch.num_rows() as u64;
            rows.batches.push(Batch::Loaded(batch));
        }
    }

    /// Bytes of memory of the rows that were added.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Relation {
    fn drop(&mut self) {
        lock().relations.remove(&self.number);
    }
}

fn lock() -> MutexGuard<'static, Numbered> {
    RELATIONS
        .lock()
        .expect("nothing panics while it holds this")
}

/// The batch of `columns`, of which `read` returns those that are there. The place of another gets the narrowest
/// values: no type of DuckDB has less room for them.
fn selected(
    rows: usize,
    columns: &[usize],
    read: impl Fn(usize) -> Option<Result<(Field, ArrayRef), Box<dyn Error>>>,
) -> Result<RecordBatch, Box<dyn Error>> {
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    for column in columns {
        let (field, array) = match read(*column) {
            Some(column) => column?,
            None => {
                let unread = BooleanArray::from(vec![false; rows]);
                let field = Field::new("unread", unread.data_type().clone(), false);
                (field, Arc::new(unread) as ArrayRef)
            }
        };
        fields.push(field);
        arrays.push(array);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}
