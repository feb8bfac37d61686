//! Computes what must be readable after an import of the legacy database.

use std::{borrow::Cow, collections::BTreeMap};

use anyhow::Context as _;
use serde::Deserialize;

use super::{
    super::{
        chunker::{Chunker, PlannedEvent, ResumePoint},
        legacy::LegacyRow,
        verify::Expected,
    },
    SqliteImport, SqliteState,
};
use crate::read::stored::content_bytes;

/// The content of an event as it was sent.
#[derive(Deserialize)]
struct SentContent<'a> {
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(default, borrow)]
    content_encoding: Option<Cow<'a, str>>,
}

impl SqliteImport {
    /// Reads all rows again. Counts the events that they make and hashes their joined text, which without
    /// refused events is what SQLite itself would join. Needs memory for each conversation, not for each
    /// event.
    pub(super) fn expected(&self, state: &SqliteState) -> anyhow::Result<Expected> {
        let mut expected = Expected {
            conversations: BTreeMap::new(),
            source: Some(self.source.clone()),
        };
        let resume_point = ResumePoint {
            ends: state.resume_point.ends.clone(),
            ..ResumePoint::start()
        };
        let mut chunker = Chunker::new(&self.source, resume_point);
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
                if state.refused.is_empty() {
                    conversation.add_bytes(&row.chunk);
                }
                count(&mut expected, self.unchanged(chunker.push(&row))?, state)?;
            }
        }
        count(&mut expected, self.unchanged(chunker.finish(end))?, state)?;
        expected.conversations.retain(|_, it| it.events > 0);
        Ok(expected)
    }
}

/// Adds events to what is expected; refused ones are not.
fn count(
    expected: &mut Expected,
    planned: Vec<PlannedEvent>,
    state: &SqliteState,
) -> anyhow::Result<()> {
    for planned in planned {
        let conversation = expected.conversations.get_mut(&planned.conversation);
        let conversation = conversation.context("an event is made of rows")?;
        if state.refused.contains_key(&planned.event_id) {
            conversation.rows -= planned.rows;
            continue;
        }
        conversation.events += 1;
        if !state.refused.is_empty() {
            let sent: SentContent<'_> =
                serde_json::from_str(&planned.line).context("read an event")?;
            let encoding = sent.content_encoding.as_deref();
            conversation.add_bytes(&content_bytes(&sent.content, encoding)?);
        }
    }
    Ok(())
}
