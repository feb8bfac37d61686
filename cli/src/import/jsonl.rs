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
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;

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
    };
    let before = (state.lines, state.events, state.duplicates);
    run.send(reader, &mut state).await?;
    run.report(&state, before, common)?;
    if args.options.no_verify || run.expected.conversations.is_empty() {
        return Ok(());
    }
    verify::verify(&run.expected, args.options.verify_within.into(), common).await
}

impl JsonlImport<'_> {
    async fn send(
        &mut self,
        mut reader: impl BufRead,
        state: &mut JsonlState,
    ) -> anyhow::Result<()> {
        let mut bar = Bar::new("import", None);
        let mut hasher = blake3::Hasher::new();
        let mut number = 0;
        let mut line = Vec::new();
        while read_line(&mut reader, &mut line).map_err(|error| self.unreadable(error, number))? {
            number += 1;
            hasher.update(&line);
            let ready = self.prepare_line(&line, number, state)?;
            if let Some(ready) = ready.filter(|_| number > state.lines) {
                let place = format!("{}:{number}", self.name);
                self.unacked
                    .insert(number, (ready.conversation, ready.event_id));
                self.post.add(PostItem {
                    place,
                    line: ready.line,
                    key: number,
                });
            }
            if number == state.lines {
                self.check(&hasher, state)?;
            }
            if number > state.lines && self.post.is_full() {
                self.flush(number, &hasher, state).await?;
            }
            bar.advance(1);
        }
        if number < state.lines {
            bail!(self.differs());
        }
        if number > state.lines {
            self.flush(number, &hasher, state).await?;
        }
        bar.finish();
        Ok(())
    }

    /// Returns the event of a line, and adds it to what the verification expects.
    fn prepare_line(
        &mut self,
        line: &[u8],
        number: u64,
        state: &mut JsonlState,
    ) -> anyhow::Result<Option<ReadyLine>> {
        if state.bad.contains_key(&number) {
            return Ok(None);
        }
        match lines::prepare(line, number, &self.defaults) {
            Ok(ready) => {
                if let Some(ready) = &ready {
                    self.expect(ready);
                }
                Ok(ready)
            }
            Err(BadLine { code, .. }) if self.args.skip_bad && number > state.lines => {
                state.bad.insert(number, code);
                Ok(None)
            }
            Err(BadLine { code, detail }) => {
                bail!(
                    "{}:{number}: {code}: {detail}; leave what is bad out with --skip-bad",
                    self.name
                )
            }
        }
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
        hasher: &blake3::Hasher,
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
        state.hash = hasher.finalize().to_hex().to_string();
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

    /// Fails when the lines before the checkpoint are not those that were acknowledged.
    fn check(&self, hasher: &blake3::Hasher, state: &JsonlState) -> anyhow::Result<()> {
        let hash = hasher.finalize().to_hex();
        anyhow::ensure!(hash.as_str() == state.hash, self.differs());
        Ok(())
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

    fn unreadable(&self, error: anyhow::Error, number: u64) -> anyhow::Error {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        let name = &self.name;
        let kind = error.downcast_ref().map(io::Error::kind);
        if matches!(kind, Some(UnexpectedEof | InvalidData | InvalidInput)) {
            return anyhow!(
                "{name} is cut off or damaged behind line {number} ({error}): call the import again \
                 with a whole copy in its place, and it goes on where it was"
            );
        }
        error.context(format!("read {name}"))
    }

    fn report(
        &self,
        state: &JsonlState,
        before: (u64, u64, u64),
        common: &Common,
    ) -> io::Result<()> {
        let name = &self.name;
        if state.lines == 0 {
            output::note(&format!("{name} has no lines; nothing was sent"));
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
        if state.bad.is_empty() {
            return Ok(());
        }
        let bad = state.bad.iter().map(|(line, code)| (&**code, 1, *line));
        let rows = bad::rows(bad, "lines", |line| format!("{name}:{line}"));
        output::rows(common.output, &rows)
    }
}

/// Reads the next line with its end; false at the end of the file.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> anyhow::Result<bool> {
    line.clear();
    let length = io::Read::take(reader, MAX_LINE_BYTES).read_until(b'\n', line)?;
    if length as u64 == MAX_LINE_BYTES {
        bail!("a line is longer than 16 MiB");
    }
    Ok(length > 0)
}
