//! The context that all workers and the maintenance share.

use std::sync::Arc;

use cold_tier::ColdOptions;
use event_log::EventLog;
use retention::RuleSet;
use service_runtime::Halts;
use tokio::sync::{Semaphore, watch};
use warm_tier::StoreClaim;

use crate::{config::SealRules, metrics::Metrics, open_memory::OpenMemory};

/// Configuration and handles that all workers and the maintenance share.
#[derive(Clone, Debug)]
pub(crate) struct WorkerContext {
    pub log: EventLog,
    /// The URL and the options of the cold tier, if there is one.
    pub cold: Option<(String, ColdOptions)>,
    /// Makes the volume that of the store of the log.
    pub store: StoreClaim,
    pub rules: watch::Receiver<Arc<RuleSet>>,
    /// `false` while the disk is nearly full.
    pub appends_allowed: watch::Receiver<bool>,
    pub metrics: Metrics,
    pub seal: SealRules,
    pub open_memory: OpenMemory,
    /// Passes over any number of dead letters.
    pub accept_dead_letters: bool,
    pub halts: Halts,
    pub flight_url: String,
    /// One permit: one seal at a time has DuckDB's memory for seals.
    pub seals: Arc<Semaphore>,
}
