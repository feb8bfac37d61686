use super::conflicts;
use crate::controller::tests::policy;

fn check(specs: &[(&str, &str)]) -> Vec<String> {
    let policies: Vec<_> = specs
        .iter()
        .map(|(name, spec)| policy(name, spec))
        .collect();
    let ranked = k8s_api::ranked(&policies);
    let found = conflicts(&ranked);
    let lines = ranked.iter().zip(found).flat_map(|(own, found)| {
        found.into_iter().map(|other| {
            let verb = if other.winner { "loses to" } else { "beats" };
            format!("{} {verb} {} in {}", own.name(), other.name, other.field)
        })
    });
    lines.collect()
}

#[test]
fn two_catch_alls_of_one_priority_conflict_and_the_first_by_name_wins() {
    let found = check(&[
        ("b", "tiers: {warm: {maxAge: 1d}}"),
        ("a", "tiers: {warm: {maxAge: 2d}}"),
    ]);
    assert_eq!(
        found,
        [
            "a beats b in spec.tiers.warm",
            "b loses to a in spec.tiers.warm"
        ]
    );
}

#[test]
fn policies_with_equal_rules_disjoint_selectors_other_priorities_or_dry_run_do_not_conflict() {
    for other in [
        "tiers: {warm: {maxAge: 1d}}",
        "tiers: {hot: {maxAge: 1h}}",
        "priority: 99, tiers: {warm: {maxAge: 2d}}",
        "enforcement: DryRun, tiers: {warm: {maxAge: 2d}}",
        "suspend: true, tiers: {warm: {maxAge: 2d}}",
        "selector: {tenants: [shop]}, tiers: {warm: {maxAge: 2d}}",
    ] {
        let own = "selector: {tenants: [bank]}, tiers: {warm: {maxAge: 1d}}";
        assert_eq!(check(&[("a", own), ("b", other)]), [""; 0], "{other}");
    }
}
