//! Files of events, one JSON object a line.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read as _},
    path::Path,
};

use anyhow::Context as _;
use event::{ConversationId, EventId, TenantId};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Options, checkpoint::Checkpoint, expected::Expected, progress::Bar, verify};
use crate::{
    append,
    args::Common,
    client::Client,
    draft::derived_id,
    output,
    read::stored::content_bytes,
    sender::{self, BATCH_EVENTS, Sender},
};

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// So many lines are acknowledged.
    lines: u64,
    done: bool,
}

/// What verifying needs of a line.
#[derive(Deserialize)]
struct Line {
    event_id: String,
    conversation_id: String,
    #[serde(default)]
    content: String,
    content_encoding: Option<String>,
}

pub(super) async fn import(file: &Path, options: &Options, common: &Common) -> anyhow::Result<()> {
    let source = hash(file).with_context(|| format!("read {}", file.display()))?;
    let checkpoint = Checkpoint::new(file, &source, options);
    let mut state: State = checkpoint.load()?.unwrap_or_default();
    if state.done {
        output::note(&format!(
            "everything in {} was imported before",
            file.display()
        ));
    } else {
        send(file, &source, &mut state, &checkpoint, common).await?;
    }
    if options.no_verify {
        return Ok(());
    }
    verify::verify(&expected(file, &source)?, common).await
}

async fn send(
    file: &Path,
    source: &str,
    state: &mut State,
    checkpoint: &Checkpoint,
    common: &Common,
) -> anyhow::Result<()> {
    let sender = Sender::new(Client::ingest(common)?, None);
    let total = lines(file)?.count() as u64;
    let bar = Bar::new("import", total);
    bar.advance(state.lines);
    let skip = usize::try_from(state.lines).context("read the checkpoint")?;
    let mut rest = lines(file)?.enumerate().skip(skip).peekable();
    while rest.peek().is_some() {
        let mut batch = Vec::new();
        for (index, line) in rest.by_ref().take(BATCH_EVENTS) {
            let number = index + 1;
            let place = || format!("line {number} of {}", file.display());
            batch.extend(event(&line?, source, number).with_context(place)?);
            state.lines += 1;
        }
        for part in sender::batches(&batch) {
            let place = || format!("at line {} of {} or before", state.lines, file.display());
            sender.send(part).await.with_context(place)?;
        }
        checkpoint.save(state)?;
        bar.advance(batch.len() as u64);
    }
    state.done = true;
    checkpoint.save(state)?;
    bar.finish();
    Ok(())
}

/// The event of a line, with an id made of the file and the line where it has none.
fn event(line: &str, source: &str, number: usize) -> anyhow::Result<Option<String>> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    let id = derived_id(None, &[source.as_bytes(), &number.to_le_bytes()]);
    append::with_id(line, &id.to_string()).map(Some)
}

fn expected(file: &Path, source: &str) -> anyhow::Result<Expected> {
    let mut expected = Expected::new();
    for (index, line) in lines(file)?.enumerate() {
        let Some(line) = event(&line?, source, index + 1)? else {
            continue;
        };
        let line: Line = serde_json::from_str(&line)
            .with_context(|| format!("line {} of {}", index + 1, file.display()))?;
        let conversation = expected.entry(line.conversation_id.clone()).or_default();
        conversation.rows += 1;
        let id = stored_id(&line)?;
        // A line that is there twice is one event.
        if !conversation.ids.contains(&id) {
            let bytes = content_bytes(&line.content, line.content_encoding.as_deref())?;
            conversation.add(id, &bytes);
        }
    }
    Ok(expected)
}

/// Under which id the event is found again: texts that are no UUID become one.
fn stored_id(line: &Line) -> anyhow::Result<Uuid> {
    let conversation = ConversationId::new(&line.conversation_id)?;
    let (id, _) = EventId::from_text(&TenantId::default_tenant(), &conversation, &line.event_id)?;
    Ok(Uuid::from_u128(id.as_u128()))
}

fn lines(file: &Path) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>>> {
    let name = file.display();
    let opened = File::open(file).with_context(|| format!("read {name}"))?;
    let plain: Box<dyn BufRead> = if file.extension().is_some_and(|extension| extension == "gz") {
        Box::new(BufReader::new(MultiGzDecoder::new(opened)))
    } else {
        Box::new(BufReader::new(opened))
    };
    Ok(plain.lines())
}

/// Names a file by its content.
fn hash(file: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut reader = File::open(file)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(format!("jsonl:{}", hasher.finalize().to_hex())),
            length => hasher.update(&buffer[..length]),
        };
    }
}
