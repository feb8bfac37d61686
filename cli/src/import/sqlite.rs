//! The legacy database: read by keyset pages, sent in order, compared at the end.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use event::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    SqliteArgs,
    bad::{self, Bad},
    checkpoint::Checkpoint,
    chunker::{self, Chunker, Mark},
    database::Database,
    legacy::{LegacyRow, RawRow},
    post::{Item, Post},
    progress::Bar,
    store,
    verify::{self, Expected},
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
    /// Whether the checkpoint does not know all of them.
    #[serde(skip)]
    has_new_bad: bool,
}

impl State {
    fn start() -> Self {
        Self {
            mark: Mark::start(),
            events: 0,
            duplicates: 0,
            bad: Bad::new(),
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
            Err(bad) => bail!("{bad}; leave bad rows out with --skip-bad"),
        }
    }

    /// The mark moves only behind the acknowledgement. What was left out is written down before:
    /// every later run must cut the rows around it in the same way.
    async fn flush(&self, post: &mut Post, mark: Mark, state: &mut State) -> anyhow::Result<()> {
        if std::mem::take(&mut state.has_new_bad) {
            self.checkpoint.save(state)?;
        }
        let posted = post.flush(false).await?;
        state.mark = mark;
        state.events += posted.acked;
        state.duplicates += posted.duplicates;
        self.checkpoint.save(state)
    }

    fn report(&self, state: &State, common: &Common) -> std::io::Result<()> {
        if state.bad.is_empty() {
            return Ok(());
        }
        let rows = bad::rows(&state.bad, "rows", |rowid| {
            format!("{}: rowid {rowid}", self.file)
        });
        output::rows(common.output, &rows)
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

    /// Read once more from the first row: what SQLite itself would join, and how many events the
    /// rows make. Needs memory for the conversations, not for their events.
    fn expected(&self, state: &State) -> anyhow::Result<Expected> {
        let mut expected = Expected {
            conversations: BTreeMap::new(),
            source: Some(self.source.clone()),
        };
        let mark = Mark {
            ends: state.mark.ends.clone(),
            ..Mark::start()
        };
        let mut chunker = Chunker::new(&self.source, mark);
        let (mut after, end) = (i64::MIN, state.end());
        loop {
            let page = self.database.page(after, end)?;
            let Some(last) = page.last() else { break };
            after = last.rowid;
            for row in page {
                if state.bad.contains_key(&row.rowid) {
                    continue;
                }
                let row = LegacyRow::new(row, self.latest)?;
                let name = row.conversation.to_string();
                let conversation = expected.conversations.entry(name).or_default();
                conversation.rows += 1;
                conversation.add_bytes(&row.chunk);
                count(&mut expected, self.unchanged(chunker.push(&row))?)?;
            }
        }
        count(&mut expected, self.unchanged(chunker.finish(end))?)?;
        Ok(expected)
    }
}

fn item(planned: chunker::Planned) -> Item {
    Item {
        place: format!("row {:?}", planned.first_id),
        line: planned.line,
    }
}

fn count(expected: &mut Expected, planned: Vec<chunker::Planned>) -> anyhow::Result<()> {
    for planned in planned {
        let conversation = expected.conversations.get_mut(&planned.conversation);
        conversation.context("an event is made of rows")?.events += 1;
    }
    Ok(())
}
