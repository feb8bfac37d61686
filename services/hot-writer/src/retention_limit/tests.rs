use std::time::Duration;

use retention::{Hot, Policy, RuleSet, Selector};

use super::{RetentionLimit, limit_for, strictest_limit};

fn policy(conversations: &[&str], types: &[&str], minutes: u64, max: Option<u64>) -> Policy {
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    Policy {
        selector: Selector {
            conversations: texts(conversations),
            event_types: texts(types),
            ..Selector::default()
        },
        hot: Some(Hot {
            max_age_ms: minutes * 60_000,
            max_events_per_stream: max,
        }),
        ..Policy::built_in()
    }
}

fn limit(minutes: u64, max_events: Option<u64>) -> RetentionLimit {
    RetentionLimit {
        max_age: Duration::from_secs(minutes * 60),
        max_events,
    }
}

#[test]
fn without_policies_the_built_in_one_applies() {
    let built_in = limit(60, Some(100_000));
    assert_eq!(limit_for(&RuleSet::default(), "t", "a"), built_in);
    assert_eq!(strictest_limit(&RuleSet::default()), built_in);
}

#[test]
fn the_first_policy_that_matches_every_event_decides() {
    let rules = RuleSet::new(vec![
        policy(&["short-*"], &[], 5, Some(10)),
        policy(&[], &[], 30, None),
    ]);
    assert_eq!(limit_for(&rules, "t", "short-1"), limit(5, Some(10)));
    assert_eq!(limit_for(&rules, "t", "other"), limit(30, None));
    assert_eq!(strictest_limit(&rules), limit(5, Some(10)));
}

#[test]
fn a_policy_for_some_types_only_makes_the_limit_more_permissive() {
    let rules = RuleSet::new(vec![
        policy(&[], &["error*"], 120, Some(10)),
        policy(&["a"], &["output.*"], 1, Some(20)),
        policy(&[], &[], 30, Some(5)),
    ]);
    assert_eq!(limit_for(&rules, "t", "a"), limit(120, Some(20)));
    assert_eq!(limit_for(&rules, "t", "b"), limit(120, Some(10)));
}

#[test]
fn a_policy_without_a_hot_tier_decides_nothing() {
    let cold_only = Policy {
        hot: None,
        ..policy(&[], &[], 0, None)
    };
    let rules = RuleSet::new(vec![cold_only]);
    assert_eq!(limit_for(&rules, "t", "a"), limit(60, Some(100_000)));
}

#[test]
fn a_longer_limit_of_the_rules_before_still_applies_and_a_dry_run_never_does() {
    let now = RuleSet::new(vec![policy(&["a"], &[], 1, Some(7))]);
    let rules = now.not_shorter_than(RuleSet::default());
    assert_eq!(limit_for(&rules, "t", "a"), limit(60, Some(100_000)));
    let mut dry = RuleSet::new(vec![policy(&["a"], &[], 1, Some(7))]);
    dry.policies[0].dry_run = true;
    assert_eq!(limit_for(&dry, "t", "a"), limit(60, Some(100_000)));
}
