//! The legacy database: read by keyset pages, sent in order, compared at the end.

mod expected;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{anyhow, bail};
use event::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    SqliteArgs,
    bad::{self, Bad},
    checkpoint::Checkpoint,
    chunker::{self, Chunker, Mark},
    database::Database,
    legacy::{LegacyRow, RawRow},
    post::{Item, Post},
    progress::Bar,
    store, verify,
};
use crate::{args::Common, output};

/// Ingest takes no events further ahead.
const MAX_AHEAD: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Serialize, Deserialize)]
struct State {
    #[serde(flatten)]
    mark: Mark,
    events: u64,
    duplicates: u64,
    /// The bad rows that were left out, and why.
    #[serde(default, skip_serializing_if = "Bad::is_empty")]
    bad: Bad<i64>,
    /// The events that ingest refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    refused: BTreeMap<Uuid, Refused>,
    /// Whether the checkpoint does not know all of them.
    #[serde(skip)]
    has_new_bad: bool,
}

/// Why an event was refused, its first row, and how many rows it holds.
#[derive(Debug, Serialize, Deserialize)]
struct Refused {
    code: String,
    rowid: i64,
    rows: u64,
}

/// What is known of an event under way.
struct Key {
    event_id: Uuid,
    rowid: i64,
    rows: u64,
}

impl State {
    fn start() -> Self {
        Self {
            mark: Mark::start(),
            events: 0,
            duplicates: 0,
            bad: Bad::new(),
            refused: BTreeMap::new(),
            has_new_bad: false,
        }
    }

    /// Where this run ends.
    fn end(&self) -> i64 {
        self.mark.ends.last().copied().unwrap_or(i64::MIN)
    }

    fn is_done(&self) -> bool {
        self.mark.rowid >= self.end() && self.mark.open.is_empty()
    }
}

struct Run {
    file: String,
    database: Database,
    source: String,
    checkpoint: Checkpoint,
    latest: Timestamp,
    skip_bad: bool,
}

pub(super) async fn import(args: &SqliteArgs, common: &Common) -> anyhow::Result<()> {
    let file = args.file.display();
    let database = Database::open(&args.file)?;
    database.check(&args.file)?;
    let source = database.identity()?;
    let store = store::identity(common, !args.options.no_verify).await?;
    let path = args.options.checkpoint.as_deref();
    let run = Run {
        checkpoint: Checkpoint::new(&args.file, &source, &store, path),
        file: file.to_string(),
        database,
        source,
        latest: Timestamp::now().plus(MAX_AHEAD),
        skip_bad: args.skip_bad,
    };
    let mut state = run.checkpoint.load()?.unwrap_or_else(State::start);
    run.extend(&mut state)?;
    if state.mark.ends.is_empty() {
        output::note(&format!("{file} has no rows; nothing was sent"));
        return Ok(());
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
    if args.options.no_verify {
        return Ok(());
    }
    let expected = run.expected(&state)?;
    if expected.conversations.is_empty() {
        return Ok(());
    }
    verify::verify(&expected, args.options.verify_within.into(), common).await
}

impl Run {
    /// When a run is done, rows that came since begin a new one. Where it ends is written down
    /// before anything is sent: a border that every later run keeps.
    fn extend(&self, state: &mut State) -> anyhow::Result<()> {
        let last = self.database.last_rowid()?;
        if last < Some(state.end()) && !state.mark.ends.is_empty() {
            bail!(self.shortened());
        }
        if let Some(last) = last.filter(|last| state.is_done() && *last > state.end()) {
            state.mark.ends.push(last);
            self.checkpoint.save(state)?;
        }
        Ok(())
    }

    async fn send(&self, state: &mut State, common: &Common) -> anyhow::Result<()> {
        let end = state.end();
        let mut post = Post::new(common)?;
        let mut left = self.database.count(state.mark.rowid, end)?;
        let mut bar = Bar::new("import", Some(left));
        let mut chunker = Chunker::new(&self.source, state.mark.clone());
        let mut after = state.mark.read_after();
        loop {
            let page = self.database.page(after, end)?;
            let Some(last) = page.last() else { break };
            let old = page
                .iter()
                .filter(|row| row.rowid <= state.mark.rowid)
                .count();
            let new = (page.len() - old) as u64;
            left = left.saturating_sub(new);
            after = last.rowid;
            for row in page {
                let Some(row) = self.usable(row, state)? else {
                    continue;
                };
                for planned in self.unchanged(chunker.push(&row))? {
                    post.add(item(planned));
                }
                if post.is_full() {
                    self.flush(&mut post, chunker.mark(), state).await?;
                }
            }
            bar.advance(new);
        }
        if left > 0 {
            bail!(self.shortened());
        }
        for planned in self.unchanged(chunker.finish(end))? {
            post.add(item(planned));
        }
        self.flush(&mut post, chunker.mark(), state).await?;
        bar.finish();
        Ok(())
    }

    /// The row, or nothing when it is bad and may be left out.
    fn usable(&self, row: RawRow, state: &mut State) -> anyhow::Result<Option<LegacyRow>> {
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

    /// The mark moves only behind the acknowledgement. What was left out is written down before:
    /// every later run must cut the rows around it in the same way.
    async fn flush(
        &self,
        post: &mut Post<Key>,
        mark: Mark,
        state: &mut State,
    ) -> anyhow::Result<()> {
        if std::mem::take(&mut state.has_new_bad) {
            self.checkpoint.save(state)?;
        }
        let posted = post.flush(self.skip_bad).await?;
        for (key, bad) in posted.bad {
            let (rowid, rows) = (key.rowid, key.rows);
            let refused = Refused {
                code: bad.code,
                rowid,
                rows,
            };
            state.refused.insert(key.event_id, refused);
        }
        state.mark = mark;
        state.events += posted.acked;
        state.duplicates += posted.duplicates;
        self.checkpoint.save(state)
    }

    fn report(&self, state: &State, common: &Common) -> std::io::Result<()> {
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

    fn shortened(&self) -> String {
        format!(
            "rows of {file} are gone that were there when the import began: import a copy that \
             nobody changes (`sqlite3 {file} '.backup COPY'`)",
            file = self.file
        )
    }

    fn unchanged<T>(&self, result: Result<T, chunker::Changed>) -> anyhow::Result<T> {
        result.map_err(|chunker::Changed| {
            anyhow!(
                "rows that were imported have changed since {} was written: remove it to begin \
                 anew; what was stored more than 24 hours ago will be stored twice",
                self.checkpoint.path().display()
            )
        })
    }
}

fn item(planned: chunker::Planned) -> Item<Key> {
    Item {
        place: format!("row {:?} (rowid {})", planned.first_id, planned.first_rowid),
        line: planned.line,
        key: Key {
            event_id: planned.event_id,
            rowid: planned.first_rowid,
            rows: planned.rows,
        },
    }
}
