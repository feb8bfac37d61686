//! What the tasks of one process share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use event::{PartitionId, Seq};
use event_log::{EventLog, Watermark};
use hot_tier::HotWriter;
use tokio::sync::Notify;

use crate::metrics::Metrics;

#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) log: EventLog,
    pub(crate) hot: HotWriter,
    pub(crate) metrics: Metrics,
    pub(crate) sealed: SealedWatermarks,
}

/// How two tasks of one partition call each other.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    /// The hot tier has changed.
    pub(crate) changed: Arc<Notify>,
    /// The hot tier went back behind what it had: it is to be read and filled again.
    pub(crate) lost: Arc<Notify>,
}

impl Signals {
    pub(crate) fn new() -> Self {
        Self {
            changed: Arc::new(Notify::new()),
            lost: Arc::new(Notify::new()),
        }
    }
}

/// Up to where the warm tier is sealed, per partition; 0 where it has said nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct SealedWatermarks(Arc<Mutex<HashMap<PartitionId, Seq>>>);

impl SealedWatermarks {
    pub(crate) fn get(&self, partition: PartitionId) -> Seq {
        let sealed = self.0.lock().expect("nothing panics in here");
        sealed.get(&partition).copied().unwrap_or(0)
    }

    pub(crate) fn take(&self, watermark: &Watermark) {
        if let Watermark::Warm {
            partition, sealed, ..
        } = watermark
        {
            let mut all = self.0.lock().expect("nothing panics in here");
            all.insert(*partition, *sealed);
        }
    }
}

/// A dependency that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Hot(#[from] hot_tier::Error),
    #[error(transparent)]
    Log(#[from] event_log::Error),
}

impl Fault {
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Hot(error) => error.is_transient(),
            Self::Log(error) => error.is_transient(),
        }
    }
}
