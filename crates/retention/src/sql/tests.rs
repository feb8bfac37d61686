//! The numbers themselves are tested in the query service, which has DuckDB.

use crate::rules::{Policy, RuleSet, Selector, Warm};

use super::{preview_sql, selects_sql, tiers_sql};

fn rules() -> RuleSet {
    let policy = Policy {
        name: "a/b".to_owned(),
        priority: 5,
        dry_run: false,
        selector: Selector {
            conversations: vec!["it's_100%*".to_owned()],
            match_labels: [("env".to_owned(), "prod".to_owned())].into(),
            ..Selector::default()
        },
        hot: None,
        warm: Some(Warm {
            max_age_ms: 1,
            max_bytes: None,
        }),
        cold: None,
    };
    RuleSet::new(vec![policy])
}

#[test]
fn user_text_is_quoted() {
    let sql = selects_sql(&rules().policies, "default");
    assert!(sql.contains(r"LIKE 'it''s\_100\%%' ESCAPE '\'"), "{sql}");
}

#[test]
fn a_dry_run_policy_is_left_out() {
    let mut dry = rules();
    dry.policies[0].dry_run = true;
    assert!(!tiers_sql(&dry, 7).contains("env"));
    assert!(preview_sql(&dry, &dry.clone().enforcing("a/b"), 7).contains("env"));
}
