//! The legacy database: read by keyset pages, sent in order, checked at the end.

use std::path::Path;

use anyhow::Context as _;
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use serde::{Deserialize, Serialize};

use super::{
    Options,
    checkpoint::Checkpoint,
    expected::Expected,
    plan::{LegacyRow, Planned, Planner},
    progress::Bar,
    verify,
};
use crate::{
    args::Common,
    client::Client,
    output,
    sender::{self, Sender},
};

/// Rows read at a time; also what is sent again after a crash.
const PAGE_ROWS: usize = 5000;

#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// All rows up to here are in acknowledged events or in the planner.
    rowid: i64,
    planner: Planner,
    events: u64,
    done: bool,
}

pub(super) async fn import(file: &Path, options: &Options, common: &Common) -> anyhow::Result<()> {
    let database = Database::open(file)?;
    let source = database.identity()?;
    let checkpoint = Checkpoint::new(file, &source, options);
    let mut state = checkpoint.load()?.unwrap_or_else(|| State {
        rowid: i64::MIN,
        planner: Planner::new(&source),
        events: 0,
        done: false,
    });
    if state.done && database.page(state.rowid)?.is_empty() {
        output::note("everything was imported before");
    } else {
        send(&database, &mut state, &checkpoint, common).await?;
    }
    if options.no_verify {
        return Ok(());
    }
    verify::verify(&expected(&database, &source)?, common).await
}

async fn send(
    database: &Database,
    state: &mut State,
    checkpoint: &Checkpoint,
    common: &Common,
) -> anyhow::Result<()> {
    let sender = Sender::new(Client::ingest(common)?, None);
    let bar = Bar::new("import", database.rows_behind(state.rowid)?);
    loop {
        let page = database.page(state.rowid)?;
        let mut planned: Vec<Planned> = page
            .iter()
            .flat_map(|row| state.planner.push(row))
            .collect();
        match page.last() {
            Some(last) => state.rowid = last.rowid,
            None => {
                planned.extend(state.planner.finish());
                state.done = true;
            }
        }
        state.events += planned.len() as u64;
        let lines: Vec<String> = planned.into_iter().map(|event| event.line).collect();
        for batch in sender::batches(&lines) {
            sender.send(batch).await?;
        }
        checkpoint.save(state)?;
        bar.advance(page.len() as u64);
        if state.done {
            bar.finish();
            output::note(&format!("{} events are stored", state.events));
            return Ok(());
        }
    }
}

/// Planned once more from the first row, which gives the same events.
fn expected(database: &Database, source: &str) -> anyhow::Result<Expected> {
    let mut expected = Expected::new();
    let mut planner = Planner::new(source);
    let mut after = i64::MIN;
    let add = |expected: &mut Expected, planned: Vec<Planned>| {
        for event in planned {
            let conversation = expected.entry(event.conversation).or_default();
            conversation.add(event.event_id, &event.content);
        }
    };
    loop {
        let page = database.page(after)?;
        let Some(last) = page.last() else {
            add(&mut expected, planner.finish());
            return Ok(expected);
        };
        after = last.rowid;
        for row in &page {
            expected.entry(row.conversation.clone()).or_default().rows += 1;
            add(&mut expected, planner.push(row));
        }
    }
}

struct Database(Connection);

impl Database {
    fn open(file: &Path) -> anyhow::Result<Self> {
        let name = file.display();
        anyhow::ensure!(file.is_file(), "there is no file {name}");
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let database = Self(connection.with_context(|| format!("open {name}"))?);
        database.page(i64::MAX).with_context(|| {
            format!(
                "{name} has no table streams(id, conversation_id, chunk, parsed_data, timestamp): \
                 is it the right file?"
            )
        })?;
        Ok(database)
    }

    /// Names the database by its first row, so that a copy, or one that has grown, is the same.
    fn identity(&self) -> anyhow::Result<String> {
        let mut hasher = blake3::Hasher::new();
        for row in self.page_of(i64::MIN, 1)? {
            for part in [&row.id, &row.conversation, &row.timestamp] {
                hasher.update(part.as_bytes());
                hasher.update(&[0]);
            }
            hasher.update(&row.chunk);
        }
        Ok(format!("sqlite:{}", hasher.finalize().to_hex()))
    }

    fn rows_behind(&self, rowid: i64) -> anyhow::Result<u64> {
        let sql = "SELECT count(*) FROM streams WHERE rowid > ?1";
        Ok(self.0.query_row(sql, [rowid], |row| row.get(0))?)
    }

    fn page(&self, after: i64) -> anyhow::Result<Vec<LegacyRow>> {
        self.page_of(after, PAGE_ROWS)
    }

    /// The next rows by rowid, which is the order in which they were written.
    fn page_of(&self, after: i64, rows: usize) -> anyhow::Result<Vec<LegacyRow>> {
        let mut statement = self.0.prepare_cached(
            "SELECT rowid, id, conversation_id, chunk, parsed_data, timestamp FROM streams \
             WHERE rowid > ?1 ORDER BY rowid LIMIT ?2",
        )?;
        let rows = statement.query_map((after, rows), |row| {
            Ok(LegacyRow {
                rowid: row.get(0)?,
                id: text(row.get_ref(1)?),
                conversation: text(row.get_ref(2)?),
                chunk: bytes(row.get_ref(3)?),
                parsed_data: match row.get_ref(4)? {
                    ValueRef::Null => None,
                    value => Some(text(value)).filter(|text| !text.is_empty()),
                },
                timestamp: text(row.get_ref(5)?),
            })
        })?;
        rows.collect::<Result<_, _>>().context("read the database")
    }
}

/// SQLite keeps any type in any column.
fn bytes(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Null => Vec::new(),
        ValueRef::Integer(number) => number.to_string().into_bytes(),
        ValueRef::Real(number) => number.to_string().into_bytes(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
    }
}

fn text(value: ValueRef<'_>) -> String {
    String::from_utf8_lossy(&bytes(value)).into_owned()
}
