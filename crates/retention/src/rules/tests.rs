use std::time::Duration;

use super::{Cold, Hot, Policy, RuleSet, Selector, Warm};
use crate::resolve::{Subject, SubjectLabels};

fn subject<'a>(
    conversation: &'a str,
    event_type: &'a str,
    labels: &'a dyn SubjectLabels,
) -> Subject<'a> {
    Subject {
        tenant: "default",
        conversation,
        event_type,
        labels,
    }
}

fn policy(name: &str, selector: Selector) -> Policy {
    Policy {
        name: name.into(),
        priority: 100,
        dry_run: false,
        selector,
        hot: None,
        warm: Some(Warm {
            max_age_ms: 60_000,
            max_bytes: None,
        }),
        cold: None,
    }
}

#[test]
fn a_rule_set_round_trips_through_its_canonical_json_and_keeps_its_hash() {
    let rules = RuleSet::new(vec![policy("a/b", Selector::default())]);
    let again = RuleSet::from_json(rules.canonical_json().as_bytes()).unwrap();
    assert_eq!(again, rules);
    assert_eq!(again.hash(), rules.hash());
    assert_ne!(RuleSet::default().hash(), rules.hash());
}

#[test]
fn a_tier_left_out_comes_from_the_next_match() {
    let selector = Selector {
        conversations: vec!["test-*".into()],
        ..Selector::default()
    };
    let rules = RuleSet::new(vec![policy("a/short", selector)]);
    let short = rules.effective(&subject("test-1", "x", &()));
    assert_eq!(short.warm.rules.max_age(), Duration::from_secs(60));
    assert_eq!(short.hot.policy.name, "isotherm/built-in");
    let other = rules.effective(&subject("prod-1", "x", &()));
    assert_eq!(other.warm.policy.name, "isotherm/built-in");
    assert_ne!(short.class(), other.class());
}

#[test]
fn a_dry_run_policy_decides_nothing() {
    let dry = Policy {
        dry_run: true,
        ..policy("a/dry", Selector::default())
    };
    let rules = RuleSet::new(vec![dry]);
    let decides = |rules: &RuleSet| {
        let effective = rules.effective(&subject("c", "x", &()));
        effective.warm.policy.name.clone()
    };
    assert_eq!(decides(&rules), "isotherm/built-in");
    assert_eq!(decides(&rules.enforcing("a/dry")), "a/dry");
}

#[test]
fn the_rules_before_a_change_hold_where_they_keep_more() {
    let mut now = policy("a/now", Selector::default());
    now.hot = Some(Hot {
        max_age_ms: 7_200_000,
        max_events_per_stream: Some(10),
    });
    let rules = RuleSet::new(vec![now]).not_shorter_than(RuleSet::default());
    let effective = rules.effective(&subject("c", "x", &()));
    assert_eq!(
        effective.warm.rules.max_age(),
        Duration::from_secs(7 * 86_400)
    );
    assert_eq!(effective.warm.policy.name, "isotherm/built-in");
    // The longer age holds at once, the lower number not yet.
    assert_eq!(effective.hot.rules.max_age(), Duration::from_secs(7200));
    assert_eq!(effective.hot.rules.max_events_per_stream, Some(100_000));
    let again = RuleSet::from_json(rules.canonical_json().as_bytes()).unwrap();
    assert_eq!(again, rules);
}

#[test]
fn labels_are_the_members_of_the_metadata() {
    let selector = Selector {
        match_labels: [("env".to_owned(), "prod".to_owned())].into(),
        ..Selector::default()
    };
    let rules = RuleSet::new(vec![policy("a/prod", selector)]);
    let name = |metadata: &str| {
        rules
            .effective(&subject("c", "x", &metadata))
            .warm
            .policy
            .name
            .clone()
    };
    assert_eq!(name(r#"{"env":"prod"}"#), "a/prod");
    for metadata in [r#"{"env":"dev"}"#, "", "{", r#"{"env":["prod"]}"#] {
        assert_eq!(name(metadata), "isotherm/built-in");
    }
}

#[test]
fn an_event_ends_with_warm_when_cold_is_disabled() {
    let mut short = policy("a/short", Selector::default());
    short.cold = Some(Cold {
        max_age_ms: None,
        disabled: true,
        sampling: None,
    });
    short.hot = Some(Hot {
        max_age_ms: 1000,
        max_events_per_stream: None,
    });
    let rules = RuleSet::new(vec![short]);
    assert_eq!(
        rules.effective(&subject("c", "x", &())).ends_after(),
        Some(Duration::from_secs(60))
    );
    assert_eq!(
        RuleSet::default()
            .effective(&subject("c", "x", &()))
            .ends_after(),
        None
    );
}

#[test]
fn acceleration_divides_every_age() {
    let rules = RuleSet::default().accelerated(3600);
    let effective = rules.effective(&subject("c", "x", &()));
    assert_eq!(effective.hot.rules.max_age(), Duration::from_secs(1));
    assert_eq!(effective.warm.rules.max_age(), Duration::from_secs(168));
}
