//! Events on their way to ingest, each with a name by which a refusal can be traced to its source.

use anyhow::anyhow;
use serde::Deserialize;

use crate::{
    args::Common,
    client::{Client, Refusal},
    sender::{self, BATCH_BYTES, BATCH_EVENTS, Sender},
};

#[derive(Debug)]
pub(super) struct Item<K> {
    /// Where it came from: a line or a row.
    pub(super) place: String,
    pub(super) line: String,
    /// By which whoever adds it knows it again.
    pub(super) key: K,
}

/// An item that ingest refuses, and why.
#[derive(Debug, Deserialize)]
pub(super) struct BadItem {
    pub(super) index: usize,
    pub(super) code: String,
    pub(super) detail: String,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Posted<K> {
    pub(super) acked: u64,
    pub(super) duplicates: u64,
    /// With their keys.
    pub(super) bad: Vec<(K, BadItem)>,
}

/// Sends until it is acknowledged, in batches.
#[derive(Debug)]
pub(super) struct Post<K> {
    sender: Sender,
    waiting: Vec<Item<K>>,
    bytes: usize,
}

impl<K> Post<K> {
    pub(super) fn new(common: &Common) -> anyhow::Result<Self> {
        Ok(Self {
            sender: Sender::new(Client::ingest(common)?, None),
            waiting: Vec::new(),
            bytes: 0,
        })
    }

    pub(super) fn add(&mut self, item: Item<K>) {
        self.bytes += item.line.len();
        self.waiting.push(item);
    }

    /// Whether a batch is waiting.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= BATCH_EVENTS || self.bytes >= BATCH_BYTES
    }

    /// Sends all that waits. The first item that ingest refuses is an error that names its place;
    /// with `skip_bad` the others are stored without it, and it is returned.
    pub(super) async fn flush(&mut self, skip_bad: bool) -> anyhow::Result<Posted<K>> {
        let mut posted = Posted {
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
            self.send(batch.to_vec(), origins, skip_bad, &mut posted)
                .await?;
        }
        Ok(posted)
    }

    async fn send(
        &self,
        mut batch: Vec<String>,
        mut origins: Vec<(String, K)>,
        skip_bad: bool,
        posted: &mut Posted<K>,
    ) -> anyhow::Result<()> {
        while !batch.is_empty() {
            let error = match self.sender.send(&batch).await {
                Ok(receipt) => {
                    posted.acked += receipt.acked;
                    posted.duplicates += receipt.duplicates;
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
                Some(_) => posted.bad.extend(take_out(&mut batch, &mut origins, bad)),
                None => return Err(error),
            }
        }
        Ok(())
    }
}

/// What ingest lists; empty when the refusal is about something else.
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

/// Removes the bad items, which are in order, from the batch.
fn take_out<K>(
    batch: &mut Vec<String>,
    origins: &mut Vec<(String, K)>,
    bad: Vec<BadItem>,
) -> Vec<(K, BadItem)> {
    let backwards = bad.into_iter().rev().map(|item| {
        batch.remove(item.index);
        (origins.remove(item.index).1, item)
    });
    let mut taken: Vec<_> = backwards.collect();
    taken.reverse();
    taken
}
