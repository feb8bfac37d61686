use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::{SignedDuration, Timestamp};
use k8s_api::RetentionPolicy;
use retention::Subject;

use super::GraceState;

const START: Timestamp = Timestamp::UNIX_EPOCH;

fn policy(name: &str, spec: &str) -> RetentionPolicy {
    let yaml = format!(
        "apiVersion: isotherm.dev/v1alpha1\nkind: RetentionPolicy\n\
         metadata: {{name: {name}, namespace: isotherm}}\nspec: {{{spec}}}\n"
    );
    k8s_api::parse(&yaml).unwrap().remove(0)
}

fn warm(age: &str, more: &str) -> RetentionPolicy {
    policy("a", &format!("{more} tiers: {{warm: {{maxAge: {age}}}}}"))
}

/// The states after each of `steps`: (minutes since the start, the policies there are then).
/// Between two steps the operator restarts: each step begins with the stored state alone.
fn check(steps: &[(i64, &[RetentionPolicy])], expected: Expect) {
    check_with(Duration::ZERO, steps, expected);
}

fn check_with(min_grace: Duration, steps: &[(i64, &[RetentionPolicy])], expected: Expect) {
    let mut stored = String::new();
    let mut text = String::new();
    for (minute, policies) in steps {
        let now = START + SignedDuration::from_mins(*minute);
        let state: GraceState = serde_json::from_str(&stored).unwrap_or_default();
        let next = state.next(policies, min_grace, now);
        assert_eq!(
            next.next(policies, min_grace, now),
            next,
            "a second pass changes nothing"
        );
        let subject = Subject {
            tenant: "t",
            conversation: "c",
            event_type: "x",
            labels: &(),
        };
        let rules = next.rules();
        let warm = rules.effective(&subject).warm.rules.max_age().as_secs();
        let pending = next.pending().into_iter().map(|own| {
            let minutes = own.until.duration_since(START).as_mins();
            format!(
                ", {} {} -> {} at {minutes}",
                own.what.tier, own.what.from, own.what.to
            )
        });
        text += &format!("{minute}: {warm} s{}\n", pending.collect::<String>());
        stored = serde_json::to_string(&next).unwrap();
    }
    expected.assert_eq(&text);
}

#[test]
fn an_edit_that_shortens_waits_and_one_that_lengthens_does_not() {
    check(
        &[
            (0, &[warm("30d", "")]),
            (1, &[warm("1d", "")]),
            (60, &[warm("1d", "")]),
            (61, &[warm("1d", "")]),
            (62, &[warm("2d", "")]),
        ],
        expect![[r#"
            0: 2592000 s
            1: 2592000 s, warm isotherm/a -> isotherm/a at 61
            60: 2592000 s, warm isotherm/a -> isotherm/a at 61
            61: 86400 s
            62: 172800 s
        "#]],
    );
}

#[test]
fn a_new_policy_and_a_deleted_one_wait_too() {
    check(
        &[
            (0, &[warm("1d", "deletionGracePeriod: 10m,")]),
            (10, &[warm("1d", "deletionGracePeriod: 10m,")]),
            (11, &[warm("30d", "deletionGracePeriod: 10m,")]),
            (12, &[]),
            (21, &[]),
            (22, &[]),
        ],
        expect![[r#"
            0: 604800 s, warm isotherm/built-in -> isotherm/a at 10
            10: 86400 s
            11: 2592000 s
            12: 2592000 s, warm isotherm/a -> isotherm/built-in at 22
            21: 2592000 s, warm isotherm/a -> isotherm/built-in at 22
            22: 604800 s
        "#]],
    );
}

#[test]
fn a_reverted_change_leaves_nothing_pending() {
    check(
        &[
            (0, &[warm("30d", "")]),
            (1, &[warm("1d", "")]),
            (2, &[warm("30d", "")]),
        ],
        expect![[r#"
            0: 2592000 s
            1: 2592000 s, warm isotherm/a -> isotherm/a at 61
            2: 2592000 s
        "#]],
    );
}

#[test]
fn a_lengthening_during_a_grace_period_takes_effect_at_once_and_does_not_extend_it() {
    check(
        &[
            (0, &[warm("30d", "")]),
            (1, &[warm("1d", "")]),
            (30, &[warm("2d", "")]),
            (61, &[warm("2d", "")]),
        ],
        expect![[r#"
            0: 2592000 s
            1: 2592000 s, warm isotherm/a -> isotherm/a at 61
            30: 2592000 s, warm isotherm/a -> isotherm/a at 61
            61: 172800 s
        "#]],
    );
}

#[test]
fn a_change_without_a_grace_period_takes_effect_at_once_even_while_others_wait() {
    let default = |age: &str| {
        policy(
            "default",
            &format!("priority: 0, tiers: {{warm: {{maxAge: {age}}}}}"),
        )
    };
    let minutes = policy(
        "minutes",
        "deletionGracePeriod: 0s, tiers: {warm: {maxAge: 1m}}",
    );
    check(
        &[
            (0, &[default("30d")]),
            (1, &[default("2d")]),
            (2, &[default("2d"), minutes]),
        ],
        expect![[r#"
            0: 2592000 s
            1: 2592000 s, warm isotherm/default -> isotherm/default at 61
            2: 60 s
        "#]],
    );
}

#[test]
fn suspending_and_enforcing_are_changes_like_others() {
    check(
        &[
            (0, &[warm("30d", "")]),
            (1, &[warm("30d", "suspend: true,")]),
            (61, &[warm("30d", "suspend: true,")]),
            (62, &[warm("1d", "enforcement: DryRun,")]),
            (63, &[warm("1d", "")]),
            (123, &[warm("1d", "")]),
        ],
        expect![[r#"
            0: 2592000 s
            1: 2592000 s, warm isotherm/a -> isotherm/built-in at 61
            61: 604800 s
            62: 604800 s
            63: 604800 s, warm isotherm/built-in -> isotherm/a at 123
            123: 86400 s
        "#]],
    );
}

#[test]
fn two_changes_that_only_together_shorten_wait_together() {
    let pair = |a: &str, b: u32| {
        [
            policy(
                "a",
                &format!("priority: 10, tiers: {{warm: {{maxAge: {a}}}}}"),
            ),
            policy(
                "b",
                &format!("priority: {b}, tiers: {{warm: {{maxAge: 1d}}}}"),
            ),
        ]
    };
    check(
        &[(0, &pair("30d", 5)), (1, &pair("1d", 20))],
        expect![[r#"
            0: 2592000 s
            1: 2592000 s, warm isotherm/a -> isotherm/b at 61
        "#]],
    );
}

#[test]
fn a_policy_without_a_grace_period_waits_for_the_least_one_also_when_it_is_deleted() {
    let quick = |age: &str| warm(age, "deletionGracePeriod: 0s,");
    check_with(
        Duration::from_secs(3600),
        &[
            (0, &[quick("1m")]),
            (60, &[quick("1m")]),
            (61, &[quick("30d")]),
            (62, &[]),
            (122, &[]),
        ],
        expect![[r#"
            0: 604800 s, warm isotherm/built-in -> isotherm/a at 60
            60: 60 s
            61: 2592000 s
            62: 2592000 s, warm isotherm/a -> isotherm/built-in at 122
            122: 604800 s
        "#]],
    );
}

#[test]
fn a_longer_grace_period_than_the_least_one_stays_as_it_is() {
    check_with(
        Duration::from_secs(600),
        &[(0, &[warm("30d", "")]), (1, &[warm("1d", "")])],
        expect![[r#"
            0: 2592000 s
            1: 2592000 s, warm isotherm/a -> isotherm/a at 61
        "#]],
    );
}
