//! Parquet bytes from record batches, and back. Equal rows in equal order make equal bytes.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array as _, AsArray as _, BooleanArray, RecordBatch, Scalar, StringArray},
    compute::{concat_batches, kernels::cmp},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowWriter, ProjectionMask,
        arrow_reader::{
            ArrowPredicateFn, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowFilter,
        },
        arrow_writer::ArrowWriterOptions,
    },
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::PageIndexPolicy,
        properties::{EnabledStatistics, WriterProperties, WriterVersion},
    },
    schema::types::ColumnPath,
};

mod batches;

use self::batches::{batch_rows, joined};
use crate::{
    conform::conform,
    error::{Error, Result},
};

/// The number of rows of a row group: small enough that the rows of one conversation are a small read.
pub const ROW_GROUP_ROWS: usize = 20_480;

/// The writer's name in the footer. Fixed, so that an upgrade of the library does not change the bytes
/// of a file by its version number alone.
const CREATED_BY: &str = "isotherm format 1";
const CONVERSATION_COLUMN: &str = "conversation_id";
const ZSTD_LEVEL: i32 = 3;

/// Columns whose values hardly repeat, for which a dictionary costs more than it saves.
const WITHOUT_DICTIONARY: [&str; 8] = [
    "event_id",
    "timestamp",
    "received_at",
    "content",
    "content_len",
    "seq",
    "crc32c",
    "last_seq",
];

/// Columns of integers whose differences from row to row are small.
const DELTA_ENCODED: [&str; 6] = [
    "timestamp",
    "received_at",
    "content_len",
    "seq",
    "crc32c",
    "last_seq",
];

/// The columns and rows to read from a file; by default all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// Only these columns, in the order of the file; names that the file lacks are ignored.
    pub columns: Option<&'a [&'a str]>,
    /// Only the rows of this conversation: row groups are skipped by statistics and bloom filter, the
    /// rest is filtered row by row.
    pub conversation: Option<&'a str>,
}

/// Writes one Parquet file with the rows of `batches`, which have one schema. The bytes do not depend
/// on how the rows are divided into batches.
///
/// # Errors
/// [`Error::Empty`] if there is no batch, [`Error::Arrow`] or [`Error::Parquet`] if the batches cannot
/// be written. Permanent.
pub fn write(batches: &[RecordBatch]) -> Result<Bytes> {
    let first = batches.first().ok_or(Error::Empty)?;
    let whole = concat_batches(first.schema_ref(), batches)?;
    let whole = conform(&whole, &with_zone(whole.schema_ref(), Some("UTC")))?;
    let options = ArrowWriterOptions::new()
        .with_properties(properties(&whole))
        .with_skip_arrow_metadata(true);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, whole.schema(), options)?;
    writer.write(&whole)?;
    writer.close()?;
    Ok(bytes.into())
}

fn properties(whole: &RecordBatch) -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("3 is a level of zstd");
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for name in WITHOUT_DICTIONARY {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    for name in DELTA_ENCODED {
        properties =
            properties.set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    if let Some(distinct) = distinct_conversations(whole) {
        let column = || ColumnPath::from(CONVERSATION_COLUMN);
        properties = properties
            .set_column_bloom_filter_enabled(column(), true)
            .set_column_bloom_filter_fpp(column(), 0.01)
            .set_column_bloom_filter_ndv(column(), distinct);
    }
    properties.build()
}

/// The number of distinct conversations, at most the rows of one row group; `None` if there is no such
/// column.
fn distinct_conversations(whole: &RecordBatch) -> Option<u64> {
    let column = whole.column_by_name(CONVERSATION_COLUMN)?;
    let distinct: HashSet<&str> = column.as_string::<i32>().iter().flatten().collect();
    Some(distinct.len().clamp(1, ROW_GROUP_ROWS) as u64)
}

/// Reads the selected rows, in the order of the file. The caller must have verified the bytes against
/// their hash, because the Parquet library may panic on a damaged page. Timestamps have no zone.
///
/// # Errors
/// [`Error::Parquet`] or [`Error::Arrow`] if the file cannot be read, [`Error::Missing`] if it has no
/// column for the conversation of the selection. Permanent.
pub fn read(file: Bytes, selection: Selection<'_>) -> Result<Vec<RecordBatch>> {
    batches(file, selection)?.collect()
}

/// Reads what [`read`] does, batch by batch, each of some MiB.
///
/// # Errors
/// Those of [`read`], of the call and of each batch.
pub fn batches(
    file: Bytes,
    selection: Selection<'_>,
) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send + use<>> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let mut reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)?;
    if let Some(conversation) = selection.conversation {
        let groups = groups_with(&reader, conversation)?;
        let filter = conversation_filter(&reader, conversation);
        reader = reader.with_row_groups(groups).with_row_filter(filter);
    }
    if let Some(columns) = selection.columns {
        let mask = ProjectionMask::columns(reader.parquet_schema(), columns.iter().copied());
        reader = reader.with_projection(mask);
    }
    let rows = batch_rows(reader.metadata());
    let batches = reader.with_batch_size(rows).build()?;
    let batches = batches.map(|batch| {
        let batch = batch?;
        conform(&batch, &with_zone(batch.schema_ref(), None))
    });
    Ok(joined(batches))
}

/// Reads the number of rows from the footer.
///
/// # Errors
/// [`Error::Parquet`] if the footer cannot be read. Permanent.
pub fn rows(file: Bytes) -> Result<usize> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let rows = reader.metadata().file_metadata().num_rows();
    usize::try_from(rows).map_err(|_| Error::Empty)
}

/// The indexes of the row groups that may have rows of `conversation`.
fn groups_with(
    reader: &ParquetRecordBatchReaderBuilder<Bytes>,
    conversation: &str,
) -> Result<Vec<usize>> {
    let schema = reader.parquet_schema();
    let column = (0..schema.num_columns())
        .find(|column| schema.column(*column).path().string() == CONVERSATION_COLUMN)
        .ok_or_else(|| Error::Missing(CONVERSATION_COLUMN.to_owned()))?;
    let mut groups = Vec::new();
    for group in 0..reader.metadata().num_row_groups() {
        let statistics = reader
            .metadata()
            .row_group(group)
            .column(column)
            .statistics();
        let outside = statistics.is_some_and(|statistics| {
            let wanted = conversation.as_bytes();
            statistics.min_bytes_opt().is_some_and(|min| wanted < min)
                || statistics.max_bytes_opt().is_some_and(|max| wanted > max)
        });
        if outside {
            continue;
        }
        let bloom = reader.get_row_group_column_bloom_filter(group, column)?;
        if bloom.is_none_or(|bloom| bloom.check(conversation)) {
            groups.push(group);
        }
    }
    Ok(groups)
}

fn conversation_filter(
    reader: &ParquetRecordBatchReaderBuilder<Bytes>,
    conversation: &str,
) -> RowFilter {
    let wanted = Scalar::new(StringArray::from(vec![conversation]));
    let mask = ProjectionMask::columns(reader.parquet_schema(), [CONVERSATION_COLUMN]);
    let equal = move |batch: RecordBatch| -> std::result::Result<BooleanArray, _> {
        let column = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        debug_assert_eq!(column.len(), batch.num_rows());
        cmp::eq(&column, &wanted)
    };
    RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, equal))])
}

/// Returns `schema` with all timestamps in `zone`.
fn with_zone(schema: &SchemaRef, zone: Option<&str>) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.map(Arc::from));
            Field::new(field.name(), micros, field.is_nullable())
        }
        _ => Field::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
