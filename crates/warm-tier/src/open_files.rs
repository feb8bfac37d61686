//! What is not sealed, for readers beside the files: columns of an open part as Arrow IPC files, each written when a
//! statement first needs it. Nothing depends on them: the log has the events, and the files go with their part.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{array::RecordBatch, ipc::writer::FileWriter};
use serde::{Deserialize, Serialize};

use crate::{
    disk,
    error::{Error, Result},
    layout,
};

/// The least events of a run: fewer are sent faster than a file is opened.
const MIN_RUN_EVENTS: usize = 32 * 1024;

/// The columns by which a reader of a file must leave out rows, which each run has.
pub(crate) const FILTERED_COLUMNS: [&str; 2] = ["tenant", "seq"];

/// A run as a reader beside the files finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFiles {
    /// Its number: the name of its folder, which has a file for each column that was asked for.
    run: u64,
    rows: u64,
}

impl RunFiles {
    /// Its folder below the data folder `data` of the compactor.
    #[must_use]
    pub fn folder(&self, data: &Path) -> PathBuf {
        folder_of(data, self.run)
    }

    /// Its rows, of every tenant.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

fn folder_of(data: &Path, run: u64) -> PathBuf {
    layout::open_dir(data).join(run.to_string())
}

/// The file of `column` in the folder of a run.
pub(crate) fn column_file(folder: &Path, column: &str) -> PathBuf {
    folder.join(format!("{column}.arrow"))
}

/// Consecutive batches of an open part. Its files go when it is dropped; who has opened one keeps it.
#[derive(Debug)]
pub(crate) struct OpenRun {
    run: u64,
    folder: PathBuf,
    batches: Vec<RecordBatch>,
    /// The columns that have a file.
    written: Mutex<BTreeSet<String>>,
}

impl OpenRun {
    /// The run of `batches`, of which there are some.
    fn new(data: &Path, batches: Vec<RecordBatch>) -> Self {
        /// Counts the runs of this process: the folder is emptied at its start.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let run = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            run,
            folder: folder_of(data, run),
            batches,
            written: Mutex::default(),
        }
    }

    /// Writes the files of `columns` that are not there, and returns where they are.
    ///
    /// # Errors
    /// [`Error::File`] when the disk takes no file: send the rows instead.
    pub(crate) fn files(&self, columns: &[String]) -> Result<RunFiles> {
        // Held while files are written: another reader would write the same.
        let mut written = self
            .written
            .lock()
            .expect("nothing panics while it holds this");
        if written.is_empty() {
            disk::create_dir(&self.folder)?;
        }
        for column in columns {
            if !written.contains(column) {
                let path = column_file(&self.folder, column);
                self.write(column, &path)
                    .map_err(Error::file("write", &path))?;
                written.insert(column.clone());
            }
        }
        let rows: usize = self.batches.iter().map(RecordBatch::num_rows).sum();
        Ok(RunFiles {
            run: self.run,
            rows: rows as u64,
        })
    }

    fn write(&self, column: &str, path: &Path) -> io::Result<()> {
        let only = |batch: &RecordBatch| {
            let index = batch.schema().index_of(column).map_err(io::Error::other)?;
            batch.project(&[index]).map_err(io::Error::other)
        };
        let staged = layout::staged(path);
        let first = only(&self.batches[0])?;
        let file = BufWriter::new(File::create(&staged)?);
        let mut writer = FileWriter::try_new(file, &first.schema()).map_err(io::Error::other)?;
        for batch in &self.batches {
            writer.write(&only(batch)?).map_err(io::Error::other)?;
        }
        writer.finish().map_err(io::Error::other)?;
        writer.into_inner().map_err(io::Error::other)?.flush()?;
        fs::rename(&staged, path)
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        // It may never have had a file; what stays is removed at the next start.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The runs of an open part.
#[derive(Debug, Default)]
pub(crate) struct OpenRuns {
    runs: Vec<Arc<OpenRun>>,
    /// The batches that they have.
    batches: usize,
}

impl OpenRuns {
    /// The runs of the part whose complete batches are `batches`, and how many of these they have. Those since the
    /// last call make one more run when they are many.
    pub(crate) fn of(
        &mut self,
        data: &Path,
        batches: &[RecordBatch],
    ) -> (Vec<Arc<OpenRun>>, usize) {
        let more = batches.get(self.batches..).unwrap_or_default();
        let events: usize = more.iter().map(RecordBatch::num_rows).sum();
        if events >= MIN_RUN_EVENTS {
            self.runs.push(Arc::new(OpenRun::new(data, more.to_vec())));
            self.batches = batches.len();
        }
        (self.runs.clone(), self.batches)
    }
}
