use expect_test::{Expect, expect};

use crate::{parse::parse, validate::validate};

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: isotherm.dev/v1alpha1\nkind: RetentionPolicy\n\
         metadata: {{name: demo, namespace: isotherm}}\nspec: {spec}\n"
    )
}

fn violations(yaml: &str) -> String {
    match parse(yaml) {
        Ok(policies) => policies
            .iter()
            .flat_map(validate)
            .map(|violation| format!("{violation}\n"))
            .collect(),
        Err(error) => format!("{error}\n"),
    }
}

fn check(spec: &str, expected: Expect) {
    expected.assert_eq(&violations(&policy(spec)));
}

/// A policy whose one sampling rule is `rule`.
fn check_rule(rule: &str, expected: Expect) {
    let rule = format!("{{name: r, {rule}}}");
    check(
        &format!("{{tiers: {{cold: {{maxAge: Forever, sampling: {{rules: [{rule}]}}}}}}}}"),
        expected,
    );
}

#[test]
fn the_examples_are_accepted() {
    for example in [
        include_str!("../../../../crds/examples/default.yaml"),
        include_str!("../../../../crds/examples/regulated.yaml"),
        include_str!("../../../../crds/examples/minutes.yaml"),
    ] {
        assert_eq!(violations(example), "");
    }
}

#[test]
fn a_tier_must_not_keep_events_longer_than_the_next() {
    check(
        "{tiers: {hot: {maxAge: 8d}, warm: {maxAge: 7d}}}",
        expect![[r#"
            spec.tiers.hot.maxAge: tiers.hot.maxAge must not be longer than tiers.warm.maxAge
        "#]],
    );
    check(
        "{tiers: {warm: {maxAge: 31d}, cold: {maxAge: 720h}}}",
        expect![[r#"
            spec.tiers.warm.maxAge: tiers.warm.maxAge must not be longer than tiers.cold.maxAge
        "#]],
    );
    check(
        "{tiers: {hot: {maxAge: 61m}, cold: {maxAge: 1h}}}",
        expect![[r#"
            spec.tiers.hot.maxAge: tiers.hot.maxAge must not be longer than tiers.cold.maxAge
        "#]],
    );
    check(
        "{tiers: {hot: {maxAge: 60m}, warm: {maxAge: 1h}}}",
        expect![""],
    );
}

#[test]
fn an_unknown_unit_says_what_to_write() {
    check(
        "{deletionGracePeriod: 1y, tiers: {warm: {maxAge: 1w}, cold: {maxAge: ever}}}",
        expect![[r#"
            spec.deletionGracePeriod: "1y" is no age: write a whole number from 1 to 99999 and one of the units s, m, h, d, for example 7d
            spec.tiers.warm.maxAge: "1w" is no age, there are no weeks: write 7d
            spec.tiers.cold.maxAge: "ever" is no age: write a whole number from 1 to 99999 and one of the units s, m, h, d, for example 7d, or Forever
        "#]],
    );
}

#[test]
fn sampling_needs_what_its_action_and_strategy_need_and_nothing_else() {
    check_rule(
        "action: Sample",
        expect![[r#"
            spec.tiers.cold.sampling.rules[0]: sample must be set when action is Sample, and only then
        "#]],
    );
    check_rule(
        "action: Keep, sample: {strategy: LogDecay}",
        expect![[r#"
            spec.tiers.cold.sampling.rules[0]: sample must be set when action is Sample, and only then
        "#]],
    );
    check_rule(
        "action: Sample, sample: {strategy: Fixed}",
        expect![[r#"
            spec.tiers.cold.sampling.rules[0].sample: percent is required for strategy Fixed
        "#]],
    );
    check_rule(
        "action: Sample, sample: {strategy: Fixed, percent: 101, decayUnit: 1h}",
        expect![[r#"
            spec.tiers.cold.sampling.rules[0].sample.percent: must be from 0 to 100
            spec.tiers.cold.sampling.rules[0].sample: minPercent and decayUnit are only for strategy LogDecay
        "#]],
    );
    check_rule(
        "action: Sample, sample: {strategy: LogDecay, percent: 5}",
        expect![[r#"
            spec.tiers.cold.sampling.rules[0].sample: percent is only for strategy Fixed; LogDecay takes minPercent and decayUnit
        "#]],
    );
}

#[test]
fn a_policy_without_tiers_is_refused() {
    check(
        "{tiers: {}}",
        expect![[r#"
            spec.tiers: must have at least one of hot, warm and cold
        "#]],
    );
}

#[test]
fn values_are_for_in_and_not_in() {
    let spec = |expression: &str| {
        format!(
            "{{selector: {{matchExpressions: [{{key: env, {expression}}}]}}, \
             tiers: {{hot: {{maxAge: 1h}}}}}}"
        )
    };
    let message = "spec.selector.matchExpressions[0]: values are needed for In and NotIn, and only \
                   for them\n";
    for refused in [
        "operator: In",
        "operator: NotIn, values: []",
        "operator: Exists, values: [a]",
    ] {
        assert_eq!(violations(&policy(&spec(refused))), message, "{refused}");
    }
    for accepted in ["operator: In, values: [a]", "operator: DoesNotExist"] {
        assert_eq!(violations(&policy(&spec(accepted))), "", "{accepted}");
    }
}

#[test]
fn sizes_must_be_more_than_nothing() {
    for size in ["0", "-1", "\"-1Gi\"", "\"0\"", "1GB"] {
        let spec = format!("{{tiers: {{warm: {{maxAge: 7d, maxBytes: {size}}}}}}}");
        assert!(
            violations(&policy(&spec)).starts_with("spec.tiers.warm.maxBytes: must be more than 0"),
            "{size}"
        );
    }
    check(
        "{tiers: {hot: {maxAge: 1h, maxEventsPerStream: 0}}}",
        expect![[r#"
            spec.tiers.hot.maxEventsPerStream: must be at least 1
        "#]],
    );
    check("{tiers: {warm: {maxAge: 7d, maxBytes: 1024}}}", expect![""]);
}

#[test]
fn sampling_needs_a_cold_tier() {
    check(
        "{tiers: {cold: {maxAge: 30d, disabled: true, sampling: {}}}}",
        expect![[r#"
            spec.tiers.cold: sampling has no effect while the cold tier is disabled
        "#]],
    );
}

#[test]
fn a_name_becomes_a_label() {
    let yaml = policy("{tiers: {hot: {maxAge: 1h}}}").replace("demo", &"a".repeat(64));
    assert_eq!(
        violations(&yaml),
        "metadata.name: a policy's name must be 63 characters or less, it becomes a label\n"
    );
}

#[test]
fn lists_are_bounded_and_hold_nothing_twice() {
    let globs: Vec<String> = (0..65).map(|n| format!("tenant-{n}")).collect();
    let spec = |globs: &str| {
        format!("{{selector: {{tenants: [{globs}]}}, tiers: {{hot: {{maxAge: 1h}}}}}}")
    };
    check(
        &spec(&globs.join(", ")),
        expect![[r#"
            spec.selector.tenants: has 65 items: at most 64 are allowed, write globs such as case-* or a second policy
        "#]],
    );
    check(
        &spec("a, b, a"),
        expect![[r#"
            spec.selector.tenants[2]: "a" is there twice
        "#]],
    );
}

#[test]
fn an_unknown_field_is_refused() {
    let text = violations(&policy("{tier: {}, tiers: {hot: {maxAge: 1h}}}"));
    assert!(
        text.contains("unknown field") && text.contains("tier"),
        "{text}"
    );
}

#[test]
fn every_violation_is_listed() {
    check(
        "{priority: 10001, tiers: {hot: {maxAge: 1w, maxEventsPerStream: -1}, warm: {maxAge: 0d}}}",
        expect![[r#"
            spec.priority: is 10001: must be from 0 to 10000
            spec.tiers.hot.maxEventsPerStream: must be at least 1
            spec.tiers.hot.maxAge: "1w" is no age, there are no weeks: write 7d
            spec.tiers.warm.maxAge: "0d" is no age: write a whole number from 1 to 99999 and one of the units s, m, h, d, for example 7d
        "#]],
    );
}
