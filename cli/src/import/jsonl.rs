//! Import of files of events, one JSON object a line.

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
    path::Path,
};

use anyhow::{anyhow, bail};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    JsonlArgs,
    bad::{self, BadEntries},
    checkpoint::Checkpoint,
    line_reader::LineReader,
    lines::{self, BadLine, Defaults, ReadyLine},
    post::{EventPoster, PostItem, PostResult},
    progress::Bar,
    source, store,
    verify::{self, Expected},
};
use crate::{common::Common, output};

/// Source in the checkpoint of every file: a file is identified by the hash of its imported lines, not
/// by this.
const SOURCE: &str = "jsonl";
/// Maximum bytes of a line: what ingest accepts in one request.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug, Default, Serialize, Deserialize)]
struct JsonlState {
    /// Number of lines that are acknowledged, or known to be bad.
    lines: u64,
    /// blake3 of these lines.
    hash: String,
    events: u64,
    duplicates: u64,
    /// The bad lines that were skipped, and why.
    bad: BadEntries<u64>,
}

struct JsonlImport<'a> {
    name: String,
    args: &'a JsonlArgs,
    defaults: Defaults,
    /// Stdin has none.
    checkpoint: Option<Checkpoint>,
    post: EventPoster<u64>,
    /// Conversation and id of the events that wait in `post`, by line.
    unacked: BTreeMap<u64, (String, Uuid)>,
    expected: Expected,
    /// A last line without an end that is no event, or not yet: it is in no checkpoint.
    unfinished: Option<(u64, BadLine)>,
}

/// Imports one file, and verifies it unless `--no-verify` is set.
pub(super) async fn import(file: &Path, args: &JsonlArgs, common: &Common) -> anyhow::Result<()> {
    let is_stdin = file.as_os_str() == "-";
    let reader = source::open_lines(file)?;
    let path = args.options.checkpoint.as_deref();
    let store = store::identity(common, !args.options.no_verify).await?;
    let checkpoint = (!is_stdin).then(|| Checkpoint::new(file, SOURCE, &store, path));
    let loaded = checkpoint
        .as_ref()
        .map(Checkpoint::load)
        .transpose()?
        .flatten();
    let mut state: JsonlState = loaded.unwrap_or_default();
    let mut run = JsonlImport {
        name: if is_stdin {
            "stdin".to_owned()
        } else {
            file.display().to_string()
        },
        args,
        defaults: Defaults {
            conversation: args.conversation.clone(),
            event_type: args.event_type.clone(),
        },
        checkpoint,
        post: EventPoster::new(common)?,
        unacked: BTreeMap::new(),
        expected: Expected {
            conversations: BTreeMap::new(),
            source: None,
        },
        unfinished: None,
    };
    let before = (state.lines, state.events, state.duplicates);
    run.send(reader, &mut state).await?;
    run.report(&state, before, common)?;
    anyhow::ensure!(state.events > 0, run.stored_nothing(&state));
    if args.options.no_verify || run.expected.conversations.is_empty() {
        return Ok(());
    }
    verify::verify(&run.expected, args.options.verify_within.into(), common).await
}

impl JsonlImport<'_> {
    async fn send(&mut self, reader: impl BufRead, state: &mut JsonlState) -> anyhow::Result<()> {
        let mut bar = Bar::new("import", None);
        let mut lines = LineReader::new(reader, MAX_LINE_BYTES);
        while lines
            .advance()
            .map_err(|error| self.unreadable(error, lines.number()))?
        {
            self.add(&lines, state)?;
            let number = lines.number();
            if number == state.lines {
                anyhow::ensure!(lines.has_hash(&state.hash), self.differs());
            }
            if number > state.lines && self.post.is_full() && self.unfinished.is_none() {
                self.flush(number, lines.hash(), state).await?;
            }
            bar.advance(1);
        }
        let (number, hash) = match self.unfinished {
            None => (lines.number(), lines.hash()),
            Some((number, _)) => (number - 1, lines.hash_before()),
        };
        anyhow::ensure!(number >= state.lines, self.differs());
        if number > state.lines {
            self.flush(number, hash, state).await?;
        }
        bar.finish();
        match &self.unfinished {
            Some((number, bad)) if !self.args.skip_bad => bail!(
                "{}; it has no end: call the import again when its writer has written it",
                self.named(*number, bad)
            ),
            _ => Ok(()),
        }
    }

    /// Adds the event of the line to what waits, and to what the verification expects.
    fn add<R: BufRead>(
        &mut self,
        lines: &LineReader<R>,
        state: &mut JsonlState,
    ) -> anyhow::Result<()> {
        let number = lines.number();
        if state.bad.contains_key(&number) {
            return Ok(());
        }
        let prepared = match lines.line() {
            Some(line) => lines::prepare(line, number, &self.defaults),
            None => Err(BadLine::too_long(MAX_LINE_BYTES)),
        };
        match prepared {
            Ok(None) => {}
            Ok(Some(ready)) => {
                self.expect(&ready);
                if number > state.lines {
                    self.wait(number, ready);
                }
            }
            Err(bad) if !lines.is_ended() => self.unfinished = Some((number, bad)),
            Err(bad) if self.args.skip_bad && number > state.lines => {
                state.bad.insert(number, bad.code);
            }
            Err(bad) => bail!(
                "{}; leave what is bad out with --skip-bad",
                self.named(number, &bad)
            ),
        }
        Ok(())
    }

    fn wait(&mut self, number: u64, ready: ReadyLine) {
        self.unacked
            .insert(number, (ready.conversation, ready.event_id));
        self.post.add(PostItem {
            place: format!("{}:{number}", self.name),
            line: ready.line,
            key: number,
        });
    }

    fn named(&self, number: u64, bad: &BadLine) -> String {
        format!("{}:{number}: {}: {}", self.name, bad.code, bad.detail)
    }

    fn expect(&mut self, ready: &ReadyLine) {
        let conversations = &mut self.expected.conversations;
        let conversation = conversations.entry(ready.conversation.clone()).or_default();
        conversation.rows += 1;
        conversation.events += u64::from(conversation.ids.insert(ready.event_id));
    }

    /// Sends what waits; the state advances only after the acknowledgement.
    async fn flush(
        &mut self,
        number: u64,
        hash: String,
        state: &mut JsonlState,
    ) -> anyhow::Result<()> {
        let PostResult {
            acked,
            duplicates,
            bad,
        } = self.post.flush(self.args.skip_bad).await?;
        for (line, item) in bad {
            state.bad.insert(line, item.code);
            self.unexpect(line);
        }
        self.unacked.clear();
        state.lines = number;
        state.hash = hash;
        state.events += acked;
        state.duplicates += duplicates;
        match &self.checkpoint {
            Some(checkpoint) => checkpoint.save(state),
            None => Ok(()),
        }
    }

    /// Removes a refused line from what the verification expects.
    fn unexpect(&mut self, line: u64) {
        let Some((name, id)) = self.unacked.remove(&line) else {
            return;
        };
        if let Some(conversation) = self.expected.conversations.get_mut(&name) {
            conversation.rows -= 1;
            conversation.events -= u64::from(conversation.ids.remove(&id));
            if conversation.events == 0 {
                self.expected.conversations.remove(&name);
            }
        }
    }

    fn differs(&self) -> String {
        let checkpoint = self
            .checkpoint
            .as_ref()
            .map(|it| it.path().display().to_string());
        format!(
            "{} does not begin with the lines that were imported according to {}: name another \
             checkpoint with --checkpoint",
            self.name,
            checkpoint.unwrap_or_default()
        )
    }

    fn unreadable(&self, error: io::Error, number: u64) -> anyhow::Error {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        let name = &self.name;
        if matches!(error.kind(), UnexpectedEof | InvalidData | InvalidInput) {
            return anyhow!(
                "{name} is cut off or damaged behind line {number} ({error}): call the import again \
                 with a whole copy in its place, and it goes on where it was"
            );
        }
        anyhow::Error::new(error).context(format!("read {name}"))
    }

    fn report(
        &self,
        state: &JsonlState,
        before: (u64, u64, u64),
        common: &Common,
    ) -> io::Result<()> {
        let name = &self.name;
        if state.events == 0 {
            // The error says it.
        } else if state.lines == before.0 {
            output::note(&format!(
                "everything in {name} was imported into this store before; nothing was sent"
            ));
        } else {
            let (events, duplicates) = (state.events - before.1, state.duplicates - before.2);
            output::note(&format!(
                "{events} events of {name} are stored, {duplicates} of them were known before"
            ));
        }
        let unfinished = self.unfinished.iter();
        let unfinished = unfinished.map(|(line, bad)| (&*bad.code, 1, *line));
        let bad = state.bad.iter().map(|(line, code)| (&**code, 1, *line));
        let bad: Vec<_> = bad.chain(unfinished).collect();
        if bad.is_empty() {
            return Ok(());
        }
        let rows = bad::rows(bad, "lines", |line| format!("{name}:{line}"));
        output::rows(common.output, &rows)
    }

    fn stored_nothing(&self, state: &JsonlState) -> String {
        let name = &self.name;
        match state.bad.is_empty() && self.unfinished.is_none() {
            true => format!("{name} has no lines; nothing was sent: is it the right file?"),
            false => format!(
                "nothing of {name} is stored, none of its lines is an event: `isotherm import jsonl \
                 --help` shows one"
            ),
        }
    }
}
