//! The conditions of a policy's status: every type and every reason, which are also the reasons of
//! events.

/// The spec is valid and takes part.
pub const ACCEPTED: &str = "Accepted";
/// Another policy of the same priority says otherwise for the same events.
pub const CONFLICTED: &str = "Conflicted";
/// Every service follows the rules that this policy is part of.
pub const PROGRAMMED: &str = "Programmed";
/// All is well: accepted and programmed.
pub const READY: &str = "Ready";

pub const VALID: &str = "Valid";
pub const INVALID_SPEC: &str = "InvalidSpec";
pub const UNREADABLE: &str = "Unreadable";
pub const NO_OVERLAP: &str = "NoOverlap";
pub const SAME_PRIORITY: &str = "SamePriority";
pub const ALL_IN_SYNC: &str = "AllInSync";
pub const WAITING: &str = "WaitingForServices";
pub const LOG_UNREACHABLE: &str = "LogUnreachable";
pub const ENFORCING: &str = "Enforcing";
pub const DRY_RUN: &str = "DryRun";
pub const SUSPENDED: &str = "Suspended";
pub const NOT_ACCEPTED: &str = "NotAccepted";
pub const NOT_PROGRAMMED: &str = "NotProgrammed";

/// Reasons of events that are no reasons of conditions.
pub const SHORTENING_SCHEDULED: &str = "ShorteningScheduled";
pub const ENFORCEMENT_STARTED: &str = "EnforcementStarted";
pub const ARCHIVE_FAILED: &str = "ArchiveFailed";
