//! The check of a whole slice file: every row, with its checksum. [`slice_file::verify`] is its quick form.

use std::path::Path;

use duckdb::Connection;
use event::PartitionId;

use crate::{
    engine::{self, Engine},
    error::{Error, Result},
    manifest::Slice,
    scan_request::{Scan, Table},
    scan_rows,
    scan_sql::{self, SliceSource},
    slice_file,
};

/// Reads the file of `slice` at `path`; [`Error::Damaged`] when its sums or a row are wrong. Another error
/// says nothing about the file.
pub(crate) fn check(
    engine: &Engine,
    partition: PartitionId,
    path: &Path,
    slice: &Slice,
) -> Result<()> {
    slice_file::verify(engine, path, &slice.sums())?;
    let connection = engine.connect()?;
    let alias = slice_file::alias("check");
    engine::attach_read_only(&connection, path, &alias).map_err(|error| error.of_file(path))?;
    let checked = check_rows(&connection, partition, slice, &alias);
    engine::detach(&connection, &alias)?;
    checked.map_err(|error| error.of_file(path))
}

fn check_rows(
    connection: &Connection,
    partition: PartitionId,
    slice: &Slice,
    alias: &str,
) -> Result<()> {
    let scan = Scan::new(Table::Events, partition, vec![slice.range()]);
    let schema = scan_sql::schema(&scan)?;
    let source = SliceSource {
        slice,
        alias,
        rows: None,
    };
    let mut wrong = None;
    scan_rows::read(connection, &scan, &[source], &schema, |batch| {
        wrong = segment::decode(&batch).err();
        wrong.is_none()
    })?;
    match wrong {
        Some(error) => Err(Error::Rows(error.to_string())),
        None => Ok(()),
    }
}
