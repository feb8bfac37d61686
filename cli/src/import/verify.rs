//! Reading everything back: the same events, once each, with the same joined text.

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
    args::Common,
    client::Client,
    output::{self, Row},
    read::{pages::Pages, stored::content_bytes},
};

const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What must be there.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) conversations: BTreeMap<String, Conversation>,
    /// Of a legacy database, whose events say which rows they were made of; this needs no memory
    /// for their ids, and the joined text is compared too.
    pub(super) source: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// Rows or lines that the events were made of.
    pub(super) rows: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
    hasher: Sha256,
    pub(super) ids: HashSet<Uuid>,
}

/// What an event of the answer says.
#[derive(Debug, Deserialize)]
struct Found<'a> {
    event_id: Uuid,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(default, borrow)]
    content_encoding: Option<Cow<'a, str>>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// A producer's own `legacy` may be anything.
#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default)]
    legacy: Option<serde_json::Value>,
    #[serde(default)]
    isotherm_legacy: Option<serde_json::Value>,
}

impl Conversation {
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
    fn has(&self, name: &str, event: &Found<'_>) -> bool {
        let Some(source) = &self.source else {
            let conversation = self.conversations.get(name);
            return conversation.is_some_and(|wanted| wanted.ids.contains(&event.event_id));
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

/// Compares what the query service answers with `expected`, and shows a table. What was stored just
/// now may take `patience` to become readable.
pub(super) async fn verify(
    expected: &Expected,
    patience: Duration,
    common: &Common,
) -> anyhow::Result<()> {
    let client = Client::query(common)?;
    let total = expected
        .conversations
        .values()
        .map(|wanted| wanted.events)
        .sum();
    let mut bar = Bar::new("verify", Some(total));
    let give_up = Instant::now() + patience;
    let (mut rows, mut wrong) = (Vec::new(), 0_usize);
    for (name, wanted) in &expected.conversations {
        let (found, is_same) = patiently(&client, expected, name, wanted, give_up).await?;
        bar.advance(found.events);
        wrong += usize::from(!is_same);
        rows.push(
            Row::default()
                .with("conversation", name)
                .with("rows", wanted.rows)
                .with("events", wanted.events)
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

/// Reads until it is the same, or until it is too late.
async fn patiently(
    client: &Client,
    expected: &Expected,
    name: &str,
    wanted: &Conversation,
    give_up: Instant,
) -> anyhow::Result<(Conversation, bool)> {
    loop {
        let found = read(client, expected, name).await;
        let is_late = Instant::now() >= give_up;
        match found {
            Ok(found) => {
                let is_same = wanted.is_same(&found, expected.source.is_some());
                if is_same || is_late {
                    return Ok((found, is_same));
                }
            }
            Err(error) if is_late => return Err(error.context("read back what was imported")),
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// What is there of the import; other events of the conversation are passed over.
async fn read(client: &Client, expected: &Expected, name: &str) -> anyhow::Result<Conversation> {
    let mut found = Conversation::default();
    let mut pages = Pages::new(client, name);
    while let Some(page) = pages.next().await? {
        for line in &page {
            let event: Found<'_> =
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
