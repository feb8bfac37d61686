//! Events on their way to ingest, each with a name by which a refusal can be traced to its source.

use anyhow::anyhow;
use serde::Deserialize;

use crate::{
    args::Common,
    client::{Client, Refusal},
    sender::{self, BATCH_BYTES, BATCH_EVENTS, Sender},
};

#[derive(Debug)]
pub(super) struct Item {
    /// Where it came from: a line or a row.
    pub(super) place: String,
    pub(super) line: String,
}

/// An item that ingest refuses, and why.
#[derive(Debug, Deserialize)]
pub(super) struct BadItem {
    pub(super) index: usize,
    pub(super) code: String,
    pub(super) detail: String,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Posted {
    pub(super) acked: u64,
    pub(super) duplicates: u64,
    /// With their places.
    pub(super) bad: Vec<(String, BadItem)>,
}

/// Sends until it is acknowledged, in batches.
#[derive(Debug)]
pub(super) struct Post {
    sender: Sender,
    waiting: Vec<Item>,
    bytes: usize,
}

impl Post {
    pub(super) fn new(common: &Common) -> anyhow::Result<Self> {
        Ok(Self {
            sender: Sender::new(Client::ingest(common)?, None),
            waiting: Vec::new(),
            bytes: 0,
        })
    }

    pub(super) fn add(&mut self, item: Item) {
        self.bytes += item.line.len();
        self.waiting.push(item);
    }

    /// Whether a batch is waiting.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= BATCH_EVENTS || self.bytes >= BATCH_BYTES
    }

    /// Sends all that waits. The first item that ingest refuses is an error that names its place;
    /// with `skip_bad` the others are stored without it, and it is returned.
    pub(super) async fn flush(&mut self, skip_bad: bool) -> anyhow::Result<Posted> {
        let mut posted = Posted::default();
        self.bytes = 0;
        let (mut places, lines): (Vec<String>, Vec<String>) = self
            .waiting
            .drain(..)
            .map(|item| (item.place, item.line))
            .unzip();
        for batch in sender::batches(&lines) {
            let rest = places.split_off(batch.len());
            let places = std::mem::replace(&mut places, rest);
            self.send(batch.to_vec(), places, skip_bad, &mut posted)
                .await?;
        }
        Ok(posted)
    }

    async fn send(
        &self,
        mut batch: Vec<String>,
        mut places: Vec<String>,
        skip_bad: bool,
        posted: &mut Posted,
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
                    return Err(anyhow!("{}: {code}: {detail}", places[*index]));
                }
                Some(_) => posted.bad.extend(take_out(&mut batch, &mut places, bad)),
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
fn take_out(
    batch: &mut Vec<String>,
    places: &mut Vec<String>,
    bad: Vec<BadItem>,
) -> Vec<(String, BadItem)> {
    let backwards = bad.into_iter().rev().map(|item| {
        batch.remove(item.index);
        (places.remove(item.index), item)
    });
    let mut taken: Vec<_> = backwards.collect();
    taken.reverse();
    taken
}
