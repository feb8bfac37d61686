//! Decodes the Parquet file of a checkpoint into log actions.

use std::collections::HashMap;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, MapArray, RecordBatch, StringArray, StructArray},
    compute::cast,
    datatypes::{DataType, Int32Type, Int64Type},
};
use bytes::Bytes;
use deltalake_core::kernel::{Add, Transaction};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::replay::{LogAction, Protocol, RemovedFile, TableMetadata, url_decoded};

/// Returns the `add`, `remove`, `txn`, `protocol` and `metaData` actions of one checkpoint file, row by row.
pub(crate) fn actions(file: Bytes) -> Result<Vec<LogAction>, parquet::errors::ParquetError> {
    let mut actions = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            actions.push(LogAction {
                add: ActionRow::get(&batch, "add", row).and_then(|add| add.add()),
                remove: ActionRow::get(&batch, "remove", row).and_then(|remove| {
                    Some(RemovedFile {
                        path: remove.text("path")?,
                        deletion_timestamp: remove.long("deletionTimestamp"),
                    })
                }),
                txn: ActionRow::get(&batch, "txn", row).and_then(|txn| {
                    let version = txn.long("version")?;
                    Some(Transaction::new(txn.text("appId")?, version))
                }),
                protocol: ActionRow::get(&batch, "protocol", row).and_then(|protocol| {
                    let min_reader_version = protocol.int("minReaderVersion")?;
                    Some(Protocol { min_reader_version })
                }),
                metadata: ActionRow::get(&batch, "metaData", row).map(|metadata| TableMetadata {
                    configuration: metadata.map("configuration").unwrap_or_default(),
                }),
            });
        }
    }
    Ok(actions)
}

/// One row of an action's struct column.
struct ActionRow<'a> {
    columns: &'a StructArray,
    row: usize,
}

impl<'a> ActionRow<'a> {
    /// `None` when the row is of another kind of action.
    fn get(batch: &'a RecordBatch, kind: &str, row: usize) -> Option<Self> {
        let columns = batch.column_by_name(kind)?.as_struct_opt()?;
        columns.is_valid(row).then_some(Self { columns, row })
    }

    fn add(&self) -> Option<Add> {
        Some(Add {
            path: url_decoded(&self.text("path")?),
            partition_values: self.map("partitionValues").unwrap_or_default(),
            size: self.long("size").unwrap_or(0),
            modification_time: self.long("modificationTime").unwrap_or(0),
            stats: self.text("stats"),
            tags: self.map("tags"),
            ..Add::default()
        })
    }

    fn text(&self, name: &str) -> Option<String> {
        let column = as_strings(self.columns.column_by_name(name)?)?;
        column
            .is_valid(self.row)
            .then(|| column.value(self.row).to_owned())
    }

    fn long(&self, name: &str) -> Option<i64> {
        let column = self.columns.column_by_name(name)?;
        let column = column.as_primitive_opt::<Int64Type>()?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    fn int(&self, name: &str) -> Option<i32> {
        let column = self.columns.column_by_name(name)?;
        let column = column.as_primitive_opt::<Int32Type>()?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    fn map(&self, name: &str) -> Option<HashMap<String, Option<String>>> {
        let column: &MapArray = self.columns.column_by_name(name)?.as_map_opt()?;
        if column.is_null(self.row) {
            return None;
        }
        let entries = column.value(self.row);
        let (keys, values) = (
            as_strings(entries.column(0))?,
            as_strings(entries.column(1))?,
        );
        let pairs = (0..entries.len()).map(|entry| {
            let value = values
                .is_valid(entry)
                .then(|| values.value(entry).to_owned());
            (keys.value(entry).to_owned(), value)
        });
        Some(pairs.collect())
    }
}

fn as_strings(column: &ArrayRef) -> Option<StringArray> {
    let column = cast(column, &DataType::Utf8).ok()?;
    Some(column.as_string::<i32>().clone())
}
