//! Answers scans over sealed slices, in a DuckDB instance of its own that only reads.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, Weak},
};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use duckdb::Connection;
use event::{PartitionId, Seq};

use crate::{
    engine::{self, Engine},
    error::{Error, Result},
    remote::{Coverage, Duplicates, Order, Scan},
    scan_sql::{self, Source},
    sealed_partition::{Catalog, SealedPartition, SliceFile},
    slice_file,
};

/// Reads what is sealed in one data folder. Cheap to clone; every scan blocks its thread.
#[derive(Clone, Debug)]
pub struct Scanner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    memory: u64,
    spill: PathBuf,
    instance: Mutex<Instance>,
}

/// A DuckDB instance and what is attached to it. Files stay attached between scans.
#[derive(Debug)]
struct Instance {
    engine: Engine,
    attached: HashMap<PathBuf, Attached>,
}

#[derive(Debug)]
struct Attached {
    alias: String,
    file: Weak<SliceFile>,
}

impl Scanner {
    pub(crate) fn start(catalog: Catalog, memory: u64, spill: PathBuf) -> Result<Self> {
        let instance = Mutex::new(Instance::start(memory, &spill)?);
        Ok(Self(Arc::new(Inner {
            catalog,
            memory,
            spill,
            instance,
        })))
    }

    /// What is there now, in every partition.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        let sealed_partitions = self.0.catalog.sealed_partitions();
        Coverage {
            partitions: sealed_partitions
                .iter()
                .map(|sealed| sealed.coverage())
                .collect(),
        }
    }

    /// What of `partition` behind `after` the writer has found to repeat earlier events.
    pub(crate) fn duplicates(&self, partition: PartitionId, after: Seq) -> Result<Duplicates> {
        let sealed = self.0.catalog.sealed(partition);
        let sealed = sealed
            .ok_or_else(|| Error::Unavailable(format!("partition {partition} is not here")))?;
        Ok(sealed.duplicates(after))
    }

    /// Hands the answer to `take`, batch after batch, until it returns `false`.
    pub fn scan(&self, scan: &Scan, mut take: impl FnMut(RecordBatch) -> bool) -> Result<()> {
        let schema = scan_sql::schema(scan)?;
        let (sealed, files) = self.slices(scan)?;
        let result = self.run(scan, &schema, &files, &mut take);
        if let Err(Error::Database(error)) = &result {
            tracing::error!(partition = %sealed.partition, %error, "scan failed");
            self.inspect(&sealed, &files)?;
        }
        result
    }

    /// All batches of the answer.
    pub fn collect(&self, scan: &Scan) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        self.scan(scan, |batch| {
            batches.push(batch);
            true
        })?;
        Ok(batches)
    }

    /// Detaches the files that nobody serves any more, so that their space is freed.
    pub fn release(&self) -> Result<()> {
        self.lock().release()
    }

    /// The slices to look at, or an error when the scan was planned with another state.
    fn slices(&self, scan: &Scan) -> Result<(Arc<SealedPartition>, Vec<Arc<SliceFile>>)> {
        let partition = scan.partition;
        let wanted = scan.ranges.first().copied();
        let range = wanted.ok_or_else(|| Error::Invalid("a scan needs a range".to_owned()))?;
        let not_covered = |range| Error::NotCovered { partition, range };
        let sealed = self.0.catalog.sealed(partition);
        let sealed = sealed.ok_or_else(|| not_covered(range))?;
        let (manifest, files) = sealed.snapshot();
        let outside =
            |range: &&event::SeqRange| range.lo < manifest.first || range.hi > manifest.sealed;
        if let Some(range) = scan.ranges.iter().find(outside) {
            return Err(not_covered(*range));
        }
        if scan
            .removals
            .is_some_and(|known| known != manifest.removals)
        {
            return Err(not_covered(range));
        }
        let wanted = files
            .into_iter()
            .filter(|file| scan_sql::may_hold(scan, &file.slice));
        Ok((sealed, wanted.collect()))
    }

    fn run(
        &self,
        scan: &Scan,
        schema: &SchemaRef,
        files: &[Arc<SliceFile>],
        take: &mut impl FnMut(RecordBatch) -> bool,
    ) -> Result<()> {
        let (connection, aliases) = self.attach(files)?;
        let mut sources = Vec::new();
        for (file, alias) in files.iter().zip(&aliases) {
            let source = Source {
                slice: &file.slice,
                alias,
            };
            match rows_of(&connection, scan, alias)? {
                Rows::None => {}
                Rows::All => sources.push(scan_sql::select(scan, &source, None)),
                Rows::Between(first, last) => {
                    sources.push(scan_sql::select(scan, &source, Some((first, last))));
                }
            }
        }
        let mut left = scan.limit;
        let statements = match scan.order {
            Order::None => sources,
            Order::Asc | Order::Desc if sources.is_empty() => Vec::new(),
            Order::Asc | Order::Desc => vec![sources.join(" UNION ALL ")],
        };
        for selects in statements {
            let sql = scan_sql::statement(scan, schema, &selects, left);
            let wants_more = stream(&connection, &sql, schema, |batch| {
                left = left.map(|left| left.saturating_sub(batch.num_rows() as u64));
                take(batch)
            })?;
            if !wants_more || left == Some(0) {
                break;
            }
        }
        Ok(())
    }

    /// A connection that sees `files`, each under an alias.
    fn attach(&self, files: &[Arc<SliceFile>]) -> Result<(Connection, Vec<String>)> {
        let mut instance = self.lock();
        instance.release()?;
        let connection = instance.engine.connect()?;
        let aliases = files.iter().map(|file| instance.alias(&connection, file));
        let aliases = aliases.collect::<Result<_>>()?;
        Ok((connection, aliases))
    }

    /// After a failed scan: which file is to blame. Goes on with a new instance, because a damaged
    /// file may have spoiled this one.
    fn inspect(&self, sealed: &SealedPartition, files: &[Arc<SliceFile>]) -> Result<()> {
        let fresh = Instance::start(self.0.memory, &self.0.spill)?;
        *self.lock() = fresh;
        for file in files {
            let probe = Engine::start(self.0.memory, 1, &self.0.spill)?;
            match slice_file::verify(&probe, &file.path, &file.slice.sums()) {
                Err(error @ Error::Damaged { .. }) => sealed.quarantine(&file.slice, &error)?,
                verified => verified?,
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instance> {
        let instance = self.0.instance.lock();
        instance.expect("nothing panics while it holds this")
    }
}

impl Instance {
    fn start(memory: u64, spill: &std::path::Path) -> Result<Self> {
        // One thread a query: point reads are faster so, and many queries run side by side.
        Ok(Self {
            engine: Engine::start(memory, 1, spill)?,
            attached: HashMap::new(),
        })
    }

    fn alias(&mut self, connection: &Connection, file: &Arc<SliceFile>) -> Result<String> {
        if let Some(attached) = self.attached.get(&file.path) {
            return Ok(attached.alias.clone());
        }
        let alias = slice_file::alias("slice");
        engine::attach_read_only(connection, &file.path, &alias)?;
        let attached = Attached {
            alias: alias.clone(),
            file: Arc::downgrade(file),
        };
        self.attached.insert(file.path.clone(), attached);
        Ok(alias)
    }

    fn release(&mut self) -> Result<()> {
        let gone = |attached: &Attached| attached.file.strong_count() == 0;
        if !self.attached.values().any(gone) {
            return Ok(());
        }
        let connection = self.engine.connect()?;
        let dead = self.attached.extract_if(|_, attached| gone(attached));
        for (_, attached) in dead {
            engine::detach(&connection, &attached.alias)?;
        }
        Ok(())
    }
}

/// Where in a slice the rows of a scan lie.
enum Rows {
    None,
    All,
    Between(i64, i64),
}

/// Asks the slice's index when the scan is about one conversation.
fn rows_of(connection: &Connection, scan: &Scan, alias: &str) -> Result<Rows> {
    let Some(sql) = scan_sql::conversation_rows(scan, alias) else {
        return Ok(Rows::All);
    };
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(Rows::None);
    };
    let (first, last, count): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(if last - first + 1 == count {
        Rows::Between(first, last)
    } else {
        Rows::All
    })
}

/// Whether `take` still wants more at the end.
fn stream(
    connection: &Connection,
    sql: &str,
    schema: &SchemaRef,
    mut take: impl FnMut(RecordBatch) -> bool,
) -> Result<bool> {
    let mut statement = connection.prepare(sql)?;
    // Its iterator would panic on an error in the middle; `step` returns it.
    let _ = statement.stream_arrow([])?;
    while let Some(chunk) = statement.step()? {
        let batch = segment::conform(&RecordBatch::from(&chunk), schema)
            .map_err(|error| Error::Rows(error.to_string()))?;
        if !take(batch) {
            return Ok(false);
        }
    }
    Ok(true)
}
