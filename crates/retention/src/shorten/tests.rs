use expect_test::{Expect, expect};

use super::shortenings;
use crate::rules::{Action, Cold, HashKey, Policy, RuleSet, Sampling, Selector, Warm};

fn policy(name: &str, warm_s: u64) -> Policy {
    Policy {
        name: name.to_owned(),
        priority: 10,
        dry_run: false,
        selector: Selector::default(),
        hot: None,
        warm: Some(Warm {
            max_age_ms: warm_s * 1000,
            max_bytes: None,
        }),
        cold: None,
    }
}

fn of_tenant(tenant: &str, policy: Policy) -> Policy {
    let selector = Selector {
        tenants: vec![tenant.to_owned()],
        ..Selector::default()
    };
    Policy { selector, ..policy }
}

fn check(before: &[Policy], after: &[Policy], expected: Expect) {
    let rules = |policies: &[Policy]| RuleSet::new(policies.to_vec());
    let found = shortenings(&rules(before), &rules(after));
    let lines = found
        .iter()
        .map(|own| format!("{}: {} -> {}\n", own.tier, own.from, own.to));
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn an_edit_shortens_when_the_age_falls_and_not_when_it_rises() {
    check(
        &[policy("a", 60)],
        &[policy("a", 59)],
        expect!["warm: a -> a\n"],
    );
    check(&[policy("a", 60)], &[policy("a", 61)], expect![""]);
    check(&[policy("a", 60)], &[policy("a", 60)], expect![""]);
}

#[test]
fn a_new_winner_shortens_what_it_decides_and_a_deleted_policy_what_it_decided() {
    check(
        &[],
        &[policy("a", 60)],
        expect!["warm: isotherm/built-in -> a\n"],
    );
    check(&[policy("a", 60)], &[], expect![""]);
    let long = of_tenant("bank", policy("long", 30 * 86_400));
    check(
        std::slice::from_ref(&long),
        &[],
        expect!["warm: long -> isotherm/built-in\n"],
    );
    check(&[], &[long], expect![""]);
}

#[test]
fn policies_that_do_not_overlap_do_not_shorten_each_other() {
    let long = of_tenant("bank", policy("long", 30 * 86_400));
    let short = of_tenant("shop", policy("short", 60));
    check(
        std::slice::from_ref(&long),
        &[short, long.clone()],
        expect!["warm: isotherm/built-in -> short\n"],
    );
}

#[test]
fn what_a_higher_policy_decides_is_not_shortened_by_a_lower_one() {
    let long = of_tenant("bank", policy("long", 30 * 86_400));
    check(
        std::slice::from_ref(&long),
        &[long.clone(), of_tenant("bank", policy("low", 1))],
        expect![""],
    );
}

#[test]
fn a_dry_run_shortens_nothing_and_enforcing_it_does() {
    let dry = Policy {
        dry_run: true,
        ..policy("a", 60)
    };
    check(&[], std::slice::from_ref(&dry), expect![""]);
    check(
        &[dry],
        &[policy("a", 60)],
        expect!["warm: isotherm/built-in -> a\n"],
    );
}

#[test]
fn a_disabled_cold_tier_is_a_shortening_and_another_salt_is_not() {
    let cold = |name: &str, disabled, sampling| Policy {
        cold: Some(Cold {
            max_age_ms: None,
            disabled,
            sampling,
        }),
        warm: None,
        ..policy(name, 1)
    };
    check(
        &[],
        &[cold("a", true, None)],
        expect!["cold: isotherm/built-in -> a\n"],
    );
    let salted = |salt: &str| Sampling {
        salt: salt.to_owned(),
        hash_key: HashKey::Event,
        rules: Vec::new(),
        default_action: Action::Drop,
    };
    check(
        &[cold("a", false, Some(salted("one")))],
        &[cold("a", false, Some(salted("other")))],
        expect![""],
    );
}
