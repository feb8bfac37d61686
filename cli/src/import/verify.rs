//! Verification of an import: reads everything back and compares the events, each once, and the joined
//! text.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use event::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{chunker, legacy::Origin, progress::Bar};
use crate::{
    client::Client,
    common::Common,
    output::{self, Row},
    read::{pages::Pages, stored::content_bytes},
};

/// Pause before a conversation that differs is read again.
const READ_RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The conversations and events that must be readable.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) conversations: BTreeMap<String, ConversationTotals>,
    /// Identity of a legacy database, `None` for files of lines. Ids of its events are derived again from
    /// their origin, so that they need no memory, and the joined text is compared too.
    pub(super) source: Option<String>,
}

/// Totals of one conversation, expected or found.
#[derive(Debug, Default)]
pub(super) struct ConversationTotals {
    /// Rows or lines that the events were made of.
    pub(super) rows: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
    hasher: Sha256,
    pub(super) ids: HashSet<Uuid>,
}

/// An event of the answer.
#[derive(Debug, Deserialize)]
struct FoundEvent<'a> {
    event_id: Uuid,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(default, borrow)]
    content_encoding: Option<Cow<'a, str>>,
    #[serde(default)]
    metadata: Option<OriginMetadata>,
}

/// The members that may have the origin. A producer's own `legacy` may have any type.
#[derive(Debug, Deserialize)]
struct OriginMetadata {
    #[serde(default)]
    legacy: Option<serde_json::Value>,
    #[serde(default)]
    isotherm_legacy: Option<serde_json::Value>,
}

impl ConversationTotals {
    /// Adds the content of the next event.
    pub(super) fn add_bytes(&mut self, content: &[u8]) {
        self.bytes += content.len() as u64;
        self.hasher.update(content);
    }

    fn is_same(&self, found: &Self, with_text: bool) -> bool {
        let same_text = || self.hasher.clone().finalize() == found.hasher.clone().finalize();
        self.events == found.events
            && (self.ids.is_empty() || found.ids.len() == self.ids.len())
            && (!with_text || same_text())
    }
}

impl Expected {
    fn has(&self, name: &str, event: &FoundEvent<'_>) -> bool {
        let Some(source) = &self.source else {
            let conversation = self.conversations.get(name);
            return conversation
                .is_some_and(|expected_totals| expected_totals.ids.contains(&event.event_id));
        };
        let Some((metadata, at)) = event.metadata.as_ref().zip(event.timestamp.parse().ok()) else {
            return false;
        };
        let made_by = |origin: &serde_json::Value| {
            let origin = Origin::deserialize(origin);
            let at: Timestamp = at;
            origin.is_ok_and(|it| chunker::event_id(source, name, at, &it) == event.event_id)
        };
        let origins = [&metadata.legacy, &metadata.isotherm_legacy];
        origins.into_iter().flatten().any(made_by)
    }
}

/// Compares the answers of the query service with `expected` and prints a table. Waits at most
/// `timeout` for stored events to become readable.
///
/// # Errors
/// Conversations that differ, or an unreachable query service, after `timeout`.
pub(super) async fn verify(
    expected: &Expected,
    timeout: Duration,
    common: &Common,
) -> anyhow::Result<()> {
    let client = Client::query(common)?;
    let total = expected
        .conversations
        .values()
        .map(|expected_totals| expected_totals.events)
        .sum();
    let mut bar = Bar::new("verify", Some(total));
    let deadline = Instant::now() + timeout;
    let (mut rows, mut wrong) = (Vec::new(), 0_usize);
    for (name, expected_totals) in &expected.conversations {
        let (found, is_same) =
            read_until_same(&client, expected, name, expected_totals, deadline).await?;
        bar.advance(found.events);
        wrong += usize::from(!is_same);
        rows.push(
            Row::default()
                .with("conversation", name)
                .with("rows", expected_totals.rows)
                .with("events", expected_totals.events)
                .with("found", found.events)
                .with("bytes", found.bytes)
                .with("ok", if is_same { "yes" } else { "NO" }),
        );
    }
    bar.finish();
    output::rows(common.output, &rows)?;
    if wrong > 0 {
        bail!(
            "{wrong} of {} conversations differ from what was imported: see `isotherm tiers` and \
             the logs of the services; the import called again compares again",
            expected.conversations.len()
        );
    }
    Ok(())
}

/// Reads a conversation until it is as expected, or until the deadline. Returns the last totals, and
/// whether they are as expected.
async fn read_until_same(
    client: &Client,
    expected: &Expected,
    name: &str,
    expected_totals: &ConversationTotals,
    deadline: Instant,
) -> anyhow::Result<(ConversationTotals, bool)> {
    loop {
        let found = read(client, expected, name).await;
        let is_late = Instant::now() >= deadline;
        match found {
            Ok(found) => {
                let is_same = expected_totals.is_same(&found, expected.source.is_some());
                if is_same || is_late {
                    return Ok((found, is_same));
                }
            }
            Err(error) if is_late => return Err(error.context("read back what was imported")),
            Err(_) => {}
        }
        tokio::time::sleep(READ_RETRY_PAUSE).await;
    }
}

/// Reads a conversation and totals the events of the import; other events are skipped.
async fn read(
    client: &Client,
    expected: &Expected,
    name: &str,
) -> anyhow::Result<ConversationTotals> {
    let mut found = ConversationTotals::default();
    let mut pages = Pages::new(client, name);
    while let Some(page) = pages.next().await? {
        for line in &page {
            let event: FoundEvent<'_> =
                serde_json::from_str(line).context("read an event of the answer")?;
            if !expected.has(name, &event) {
                continue;
            }
            found.events += 1;
            found.add_bytes(&content_bytes(
                &event.content,
                event.content_encoding.as_deref(),
            )?);
            if expected.source.is_none() {
                found.ids.insert(event.event_id);
            }
        }
    }
    Ok(found)
}
