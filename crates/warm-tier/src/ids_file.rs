//! The id file of a sealed range: its event ids and its dropped duplicates, beside the slices.

use std::path::Path;

use duckdb::Connection;

use crate::{
    disk,
    engine::{self, Engine},
    error::Result,
    layout,
    manifest::IdFile,
    sealed_partition::SealedPartition,
    slice_file,
};

/// Writes the ids of the rows that `events` selects to `path`, with the duplicates of the attached
/// open segment `dropped_in`, and syncs it.
pub(crate) fn write(
    connection: &Connection,
    path: &Path,
    events: &str,
    dropped_in: Option<&str>,
) -> Result<()> {
    let alias = slice_file::alias("ids");
    let dropped = match dropped_in {
        Some(open) => format!("FROM {open}.dropped"),
        None => format!("SELECT tenant, conversation_id, event_id, seq, idx FROM {events} LIMIT 0"),
    };
    disk::remove(path)?;
    engine::attach(connection, path, &alias)?;
    connection.execute_batch(&format!(
        "BEGIN; CREATE TABLE {alias}.ids AS SELECT event_id::UUID AS event_id, tenant, \
         conversation_id, seq, idx FROM {events} ORDER BY event_id; \
         CREATE TABLE {alias}.dropped AS {dropped}; COMMIT; CHECKPOINT {alias};"
    ))?;
    engine::detach(connection, &alias)?;
    disk::sync(path)
}

/// Reads the whole file in the separate instance `probe`; an error says that it is damaged.
pub(crate) fn verify(probe: &Engine, path: &Path) -> Result<()> {
    disk::check_exists(path)?;
    let connection = probe.connect()?;
    let alias = slice_file::alias("ids");
    let read = || -> Result<()> {
        engine::attach_read_only(&connection, path, &alias)?;
        connection.execute_batch(&format!(
            "SELECT max(tenant), max(conversation_id), max(event_id), max(seq), max(idx) \
             FROM {alias}.ids; SELECT count(*) FROM {alias}.dropped"
        ))?;
        engine::detach(&connection, &alias)
    };
    read().map_err(|error| error.of_file(path))
}

/// Rebuilds a lost or damaged id file from the slices that cover its range. The list of dropped
/// duplicates is lost with the file.
pub(crate) fn rebuild(engine: &Engine, sealed: &SealedPartition, ids: &IdFile) -> Result<()> {
    let connection = engine.connect()?;
    let (_, files) = sealed.snapshot();
    let overlaps = |lo: u64, hi: u64| lo <= ids.hi && hi >= ids.lo;
    let files = files
        .iter()
        .filter(|file| overlaps(file.slice.lo, file.slice.hi));
    let mut selects = vec![
        "SELECT '' AS tenant, '' AS conversation_id, uuid() AS event_id, 0 AS seq, 0 AS idx \
         WHERE false"
            .to_owned(),
    ];
    let mut aliases = Vec::new();
    for file in files {
        let alias = slice_file::alias("rows");
        engine::attach_read_only(&connection, &file.path, &alias)?;
        selects.push(format!(
            "SELECT tenant, conversation_id, event_id::UUID, seq, idx FROM {alias}.events \
             WHERE seq BETWEEN {} AND {}",
            ids.lo, ids.hi
        ));
        aliases.push(alias);
    }
    let path = sealed.dir.join(&ids.file);
    let (staged, rows) = (
        layout::staged(&path),
        format!("({})", selects.join(" UNION ALL ")),
    );
    write(&connection, &staged, &rows, None)?;
    for alias in &aliases {
        engine::detach(&connection, alias)?;
    }
    disk::rename(&staged, &path)?;
    disk::sync_dir(&sealed.dir)
}
