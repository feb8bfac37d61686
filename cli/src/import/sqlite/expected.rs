//! What must be readable when an import of the legacy database has ended.

use std::{borrow::Cow, collections::BTreeMap};

use anyhow::Context as _;
use serde::Deserialize;

use super::{
    super::{
        chunker::{Chunker, Mark, Planned},
        legacy::LegacyRow,
        verify::Expected,
    },
    Run, State,
};
use crate::read::stored::content_bytes;

/// The content of an event as it was sent.
#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(default, borrow)]
    content_encoding: Option<Cow<'a, str>>,
}

impl Run {
    /// Read once more from the first row: what SQLite itself would join, and how many events the
    /// rows make; when events were refused, what the others hold. Needs memory for the conversations,
    /// not for their events.
    pub(super) fn expected(&self, state: &State) -> anyhow::Result<Expected> {
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

/// What was refused need not be there.
fn count(expected: &mut Expected, planned: Vec<Planned>, state: &State) -> anyhow::Result<()> {
    for planned in planned {
        let conversation = expected.conversations.get_mut(&planned.conversation);
        let conversation = conversation.context("an event is made of rows")?;
        if state.refused.contains_key(&planned.event_id) {
            conversation.rows -= planned.rows;
            continue;
        }
        conversation.events += 1;
        if !state.refused.is_empty() {
            let sent: Sent<'_> = serde_json::from_str(&planned.line).context("read an event")?;
            let encoding = sent.content_encoding.as_deref();
            conversation.add_bytes(&content_bytes(&sent.content, encoding)?);
        }
    }
    Ok(())
}
