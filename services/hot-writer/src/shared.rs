//! The clients and the state that the tasks of one process share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use event::{PartitionId, Seq};
use event_log::{EventLog, Watermark};
use hot_tier::HotWriter;
use service_runtime::Halts;
use tokio::sync::Notify;

use crate::metrics::Metrics;

/// The clients, the metrics and the sealed watermarks. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) log: EventLog,
    pub(crate) hot: HotWriter,
    pub(crate) metrics: Metrics,
    pub(crate) sealed: SealedWatermarks,
    pub(crate) halts: Halts,
    /// Passes over any number of dead letters.
    pub(crate) accept_dead_letters: bool,
}

/// Wake-up signals between the tasks of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    /// The partition was written or trimmed: the reporter should publish its watermark.
    pub(crate) changed: Arc<Notify>,
    /// The hot tier has lost data: the worker should read the cursor and the log again.
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

/// The last sealed sequence of the warm tier per partition; 0 where none was published.
#[derive(Clone, Debug, Default)]
pub(crate) struct SealedWatermarks(Arc<Mutex<HashMap<PartitionId, Seq>>>);

impl SealedWatermarks {
    pub(crate) fn get(&self, partition: PartitionId) -> Seq {
        let sealed = self
            .0
            .lock()
            .expect("nothing panics while it holds the lock");
        sealed.get(&partition).copied().unwrap_or(0)
    }

    /// Records `watermark` when it is one of the warm tier.
    pub(crate) fn record(&self, watermark: &Watermark) {
        if let Watermark::Warm {
            partition, sealed, ..
        } = watermark
        {
            let mut all = self
                .0
                .lock()
                .expect("nothing panics while it holds the lock");
            all.insert(*partition, *sealed);
        }
    }
}

/// An error of the hot tier or the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DependencyError {
    #[error(transparent)]
    Hot(#[from] hot_tier::Error),
    #[error(transparent)]
    Log(#[from] event_log::Error),
}

impl DependencyError {
    /// Returns whether a retry may succeed without any intervention.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Hot(error) => error.is_transient(),
            Self::Log(error) => error.is_transient(),
        }
    }
}
