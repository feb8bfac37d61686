//! The context that all workers and the maintenance share.

use std::sync::Arc;

use cold_tier::ColdOptions;
use event_log::EventLog;
use retention::RuleSet;
use service_runtime::Halts;
use tokio::sync::{Semaphore, watch};
use warm_tier::StoreClaim;

use crate::{
    config::{SealRules, ThrottleConfig},
    metrics::Metrics,
};

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
    pub throttle_under_pressure: ThrottleConfig,
    /// Passes over any number of dead letters.
    pub accept_dead_letters: bool,
    pub halts: Halts,
    pub flight_url: String,
    /// One permit, for one seal or merge at a time: they need much memory.
    pub seal_or_merge: Arc<Semaphore>,
}
