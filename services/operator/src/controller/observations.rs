//! Everything besides a policy itself that its status is computed from.

use std::time::Duration;

use jiff::Timestamp;
use k8s_api::ArchiveStatus;
use retention::RuleSet;

use super::{figures::Figures, grace::PendingShortening};

/// The state of the system in one pass, as far as statuses report it.
#[derive(Clone, Debug)]
pub(crate) struct Observations {
    /// The rules published in this pass, in the time of the policies.
    pub(crate) rules: RuleSet,
    /// Hash of the published rules as the services know it: in the log's own time.
    pub(crate) hash: String,
    /// Per service, the hash of the rules that it follows; or why the acknowledgements are unknown.
    pub(crate) acks: Result<Vec<(String, String)>, String>,
    /// Time of the oldest event in hot, warm and cold.
    pub(crate) oldest: [Option<Timestamp>; 3],
    /// `None` until the figures by these rules have been counted.
    pub(crate) figures: Option<Result<Figures, String>>,
    pub(crate) pending: Vec<PendingShortening>,
    pub(crate) archive: ArchiveStatus,
    /// The least grace period of a shortening.
    pub(crate) min_grace: Duration,
    pub(crate) now: Timestamp,
}
