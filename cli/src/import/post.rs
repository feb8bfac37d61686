//! Batches of events for ingest; each event knows its place in the source, to report a refusal.

use anyhow::anyhow;
use reqwest::StatusCode;
use serde::Deserialize;

use crate::{
    client::{Client, Refusal},
    common::Common,
    sender::{self, BATCH_BYTES, BATCH_EVENTS, Sender},
};

/// An event to send.
#[derive(Debug)]
pub(super) struct PostItem<K> {
    /// Its place in the source: a line or a row.
    pub(super) place: String,
    pub(super) line: String,
    /// Returned when ingest refuses the event.
    pub(super) key: K,
}

/// An item that ingest refused, from its answer.
#[derive(Debug, Deserialize)]
pub(super) struct BadItem {
    pub(super) index: usize,
    pub(super) code: String,
    pub(super) detail: String,
}

/// The result of a flush.
#[derive(Debug)]
pub(super) struct PostResult<K> {
    pub(super) acked: u64,
    pub(super) duplicates: u64,
    /// The refused events, with their keys.
    pub(super) bad: Vec<(K, BadItem)>,
}

/// Collects events and sends them in batches, each retried until it is acknowledged.
#[derive(Debug)]
pub(super) struct EventPoster<K> {
    sender: Sender,
    waiting: Vec<PostItem<K>>,
    bytes: usize,
}

impl<K> EventPoster<K> {
    pub(super) fn new(common: &Common) -> anyhow::Result<Self> {
        Ok(Self {
            sender: Sender::new(Client::ingest(common)?, None),
            waiting: Vec::new(),
            bytes: 0,
        })
    }

    pub(super) fn add(&mut self, item: PostItem<K>) {
        self.bytes += item.line.len();
        self.waiting.push(item);
    }

    /// True when a whole batch waits.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= BATCH_EVENTS || self.bytes >= BATCH_BYTES
    }

    /// Sends all events that wait.
    ///
    /// # Errors
    /// A refused batch. With `skip_bad`, refused items are returned instead, and the others are stored
    /// without them.
    pub(super) async fn flush(&mut self, skip_bad: bool) -> anyhow::Result<PostResult<K>> {
        let mut result = PostResult {
            acked: 0,
            duplicates: 0,
            bad: Vec::new(),
        };
        self.bytes = 0;
        let (mut origins, lines): (Vec<_>, Vec<String>) = self
            .waiting
            .drain(..)
            .map(|item| ((item.place, item.key), item.line))
            .unzip();
        for batch in sender::batches(&lines) {
            let rest = origins.split_off(batch.len());
            let origins = std::mem::replace(&mut origins, rest);
            self.send(batch.to_vec(), origins, skip_bad, &mut result)
                .await?;
        }
        Ok(result)
    }

    async fn send(
        &self,
        batch: Vec<String>,
        origins: Vec<(String, K)>,
        skip_bad: bool,
        result: &mut PostResult<K>,
    ) -> anyhow::Result<()> {
        let mut parts = vec![(batch, origins)];
        while let Some((mut batch, mut origins)) = parts.pop() {
            if batch.is_empty() {
                continue;
            }
            let error = match self.sender.send(&batch).await {
                Ok(receipt) => {
                    result.acked += receipt.acked;
                    result.duplicates += receipt.duplicates;
                    continue;
                }
                Err(error) => error,
            };
            let bad = bad_items(&error, batch.len());
            match bad.first() {
                None if batch.len() > 1 && is_about_body(&error) => {
                    // One item spoils the whole body: it is in one of the halves.
                    let half = batch.len() / 2;
                    let rest = (batch.split_off(half), origins.split_off(half));
                    parts.extend([rest, (batch, origins)]);
                }
                None => return Err(error),
                Some(first) if !skip_bad => {
                    let (place, code) = (&origins[first.index].0, &first.code);
                    return Err(anyhow!(
                        "{place}: {code}: {}; leave what is bad out with --skip-bad",
                        first.detail
                    ));
                }
                Some(_) => {
                    result.bad.extend(remove_bad(&mut batch, &mut origins, bad));
                    parts.push((batch, origins));
                }
            }
        }
        Ok(())
    }
}

/// True when ingest refuses what a body says, and not the request around it.
fn is_about_body(error: &anyhow::Error) -> bool {
    let status = error.downcast_ref().map(|refusal: &Refusal| refusal.status);
    matches!(
        status,
        Some(
            StatusCode::BAD_REQUEST
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNPROCESSABLE_ENTITY
        )
    )
}

/// Returns the items that ingest lists, ascending by index, or the only one of a body that it refuses;
/// none when the refusal is not about items.
fn bad_items(error: &anyhow::Error, count: usize) -> Vec<BadItem> {
    let Some(refusal) = error.downcast_ref::<Refusal>() else {
        return Vec::new();
    };
    if count == 1 && refusal.items.is_empty() && is_about_body(error) {
        return vec![BadItem {
            index: 0,
            code: refusal.code.clone().unwrap_or_else(|| "refused".to_owned()),
            detail: refusal.detail.clone(),
        }];
    }
    let items = refusal
        .items
        .iter()
        .filter_map(|item| serde_json::from_value(item.clone()).ok());
    let mut bad: Vec<BadItem> = items.filter(|item: &BadItem| item.index < count).collect();
    bad.sort_by_key(|item| item.index);
    bad.dedup_by_key(|item| item.index);
    bad
}

/// Removes the bad items, which are ascending by index, from the batch.
fn remove_bad<K>(
    batch: &mut Vec<String>,
    origins: &mut Vec<(String, K)>,
    bad: Vec<BadItem>,
) -> Vec<(K, BadItem)> {
    let backwards = bad.into_iter().rev().map(|item| {
        batch.remove(item.index);
        (origins.remove(item.index).1, item)
    });
    let mut removed: Vec<_> = backwards.collect();
    removed.reverse();
    removed
}
