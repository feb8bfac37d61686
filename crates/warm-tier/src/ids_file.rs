//! The id file of a sealed range: its event ids and its dropped duplicates, beside the slices.

use std::path::Path;

use duckdb::Connection;

use crate::{
    disk,
    engine::{self, Engine},
    error::Result,
    slice_file,
};

/// Writes the ids of the rows that `events` selects to `path`, with the duplicates that the statement
/// `dropped` selects, and syncs it.
pub(crate) fn write(
    connection: &Connection,
    path: &Path,
    events: &str,
    dropped: &str,
) -> Result<()> {
    let alias = slice_file::alias("ids");
    disk::remove(path)?;
    engine::attach(connection, path, &alias)?;
    let written = connection.execute_batch(&format!(
        "BEGIN; CREATE TABLE {alias}.ids AS SELECT event_id::UUID AS event_id, tenant, \
         conversation_id, seq, idx FROM {events} ORDER BY event_id; \
         CREATE TABLE {alias}.dropped AS {dropped}; COMMIT; CHECKPOINT {alias};"
    ));
    if written.is_err() {
        // The error is returned below; this only ends the transaction, if there is one.
        let _ = connection.execute_batch("ROLLBACK");
    }
    engine::detach(connection, &alias)?;
    written?;
    disk::sync(path)
}

/// Reads the whole file in the separate instance `probe`; an error says that it is damaged.
pub(crate) fn verify(probe: &Engine, path: &Path) -> Result<()> {
    disk::check_exists(path)?;
    let connection = probe.connect()?;
    let read = slice_file::with_attached(&connection, path, |alias| {
        Ok(connection.execute_batch(&format!(
            "SELECT max(tenant), max(conversation_id), max(event_id), max(seq), max(idx) \
             FROM {alias}.ids; SELECT count(*) FROM {alias}.dropped"
        ))?)
    });
    read.map_err(|error| error.of_file(path))
}
