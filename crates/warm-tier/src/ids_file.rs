//! The id file of a sealed range: its event ids and its dropped duplicates, beside the slices.

use std::path::{Path, PathBuf};

use duckdb::Connection;
use event::{ConversationId, EventId, Seq, TenantId};

use crate::{
    disk,
    duplicates::Duplicate,
    engine::{self, Engine},
    error::{Error, Result},
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

/// Writes the ids of the rows of the slice files `slices`, with the duplicates in this connection's
/// temporary table `dropped`.
pub(crate) fn write_of_slices(
    connection: &Connection,
    path: &Path,
    slices: &[PathBuf],
) -> Result<()> {
    let columns = "tenant, conversation_id, event_id, seq, idx";
    let mut selects = vec![format!("SELECT {columns} FROM temp.dropped WHERE false")];
    let mut aliases = Vec::new();
    for slice in slices {
        let alias = slice_file::alias("staged");
        engine::attach_read_only(connection, slice, &alias)?;
        selects.push(format!("SELECT {columns} FROM {alias}.events"));
        aliases.push(alias);
    }
    let events = format!("({})", selects.join(" UNION ALL "));
    let written = write(connection, path, &events, "FROM temp.dropped");
    for alias in &aliases {
        engine::detach(connection, alias)?;
    }
    written
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

/// Reads the duplicates after `after` from the file at `path`, ascending by position.
pub(crate) fn dropped(connection: &Connection, path: &Path, after: Seq) -> Result<Vec<Duplicate>> {
    slice_file::with_attached(connection, path, |alias| {
        dropped_rows(connection, alias, after)
    })
}

fn dropped_rows(connection: &Connection, alias: &str, after: Seq) -> Result<Vec<Duplicate>> {
    let sql = format!(
        "SELECT tenant, conversation_id, event_id, seq, idx FROM {alias}.dropped \
         WHERE seq > {after} ORDER BY seq, idx"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut dropped = Vec::new();
    while let Some(row) = rows.next()? {
        let texts: (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (tenant, conversation_id, event_id) = identity(&texts.0, &texts.1, &texts.2)?;
        dropped.push(Duplicate {
            tenant,
            conversation_id,
            event_id,
            seq: row.get(3)?,
            idx: row.get(4)?,
        });
    }
    Ok(dropped)
}

/// Parses the identity of an event from the columns of a file.
pub(crate) fn identity(
    tenant: &str,
    conversation: &str,
    event_id: &str,
) -> Result<(TenantId, ConversationId, EventId)> {
    let malformed = |error: event::IdError| Error::Rows(error.to_string());
    let tenant = TenantId::new(tenant).map_err(malformed)?;
    let conversation = ConversationId::new(conversation).map_err(malformed)?;
    let (id, _) = EventId::from_text(&tenant, &conversation, event_id).map_err(malformed)?;
    Ok((tenant, conversation, id))
}
