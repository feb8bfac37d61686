//! The retention filter: rows past their age under the rules now in force are left out of every
//! answer at once, whichever tier still has them. Pure.

use event::{StoredEvent, Timestamp};
use retention::{RuleSet, Subject};

/// Whether any event can expire under `rules`; if not, callers need not filter.
pub(crate) fn can_expire(rules: &RuleSet) -> bool {
    rules.least_age().is_some()
}

/// Whether no event that was received at `received_min` or later has expired at `now`.
pub(crate) fn are_all_retained(
    rules: &RuleSet,
    received_min: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let Some(age) = rules.least_age() else {
        return true;
    };
    received_min.is_some_and(|received_min| now < received_min.plus(age))
}

/// Whether `row` is still retained at `now`.
pub(crate) fn is_visible(rules: &RuleSet, row: &StoredEvent, now: Timestamp) -> bool {
    let event = &row.event;
    let subject = Subject {
        tenant: event.tenant.as_str(),
        conversation: event.conversation_id.as_str(),
        event_type: event.event_type.as_str(),
        labels: &event.metadata.as_str(),
    };
    is_retained(rules, &subject, row.received_at, now)
}

/// Whether an event of `subject` that was received at `received_at` is still retained at `now`.
pub(crate) fn is_retained(
    rules: &RuleSet,
    subject: &Subject<'_>,
    received_at: Timestamp,
    now: Timestamp,
) -> bool {
    let age = rules.effective(subject).ends_after();
    age.is_none_or(|age| now < received_at.plus(age))
}
