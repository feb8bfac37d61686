//! The files of a run of what is not sealed: a column each, read batch by batch.

use std::{error::Error, fmt, fs::File, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use arrow::{
    array::{Array as _, ArrayRef},
    buffer::Buffer,
    datatypes::{Field, Schema, SchemaRef},
    ipc::{self, Block, reader::FileDecoder},
};

use super::SqlError;
use crate::open_files::column_file;

/// Bytes of the length of the footer and the magic number behind it.
const TRAILER_BYTES: u64 = 10;

/// The open files of a run. They can be read also when their folder is gone.
#[derive(Debug)]
pub(super) struct Run {
    schema: SchemaRef,
    /// In the order of the schema.
    columns: Vec<ColumnFile>,
}

impl Run {
    /// Opens the files in `folder` of the columns `schema`, of which there is one.
    ///
    /// # Errors
    /// [`SqlError::Stale`] when a file is gone: plan again. [`SqlError::Engine`] when it cannot be read.
    pub(super) fn open(folder: &Path, schema: &SchemaRef) -> Result<Self, SqlError> {
        let columns = schema.fields().iter().map(|field| {
            let path = column_file(folder, field.name());
            ColumnFile::open(&path, field).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => SqlError::Stale,
                _ => SqlError::Engine(format!("{}: {error}", path.display())),
            })
        });
        Ok(Self {
            schema: SchemaRef::clone(schema),
            columns: columns.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn batches(&self) -> usize {
        self.columns.first().map_or(0, |column| column.blocks.len())
    }

    /// The rows of a batch.
    pub(super) fn rows(&self, index: usize) -> Result<usize, Box<dyn Error>> {
        let narrowest = self.columns.iter().min_by_key(|column| column.bytes());
        let narrowest = narrowest.ok_or("a run without columns")?;
        Ok(narrowest.read(index)?.len())
    }

    /// One column of a batch; `None` when there is no such column.
    pub(super) fn read(
        &self,
        column: usize,
        index: usize,
    ) -> Option<Result<(Field, ArrayRef), Box<dyn Error>>> {
        let field = self.schema.fields().get(column)?.as_ref().clone();
        Some(self.columns[column].read(index).map(|array| (field, array)))
    }
}

/// An Arrow IPC file of one column.
struct ColumnFile {
    file: File,
    decoder: FileDecoder,
    /// Where its batches lie.
    blocks: Vec<Block>,
}

impl ColumnFile {
    fn open(path: &Path, field: &Arc<Field>) -> io::Result<Self> {
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        let start = end.checked_sub(TRAILER_BYTES);
        let start = start.ok_or_else(|| io::Error::other("it is cut short"))?;
        let mut trailer = [0; TRAILER_BYTES as usize];
        file.read_exact_at(&mut trailer, start)?;
        let length = ipc::reader::read_footer_length(trailer).map_err(io::Error::other)?;
        let mut footer = vec![0; length];
        let start = start.checked_sub(length as u64);
        let start = start.ok_or_else(|| io::Error::other("it is cut short"))?;
        file.read_exact_at(&mut footer, start)?;
        let footer =
            ipc::root_as_footer(&footer).map_err(|error| io::Error::other(error.to_string()))?;
        let schema = Arc::new(Schema::new(vec![Arc::clone(field)]));
        let blocks = footer.recordBatches();
        Ok(Self {
            decoder: FileDecoder::new(schema, footer.version()),
            blocks: blocks.map_or_else(Vec::new, |blocks| blocks.iter().copied().collect()),
            file,
        })
    }

    fn bytes(&self) -> i64 {
        self.blocks.iter().map(Block::bodyLength).sum()
    }

    fn read(&self, index: usize) -> Result<ArrayRef, Box<dyn Error>> {
        let block = self.blocks.get(index).ok_or("no such batch")?;
        let length = i64::from(block.metaDataLength()) + block.bodyLength();
        let mut bytes = vec![0; usize::try_from(length)?];
        let offset = u64::try_from(block.offset())?;
        self.file.read_exact_at(&mut bytes, offset)?;
        let batch = self
            .decoder
            .read_record_batch(block, &Buffer::from(bytes))?;
        let batch = batch.ok_or("no batch where one must be")?;
        Ok(ArrayRef::clone(batch.column(0)))
    }
}

impl fmt::Debug for ColumnFile {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("ColumnFile").finish_non_exhaustive()
    }
}
