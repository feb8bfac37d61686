//! The `TenantBinding` resource: which tenants the policies of a namespace may select. Its doc comments
//! are part of the definition in `crds/`.

#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct into a function of its own"
)]

use kube::{CustomResource, KubeSchema, core::Rule as Cel};
use serde::{Deserialize, Serialize};

use crate::{retention_policy::RetentionPolicy, schema};

/// A tenant of a binding that stands for all of them.
const EVERY_TENANT: &str = "*";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "isotherm.dev",
    version = "v1alpha1",
    kind = "TenantBinding",
    plural = "tenantbindings",
    category = "isotherm",
    derive = "PartialEq",
    doc = "TenantBinding says which tenants the RetentionPolicy objects of the namespace of the same name may select.",
    label("app.kubernetes.io/part-of", "isotherm"),
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn(name = "Tenants", type_ = "string", json_path = ".spec.tenants"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Cel::new("size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')")
        .message("a binding has the name of its namespace: 63 characters or less, without '.'")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Cel::new("!('*' in self.tenants) || size(self.tenants) == 1")
        .message("* is every tenant: remove the others")
)]
pub struct TenantBindingSpec {
    /// Each is a tenant, or the beginning of tenants followed by one *.
    #[schemars(schema_with = "schema::tenants")]
    pub tenants: Vec<String>,
}

impl TenantBinding {
    /// The namespace whose policies it is for.
    #[must_use]
    pub fn namespace_name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Returns `policy` with a selector that selects bound tenants only: those that it names, or, if
    /// it names none, all that are bound.
    ///
    /// # Errors
    /// The globs of its selector under which a tenant that is not bound may fall. Permanent: change
    /// the policy or the binding.
    pub fn narrow(&self, policy: &RetentionPolicy) -> Result<RetentionPolicy, Vec<String>> {
        let named = &policy.spec.selector.tenants;
        let outside = named.iter().filter(|glob| !self.covers(glob));
        let outside: Vec<String> = outside.cloned().collect();
        if !outside.is_empty() {
            return Err(outside);
        }
        let mut narrowed = policy.clone();
        if named.is_empty() && !self.covers(EVERY_TENANT) {
            narrowed.spec.selector.tenants = self.spec.tenants.clone();
        }
        Ok(narrowed)
    }

    /// Returns true if every tenant that `glob` matches is bound. Exact, because a `*` of a binding is
    /// its last character.
    fn covers(&self, glob: &str) -> bool {
        let covers = |bound: &String| match bound.strip_suffix('*') {
            Some(start) => glob.starts_with(start),
            None => glob == bound,
        };
        self.spec.tenants.iter().any(covers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    fn binding(tenants: &[&str]) -> TenantBinding {
        let tenants = tenants.iter().copied().map(str::to_owned).collect();
        TenantBinding::new("team", TenantBindingSpec { tenants })
    }

    fn policy(selector: &str) -> RetentionPolicy {
        let yaml = format!(
            "apiVersion: isotherm.dev/v1alpha1\nkind: RetentionPolicy\n\
             metadata: {{name: a, namespace: team}}\n\
             spec: {{selector: {selector}, tiers: {{hot: {{maxAge: 1h}}}}}}\n"
        );
        parse(&yaml).unwrap().remove(0)
    }

    fn tenants(bound: &[&str], selector: &str) -> Result<Vec<String>, Vec<String>> {
        let narrowed = binding(bound).narrow(&policy(selector))?;
        Ok(narrowed.spec.selector.tenants)
    }

    fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
        texts.map(str::to_owned).to_vec()
    }

    #[test]
    fn a_selector_without_tenants_is_narrowed_to_those_that_are_bound() {
        let bound = ["acme", "acme-*"];
        assert_eq!(tenants(&bound, "{}"), Ok(texts(["acme", "acme-*"])));
        assert_eq!(
            tenants(&bound, "{conversations: [x]}"),
            Ok(texts(["acme", "acme-*"]))
        );
        assert_eq!(
            tenants(&["*"], "{}"),
            Ok(Vec::new()),
            "every tenant is bound"
        );
    }

    #[test]
    fn a_selector_may_name_what_lies_within_the_bound_tenants_and_nothing_else() {
        let bound = ["acme", "lab-*"];
        for inside in ["acme", "lab-", "lab-1", "lab-*", "lab-?*x"] {
            let selector = format!("{{tenants: ['{inside}']}}");
            assert_eq!(tenants(&bound, &selector), Ok(texts([inside])));
        }
        for outside in [
            "*", "acme*", "acm?", "lab*", "la?-1", "?ab-1", "bank", "ACME",
        ] {
            let selector = format!("{{tenants: [acme, '{outside}']}}");
            assert_eq!(tenants(&bound, &selector), Err(texts([outside])));
        }
        assert_eq!(
            tenants(&["*"], "{tenants: ['a?', '*']}"),
            Ok(texts(["a?", "*"]))
        );
    }
}
