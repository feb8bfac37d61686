//! The types and reasons of the conditions of a policy's status, and the reasons of Kubernetes events.

/// Condition: the spec is valid and is used.
pub const ACCEPTED: &str = "Accepted";
/// Condition: another policy of the same priority has other rules for the same events.
pub const CONFLICTED: &str = "Conflicted";
/// Condition: every service follows the rule set that this policy is part of.
pub const PROGRAMMED: &str = "Programmed";
/// Condition: accepted and programmed.
pub const READY: &str = "Ready";

/// Reason of `Accepted`: the spec is valid.
pub const VALID: &str = "Valid";
/// Reason of `Accepted`: the spec is valid, and its grace period is shorter than the operator allows.
pub const GRACE_PERIOD_RAISED: &str = "GracePeriodRaised";
/// Reason of `Accepted` being false: the spec breaks a rule.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// Reason of `Accepted` being false: the object cannot be parsed as a policy.
pub const UNREADABLE: &str = "Unreadable";
/// Reason of `Accepted` being false: its namespace has no TenantBinding.
pub const NAMESPACE_NOT_BOUND: &str = "NamespaceNotBound";
/// Reason of `Accepted` being false: it selects a tenant that is not bound to its namespace.
pub const TENANT_NOT_BOUND: &str = "TenantNotBound";
/// Reason of `Accepted` being false: a field is set as only policies of the operator's namespace may.
pub const RESERVED_FIELD: &str = "ReservedField";
/// Reason of `Conflicted` being false.
pub const NO_OVERLAP: &str = "NoOverlap";
/// Reason of `Conflicted` being true.
pub const SAME_PRIORITY: &str = "SamePriority";
/// Reason of `Programmed` being true: every service has acknowledged the rule set.
pub const ALL_IN_SYNC: &str = "AllInSync";
/// Reason of `Programmed` being false: a service has not acknowledged the rule set yet.
pub const WAITING: &str = "WaitingForServices";
/// Reason of `Programmed` being unknown: the acknowledgements cannot be read.
pub const LOG_UNREACHABLE: &str = "LogUnreachable";
/// Reason of `Ready` being true: the policy is enforced.
pub const ENFORCING: &str = "Enforcing";
/// Reason of `Ready` being true: the policy is only previewed.
pub const DRY_RUN: &str = "DryRun";
/// Reason of `Ready` being true: the policy is suspended and not part of the rule set.
pub const SUSPENDED: &str = "Suspended";
/// Reason of `Ready` being false: the policy is not accepted.
pub const NOT_ACCEPTED: &str = "NotAccepted";
/// Reason of `Ready` being false: the services do not follow the rule set yet.
pub const NOT_PROGRAMMED: &str = "NotProgrammed";

/// Reason of an event: a shortening waits for its grace period.
pub const SHORTENING_SCHEDULED: &str = "ShorteningScheduled";
/// Reason of an event: an accepted policy is enforced from now on.
pub const ENFORCEMENT_STARTED: &str = "EnforcementStarted";
/// Reason in the operator's error metric only: the API server refused the archiver's CronJob.
pub const ARCHIVE_FAILED: &str = "ArchiveFailed";
