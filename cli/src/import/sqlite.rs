//! Import of the legacy database: reads keyset pages, sends them in order, verifies them at the end.

mod expected;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{anyhow, bail};
use event::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    SqliteArgs,
    bad::{self, BadEntries},
    checkpoint::Checkpoint,
    chunker::{self, Chunker, ResumePoint},
    database::Database,
    legacy::{LegacyRow, RawRow},
    post::{EventPoster, PostItem},
    progress::Bar,
    store, verify,
};
use crate::{common::Common, output};

/// Maximum time by which a timestamp may be ahead of the clock; ingest refuses later ones.
const MAX_AHEAD: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Serialize, Deserialize)]
struct SqliteState {
    #[serde(flatten)]
    resume_point: ResumePoint,
    events: u64,
    duplicates: u64,
    /// The bad rows that were skipped, and why.
    #[serde(default, skip_serializing_if = "BadEntries::is_empty")]
    bad: BadEntries<i64>,
    /// The events that ingest refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    refused: BTreeMap<Uuid, RefusedEvent>,
    /// True when the checkpoint does not have all of `bad` yet.
    #[serde(skip)]
    has_new_bad: bool,
}

/// An event that ingest refused: why, its first row, and its number of rows.
#[derive(Debug, Serialize, Deserialize)]
struct RefusedEvent {
    code: String,
    rowid: i64,
    rows: u64,
}

/// The key of an event that was sent but not acknowledged yet.
struct EventKey {
    event_id: Uuid,
    rowid: i64,
    rows: u64,
}

impl SqliteState {
    fn start() -> Self {
        Self {
            resume_point: ResumePoint::start(),
            events: 0,
            duplicates: 0,
            bad: BadEntries::new(),
            refused: BTreeMap::new(),
            has_new_bad: false,
        }
    }

    /// The last rowid of this run.
    fn end(&self) -> i64 {
        self.resume_point.ends.last().copied().unwrap_or(i64::MIN)
    }

    fn is_done(&self) -> bool {
        self.resume_point.rowid >= self.end() && self.resume_point.open.is_empty()
    }
}

struct SqliteImport {
    file: String,
    database: Database,
    source: String,
    checkpoint: Checkpoint,
    latest: Timestamp,
    skip_bad: bool,
}

/// Imports the database, and verifies it unless `--no-verify` is set.
pub(super) async fn import(args: &SqliteArgs, common: &Common) -> anyhow::Result<()> {
    let file = args.file.display();
    let database = Database::open(&args.file)?;
    database.check(&args.file)?;
    let source = database.identity()?;
    let store = store::identity(common, !args.options.no_verify).await?;
    let path = args.options.checkpoint.as_deref();
    let run = SqliteImport {
        checkpoint: Checkpoint::new(&args.file, &source, &store, path),
        file: file.to_string(),
        database,
        source,
        latest: Timestamp::now().plus(MAX_AHEAD),
        skip_bad: args.skip_bad,
    };
    let mut state = run.checkpoint.load()?.unwrap_or_else(SqliteState::start);
    run.extend(&mut state)?;
    if state.resume_point.ends.is_empty() {
        bail!(
            "{file} has no rows; nothing was sent: is it the right file, and does it need {file}-wal \
             beside it?"
        );
    }
    if state.is_done() {
        output::note(&format!(
            "everything in {file} was imported into this store before; nothing was sent"
        ));
    } else {
        let before = (state.events, state.duplicates);
        run.send(&mut state, common).await?;
        let (events, duplicates) = (state.events - before.0, state.duplicates - before.1);
        output::note(&format!(
            "{events} events of {file} are stored, {duplicates} of them were known before"
        ));
    }
    run.report(&state, common)?;
    anyhow::ensure!(
        state.events > 0,
        "nothing of {file} is stored, all of its rows are bad"
    );
    if args.options.no_verify {
        return Ok(());
    }
    let expected = run.expected(&state)?;
    if expected.conversations.is_empty() {
        return Ok(());
    }
    verify::verify(&expected, args.options.verify_within.into(), common).await
}

impl SqliteImport {
    /// Begins a new run when the last one is done and rows were added since. Its end is saved before
    /// anything is sent, because every later run must cut chunks there too.
    fn extend(&self, state: &mut SqliteState) -> anyhow::Result<()> {
        let last = self.database.last_rowid()?;
        if last < Some(state.end()) && !state.resume_point.ends.is_empty() {
            bail!(self.rows_are_missing());
        }
        if let Some(last) = last.filter(|last| state.is_done() && *last > state.end()) {
            state.resume_point.ends.push(last);
            self.checkpoint.save(state)?;
        }
        Ok(())
    }

    async fn send(&self, state: &mut SqliteState, common: &Common) -> anyhow::Result<()> {
        let end = state.end();
        let mut post = EventPoster::new(common)?;
        let mut left = self.database.count(state.resume_point.rowid, end)?;
        let mut bar = Bar::new("import", Some(left));
        let mut chunker = Chunker::new(&self.source, state.resume_point.clone());
        let mut after = state.resume_point.read_after();
        loop {
            let page = self.database.page(after, end)?;
            let Some(last) = page.last() else { break };
            let old = page
                .iter()
                .filter(|row| row.rowid <= state.resume_point.rowid)
                .count();
            let new = (page.len() - old) as u64;
            left = left.saturating_sub(new);
            after = last.rowid;
            for row in page {
                let Some(row) = self.usable(row, state)? else {
                    continue;
                };
                for planned in self.unchanged(chunker.push(&row))? {
                    post.add(post_item(planned));
                }
                if post.is_full() {
                    self.flush(&mut post, chunker.resume_point(), state).await?;
                }
            }
            bar.advance(new);
        }
        if left > 0 {
            bail!(self.rows_are_missing());
        }
        for planned in self.unchanged(chunker.finish(end))? {
            post.add(post_item(planned));
        }
        self.flush(&mut post, chunker.resume_point(), state).await?;
        bar.finish();
        Ok(())
    }

    /// Returns the row, `None` when it is bad and is skipped.
    fn usable(&self, row: RawRow, state: &mut SqliteState) -> anyhow::Result<Option<LegacyRow>> {
        let rowid = row.rowid;
        if state.bad.contains_key(&rowid) {
            return Ok(None);
        }
        match LegacyRow::new(row, self.latest) {
            Ok(row) => Ok(Some(row)),
            Err(bad) if self.skip_bad => {
                state.bad.insert(rowid, bad.code.to_owned());
                state.has_new_bad = true;
                Ok(None)
            }
            Err(bad) => bail!("{bad}; leave what is bad out with --skip-bad"),
        }
    }

    /// Sends what waits; the resume point advances only after the acknowledgement. Skipped rows are saved
    /// before: every later run must cut the rows around them in the same way.
    async fn flush(
        &self,
        post: &mut EventPoster<EventKey>,
        resume_point: ResumePoint,
        state: &mut SqliteState,
    ) -> anyhow::Result<()> {
        if std::mem::take(&mut state.has_new_bad) {
            self.checkpoint.save(state)?;
        }
        let posted = post.flush(self.skip_bad).await?;
        for (key, bad) in posted.bad {
            let (rowid, rows) = (key.rowid, key.rows);
            let refused = RefusedEvent {
                code: bad.code,
                rowid,
                rows,
            };
            state.refused.insert(key.event_id, refused);
        }
        state.resume_point = resume_point;
        state.events += posted.acked;
        state.duplicates += posted.duplicates;
        self.checkpoint.save(state)
    }

    fn report(&self, state: &SqliteState, common: &Common) -> std::io::Result<()> {
        let bad = state.bad.iter().map(|(rowid, code)| (&**code, 1, *rowid));
        let refused = state.refused.values();
        let refused = refused.map(|it| (&*it.code, it.rows, it.rowid));
        let rows = bad::rows(bad.chain(refused), "rows", |rowid| {
            format!("{}: rowid {rowid}", self.file)
        });
        match rows.as_slice() {
            [] => Ok(()),
            rows => output::rows(common.output, rows),
        }
    }

    fn rows_are_missing(&self) -> String {
        format!(
            "rows of {file} are gone that were there when the import began: import a copy that \
             nobody changes (`sqlite3 {file} '.backup COPY'`)",
            file = self.file
        )
    }

    fn unchanged<T>(&self, result: Result<T, chunker::TableChanged>) -> anyhow::Result<T> {
        result.map_err(|chunker::TableChanged| {
            anyhow!(
                "rows that were imported have changed since {} was written: remove it to begin \
                 anew; what was stored more than 24 hours ago will be stored twice",
                self.checkpoint.path().display()
            )
        })
    }
}

fn post_item(planned: chunker::PlannedEvent) -> PostItem<EventKey> {
    PostItem {
        place: format!("row {:?} (rowid {})", planned.first_id, planned.first_rowid),
        line: planned.line,
        key: EventKey {
            event_id: planned.event_id,
            rowid: planned.first_rowid,
            rows: planned.rows,
        },
    }
}
