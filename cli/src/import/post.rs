//! Batches of events for ingest; each event knows its place in the source, to report a refusal.

use anyhow::anyhow;
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
        mut batch: Vec<String>,
        mut origins: Vec<(String, K)>,
        skip_bad: bool,
        result: &mut PostResult<K>,
    ) -> anyhow::Result<()> {
        while !batch.is_empty() {
            let error = match self.sender.send(&batch).await {
                Ok(receipt) => {
                    result.acked += receipt.acked;
                    result.duplicates += receipt.duplicates;
                    return Ok(());
                }
                Err(error) => error,
            };
            let bad = bad_items(&error, batch.len());
            match bad.first() {
                Some(BadItem {
                    index,
                    code,
                    detail,
                }) if !skip_bad => {
                    return Err(anyhow!(
                        "{}: {code}: {detail}; leave what is bad out with --skip-bad",
                        origins[*index].0
                    ));
                }
                Some(_) => result.bad.extend(remove_bad(&mut batch, &mut origins, bad)),
                None => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns the items that ingest lists, ascending by index; none when the refusal is not about items.
fn bad_items(error: &anyhow::Error, count: usize) -> Vec<BadItem> {
    let Some(refusal) = error.downcast_ref::<Refusal>() else {
        return Vec::new();
    };
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
