//! Runs scans over sealed slices, in a separate read-only DuckDB instance, and over what is not sealed.

mod instance;
mod limit;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use duckdb::Connection;
use event::{PartitionId, Seq, SeqRange};

use crate::{
    catalog::{Catalog, Shared},
    coverage::{Coverage, PartitionCoverage, UnsealedCoverage},
    duplicates::Duplicates,
    engine::Engine,
    error::{Error, Result},
    layout,
    open_files::{FILTERED_COLUMNS, RunFiles},
    open_scan::OpenRows,
    recovery::PROBE_MEMORY,
    scan_request::{Order, Scan},
    scan_rows,
    scan_sql::{self, SliceSource},
    sealed_partition::{SealedPartition, SliceFile},
    slice_check,
};
use instance::Instance;
use limit::ScanLimit;

/// A reader of one data folder. Cheap to clone; every scan blocks its thread.
#[derive(Clone, Debug)]
pub struct Scanner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    data: PathBuf,
    memory: u64,
    spill: PathBuf,
    instance: Mutex<Instance>,
    /// Held while files are checked: a check costs memory, and must not find what another one has taken away.
    checking: Mutex<()>,
}

impl Scanner {
    /// A reader of the partitions of `catalog` in the folder `data`.
    pub(crate) fn start(catalog: Catalog, data: PathBuf, memory: u64) -> Result<Self> {
        let spill = layout::spill_dir(&data).join("read");
        let instance = Mutex::new(Instance::start(memory, &spill)?);
        Ok(Self(Arc::new(Inner {
            catalog,
            data,
            memory,
            spill,
            instance,
            checking: Mutex::default(),
        })))
    }

    /// The coverage of every open partition now.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        let partitions = self.0.catalog.partitions();
        let coverage = partitions.into_iter().map(|Shared { sealed, unsealed }| {
            // Before the manifest: what is sealed meanwhile is in both.
            let state = unsealed.state();
            PartitionCoverage {
                unsealed: UnsealedCoverage {
                    rows: state.events,
                    bytes: state.open_bytes + state.sealing_bytes,
                    received_min: state.oldest,
                },
                ..sealed.coverage()
            }
        });
        Coverage {
            store: None,
            partitions: coverage.collect(),
        }
    }

    /// The duplicates of `partition` after `after`, as far as its writer has committed.
    pub(crate) fn duplicates(&self, partition: PartitionId, after: Seq) -> Result<Duplicates> {
        let sealed = self.0.catalog.sealed(partition);
        let sealed = sealed
            .ok_or_else(|| Error::Unavailable(format!("partition {partition} is not here")))?;
        Ok(sealed.duplicates(after))
    }

    /// Calls `on_batch` with batch after batch of the result, until it returns `false`.
    ///
    /// # Errors
    /// [`Error::NotCovered`] when the slices have changed since the scan was planned: read the
    /// coverage and plan again. [`Error::Invalid`] when the scan can never be run.
    /// [`Error::Database`] when a file cannot be read: damaged ones are in quarantine afterwards.
    pub fn scan(&self, scan: &Scan, on_batch: impl FnMut(RecordBatch) -> bool) -> Result<()> {
        self.scan_beside_files(scan, |_| (), on_batch)
    }

    /// Calls `on_files` once with the files that have rows of the result, and then `on_batch` with the others, until
    /// it returns `false`.
    ///
    /// # Errors
    /// Those of [`Scanner::scan`].
    pub fn scan_beside_files(
        &self,
        scan: &Scan,
        on_files: impl FnOnce(Vec<RunFiles>),
        mut on_batch: impl FnMut(RecordBatch) -> bool,
    ) -> Result<()> {
        let schema = scan_sql::schema(scan)?;
        let mut planned = self.plan(scan)?;
        on_files(planned.take_files(scan, &schema));
        let Some(filter) = scan.filter.possible() else {
            return Ok(());
        };
        let scan = Scan {
            filter,
            ..scan.clone()
        };
        let mut left = ScanLimit::new(&scan);
        let newest_first = scan.order == Order::Desc;
        if newest_first {
            let open = planned.open.iter().rev();
            read_open(open, &scan, &schema, &mut left, &mut on_batch)?;
        }
        self.read_sealed(&planned, &scan, &schema, &mut left, &mut on_batch)?;
        if !newest_first {
            let open = planned.open.iter();
            read_open(open, &scan, &schema, &mut left, &mut on_batch)?;
        }
        Ok(())
    }

    fn read_sealed(
        &self,
        planned: &Planned,
        scan: &Scan,
        schema: &SchemaRef,
        left: &mut ScanLimit,
        on_batch: &mut impl FnMut(RecordBatch) -> bool,
    ) -> Result<()> {
        let Planned { sealed, files, .. } = planned;
        if files.is_empty() || left.is_reached() {
            return Ok(());
        }
        let rest = left.rest_of(scan);
        let mut on_batch = |batch| left.pass(batch, on_batch);
        let result = self.run(&rest, schema, files, &mut on_batch);
        if let Err(error @ Error::Database(_)) = &result {
            let partition = sealed.partition;
            tracing::error!(%partition, error = %error, "scan failed");
            self.replace_broken_instance()?;
            if !error.is_of_the_machine() {
                self.quarantine_damaged(sealed, files)?;
            }
        }
        result
    }

    /// Checks every row of the slices of `partition` that overlap `range`, because a reader found a wrong
    /// one. Damaged slices go into quarantine; returns how many are not live any more.
    ///
    /// # Errors
    /// [`Error::NotCovered`] when the partition is not here. [`Error::Database`] or [`Error::File`] when a
    /// slice cannot be read now: report it again.
    pub fn check(&self, partition: PartitionId, range: SeqRange) -> Result<usize> {
        let sealed = self.0.catalog.sealed(partition);
        let sealed = sealed.ok_or(Error::NotCovered { partition, range })?;
        let mut files = sealed.snapshot().1;
        files.retain(|file| file.slice.range().intersect(&range).is_some());
        self.quarantine_damaged(&sealed, &files)
    }

    /// Collects all batches of the result.
    ///
    /// # Errors
    /// Those of [`Scanner::scan`].
    pub fn collect(&self, scan: &Scan) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        self.scan(scan, |batch| {
            batches.push(batch);
            true
        })?;
        Ok(batches)
    }

    /// Detaches the files that the manifest no longer names, so that their space is freed.
    ///
    /// # Errors
    /// [`Error::Database`] when a file cannot be detached.
    pub fn release(&self) -> Result<()> {
        self.lock().release()
    }

    /// Selects what may have rows; [`Error::NotCovered`] when the state has changed.
    fn plan(&self, scan: &Scan) -> Result<Planned> {
        let partition = scan.partition;
        let first = scan.ranges.first().copied();
        let range = first.ok_or_else(|| Error::Invalid("a scan needs a range".to_owned()))?;
        let not_covered = |range| Error::NotCovered { partition, range };
        let shared = self.0.catalog.partition(partition);
        let Shared { sealed, unsealed } = shared.ok_or_else(|| not_covered(range))?;
        // Before the manifest: what is sealed meanwhile is in both, and read from the slices.
        let mut open = match scan.class {
            None => {
                let data = scan.takes_files().then_some(self.0.data.as_path());
                unsealed.rows(scan, data)?
            }
            // A class is assigned when a part is sealed.
            Some(_) => Vec::new(),
        };
        let (manifest, mut files) = sealed.snapshot();
        open.retain(|part| part.range.hi > manifest.sealed);
        let last = open.last().map_or(manifest.sealed, |part| part.range.hi);
        let outside = |range: &&SeqRange| range.lo < manifest.first || range.hi > last;
        if let Some(range) = scan.ranges.iter().find(outside) {
            return Err(not_covered(*range));
        }
        if scan
            .removals
            .is_some_and(|planned| planned != manifest.removals)
        {
            return Err(not_covered(range));
        }
        files.retain(|file| scan_sql::may_have_rows(scan, &file.slice));
        Ok(Planned {
            sealed,
            files,
            open,
        })
    }

    fn run(
        &self,
        scan: &Scan,
        schema: &SchemaRef,
        files: &[Arc<SliceFile>],
        on_batch: &mut impl FnMut(RecordBatch) -> bool,
    ) -> Result<()> {
        let (connection, aliases) = self.attach(files)?;
        let mut sources = Vec::new();
        for (file, alias) in files.iter().zip(&aliases) {
            let rows = match row_span(&connection, scan, alias)? {
                RowSpan::None => continue,
                RowSpan::All => None,
                RowSpan::Between(first, last) => Some((first, last)),
            };
            sources.push(SliceSource {
                slice: &file.slice,
                alias,
                rows,
            });
        }
        scan_rows::read(&connection, scan, &sources, schema, on_batch)
    }

    /// Attaches `files` and returns a connection with the alias of each.
    fn attach(&self, files: &[Arc<SliceFile>]) -> Result<(Connection, Vec<String>)> {
        let mut instance = self.lock();
        instance.release()?;
        let connection = instance.engine.connect()?;
        let aliases = files.iter().map(|file| instance.alias(&connection, file));
        let aliases = aliases.collect::<Result<_>>()?;
        Ok((connection, aliases))
    }

    /// Replaces the instance when an error has invalidated it.
    fn replace_broken_instance(&self) -> Result<()> {
        let mut instance = self.lock();
        if !instance.engine.is_usable() {
            *instance = Instance::start(self.0.memory, &self.0.spill)?;
        }
        Ok(())
    }

    /// Checks `files` and moves the damaged ones to the quarantine; returns how many are not live any more.
    fn quarantine_damaged(
        &self,
        sealed: &SealedPartition,
        files: &[Arc<SliceFile>],
    ) -> Result<usize> {
        let checking = self.0.checking.lock();
        let _checking = checking.expect("nothing panics while it holds this");
        let mut damaged = 0;
        for file in files {
            // Taken away since the reader has planned: it plans again.
            if !sealed.manifest().slices.contains(&file.slice) {
                damaged += 1;
                continue;
            }
            // An instance for each: a damaged file may invalidate its own.
            let probe = Engine::start(PROBE_MEMORY, 1, &self.0.spill.join("probe"))?;
            match slice_check::check(&probe, sealed.partition, &file.path, &file.slice) {
                Err(error @ Error::Damaged { .. }) => {
                    sealed.quarantine(&file.slice, &error)?;
                    damaged += 1;
                }
                checked => checked?,
            }
        }
        Ok(damaged)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instance> {
        let instance = self.0.instance.lock();
        instance.expect("nothing panics while it holds this")
    }
}

/// What a scan reads.
struct Planned {
    sealed: Arc<SealedPartition>,
    files: Vec<Arc<SliceFile>>,
    /// Ascending.
    open: Vec<OpenRows>,
}

impl Planned {
    /// The files of what is not sealed, if the scan takes them, with all columns that their reader needs.
    fn take_files(&mut self, scan: &Scan, schema: &SchemaRef) -> Vec<RunFiles> {
        if !scan.takes_files() {
            return Vec::new();
        }
        let columns = schema.fields().iter().map(|field| field.name().as_str());
        let columns = columns.chain(FILTERED_COLUMNS).map(str::to_owned);
        let columns: Vec<_> = columns.collect();
        let files = self.open.iter_mut();
        files.flat_map(|part| part.take_files(&columns)).collect()
    }
}

fn read_open<'a>(
    open: impl Iterator<Item = &'a OpenRows>,
    scan: &Scan,
    schema: &SchemaRef,
    left: &mut ScanLimit,
    on_batch: &mut impl FnMut(RecordBatch) -> bool,
) -> Result<()> {
    for part in open {
        if left.is_reached() {
            break;
        }
        part.read(scan, schema, &mut |batch| left.pass(batch, on_batch))?;
    }
    Ok(())
}

/// The rows of a slice that a scan has to read, by row id.
enum RowSpan {
    None,
    All,
    Between(i64, i64),
}

/// Looks the row span up in the slice's conversation index when the scan is of one conversation.
fn row_span(connection: &Connection, scan: &Scan, alias: &str) -> Result<RowSpan> {
    let Some(sql) = scan_sql::conversation_rows(scan, alias) else {
        return Ok(RowSpan::All);
    };
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(RowSpan::None);
    };
    let (first, last, count): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(if last - first + 1 == count {
        RowSpan::Between(first, last)
    } else {
        RowSpan::All
    })
}
