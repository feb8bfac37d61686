//! Files of events, one JSON object a line.

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
    bad::{self, Bad},
    checkpoint::Checkpoint,
    lines::{self, BadLine, Defaults, Ready},
    post::{Item, Post, Posted},
    progress::Bar,
    source, store,
    verify::{self, Expected},
};
use crate::{args::Common, output};

/// Lines of a file are told from those of another by what was read of them, not by its name.
const SOURCE: &str = "jsonl";
/// A longer one is no event: ingest takes 16 MiB at most.
const MAX_LINE: u64 = 16 * 1024 * 1024;

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// So many lines are acknowledged, or known to be bad.
    lines: u64,
    /// blake3 of these lines.
    hash: String,
    events: u64,
    duplicates: u64,
    /// The bad lines that were left out, and why.
    bad: Bad<u64>,
}

struct Run<'a> {
    name: String,
    args: &'a JsonlArgs,
    defaults: Defaults,
    /// Stdin has none.
    checkpoint: Option<Checkpoint>,
    post: Post<u64>,
    /// What waits in `post`, by its line.
    sent: BTreeMap<u64, (String, Uuid)>,
    expected: Expected,
}

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
    let mut state: State = loaded.unwrap_or_default();
    let mut run = Run {
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
        post: Post::new(common)?,
        sent: BTreeMap::new(),
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

impl Run<'_> {
    async fn send(&mut self, mut reader: impl BufRead, state: &mut State) -> anyhow::Result<()> {
        let mut bar = Bar::new("import", None);
        let mut hasher = blake3::Hasher::new();
        let mut number = 0;
        let mut line = Vec::new();
        while next(&mut reader, &mut line).map_err(|error| self.unreadable(error, number))? {
            number += 1;
            hasher.update(&line);
            let ready = self.ready(&line, number, state)?;
            if let Some(ready) = ready.filter(|_| number > state.lines) {
                let place = format!("{}:{number}", self.name);
                self.sent
                    .insert(number, (ready.conversation, ready.event_id));
                self.post.add(Item {
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

    /// The event of a line; what must be read back is noted.
    fn ready(
        &mut self,
        line: &[u8],
        number: u64,
        state: &mut State,
    ) -> anyhow::Result<Option<Ready>> {
        if state.bad.contains_key(&number) {
            return Ok(None);
        }
        match lines::ready(line, number, &self.defaults) {
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

    fn expect(&mut self, ready: &Ready) {
        let conversations = &mut self.expected.conversations;
        let conversation = conversations.entry(ready.conversation.clone()).or_default();
        conversation.rows += 1;
        conversation.events += u64::from(conversation.ids.insert(ready.event_id));
    }

    /// The state moves only behind the acknowledgement.
    async fn flush(
        &mut self,
        number: u64,
        hasher: &blake3::Hasher,
        state: &mut State,
    ) -> anyhow::Result<()> {
        let Posted {
            acked,
            duplicates,
            bad,
        } = self.post.flush(self.args.skip_bad).await?;
        for (line, item) in bad {
            state.bad.insert(line, item.code);
            self.forget(line);
        }
        self.sent.clear();
        state.lines = number;
        state.hash = hasher.finalize().to_hex().to_string();
        state.events += acked;
        state.duplicates += duplicates;
        match &self.checkpoint {
            Some(checkpoint) => checkpoint.save(state),
            None => Ok(()),
        }
    }

    /// It was refused, and need not be there.
    fn forget(&mut self, line: u64) {
        let Some((name, id)) = self.sent.remove(&line) else {
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

    /// What was acknowledged must be what lies before the rest.
    fn check(&self, hasher: &blake3::Hasher, state: &State) -> anyhow::Result<()> {
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

    fn report(&self, state: &State, before: (u64, u64, u64), common: &Common) -> io::Result<()> {
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

/// The next line with its end; false when there is none.
fn next(reader: &mut impl BufRead, line: &mut Vec<u8>) -> anyhow::Result<bool> {
    line.clear();
    let length = io::Read::take(reader, MAX_LINE).read_until(b'\n', line)?;
    if length as u64 == MAX_LINE {
        bail!("a line is longer than 16 MiB");
    }
    Ok(length > 0)
}
