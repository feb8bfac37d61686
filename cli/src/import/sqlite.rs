//! The legacy database: read by keyset pages, sent in order, compared at the end.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use event::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    SqliteArgs,
    checkpoint::Checkpoint,
    chunker::{self, Chunker, Mark},
    database::Database,
    legacy::LegacyRow,
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
}

impl State {
    fn start() -> Self {
        Self {
            mark: Mark::start(),
            events: 0,
            duplicates: 0,
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
    if args.options.no_verify {
        return Ok(());
    }
    verify::verify(
        &run.expected(&state)?,
        args.options.verify_within.into(),
        common,
    )
    .await
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
                let row = LegacyRow::new(row, self.latest)?;
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

    /// The mark moves only behind the acknowledgement.
    async fn flush(&self, post: &mut Post, mark: Mark, state: &mut State) -> anyhow::Result<()> {
        let posted = post.flush(false).await?;
        state.mark = mark;
        state.events += posted.acked;
        state.duplicates += posted.duplicates;
        self.checkpoint.save(state)
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
