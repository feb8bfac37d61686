use expect_test::expect;
use retention::Subject;

use crate::{compile::compile, error::Error, parse::parse};

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: isotherm.dev/v1alpha1\nkind: RetentionPolicy\n\
         metadata: {{name: {name}, namespace: isotherm}}\n\
         spec: {{{spec}tiers: {{hot: {{maxAge: 1h}}}}}}\n"
    )
}

fn names(policies: &[String]) -> Vec<String> {
    let rules = compile(&parse(&policies.concat()).unwrap()).unwrap();
    rules
        .policies
        .into_iter()
        .map(|policy| policy.name)
        .collect()
}

fn error_message(policies: &[String]) -> String {
    compile(&parse(&policies.concat()).unwrap())
        .unwrap_err()
        .to_string()
}

#[test]
fn priority_then_specificity_then_age_then_name_decide_who_wins() {
    let old = policy("old", "priority: 5, selector: {matchLabels: {a: b}}, ").replace(
        "name: old,",
        "creationTimestamp: 2026-01-01T00:00:00Z, name: old,",
    );
    let policies = [
        policy("catch-all", "priority: 5, "),
        policy("young", "priority: 5, selector: {matchLabels: {a: c}}, "),
        old,
        policy("types", "priority: 5, selector: {eventTypes: [a]}, "),
        policy("tenant", "priority: 5, selector: {tenants: [a]}, "),
        policy(
            "conversation-b",
            "priority: 5, selector: {conversations: [b]}, ",
        ),
        policy(
            "conversation-a",
            "priority: 5, selector: {conversations: [a]}, ",
        ),
        policy("high", "priority: 6, "),
        policy("suspended", "priority: 9, suspend: true, "),
    ];
    assert_eq!(
        names(&policies),
        [
            "isotherm/high",
            "isotherm/conversation-a",
            "isotherm/conversation-b",
            "isotherm/tenant",
            "isotherm/types",
            "isotherm/old",
            "isotherm/young",
            "isotherm/catch-all",
            "isotherm/built-in",
        ]
    );
}

#[test]
fn the_order_of_the_files_does_not_matter() {
    let (a, b) = (policy("a", "priority: 1, "), policy("b", "priority: 2, "));
    assert_eq!(names(&[a.clone(), b.clone()]), names(&[b, a]));
}

#[test]
fn one_name_belongs_to_one_policy() {
    let twice = [policy("a", "priority: 1, "), policy("a", "priority: 2, ")];
    expect!["isotherm/a: is there twice: give each policy a name of its own"]
        .assert_eq(&error_message(&twice));
}

#[test]
fn two_catch_alls_of_equal_priority_are_refused_unless_one_is_suspended() {
    expect![
        "isotherm/b: matches every event at priority 7, and so does isotherm/a: give one of them another priority or a selector"
    ]
    .assert_eq(&error_message(&[policy("a", "priority: 7, "), policy("b", "priority: 7, ")]));
    let rules = names(&[
        policy("a", "priority: 7, "),
        policy("b", "priority: 7, suspend: true, "),
    ]);
    assert_eq!(rules, ["isotherm/a", "isotherm/built-in"]);
}

#[test]
fn problems_of_all_policies_are_listed() {
    let broken = [
        policy("a", "priority: -1, "),
        policy("b", "priority: 70000, "),
    ];
    let error = compile(&parse(&broken.concat()).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Invalid(problems) if problems.len() == 2));
}

#[test]
fn the_examples_compile_to_the_ages_that_they_state() {
    let yaml = concat!(
        include_str!("../../../../crds/examples/default.yaml"),
        "\n---\n",
        include_str!("../../../../crds/examples/regulated.yaml")
    );
    let rules = compile(&parse(yaml).unwrap()).unwrap();
    let effective = |tenant: &'static str, labels: &'static dyn retention::SubjectLabels| {
        let subject = Subject {
            tenant,
            conversation: "case-7",
            event_type: "output.chunk",
            labels,
        };
        let effective = rules.effective(&subject);
        format!(
            "hot {} by {}, class {} by {}",
            effective.hot.rules.max_age_ms,
            effective.hot.policy.name,
            effective.class(),
            effective.warm.policy.name
        )
    };
    let labels: &'static &str = &r#"{"environment": "prod"}"#;
    expect![
        "hot 3600000 by isotherm/default, class w2592000000-c220752000000 by isotherm/regulated"
    ]
    .assert_eq(&effective("bank", labels));
    expect!["hot 3600000 by isotherm/default, class w604800000-cforever by isotherm/default"]
        .assert_eq(&effective("bank", &()));
}
